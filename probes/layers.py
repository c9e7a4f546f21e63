"""How well each domain's own probe reads it, layer by layer, and what shuffled labels would give.

A layer is chosen by the domains' own cross-validated probes alone: no transfer from one domain to
another has a part in it. Choosing the best of several layers makes its numbers look better than
they are, so every shuffle of the labels goes through the same choice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from interp.evidence import rank_p_value
from interp.hooks import Site
from interp.hooks.progress import progress
from probes.data import DataError, group_folds, shuffled_labels
from probes.domains import Domain, require_together
from probes.fit import METHODS, Method, NoDirectionError, fit_many
from probes.measures import auroc, auroc_interval
from probes.transfer import TransferError, held_out_scores

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LayerCell:
    """A domain's own probe at one site.

    Attributes:
        site: The site.
        domain: The domain.
        auroc: By grouped cross-validation.
        low: Lower end of its interval, over groups.
        high: Upper end.
        shuffled_mean: Mean AUROC of the same with shuffled labels.
        shuffled_95: Their 95th percentile.
        n: Rows scored.
    """

    site: str
    domain: str
    auroc: float
    low: float
    high: float
    shuffled_mean: float
    shuffled_95: float
    n: int


@dataclass(frozen=True, eq=False)
class LayerScan:
    """Every domain's own probe at every site.

    Attributes:
        cells: By site, then domain.
        sites: In the order given.
        domains: Names of the domains.
        method: How probes were fitted.
        null: AUROCs with shuffled labels ``[shuffle, site, domain]``.
    """

    cells: tuple[LayerCell, ...]
    sites: tuple[Site, ...]
    domains: tuple[str, ...]
    method: str
    null: Numbers = field(repr=False)

    @property
    def aurocs(self) -> Numbers:
        """AUROCs ``[site, domain]``."""
        flat = np.array([cell.auroc for cell in self.cells])
        return flat.reshape(len(self.sites), len(self.domains))

    @property
    def chosen(self) -> Site:
        """The site with the highest mean AUROC over domains; the first of equals."""
        return self.sites[int(self.aurocs.mean(1).argmax())]

    @property
    def chosen_null(self) -> Numbers:
        """AUROCs with shuffled labels at the site that each shuffle would have chosen.

        Of shape ``[shuffle, domain]``.
        """
        best = self.null.mean(2).argmax(1)
        return self.null[np.arange(len(self.null)), best]

    @property
    def p_value(self) -> float:
        """Rank of the chosen site's mean AUROC among what shuffled labels reach by choosing."""
        return rank_p_value(float(self.aurocs.mean(1).max()), self.chosen_null.mean(1).tolist())

    def table(self) -> pd.DataFrame:
        """Return one row a cell."""
        import pandas as pd

        return pd.DataFrame([asdict(cell) for cell in self.cells])

    def figure(self) -> Figure:
        """Draw AUROC by site for every domain, and what shuffled labels give."""
        from interp.plots.spectrum import lines_by_layer

        def by_domain(name: str) -> dict[str, list[float]]:
            return {
                d: [getattr(c, name) for c in self.cells if c.domain == d] for d in self.domains
            }

        return lines_by_layer(
            by_domain("auroc"),
            low=by_domain("low"),
            high=by_domain("high"),
            layers=[str(site) for site in self.sites],
            null=(np.quantile(self.null, 0.05, axis=(0, 2)), np.quantile(self.null, 0.95, (0, 2))),
            null_label="shuffled labels, 5 % to 95 %",
            chosen=self.sites.index(self.chosen) if len(self.sites) > 1 else None,
            y_label="AUROC of the domain's own probe",
            title=f"{self.method}, grouped cross-validation",
        )


