"""What heads look at, in one forward pass, holding one layer's attention pattern at a time.

The algorithm: a hook on each layer's pattern is handed it as it is computed, reads off it the few
cells that count for each score, and lets it go; the pass ends at the last layer's pattern, without
its MLP and the unembedding. What remains is one number a head and example.

With A the attention after softmax (rows sum to 1) and targets as ``interp.heads.targets`` defines
them, the scores, all between 0 and the number given, are

=====================  ====================================================================  ====
name                   mean over the queries that have a target of                           max
=====================  ====================================================================  ====
prefix-matching        sum of A[q, p + 1] over p in prev(q)                                  1
prefix-matching-pairs  A[q, p + 1], each (q, p) counting once                                < 1
induction              as prefix-matching, at scored queries only                            1
anti-induction         sum of A[q, p - 1] over p in prev(q), at scored queries only          1
previous-token         A[q, q - 1]                                                           1
duplicate-token        sum of A[q, p] over p in prev(q)                                      1
=====================  ====================================================================  ====

averaged over examples. Each comes with its exact null on the very examples: what a head scores that
attends alike to every token it may see. On other input the null is another number, so that scores
from different sequence lengths compare only by their distance from it.

Sources: Olsson et al. (2022), "In-context Learning and Induction Heads", for prefix matching and
previous token. Their average over (query, target) pairs cannot exceed 1 over the mean number of
targets a query has: 0.5 for four repeats. Induction on ``[BOS, r, r]`` is that of TransformerLens
and ARENA, with targets by token instead of diagonal. McDougall et al. (2023) call something else
"anti-induction": a head that *lowers* the logit of the repeated token. Here it is backward copying.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.heads.scores import HeadScores, HeadsError
from interp.heads.targets import (
    NoTargetsError,
    Per,
    TargetKind,
    Targets,
    find_targets,
    reduce_pattern,
)
from interp.hooks import Site, session
from interp.hooks.progress import progress
from interp.models import Examples, Model
from interp.models.memory import in_batches


@dataclass(frozen=True)
class PatternScore:
    """A score that can be read off an attention pattern.

    Attributes:
        name: As in the registry and in tables.
        kind: Which keys are targets (see ``interp.heads.targets``).
        per: What attention on targets is divided by.
        scored_only: Only queries that the examples score count, where they say which.
        description: Formula, range and source.
    """

    name: str
    kind: TargetKind
    per: Per
    scored_only: bool
    description: str


_SCORES = (
    PatternScore(
        "prefix-matching",
        "after",
        "query",
        False,
        "Attention from a token to what followed its earlier occurrences, summed over these, mean "
        "over all queries that have one. 0 to 1. After Olsson et al. (2022), who average over "
        "pairs instead.",
    ),
    PatternScore(
        "prefix-matching-pairs",
        "after",
        "pair",
        False,
        "Attention from a token to what followed its earlier occurrences, mean over (query, "
        "target) pairs. 0 to 1 over the mean number of targets a query has: at most 0.5 for four "
        "repeats. Olsson et al. (2022), literally.",
    ),
    PatternScore(
        "induction",
        "after",
        "query",
        True,
        "Attention from a token to what followed its earlier occurrences, summed over these, mean "
        "over the scored queries: on repeated random tokens, those whose next token is determined. "
        "0 to 1. TransformerLens's and ARENA's score, with targets by token.",
    ),
    PatternScore(
        "anti-induction",
        "before",
        "query",
        True,
        "Attention from a token to what preceded its earlier occurrences, summed over these, mean "
        "over the scored queries: backward copying. 0 to 1. Not the negative copying that "
        "McDougall et al. (2023) call anti-induction.",
    ),
    PatternScore(
        "previous-token",
        "previous",
        "query",
        False,
        "Attention from each position to the one before, mean over all positions but the first. "
        "0 to 1. Olsson et al. (2022).",
    ),
    PatternScore(
        "duplicate-token",
        "same",
        "query",
        False,
        "Attention from a token to its own earlier occurrences, summed over these, mean over all "
        "queries that have one. 0 to 1. After Wang et al. (2022), whose duplicate-token heads do "
        "this.",
    ),
)
PATTERN_SCORES: Mapping[str, PatternScore] = {score.name: score for score in _SCORES}
"""Name to definition of every score that :func:`head_scores` can give."""


@torch.no_grad()
def head_scores(
    model: Model,
    examples: Examples,
    names: Sequence[str] = tuple(PATTERN_SCORES),
    *,
    targets_of: Examples | None = None,
    control: Examples | None = None,
    batch_size: int = 32,
) -> dict[str, HeadScores]:
    """Score every head's attention, all scores from one forward pass over each example.

    Args:
        model: The model.
        examples: What is attended over. May be padded, on either side.
        names: Which scores, out of ``PATTERN_SCORES``.
        targets_of: Examples whose tokens define the targets, in place of ``examples``' own; row
            by row of the same shape and mask. With tokens that do not repeat as ``examples`` and
            the repeated ones here, this measures the same positions where there is nothing to
            match, which is the i.i.d. control.
        control: Control examples, such as ``iid_control(examples, …)``, measured in a second
            pass at the same targets; the result is in each score's ``control``.
        batch_size: Rows at a time; halved on out-of-memory. Results do not depend on it.

    Returns:
        For each name its score, with per-example values, null and, where asked for, control.
        Accumulated in float64, on the CPU.

    Raises:
        HeadsError: an unknown score, an example without a target, or shapes that do not agree.
        SiteError: the architecture gives no attention patterns.
    """
    scores = _resolve(names)
    structure = examples if targets_of is None else targets_of
    _require_alike(examples, structure)
    if control is not None:
        _require_alike(control, structure)
    values, nulls = _measure(model, examples, structure, scores, batch_size)
    controls = None
    if control is not None:
        controls, _ = _measure(model, control, structure, scores, batch_size)
    return {
        score.name: HeadScores(
            name=score.name,
            values=values[i].mean(0),
            units="attention",
            null=float(nulls[i].mean()),
            description=score.description,
            about_null="a head that attends alike to every token up to the query",
            per_example=values[i],
            control=None if controls is None else controls[i].mean(0),
            groups=examples.groups,
        )
        for i, score in enumerate(scores)
    }


def _resolve(names: Sequence[str]) -> list[PatternScore]:
    names = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    if not names:
        raise HeadsError(f"no scores asked for; choose from {', '.join(PATTERN_SCORES)}")
    for name in names:
        if name not in PATTERN_SCORES:
            near = difflib.get_close_matches(
                name.replace("_", "-"), PATTERN_SCORES, n=2, cutoff=0.5
            )
            hint = f"did you mean {' or '.join(near)}?" if near else "unknown"
            raise HeadsError(
                f"no attention score {name!r}; {hint} (there are {', '.join(PATTERN_SCORES)})"
            )
    return [PATTERN_SCORES[name] for name in names]


def _require_alike(examples: Examples, structure: Examples) -> None:
    assert examples.mask is not None and structure.mask is not None
    if examples.mask.shape != structure.mask.shape or not torch.equal(
        examples.mask, structure.mask
    ):
        raise HeadsError(
            f"{examples.name!r} {list(examples.tokens.shape)} and {structure.name!r} "
            f"{list(structure.tokens.shape)} must agree row by row in shape and mask: the targets "
            "of one are read in the patterns of the other"
        )


def _measure(
    model: Model,
    examples: Examples,
    structure: Examples,
    scores: Sequence[PatternScore],
    batch_size: int,
) -> tuple[Float[Tensor, "score example layer head"], Float[Tensor, "score example"]]:
    """Attention of every head on the targets, and what uniform attention puts on them."""
    shape = (len(scores), len(examples), model.n_layers, model.n_heads)
    values = torch.zeros(shape, dtype=torch.float64)
    nulls = torch.zeros(shape[:2], dtype=torch.float64)
    # Rows of like length together, so that little is computed on padding.
    order = torch.argsort(examples.lengths, stable=True)

    with progress("scoring heads", total=len(order)) as advance:

        def work(rows: slice) -> None:
            chosen = order[rows]
            batch, source = _trimmed(examples.select(chosen), structure.select(chosen))
            try:
                found_targets = _targets(source, scores, model)
            except NoTargetsError as error:
                row = int(chosen[error.example])
                raise NoTargetsError(row, structure.name, error.what) from None
            nulls[:, chosen] = torch.stack([t.uniform for t in found_targets])
            targets = [t.to(model.device) for t in found_targets]
            found: dict[int, Tensor] = {}

            def reducer(layer: int) -> Callable[[Tensor], None]:
                def look(pattern: Tensor) -> None:
                    found[layer] = torch.stack([reduce_pattern(pattern, t) for t in targets])

                return look

            watch = {Site(layer, "pattern"): reducer(layer) for layer in range(model.n_layers)}
            with session(model, watch=watch) as s:
                s.run_until_captured(batch.tokens, batch.mask)
            for layer, reduced in found.items():
                values[:, chosen, layer] = reduced.to("cpu", torch.float64)
            advance(len(chosen))

        in_batches(len(order), batch_size, work)
    return values, nulls


def _targets(examples: Examples, scores: Sequence[PatternScore], model: Model) -> list[Targets]:
    return [
        find_targets(
            examples,
            score.kind,
            special=model.special_ids,
            per=score.per,
            scored_only=score.scored_only,
        )
        for score in scores
    ]


def _trimmed(*several: Examples) -> Iterator[Examples]:
    """Without the columns that are padding in every row; all have the same mask."""
    assert several[0].mask is not None
    kept = several[0].mask.any(0)
    for examples in several:
        assert examples.mask is not None
        yield Examples(
            tokens=examples.tokens[:, kept],
            mask=examples.mask[:, kept],
            scored=None if examples.scored is None else examples.scored[:, kept],
            groups=examples.groups,
            name=examples.name,
        )
