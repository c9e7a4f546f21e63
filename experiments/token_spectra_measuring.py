"""What is measured of ordered token sets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.token_spectra import Config
    from interp.evidence import EvidenceTable
    from interp.fourier import OrderReading
    from interp.models import Examples, Model
    from interp.runs import Run

STREAM = 400_000  # characters of text that are read


@dataclass(frozen=True)
class Found:
    """What was measured of one set.

    Attributes:
        name: As the command names it.
        embedding: Of the token embeddings.
        unembedding: Of the unembedding; None where that is the same matrix.
        table: The trend and the strongest frequencies removed; None without text.
        judged: On how many stretches; 0 without.
    """

    name: str
    embedding: OrderReading
    unembedding: OrderReading | None
    table: EvidenceTable | None
    judged: int


def measure(config: Config, run: Run) -> list[Found]:
    """Read every set, and remove what there is of its order."""
    from interp.evidence import EvidenceTable, correct
    from interp.models import ModelSpec, load_model

    model = load_model(ModelSpec(config.model, device=config.device))
    run.record(model=model.fingerprint, seeds={"all": config.seed}, device=config.device)
    text = _text(config, model)
    found = [_measured(config, run, model, text, name) for name in config.tokens]
    # One correction over the run: so many removals were tried.
    rows = iter(correct([row for one in found for row in one.table or ()]))
    return [
        one
        if one.table is None
        else dataclasses.replace(one, table=EvidenceTable([next(rows) for _ in one.table]))
        for one in found
    ]


def _measured(config: Config, run: Run, model: Model, text: Examples | None, name: str) -> Found:
    import torch

    from experiments.token_spectra import members
    from interp.fourier import read_order, weigh_order, with_members

    how: dict[str, Any] = {"n_shuffles": config.shuffles, "seed": config.seed}
    embedding = read_order(model, members(name), name=name, **how)
    ids = list(embedding.forms.ids)
    # A norm's gain in between makes tied matrices two.
    tied = torch.equal(model.folded_unembedding()[:, ids].T, model.W_E[ids])
    unembedding = None
    if not tied:
        unembedding = read_order(model, members(name), name=name, matrix="unembedding", **how)
    if text is None:
        return Found(name, embedding, unembedding, None, 0)
    rows = with_members(text, embedding.forms)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(config.seed))
    judged = rows.select(order[: config.rows])
    run.record(data={f"text with {name}": judged.hash})
    strongest = embedding.detrended.top(1)[0][0]
    frequencies = sorted({strongest, *embedding.detrended.keys(alpha=config.alpha)})
    table = weigh_order(
        model,
        embedding,
        ["trend", *frequencies],
        judged,
        n_controls=config.controls,
        alpha=config.alpha,
        seed=config.seed,
    )
    return Found(name, embedding, unembedding, table, len(judged))


def _text(config: Config, model: Model) -> Examples | None:
    """Stretches of held-out text that do not overlap; None where there is none."""
    from experiments.heads_prompts import windows
    from interp.zoo.corpus import read_corpus

    if config.text is not None:
        text = Path(config.text).read_text(encoding="utf-8")
    elif config.model == "zoo:code-lm":
        text = "\n".join(read_corpus().held_out)
    else:
        return None
    return windows(
        model, None, n=STREAM, length=config.length, seed=config.seed, text=text[:STREAM]
    )
