"""The project's own statement sets: five kinds of truth, in sentences written for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from interp.configs import near
from probes.data.checks import DataError
from probes.data.own.ethical import ethical_sentences
from probes.data.own.facts import Sentence, fact_sentences
from probes.data.own.logical import logical_sentences
from probes.data.statements import StatementSet

if TYPE_CHECKING:
    import pandas as pd

OWN_SETS: dict[str, tuple[str, Callable[[], Sequence[Sentence]]]] = {
    "definitional": ("what words mean", partial(fact_sentences, "definitional")),
    "empirical": ("what the world is like", partial(fact_sentences, "empirical")),
    "logical": ("what follows from what", logical_sentences),
    "fictional": ("what is so in well-known stories", partial(fact_sentences, "fictional")),
    "ethical": ("what is right and wrong, where people agree", ethical_sentences),
}


def statement_set(name: str, *, negations: bool = True) -> StatementSet:
    """Return one of the project's own sets.

    Label 1 is true. Pairs hold a true and a false statement; groups hold what shares words, a
    statement's negations among them, so that no words and no length tell the labels apart.

    Args:
        name: One of ``OWN_SETS``.
        negations: Whether each statement's negation is there too.

    Raises:
        DataError: there is no such set.
    """
    if name not in OWN_SETS:
        raise DataError(f"no statement set {name!r}; {near(name, OWN_SETS)}")
    made = [one for one in OWN_SETS[name][1]() if negations or not one.pair.endswith(", negated")]
    return StatementSet.build(
        [one.text for one in made],
        [one.true for one in made],
        groups=[f"{name}: {one.group}" for one in made],
        domains=[name] * len(made),
        places=[f"{one.kind} {i + 1}" for i, one in enumerate(made)],
        pairs=[f"{name}: {one.pair}" for one in made],
        name=name,
        format="own",
    )


def set_table() -> pd.DataFrame:
    """Return one row an own set: its name, what it is about, and how much it holds."""
    import pandas as pd

    rows = []
    for name, (about, _) in OWN_SETS.items():
        data = statement_set(name)
        rows.append(
            {
                "name": name,
                "about": about,
                "statements": len(data),
                "pairs": len(data.pair_rows[0]),
                "groups": len(set(data.groups)),
            }
        )
    return pd.DataFrame(rows)
