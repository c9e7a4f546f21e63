"""Every score by which heads can be chosen, in one form: a number a head, its null, who carries it.

===================  ============================================  =============================
name                 measured on                                   a head carries it
===================  ============================================  =============================
induction …          repeated random tokens, beside i.i.d. ones    at ``threshold`` above its
(PATTERN_SCORES)                                                   own i.i.d. score (for
                                                                   previous-token: even
                                                                   attention)
copying              repeated random tokens                        at ``threshold`` above the
                                                                   null
ov-eigenvalues,      the weights                                   the same
ov-top1
attribution          the prompts, on the selection split           above zero, t-test over groups
                                                                   with Bonferroni over heads
function-vector      a task's prompts, labels permuted             the same, above its control
===================  ============================================  =============================

Attention is not what a head writes, weights are not what it reads, and a gradient is no ablation:
each says who to look at, none that the model depends on it.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import stats
from torch import Tensor

from interp.heads.copying import copying_scores, ov_eigenvalue_scores, ov_top1_scores
from interp.heads.scores import HeadScores, HeadsError
from interp.heads.targets import iid_control
from interp.heads.telemetry import PATTERN_SCORES, head_scores
from interp.models import Examples, Model

WRITING_SCORES = ("copying", "ov-eigenvalues", "ov-top1")
SIGNATURES = (*PATTERN_SCORES, *WRITING_SCORES, "attribution", "function-vector")
"""Names of all signatures."""


@dataclass(frozen=True, eq=False)
class Signature:
    """A score of every head, by which some are chosen.

    Attributes:
        name: Out of ``SIGNATURES``.
        values: The score.
        null: The same where the signature cannot be: on i.i.d. input, at random, or zero.
        carried: True where the head is said to carry it.
    """

    name: str
    values: Float[Tensor, "layer head"]
    null: Float[Tensor, "layer head"]
    carried: Bool[Tensor, "layer head"]

    @property
    def above_null(self) -> Float[Tensor, "layer head"]:
        """By how much each head exceeds its null: what heads are chosen by."""
        return self.values - self.null


def parse_signatures(text: str, *, function_vectors: bool = False) -> tuple[str, ...]:
    """Read a list of names such as ``induction,attribution``, or ``all``.

    Args:
        text: Names with commas between.
        function_vectors: Whether ``all`` takes in function-vector scores, which need a task.

    Raises:
        HeadsError: an unknown name, with near matches.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return tuple(n for n in SIGNATURES if function_vectors or n != "function-vector")
    if not names:
        raise HeadsError(f"no signature given; expected some of {', '.join(SIGNATURES)}, or all")
    for name in names:
        if name not in SIGNATURES:
            near = difflib.get_close_matches(name.replace("_", "-"), SIGNATURES, n=2, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"{', '.join(SIGNATURES)}"
            raise HeadsError(f"unknown signature {name!r}; {hint}")
    return tuple(dict.fromkeys(names))


def attention_signatures(
    model: Model,
    repeated: Examples,
    names: Sequence[str],
    *,
    threshold: float = 0.3,
    batch_size: int = 32,
    seed: int,
) -> list[Signature]:
    """Measure the signatures that repeated random tokens and weights show.

    Args:
        model: The model.
        repeated: From ``repeated_tokens``; others than those that judge.
        names: Out of PATTERN_SCORES and WRITING_SCORES, in any order.
        threshold: By how much a score must exceed its null to be carried.
        batch_size: Rows at a time.
        seed: Draws the i.i.d. control.
    """
    found: dict[str, Signature] = {}
    attended = [name for name in names if name in PATTERN_SCORES]
    if attended:
        generator = torch.Generator().manual_seed(seed)
        control = iid_control(repeated, model.ordinary_ids, generator=generator)
        for name, score in head_scores(
            model, repeated, attended, control=control, batch_size=batch_size
        ).items():
            assert score.control is not None and score.null is not None
            null = score.control
            if PATTERN_SCORES[name].kind == "previous":
                # On i.i.d. tokens there is a previous token too: the null is even attention.
                null = torch.full_like(score.values, score.null)
            found[name] = _above(name, score.values, null, threshold)
    for name in names:
        if name in WRITING_SCORES:
            score = {
                "copying": lambda: copying_scores(model, repeated, batch_size=batch_size),
                "ov-eigenvalues": lambda: ov_eigenvalue_scores(model),
                "ov-top1": lambda: ov_top1_scores(model),
            }[name]()
            null = torch.full_like(score.values, score.null or 0.0)
            found[name] = _above(name, score.values, null, threshold)
    return [found[name] for name in names if name in found]


def effect_signature(name: str, score: HeadScores, *, alpha: float = 0.05) -> Signature:
    """Make a signature of an estimated effect: attribution, or a function-vector score.

    Args:
        name: What it is called.
        score: With ``per_example``; its control, where there is one, is the null, prompt by
            prompt where it was measured on the same ones.
        alpha: A head carries it where the mean over groups is above the null by a one-sided
            t-test, at ``alpha`` over the number of heads.

    Raises:
        HeadsError: the score has no values for single examples.
    """
    if score.per_example is None:
        raise HeadsError(f"{score.name} has no value an example, so nothing says who carries it")
    null = torch.zeros_like(score.values) if score.control is None else score.control
    of = score.groups or tuple(map(str, range(len(score.per_example))))
    labels = list(dict.fromkeys(of))
    # The control has an error of its own, and shares the prompts' with the score.
    beside = null if score.control_per_example is None else score.control_per_example
    excess = score.per_example.double() - beside.double()
    above = torch.stack([excess[[g == label for g in of]].mean(0) for label in labels]).numpy()
    if len(above) < 2:
        carried = torch.zeros_like(score.values, dtype=torch.bool)
    else:
        spread = above.std(axis=0, ddof=1)
        error = np.maximum(spread / np.sqrt(len(above)), 1e-30)
        p = stats.t.sf(above.mean(axis=0) / error, len(above) - 1)
        carried = torch.from_numpy((p * score.values.numel() <= alpha) & (above.mean(axis=0) > 0))
    return Signature(name, score.values.double(), null.double(), carried)


def _above(name: str, values: Tensor, null: Tensor, threshold: float) -> Signature:
    return Signature(name, values, null, (values - null) >= threshold)
