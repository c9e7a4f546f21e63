"""Counting effective features along two trainings, and at a site of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas import DataFrame
    from torch import Tensor

    from experiments.dynamics_training import Path
    from experiments.superposition import Config
    from interp.runs import Run

NOISE = "noise like it"  # as far from the mean, in random directions
_BATCH = 64  # of the SAEs: wide ones cost their batch times their width


@dataclass(frozen=True)
class Counted:
    """What was counted.

    Attributes:
        samples: A row a subject, number of activations and seed, as ``Superposition.frame`` has
            them. Each subject is followed by noise of its mean and covariance.
        moments: A row a training, step and seed; None for a site.
        losses: A row a training and look; None for a site.
        d_in: Dimensions.
        doubts: Subject → why its count may say little.
    """

    samples: DataFrame
    moments: DataFrame | None
    losses: DataFrame | None
    d_in: int
    doubts: dict[str, str]


def count_trainings(config: Config, run: Run) -> Counted:
    """Count in the neurons of a model that groks and of its twin, at checkpoints of both."""
    import pandas as pd
    import torch

    from experiments.dynamics_training import clear, train_both
    from experiments.superposition import trainings
    from interp.zoo.world_training import torch_threads

    with torch_threads(1):  # products this small gain nothing from more
        paths = train_both(trainings(config), run)
    pairs = torch.cartesian_prod(torch.arange(config.p), torch.arange(config.p))
    generator = torch.Generator().manual_seed(config.seed)
    pairs = pairs[torch.randperm(len(pairs), generator=generator)[: config.activations]]
    samples = [_against_noise(config, run, p.name, _neurons(p, -1, pairs)) for p in paths]
    moments = [_along(config, run, p, pairs, end) for p, end in zip(paths, samples, strict=True)]
    losses = [
        {
            "training": path.name,
            "step": look.step,
            "train_loss": look.train_loss,
            "test_loss": look.test_loss,
            "train_accuracy": look.train_accuracy,
            "test_accuracy": look.test_accuracy,
        }
        for path in paths
        for look in path.looks
    ]
    clear(run)
    return _counted(samples, config.d_mlp, pd.concat(moments), pd.DataFrame(losses))


def count_site(config: Config, run: Run) -> Counted:
    """Count at one site of a model, rows of text resampled for the interval."""
    from dataclasses import replace

    from interp.hooks import Site, capture
    from interp.models import ModelSpec, load_model
    from interp.sae.dictionary import site_width
    from interp.sae.stream import kept_positions
    from interp.sae.texts import read_rows

    assert config.model is not None and config.site is not None
    model = load_model(ModelSpec(config.model, device=config.device))
    site = Site.parse(config.site)
    everywhere = replace(site, position=None)
    width = site_width(model, everywhere)
    a_row = 1 if site.position is not None else min(config.context, model.n_ctx)
    rows = read_rows(
        model,
        config.data,
        context=config.context,
        n=-(-config.activations // a_row) * min(config.context, model.n_ctx),
        seed=config.seed,
    )
    run.record(model=model.fingerprint, data={"counted in": rows.hash})
    found = capture(model, rows, everywhere, positions=site.position)[everywhere]
    assert rows.mask is not None
    if site.position is None:
        kept = kept_positions(model, rows.tokens, rows.mask, skip_bos=True)
        labels = [
            g for g, n in zip(rows.groups, kept.sum(1).tolist(), strict=True) for _ in range(n)
        ]
        x = found.flatten(2)[kept[:, : found.shape[1]]]
    else:
        x, labels = found.flatten(1), list(rows.groups)
    x, labels = x[: config.activations].to(model.device), labels[: config.activations]
    name = f"{config.model} at {site}"
    return _counted([_against_noise(config, run, name, x, labels)], width, None, None)


def _neurons(path: Path, at: int, pairs: Tensor) -> Tensor:
    import torch

    with torch.no_grad():
        return path.network(at).run(pairs).neurons


def _along(config: Config, run: Run, path: Path, pairs: Tensor, end: DataFrame) -> DataFrame:
    """Counts at checkpoints spread over a training; the last is known already."""
    import numpy as np
    import pandas as pd

    last = len(path.looks) - 1
    chosen = sorted({round(i) for i in np.linspace(0, last, config.moments)})
    parts = []
    for at in chosen[:-1]:
        step, neurons = path.looks[at].step, _neurons(path, at, pairs)
        found = _count(config, run, f"{path.name}-{step}", neurons)
        parts.append(found.assign(step=step, pca_rank=_pca_rank(neurons)))
    own = end[(end["subject"] == path.name) & (end["n"] == end["n"].max())]
    parts.append(
        own.assign(step=path.looks[-1].step, pca_rank=_pca_rank(_neurons(path, -1, pairs)))
    )
    return pd.concat(parts, ignore_index=True).assign(training=path.name)


def _against_noise(
    config: Config, run: Run, name: str, x: Tensor, groups: Sequence[str] | None = None
) -> DataFrame:
    """The curve over numbers of activations, and the count in noise like them."""
    import pandas as pd

    sizes = [len(x) // 4, len(x) // 2]
    own = _count(config, run, f"{name}-curve", x, sizes=sizes, groups=groups).assign(subject=name)
    noise = _count(config, run, f"{name}-noise", _noise_like(x, seed=config.seed))
    return pd.concat([own, noise.assign(subject=f"{name}: {NOISE}")], ignore_index=True)


def _count(
    config: Config,
    run: Run,
    part: str,
    x: Tensor,
    *,
    sizes: Sequence[int] = (),
    groups: Sequence[str] | None = None,
) -> DataFrame:
    from interp.sae.superposition import count_features

    def count() -> DataFrame:
        return count_features(
            x,
            groups=groups,
            d_sae=config.d_sae or 2 * x.shape[1],
            seeds=range(config.sae_seeds),
            sizes=sizes,
            l1=config.site_l1,
            steps=config.site_steps,
            batch=_BATCH,
            seed=config.seed,
        ).frame()

    found: DataFrame = run.cached(f"count/{_plain(part)}", count)
    return found


def _noise_like(x: Tensor, *, seed: int) -> Tensor:
    """Activations in random directions: the dimensions without the features.

    Mean and covariance are those of ``x``, and so is how far each row lies from the mean in units
    of the spread, since sparse or heavy-tailed activations differ from normal ones by that alone.
    """
    import torch

    mean = x.double().mean(0)
    centred = x.double() - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(x))
    kept = values > 1e-9 * values.max()
    scales, axes = values[kept].sqrt(), vectors[:, kept]
    far = (centred @ axes / scales).norm(dim=1, keepdim=True)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn((len(x), len(scales)), generator=generator, dtype=torch.float64)
    drawn = drawn.to(x.device)
    directions = drawn / drawn.norm(dim=1, keepdim=True)
    return (far * directions * scales @ axes.T + mean).float()


def _pca_rank(x: Tensor) -> float:
    """exp(entropy) of the variance along principal components."""
    import torch

    from interp.sae.superposition import effective_features

    return float(effective_features(torch.linalg.eigvalsh(torch.cov(x.double().T)).clamp_min(0)))


def _counted(
    samples: Sequence[DataFrame], d_in: int, moments: DataFrame | None, losses: DataFrame | None
) -> Counted:
    import pandas as pd

    from interp.sae.superposition import doubt_of

    frame = pd.concat(samples, ignore_index=True)
    whole = frame[frame["n"] == frame.groupby("subject")["n"].transform("max")]
    worst = whole.groupby("subject", sort=False)["explained_variance"].min()
    doubts = {str(name): said for name, least in worst.items() if (said := doubt_of(least))}
    return Counted(frame, moments, losses, d_in, doubts)


def _plain(name: str) -> str:
    """A part's name: letters, digits and dashes."""
    return "".join(c if c.isalnum() else "-" for c in name).strip("-")
