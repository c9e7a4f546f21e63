"""CrowS-Pairs (Nangia et al. 2020) under a causal model.

The published file is noisy: many of its pairs do not hold a stereotype, or differ in more than
whom they are about (Blodgett et al. 2021, "Stereotyping Norwegian Salmon"). Read its numbers with
that in mind.
"""

from __future__ import annotations

from pathlib import Path

from interp.models import Model
from probes.behaviour.gaps import PairGaps, pair_gaps
from probes.behaviour.items import BehaviourError, Pair, PairSet, shared_frame
from probes.data.checks import DataError, checked_text
from probes.data.files import table_rows

COLUMNS = ("sent_more", "sent_less", "stereo_antistereo", "bias_type")


def read_crows_pairs(path: Path | str) -> PairSet:
    """Read ``crows_pairs_anonymized.csv``.

    ``more`` is the more stereotyping sentence in every row, whichever its direction. Kinds are
    bias types; pairs whose common words are the same are one group.

    Args:
        path: The file.

    Raises:
        BehaviourError: the file or one of its rows cannot be read; names the row and says why.
    """
    path = Path(path)
    try:
        rows = table_rows(path)
        pairs = []
        for place, row in rows:
            at = f"{path}, {place}"
            if missing := [name for name in COLUMNS if name not in row]:
                raise BehaviourError(
                    f"{at}: no column {missing[0]!r}; CrowS-Pairs has {', '.join(COLUMNS)}"
                )
            if row["stereo_antistereo"] not in ("stereo", "antistereo"):
                raise BehaviourError(
                    f"{at}: stereo_antistereo is {row['stereo_antistereo']!r}; expected stereo or "
                    "antistereo"
                )
            more = checked_text(row["sent_more"], at, what="sent_more")
            less = checked_text(row["sent_less"], at, what="sent_less")
            kind = checked_text(row["bias_type"], at, what="bias_type")
            pairs.append(Pair(more, less, kind, shared_frame(more, less), place))
    except DataError as error:
        raise BehaviourError(str(error)) from None
    return PairSet(tuple(pairs), name="CrowS-Pairs")


def crows_pairs(
    model: Model, pairs: PairSet, *, confidence: float = 0.95, seed: int = 0
) -> PairGaps:
    """CrowS-Pairs in the published and in the conditional form, by bias type and all together.

    ``share_more`` is the published score (as a share; ties count as not stereotyped) and ``size``
    the published likelihood difference; ``conditional`` is signed and leaves out how frequent the
    differing words are.

    Args:
        model: Any causal model with a tokenizer.
        pairs: From ``read_crows_pairs``; ``pairs.sample(n, seed=…)`` for fewer.
        confidence: Coverage of the intervals.
        seed: Seeds the bootstrap.

    Raises:
        BehaviourError: as ``pair_gaps``.
    """
    return pair_gaps(model, pairs, confidence=confidence, seed=seed)
