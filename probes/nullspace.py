"""Stratified INLP: domain-general directions first, then what is special to each domain.

Iterative nullspace projection (Ravfogel et al. 2020), in the strata of the Truthfulness Spectrum
(2602.20273): directions that separate all domains at once are found and projected off, and each
domain is then asked what it has left of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from interp.configs import near
from probes.domains import Domain, RowIndex, pooled, require_together
from probes.erasure import Eraser, ErasureError, ErasureMatrix, projection, training_rows
from probes.measures import auroc
from probes.strata import Direction, DirectionScore, Strata

# Penalty of the published fit: mean log-loss + 1e-6/2·‖w‖².
_ALPHA = 1e-6
# Classes nearer to equal than this are not thinned out.
_BALANCED = 0.99


def stratified_inlp(
    domains: Sequence[Domain],
    *,
    n_general: int = 10,
    n_specific: int = 5,
    without: str | None = None,
    held_out: float = 0.2,
    seed: int = 0,
) -> Strata:
    """Find general directions on all domains pooled, then specific ones in what they leave.

    As published: raw activations, neither scaled nor centred; each domain thinned to equal
    labels; no intercept; unit directions; the specific ones found and scored after all general
    ones are projected off. The published loss and penalty are minimised by lbfgs rather than by
    stochastic steps. Scores are of held-out groups alone.

    Args:
        domains: At least two, of one site of one model.
        n_general: Directions of all domains.
        n_specific: Further directions of each.
        without: A domain that the general directions are not to see.
        held_out: Share of each domain's rows that are only scored.
        seed: Of split and thinning.

    Raises:
        DomainError: domains that cannot be compared.
        ErasureError: a domain cannot be split, or not even one general direction was found.
    """
    require_together(domains)
    if without is not None and without not in {d.name for d in domains}:
        raise ErasureError(
            f"no domain {without!r} to leave out; {near(without, [d.name for d in domains])}"
        )
    if n_general < 1 or n_specific < 0:
        raise ErasureError(f"asked for {n_general} general and {n_specific} specific directions")
    rng = np.random.default_rng((seed, 1))
    known = training_rows(domains, held_out=held_out, seed=seed)
    balanced = {d.name: d.select(_thinned(d, known[d.name], rng)) for d in domains}
    seen = [one for name, one in balanced.items() if name != without]
    together = pooled(seen, [np.arange(len(one)) for one in seen], name="all")
    stopped: dict[str, str] = {}
    vectors, why = _peeled(together, n_general, [])
    if why:
        stopped["all"] = why
    if not vectors:
        raise ErasureError(f"no general direction: {why}")
    names = tuple(one.name for one in seen)
    # Rows left out by the thinning are not scored either: they are all of the commoner label.
    bonds_of = {d.name: d.bonds_of(known[d.name]) for d in domains}
    shared = frozenset().union(*(bonds_of[name] for name in names))
    found = [Direction("general", names, i, v, shared) for i, v in enumerate(vectors)]
    for name, one in balanced.items():
        own, why = _peeled(one, n_specific, vectors)
        if why:
            stopped[name] = why
        bonds = bonds_of[name] | shared
        found += [Direction("specific", (name,), i, v, bonds) for i, v in enumerate(own)]
    off = projection(torch.stack(vectors), fitted_to=shared, place=domains[0].place, name="general")
    scores = []
    for direction in found:
        for domain in domains:
            eraser = off if direction.kind == "specific" else None
            scores.append(score_direction(direction, domain, after=eraser))
    return Strata(tuple(found), tuple(scores), tuple(d.name for d in domains), stopped)


def score_direction(
    direction: Direction, domain: Domain, *, after: Eraser | None = None
) -> DirectionScore:
    """Score a direction on the rows of a domain that had no part in finding it.

    Args:
        direction: What to score.
        domain: On what; its rows bound to the direction's own are left out.
        after: Applied to the activations first.

    Raises:
        DomainError: too few rows are left.
        ErasureError: of another width.
    """
    changed = domain if after is None else after(domain)
    if changed.values.shape[1] != len(direction.vector):
        raise ErasureError(
            f"{direction.name} has {len(direction.vector)} numbers, {domain.name} has "
            f"{changed.values.shape[1]} a row"
        )
    kept = changed.scorable(besides=direction.fitted_to)
    y = domain.labels[kept]
    x = changed.values[torch.from_numpy(kept)].to(torch.float64)
    scores = (x @ direction.vector.to(torch.float64)).numpy()
    return DirectionScore(
        direction=direction.name,
        kind=direction.kind,
        of="all" if direction.kind == "general" else " + ".join(direction.of),
        number=direction.number,
        test=domain.name,
        accuracy=float(((scores > 0) == y).mean()),
        auroc=auroc(scores, y),
        n=len(kept),
    )


def subset_shared(
    matrix: ErasureMatrix, *, collapsed: float = 0.6, kept: float = 0.85
) -> list[Direction]:
    """Directions that some domains share and another does not, read off an erasure matrix.

    Inferred as the paper does: after the label of e is erased, a probe retrained on t falls to
    chance on e and still separates itself and at least one u besides. Its direction, in the raw
    space, is shared by t and these u but not by e.

    Args:
        matrix: From ``erasure_matrix``.
        collapsed: What AUROC on the erased domain counts as gone: no further from .5 than this.
        kept: What AUROC counts as kept.

    The matrix's own scored rows chose these directions, so on them they score high by
    construction: measure a direction on fresh rows.

    Raises:
        ErasureError: thresholds that are not .5 ≤ collapsed < kept ≤ 1.
    """
    if not 0.5 <= collapsed < kept <= 1:
        raise ErasureError(f"expected .5 ≤ collapsed < kept ≤ 1, got {collapsed} and {kept}")
    at = {(c.erased, c.train, c.test): c.retrained for c in matrix.cells}
    found: list[Direction] = []
    for (erased, train), vector in matrix.directions.items():
        gone = all(
            abs(at[erased, source, erased] - 0.5) <= collapsed - 0.5 for source in (train, erased)
        )
        sharing = tuple(u for u in matrix.domains if u != erased and at[erased, train, u] >= kept)
        if train != erased and gone and train in sharing and len(sharing) > 1:
            bonds = matrix.erasers[erased].fitted_to | matrix.fitted_to[train]
            unit = vector / vector.norm()
            of = (train, *(u for u in sharing if u != train))
            found.append(Direction("subset-shared", of, len(found), unit, bonds, lacking=erased))
    return found


def _peeled(domain: Domain, n: int, before: Sequence[Tensor]) -> tuple[list[Tensor], str | None]:
    """Up to n unit directions, each fitted after the last are projected off; and why not more."""
    from sklearn.linear_model import LogisticRegression

    x = domain.values.to(torch.float64).numpy().copy()
    for done in before:
        w = done.numpy()
        x -= np.outer(x @ w, w)
    found: list[Tensor] = []
    size = float(np.abs(domain.values.to(torch.float64).numpy()).max())
    for _ in range(n):
        if len(before) + len(found) >= x.shape[1] or not np.abs(x).max() > 1e-5 * size:
            return found, f"{domain.name}: nothing is left after {len(found)} directions"
        # Powers of ten change nothing but the solver's first step.
        scale = float(x.std())
        fit = LogisticRegression(
            C=1 / (_ALPHA * len(x) * scale**2), fit_intercept=False, max_iter=5000, tol=1e-4
        ).fit(x / scale, domain.labels)
        w = fit.coef_[0]
        for done in (*before, *found):  # rounding alone; the fit stays in the rows' span
            w = w - (w @ done.numpy()) * done.numpy()
        length = float(np.linalg.norm(w))
        if not length > 1e-8:
            return found, f"{domain.name}: no direction separates after {len(found)}"
        w = w / length
        found.append(torch.from_numpy(w))
        x -= np.outer(x @ w, w)
    return found, None


def _thinned(domain: Domain, rows: RowIndex, rng: np.random.Generator) -> RowIndex:
    """Rows with both labels alike in number."""
    y = domain.labels[rows]
    one, zero = rows[y], rows[~y]
    few, many = sorted((one, zero), key=len)
    if len(few) >= _BALANCED * len(many):
        return rows
    return np.sort(np.concatenate([few, rng.permutation(many)[: len(few)]]))
