"""Does the latent carry it? Latents in which a bias seems to live, edited beside what could match.

That a latent fires on a concept, or that gradients point at it, is a signature. Whether the model
depends on it is asked here, on three splits that share nothing:

1. *Select*: gradients say how much of the bias slope would go if each latent went to its mean on
   neutral text (``attribute_latents``); those of which they say most are tried, each alone, and
   ranked by how much does go.
2. *Tune*: the top n are edited, for several n and kinds of edit; of those that cost little enough
   on neutral text, the one that leaves least slope, either way, is kept.
3. *Test*: reduction against cost over n, beside the reconstruction without edit, random latents
   that fire as often, the concept's direction projected out, and random directions; in batched
   jobs (``sweep_changes``). The row of ``Evidence`` weighs the kept edit against the random
   latents.

``recognition`` tells removing a bias from erasing a concept: whether the model still follows a
concept that the text has named. Projecting out a probe's direction often does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from interp.evidence import Metric, bootstrap_interval, kl_from, loss, random_units
from interp.hooks import Intervention, project_out
from interp.models import Model
from interp.sae.carrying_controls import carrying_evidence, matched_latents
from interp.sae.carrying_measures import (
    BiasSplit,
    NoBiasError,
    NoLatentError,
    Reduction,
    Slopes,
    Tokens,
    share_of_slope_gone,
    slopes_over,
)
from interp.sae.carrying_result import Carrying, Kind
from interp.sae.carrying_stages import Stages
from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.edits import set_latents
from interp.sae.splicing import splice


def carrying(
    model: Model,
    dictionary: Dictionary,
    metric: Metric,
    *,
    select: BiasSplit,
    tune: BiasSplit,
    test: BiasSplit,
    scores: Mapping[str, float] | None = None,
    recognised: Metric | None = None,
    direction: Float[Tensor, " d_in"] | None = None,
    tokens: Tokens | None = None,
    counts: Sequence[int] = (1, 2, 3, 5, 10, 20),
    kinds: Sequence[Kind] = ("neutral mean", "zero"),
    shortlist: int = 64,
    most_ce: float = 0.03,
    most_lost: float = 0.05,
    n_random: int = 99,
    n_directions: int = 99,
    alpha: float = 0.05,
    seed: int,
) -> Carrying:
    """Find the latents that a bias depends on, and say what editing them costs.

    Args:
        model: The model.
        dictionary: The autoencoder of one site.
        metric: The bias of one prompt: signed, such as the log-odds of one reference's words
            against another's. Any function of the logits that has a gradient.
        select: Where latents are ranked.
        tune: Where n and kind are chosen.
        test: Where everything reported is measured.
        scores: What each target's bias is laid against, such as planted or survey values. The
            model's own bias on ``select`` when omitted.
        recognised: Measured on ``recognition`` of the splits, such as accuracy; higher is better.
        direction: A concept's direction in the space of activations, to be projected out.
        tokens: Which tokens are touched; when omitted the real ones, without the mark at the
            beginning, on which autoencoders are not trained.
        counts: Numbers of latents to edit.
        kinds: What the latents are set to: their mean on neutral text, on the biased prompts, or 0.
        shortlist: How many latents are tried alone.
        most_ce: Most nats a token that an edit may add on neutral text while tuning.
        most_lost: Most of ``recognised`` that an edit may take while tuning, where that split says
            how to measure it: an edit that erases the concept removes its bias too.
        n_random: Random sets of latents.
        n_directions: Random directions, drawn as the activations vary at the tokens touched.
        alpha: Level of the verdict.
        seed: Draws random sets and directions, and seeds the intervals.

    Raises:
        NoBiasError: the model's slope on ``test`` is not to be told from zero.
        NoLatentError: no latent lowers the slope.
        SaeError: shapes and splits that do not fit.
    """
    counts = sorted({int(n) for n in counts})
    _check(model, dictionary, (select, tune, test), counts, kinds)
    job = Stages(model, dictionary, metric, tokens)
    scores = job.own_biases(select) if scores is None else scores
    slopes = slopes_over(test.targets, scores)
    interval = _require_bias(slopes, job.clean(test).numpy(), seed=seed)
    estimated, statistics, values = job.select(select, scores, kinds)
    ranked = job.rank(select, scores, estimated, values[kinds[0]], shortlist)
    if not ranked:
        raise NoLatentError("edited alone, no latent lowers the bias slope: there is none to edit")
    counts = [n for n in counts if n <= len(ranked)] or [len(ranked)]
    edits = {(kind, n): set_latents(ranked[:n], values[kind]) for kind in kinds for n in counts}
    kind, n, tuned = job.tune(
        tune,
        slopes_over(tune.targets, scores),
        edits,
        most_ce=most_ce,
        recognised=recognised,
        most_lost=most_lost,
    )

    site = job.site
    sets = matched_latents(ranked[:n], statistics, n=n_random, seed=seed)
    curve = {m: splice(dictionary, edits[kind, m]) for m in counts}
    plain: dict[str, Intervention] = {"reconstruction": splice(dictionary, keep_error=False)}
    if direction is not None:
        plain["direction projected out"] = project_out(site, direction)
    # Isotropic ones rarely point where activations vary, and could not matter as much.
    drawn = random_units(n_directions, dictionary.d_in, seed=seed, like=job.activations(select))
    random_sets = [
        splice(dictionary, set_latents([i for _, i in sorted(chosen)], values[kind]))
        for chosen in (*sets.sets, *sets.null_sets)
    ]
    named = [*curve.values(), *plain.values()]
    others = [*random_sets, *(project_out(site, one) for one in drawn.float())]
    bias = job.sweep(test.biased, [*named, *others], metric)
    clean = bias.clean[0].numpy()
    changed = bias.changed[0].numpy()
    cost = job.sweep(test.neutral, named, [loss, kl_from])
    seen = None
    if recognised is not None and test.recognition is not None:
        seen = job.sweep(test.recognition, named, recognised)
    names = [*(f"top {m} latents to {kind}" for m in curve), *plain]
    numbers: list[int | None] = [*curve, *(None for _ in plain)]
    rows = tuple(
        _reduction(
            name,
            m,
            slopes=slopes,
            clean=clean,
            changed=changed[i],
            ce=(cost.harm("loss")[i], cost.groups),
            kl=cost.harm("kl")[i],
            recognition=None if seen is None else seen.changed[0, i],
            seed=seed,
        )
        for i, (name, m) in enumerate(zip(names, numbers, strict=True))
    )
    gone = share_of_slope_gone(slopes, clean, changed)[len(named) :]
    at = counts.index(n)
    return Carrying(
        ranked=ranked,
        estimated=estimated,
        kind=kind,
        chosen=rows[at],
        curve=rows[: len(curve)],
        baselines=rows[len(curve) :],
        random_latents=gone[: len(sets)],
        random_directions=gone[len(random_sets) :],
        evidence=carrying_evidence(
            ranked[:n],
            estimated=estimated,
            sets=sets,
            slopes=slopes,
            metric=metric,
            clean=clean,
            edited=changed[at],
            controls=changed[len(named) :][: len(sets)],
            null=changed[len(named) + len(sets) :][: len(sets.null_sets)],
            targets=test.targets,
            alpha=alpha,
            seed=seed,
        ),
        slope=float(slopes.weight @ clean),
        slope_interval=interval,
        sd=float(np.std(slopes.biases(clean))),
        recognition=None if seen is None else float(seen.clean[0].mean()),
        tuned=tuned,
    )


def _require_bias(
    slopes: Slopes, clean: Float[np.ndarray, " example"], *, seed: int
) -> tuple[float, float]:
    interval = slopes.interval(slopes.biases(clean), seed=seed)
    if interval[0] <= 0 <= interval[1]:
        raise NoBiasError(
            f"the model's bias has a slope of {float(slopes.weight @ clean):.3g} over targets, "
            f"95% interval {interval[0]:.3g} to {interval[1]:.3g}: there is none to take away"
        )
    return interval


def _check(
    model: Model,
    dictionary: Dictionary,
    splits: Sequence[BiasSplit],
    counts: Sequence[int],
    kinds: Sequence[Kind],
) -> None:
    dictionary.require_fit(model)
    if not counts or counts[0] < 1 or not kinds:
        raise SaeError("give at least one number of latents, from 1 on, and one kind of edit")
    known = ("neutral mean", "mean", "zero")
    if set(kinds) - set(known):
        raise SaeError(f"unknown kinds {sorted(set(kinds) - set(known))}; known: {known}")
    for field in ("biased", "neutral"):
        texts = [set(map(tuple, getattr(split, field).tokens.tolist())) for split in splits]
        if texts[0] & texts[1] or texts[2] & (texts[0] | texts[1]):
            raise SaeError(f"some {field} texts stand in two splits; give each text to one of them")


def _reduction(
    name: str,
    n: int | None,
    *,
    slopes: Slopes,
    clean: np.ndarray,
    changed: np.ndarray,
    ce: tuple[Tensor, Sequence[str]],
    kl: Tensor,
    recognition: Tensor | None,
    seed: int,
) -> Reduction:
    before, after = slopes.biases(clean), slopes.biases(changed)
    gone = float(share_of_slope_gone(slopes, clean, changed))
    harm, groups = ce
    return Reduction(
        name=name,
        n=n,
        slope=gone,
        interval=slopes.interval(before, after, seed=seed),
        sd=1 - float(np.std(after) / np.std(before)),
        overshoot=max(0.0, gone - 1),
        ce=float(harm.mean()),
        ce_interval=bootstrap_interval(harm.numpy(), groups, n_resamples=999, seed=seed),
        kl=float(kl.mean()),
        recognition=None if recognition is None else float(recognition.mean()),
    )
