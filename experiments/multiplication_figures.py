"""The multiplication study's figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.multiplication_measuring import Found, PairHead
    from interp.runs import Run


def save_figures(run: Run, found: list[Found]) -> None:
    """Draw what was measured, the models side by side."""
    import torch

    from interp.plots import digits as plots

    task = found[0].subject.task
    place = torch.tensor(found[0].attribution.places)[:, None]
    run.save_figure(
        "attribution",
        plots.attribution_maps(
            {model_name(one): one.attribution.drops.numpy() for one in found},
            operands=task.digit_names,
            impossible=(place > torch.arange(task.n_answers)).numpy(),
            title="What each answer digit listens to",
        ),
    )
    errors: dict[str, dict[str, list[float]]] = {}
    means: dict[str, list[float]] = {}
    by_tokens: dict[str, list[float]] = {}
    for one in found:
        sites: dict[str, list[float]] = {}
        for probe in one.probes:
            sites.setdefault(str(probe.site), []).append(probe.mae)
        errors[model_name(one)] = sites
        first = one.probes[: task.n_answers]
        means[model_name(one)] = [p.mean_mae for p in first]
        by_tokens[model_name(one)] = [p.tokens_mae or 0.0 for p in first]
    run.save_figure(
        "running-sums",
        plots.sum_errors(
            errors,
            nulls={"saying the mean": means, "off the tokens": by_tokens},
            title="Running sums read off the stream",
        ),
    )
    scores = {model_name(one): {"Fourier R²": one.fits, "prism": one.prisms} for one in found}
    flat = {
        name: {f"{kind}, {of}": s for kind, group in kinds.items() for of, s in group.items()}
        for name, kinds in scores.items()
    }
    run.save_figure(
        "fourier",
        plots.scores_with_nulls(
            {name: {of: s.score for of, s in group.items()} for name, group in flat.items()},
            nulls={
                name: {of: s.shuffled.numpy() for of, s in group.items()}
                for name, group in flat.items()
            },
            label="share at frequencies 1, 2, 5 (R²) or 2, 5 (prism)",
            title="Digits in Fourier space, beside shuffled digits",
        ),
    )
    run.save_figure(
        "prism",
        plots.prisms(
            {
                f"{model_name(one)}: {of}": means.numpy()
                for one in found
                for of, means in one.means.items()
            },
            title="Digits in the plane of frequency 2",
        ),
    )
    best = {model_name(one): best_pair(one) for one in found}
    run.save_figure(
        "minkowski",
        plots.minkowski_clusters(
            {name: head.means.numpy() for name, head in best.items()},
            first="first digit of the pair",
            title="The head that looks hardest at one pair",
        ),
    )
    for one in found:
        run.save_figure(
            f"attention-{one.subject.name}",
            plots.attention_maps(
                one.tree.pattern.numpy(),
                tokens=token_names(one),
                first=task.n + 1,
                title=f"{model_name(one)}: mean attention",
            ),
        )


def model_name(one: Found) -> str:
    """What a model is called in figures and words."""
    names = {"auxiliary": "with auxiliary loss", "plain": "plain fine-tuning"}
    return names.get(one.subject.name, "the model given")


def best_pair(one: Found) -> PairHead:
    """The first-layer head that looks hardest at one pair of digits."""
    return max(one.pair_heads, key=lambda head: head.mass)


def token_names(one: Found) -> list[str]:
    """What stands at each position of a row."""
    task = one.subject.task
    digits = task.digit_names
    answer = [f"c{k}" for k in range(task.n_answers)]
    return [*digits[: task.n], "×", *digits[task.n :], "=", *answer]