def scan_layers(
    at: Mapping[Site, Sequence[Domain]],
    *,
    method: Method = "logistic",
    n_folds: int = 5,
    n_shuffles: int = 20,
    n_resamples: int = 2000,
    seed: int = 0,
    keep: Callable[[str, Callable[[], Any]], Any] | None = None,
) -> LayerScan:
    """Cross-validate every domain's own probe at every site, with true and with shuffled labels.

    Args:
        at: For each site the domains, of the same names and rows at all of them.
        method: One of ``probes.fit.METHODS``.
        n_folds: Folds that share no group.
        n_shuffles: Refits of everything to shuffled labels, scored against labels shuffled alike.
        n_resamples: Of the bootstrap over groups.
        seed: Of folds, shuffles and bootstrap.
        keep: Given the name of a part and what makes it, returns the part: a run's ``cached``,
            so that what is done once need not be done again.

    Raises:
        DomainError: domains that cannot be compared.
        TransferError: no sites, an unknown method, or a domain that cannot be fitted or cut.
    """
    if not at:
        raise TransferError("no sites given; expected at least one, such as L0.resid_post")
    first = next(iter(at.values()))
    names = tuple(domain.name for domain in first)
    settings: dict[str, Any] = {"n_folds": n_folds, "n_shuffles": n_shuffles, "seed": seed}
    cells = []
    null = np.empty((n_shuffles, len(at), len(names)))
    with progress("layers", total=len(at)) as advance:
        for i, (site, domains) in enumerate(at.items()):
            require_together(domains, fewest=1)

            def at_site(
                site: Site = site, domains: Sequence[Domain] = domains
            ) -> list[dict[str, Any]]:
                return [
                    _scanned(site, domain, method, n_resamples=n_resamples, **settings)
                    for domain in domains
                ]

            found = at_site() if keep is None else keep(f"layers/{_part(site)}", at_site)
            for j, held in enumerate(found):
                null[:, i, j] = held["null"]
                cells.append(LayerCell(**held["cell"]))
            advance(1)
    return LayerScan(tuple(cells), tuple(at), names, str(method), null)


def _part(site: Site) -> str:
    """A site's name in letters, digits and dashes."""
    return re.sub(r"[^A-Za-z0-9]+", "-", str(site)).strip("-")


def _scanned(
    site: Site,
    domain: Domain,
    method: Method,
    *,
    n_folds: int,
    n_shuffles: int,
    n_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """A cell and its null, as plain values."""
    found = held_out_scores([domain], domain, method=method, n_folds=n_folds, seed=seed)
    y, groups = domain.labels[found.rows], [domain.groups[row] for row in found.rows]
    low, high = auroc_interval(found.scores, y, groups, n_resamples=n_resamples, seed=seed)
    null = _shuffled(domain, method, n_folds=n_folds, n=n_shuffles, seed=seed)
    cell = LayerCell(
        site=str(site),
        domain=domain.name,
        auroc=auroc(found.scores, y),
        low=low,
        high=high,
        shuffled_mean=float(null.mean()),
        shuffled_95=float(np.quantile(null, 0.95)),
        n=len(y),
    )
    return {"cell": asdict(cell), "null": null.tolist()}


def _shuffled(domain: Domain, method: Method, *, n_folds: int, n: int, seed: int) -> Numbers:
    """AUROCs of the whole cross-validation with labels shuffled inside every fold.

    The same shuffles at every site, so that a choice between sites can be made under each.
    """
    try:
        cut = group_folds(
            domain.labels, domain.groups, n_folds=n_folds, seed=seed, name=domain.name
        )
    except DataError as error:
        raise TransferError(str(error)) from error
    rng = np.random.default_rng((seed, 1))
    wrong = np.empty((n, len(domain)), dtype=bool)
    for labels in wrong:
        for _, out in cut:
            groups = [domain.groups[row] for row in out]
            labels[out] = shuffled_labels(domain.labels[out], groups, rng=rng)
    scores = np.zeros((n, len(domain)))
    for known, out in cut:
        x, x_new = (domain.values[torch.from_numpy(rows)] for rows in (known, out))
        if method == "logistic":  # all shuffles read the same rows: one solve
            (grid,) = fit_many([x], wrong[:, known].T)
            own, new = grid.scores(x)[0].numpy(), grid.scores(x_new)[0].numpy()
            scores[:, out] = new / np.maximum(own.std(1, keepdims=True), np.finfo(float).tiny)
            continue
        for which, labels in enumerate(wrong):
            try:
                rule = METHODS[method](x, labels[known])
            except NoDirectionError:
                continue  # all rows alike: chance
            own = rule.scores(x).numpy()
            scores[which, out] = rule.scores(x_new).numpy() / own.std()
    return np.array([auroc(one, labels) for one, labels in zip(scores, wrong, strict=True)])
