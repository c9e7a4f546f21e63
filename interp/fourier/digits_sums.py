"""Running sums: can they be read off the residual stream, and does the model rest on them?

ĉ_k = s_k + ⌊ĉ_{k−1}/10⌋ with s_k = Σ_{i+j=k} a_i·b_j is what multiplication by hand adds up for
digit k. Signature ("Why Can't Transformers Learn Multiplication?", 2025): the mean absolute error
of a linear map without bias, fitted at the position that predicts c_k, on rows it was not fitted
on. Nulls: always saying the mean; maps fitted to sums dealt out afresh over rows; and, the one that
bites, a linear map of the tokens themselves, one by one. A sum of products is in part a sum over
digits, and that part can be read off an untrained model too: only an error below this null shows
that anything was multiplied.

Load: a direction is projected out, each digit's at its own position, and the answers are judged.
The direction is not the map's. Least squares puts a map's weights also where the activations hardly
vary, and removing such a direction removes nothing (measured: 1e-7 nats of a readable sum).
It is the *pattern* Cov(x, ĉ), along which the activations move with the sum (Haufe et al. 2014);
without it no linear map does better than the mean. Controls of two kinds:

* **random-direction**: drawn evenly over all directions;
* **noise-pattern**: the pattern of a target that is noise, Cov(x, g) with normal g. It lies where
  the activations vary, as the sum's own does, and is the stricter control.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.evidence import (
    Evidence,
    EvidenceTable,
    Metric,
    RandomDraws,
    correct,
    damage,
    loss,
    weigh,
)
from interp.fourier.basis import FourierError
from interp.hooks import Site, capture, project_out, session
from interp.models import Examples, Model

KINDS = ("attn_out", "resid_mid", "resid_post")
"""Where sums are read. The paper has the last two; at ``attn_out`` the model can also be edited."""
_FEWEST_PER_DIMENSION = 2


@dataclass(frozen=True, eq=False)
class SumProbe:
    """A linear map to the running sum of one digit.

    Attributes:
        site: Where it reads.
        k: Which digit.
        position: At which position.
        direction: The map; no bias.
        pattern: Cov(x, ĉ) on the rows it was fitted on: what is removed to test the load.
        mae: Mean absolute error on rows it was not fitted on, in units of the sum.
        mean_mae: That of always saying the mean of the rows it was fitted on.
        shuffled_mae: That of maps fitted to sums dealt out afresh.
        tokens_mae: That of a linear map of the tokens up to the position, each on its own; None
            where it was not asked for.
    """

    site: Site
    k: int
    position: int
    direction: Float[Tensor, " d_model"]
    pattern: Float[Tensor, " d_model"]
    mae: float
    mean_mae: float
    shuffled_mae: Float[Tensor, " shuffle"]
    tokens_mae: float | None = None

    @property
    def skill(self) -> float:
        """1 − MAE/MAE of the mean: 1 is exact, 0 no better than the mean."""
        return 1 - self.mae / self.mean_mae if self.mean_mae > 0 else 0.0

    @property
    def p_value(self) -> float:
        """How often a map fitted to shuffled sums errs as little."""
        below = int((self.shuffled_mae <= self.mae * (1 + 1e-9)).sum())
        return (1 + below) / (1 + len(self.shuffled_mae))

    @property
    def readable(self) -> bool:
        """Better than the mean, than every map of shuffled sums, and than one of the tokens."""
        nulls = [self.mean_mae, float(self.shuffled_mae.min())]
        nulls += [] if self.tokens_mae is None else [self.tokens_mae]
        return self.mae < min(nulls)


def fit_sum(
    train: Float[Tensor, "row d"],
    train_sums: Float[Tensor, " row"],
    test: Float[Tensor, "row d"],
    test_sums: Float[Tensor, " row"],
    *,
    site: Site | str,
    k: int,
    position: int,
    n_shuffles: int = 19,
    seed: int = 0,
) -> SumProbe:
    """Fit a linear map without bias by least squares, and its nulls.

    Args:
        train: Activations it is fitted on.
        train_sums: Their running sums.
        test: Activations it is judged on.
        test_sums: Theirs.
        site: Where they are from.
        k: Which digit the sums are of.
        position: At which position they are from.
        n_shuffles: Maps fitted to shuffled sums.
        seed: Draws the shuffles.

    Raises:
        FourierError: fewer than two rows a dimension to fit on, or values that are not finite.
    """
    d = train.shape[1]
    if len(train) < _FEWEST_PER_DIMENSION * d:
        raise FourierError(
            f"{len(train)} rows are too few to fit {d} numbers; give at least "
            f"{_FEWEST_PER_DIMENSION * d}"
        )
    x, y = train.detach().cpu().double(), train_sums.detach().cpu().double()
    held, truth = test.detach().cpu().double(), test_sums.detach().cpu().double()
    for values in (x, y, held, truth):
        if not bool(torch.isfinite(values).all()):
            raise FourierError("activations and sums must be finite")
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.arange(len(y))]
    orders += [torch.randperm(len(y), generator=generator) for _ in range(n_shuffles)]
    targets = torch.stack([y[order] for order in orders], 1)
    # By the pseudo-inverse: a stream may have directions in which nothing varies.
    maps = torch.linalg.pinv(x, rtol=1e-6) @ targets
    errors = (held @ maps - truth[:, None]).abs().mean(0)
    return SumProbe(
        site=Site.parse(site),
        k=k,
        position=position,
        direction=maps[:, 0],
        pattern=(y - y.mean()) @ (x - x.mean(0)) / len(y),
        mae=float(errors[0]),
        mean_mae=float((truth - y.mean()).abs().mean()),
        shuffled_mae=errors[1:],
    )


def probe_sums(
    model: Model,
    fitted_on: Examples,
    fitted_sums: Int[Tensor, "row digit"],
    judged_on: Examples,
    judged_sums: Int[Tensor, "row digit"],
    *,
    predicts: Sequence[int],
    n_shuffles: int = 19,
    seed: int = 0,
) -> list[SumProbe]:
    """Fit a map for each digit on what each layer's attention writes, and after it and its MLP.

    Args:
        model: The model.
        fitted_on: Whole rows; the answer is read off its positions ``predicts``.
        fitted_sums: ĉ_k of each row and digit.
        judged_on: Other rows.
        judged_sums: Theirs.
        predicts: Positions at which c_0, c_1, … are predicted.
        n_shuffles: Maps fitted to shuffled sums, for each.
        seed: Draws the shuffles.

    Raises:
        FourierError: the two sets share groups, or as :func:`fit_sum`.
    """
    shared = set(fitted_on.groups) & set(judged_on.groups)
    if shared:
        raise FourierError(
            f"{len(shared)} groups of rows are fitted on and judged on; give disjoint sets, such "
            "as the two parts of examples.split(0.5, seed=…)"
        )
    sites = [Site(layer, kind) for layer in range(model.n_layers) for kind in KINDS]
    at = list(predicts)
    train = capture(model, fitted_on, sites, positions=at)
    test = capture(model, judged_on, sites, positions=at)
    by_tokens = [
        _tokens_mae(
            fitted_on.tokens[:, : position + 1],
            judged_on.tokens[:, : position + 1],
            fitted_sums[:, k].double(),
            judged_sums[:, k].double(),
        )
        for k, position in enumerate(at)
    ]
    probes = [
        fit_sum(
            train[site][:, k],
            fitted_sums[:, k],
            test[site][:, k],
            judged_sums[:, k],
            site=site,
            k=k,
            position=position,
            n_shuffles=n_shuffles,
            seed=seed,
        )
        for site in sites
        for k, position in enumerate(at)
    ]
    return [replace(probe, tokens_mae=by_tokens[probe.k]) for probe in probes]


def weigh_sums(
    model: Model,
    probes: Sequence[SumProbe],
    judged: Examples,
    *,
    reference: Examples,
    metric: Metric = loss,
    n_controls: int = 99,
    alpha: float = 0.05,
    seed: int = 0,
) -> EvidenceTable:
    """Remove the running sums' patterns and weigh what it costs.

    Args:
        model: The model.
        probes: Those of one site that can be edited, such as ``L1.attn_out``, a digit each
            (:func:`probe_sums`); their patterns are removed together, each at its own position.
        judged: Rows that no map was fitted on, with what ``metric`` reads.
        reference: Other rows, from whose activations the noise-patterns are drawn.
        metric: What removal is judged by.
        n_controls: Draws a family.
        alpha: Level of the verdicts, after Holm's correction over the two families.
        seed: Draws controls and bootstrap.

    Raises:
        FourierError: no probes, or probes of several sites or of one position twice.
        SiteError: the site cannot be edited, as ``resid_mid`` often cannot.
    """
    sites = {probe.site for probe in probes}
    if len(sites) != 1 or len({probe.position for probe in probes}) != len(probes):
        raise FourierError(
            "give the probes of one site, one a position, such as "
            "[p for p in probes if p.site == site]"
        )
    site = sites.pop()
    positions = [probe.position for probe in probes]

    def values(directions: Sequence[Tensor]) -> Tensor:
        changes = [
            project_out(Site(site.layer, site.kind, position=position), direction)
            for position, direction in zip(positions, directions, strict=True)
        ]
        with session(model, intervene=changes) as s:
            return metric.per_example(s.run(judged).cpu(), judged).double()

    with session(model) as s:
        clean = metric.per_example(s.run(judged).cpu(), judged).double()
    ablated = values([probe.pattern for probe in probes])
    seen = capture(model, reference, [site], positions=positions)[site].double()
    generator = torch.Generator().manual_seed(seed)
    rows: list[Evidence] = []
    for family in ("random-direction", "noise-pattern"):
        drawn = [_directions(family, seen, generator) for _ in range(n_controls)]
        effects = torch.stack([damage(metric, clean, values(one)) for one in drawn])
        rows.append(
            weigh(
                f"running sums at {site}",
                signature_name="probe skill",
                signature=sum(probe.skill for probe in probes) / len(probes),
                signature_null=sum(
                    1 - float(probe.shuffled_mae.mean()) / probe.mean_mae for probe in probes
                )
                / len(probes),
                has_signature=all(probe.readable for probe in probes),
                metric=metric,
                clean=clean,
                ablated=ablated,
                control_effects=effects,
                controls=RandomDraws(family, n_controls),
                groups=judged.groups,
                alpha=alpha,
                seed=seed,
            )
        )
    return EvidenceTable(correct(rows))


def _tokens_mae(train: Tensor, test: Tensor, sums: Tensor, truth: Tensor) -> float:
    """Error of a linear map of tokens, one-hot at every position."""
    size = int(max(train.max(), test.max())) + 1

    def one_hot(tokens: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(tokens, size).flatten(1).double()

    fitted = torch.linalg.pinv(one_hot(train), rtol=1e-6) @ sums
    return float((one_hot(test) @ fitted - truth).abs().mean())


def _directions(
    family: str, seen: Float[Tensor, "row position d"], generator: torch.Generator
) -> list[Tensor]:
    """One direction a position."""
    n, positions, d = seen.shape
    if family == "random-direction":
        return list(torch.randn(positions, d, generator=generator, dtype=torch.float64))
    mix = torch.randn(positions, n, generator=generator, dtype=torch.float64)
    return list(torch.einsum("pn,npd->pd", mix, seen - seen.mean(0)))
