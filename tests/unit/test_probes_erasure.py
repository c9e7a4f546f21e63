"""Erasers against their formulas; rows that may not be scored; and what cannot be erased."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from probes.domains import Domain, DomainError
from probes.erasure import ErasureError, erasure_matrix, leace, projection, training_rows
from probes.nullspace import score_direction, stratified_inlp, subset_shared
from probes.transfer import held_out_scores

D = 6


def domain(name: str, k: int = 0, *, n: int = 100, seed: int = 0, groups: Any = None) -> Domain:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2 == 0
    values = rng.normal(size=(n, D)) * np.linspace(1, 2, D) + 1
    values[:, k] += 5 * (labels - 0.5)
    return Domain.build(name, values, labels, groups=groups)


def test_leace_is_the_papers_formula() -> None:
    own = domain("own", n=4000)
    eraser = leace(own)
    x = own.values
    s = torch.cov(x.T, correction=0)
    # The package's shrinkage of the covariance, with divisor n.
    trace, n = s.trace(), len(x)
    a = 1 - (trace**2 / n) / ((s**2).sum() - trace**2 / D)
    s = a * s + (1 - a) * trace / D * torch.eye(D)
    z = torch.from_numpy(own.labels).double()
    values, vectors = torch.linalg.eigh(s)
    w = vectors * values.rsqrt() @ vectors.T
    u = w @ ((x - x.mean(0)).T @ (z - z.mean()) / (n - 1))
    u = u / u.norm()
    erased = x - (x - x.mean(0)) @ w @ torch.outer(u, u) @ torch.linalg.inv(w)
    torch.testing.assert_close(eraser.values(x), erased)
    after = eraser.values(x)
    torch.testing.assert_close(after[own.labels].mean(0), after[~own.labels].mean(0))
    # A direction read after the erasure is this direction before it.
    v = torch.arange(D, dtype=torch.float64)
    moved = after @ v - x @ eraser.raw_direction(v)
    torch.testing.assert_close(moved, moved[:1].expand(n))


def test_projections_remove_the_whole_span() -> None:
    own = domain("own")
    skew = torch.tensor([[1.0, 0, 0, 0, 0, 0], [1.0, 1, 0, 0, 0, 0]])
    off = projection(skew, fitted_to=frozenset(), place=own.place, name="two")
    after = off(own)
    assert float(after.values[:, :2].abs().max()) < 1e-12
    torch.testing.assert_close(after.values[:, 2:], own.values[:, 2:])
    assert len(after.scorable()) == len(own)
    for bad in (torch.zeros(1, D), skew[[0, 0]], torch.full((1, D), float("nan"))):
        with pytest.raises(ErasureError, match="two"):
            projection(bad, fitted_to=frozenset(), place="arrays", name="two")


def test_the_rows_of_an_eraser_cannot_be_scored() -> None:
    groups = [f"g{i // 4}" for i in range(100)]
    own = domain("own", groups=groups)
    other = domain("other", seed=1)
    eraser = leace(own, rows=np.arange(50))  # ends in the middle of a group
    after = eraser(own)
    scored = held_out_scores([eraser(other)], after, method="mass-mean")
    assert scored.rows.min() == 52
    everywhere = leace(own)(own)
    with pytest.raises(DomainError, match="100 of 100 rows are bound"):
        held_out_scores([other], everywhere, method="mass-mean")
    # Through another framing of the same groups as well.
    framed = replace(own, name="framed", rows=tuple(f"f{i}" for i in range(100)))
    with pytest.raises(DomainError, match="100 of 100 rows are bound"):
        held_out_scores([other], leace(own)(framed), method="mass-mean")


def test_the_matrix_leaves_out_what_was_fitted() -> None:
    domains = [domain("a"), domain("b<i>", 1, seed=1)]
    found = erasure_matrix(domains, method="mass-mean", n_resamples=20)
    known = training_rows(domains, held_out=0.2, seed=0)
    sizes = {(c.erased, c.train, c.test): (c.n, c.n_left_out) for c in found.cells}
    assert {len(rows) for rows in known.values()} == {80}
    assert sizes["a", "b<i>", "a"] == (20, 80)  # the published matrix scores all hundred
    assert sizes["a", "b<i>", "b<i>"] == (20, 80)
    assert sizes["a", "a", "b<i>"] == (100, 0)
    assert len(found.table()) == 8
    assert "b&lt;i&gt;" in found._repr_html_()
    assert "b<i>" not in found._repr_html_()
    assert found.figure().axes[0].get_ylabel() == "label erased of"
    with pytest.raises(ErasureError, match="collapsed < kept"):
        subset_shared(found, collapsed=0.9, kept=0.8)


def test_shared_groups_are_split_once() -> None:
    groups = [f"g{i}" for i in range(100)]
    plain, framed = domain("plain", groups=groups), domain("framed", seed=1, groups=groups)
    known = training_rows([plain, framed], held_out=0.2, seed=0)
    assert list(known["plain"]) == list(known["framed"])
    # Three quarters shared: what each holds out, the other does not train on.
    moved = domain("moved", seed=2, groups=[f"g{i}" for i in range(25, 125)])
    known = training_rows([plain, moved], held_out=0.2, seed=0)
    out = {groups[i] for i in set(range(100)) - set(known["plain"])}
    assert not out & {moved.groups[i] for i in known["moved"]}


def test_strata_hold_together() -> None:
    lopsided = domain("b<i>", 1, seed=1)
    lopsided = lopsided.select(np.flatnonzero(lopsided.labels | (np.arange(100) < 60)))
    domains = [domain("a"), lopsided]
    found = stratified_inlp(domains, n_general=2, n_specific=2, seed=3)
    assert [d.kind for d in found.directions] == ["general"] * 2 + ["specific"] * 4
    vectors = torch.stack([d.vector for d in found.directions[:4]])
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(4, dtype=torch.float64))
    assert len(found.table()) == 12
    assert found.figure().axes[0].get_ylabel() == "direction"
    assert "b<i>" not in found._repr_html_()
    again = stratified_inlp(domains, n_general=2, n_specific=2, seed=3)
    assert torch.equal(again.directions[-1].vector, found.directions[-1].vector)
    alone = stratified_inlp(domains, n_general=1, n_specific=0, without="a")
    assert alone.general[0].of == ("b<i>",)
    assert abs(float(alone.general[0].vector[0])) < 0.5
    assert score_direction(alone.general[0], domains[0]).n == 100  # never seen
    assert score_direction(found.general[0], domains[0]).n == 20
    every = stratified_inlp(domains, n_general=D + 2, n_specific=1)
    assert len(every.general) == D
    assert set(every.stopped) == {"all", "a", "b<i>"}
    with pytest.raises(ErasureError, match="did you mean"):
        stratified_inlp(domains, without="b<ii>")
    with pytest.raises(ErasureError, match="0 general"):
        stratified_inlp(domains, n_general=0)
    with pytest.raises(ErasureError, match="no domain 'zebra'"):
        found.specific("zebra")


def test_what_cannot_be_erased_is_refused() -> None:
    own = domain("own")
    with pytest.raises(DomainError, match="0 groups with label 0"):  # LEACE: the identity, silently
        leace(own, rows=np.flatnonzero(own.labels))
    with pytest.raises(DomainError, match="row 3 is not finite"):
        replace(own, values=own.values.index_fill(0, torch.tensor([3]), float("nan")))
    with pytest.raises(DomainError, match="need as many labels"):  # LEACE: two columns, silently
        replace(own, labels=np.concatenate([own.labels, own.labels]))
    mirrored = torch.cat([own.values[::2], own.values[::2]])
    equal = Domain.build("equal", mirrored, [0] * 50 + [1] * 50)
    with pytest.raises(ErasureError, match="nothing to erase"):
        leace(equal)
    half = Domain.build("half", own.values.half(), own.labels)  # LEACE: unsupported on a CPU
    assert leace(half).values(half.values).dtype == torch.float32
    with pytest.raises(ErasureError, match="takes 6 numbers"):
        leace(own).values(torch.ones(2, 5))
    with pytest.raises(ErasureError, match="was read from elsewhere"):
        leace(own)(replace(own, place="elsewhere"))
    few = Domain.build("few", own.values[:6], own.labels[:6])
    with pytest.raises(ErasureError, match="cannot be split"):
        erasure_matrix([own, few])
    # More features than rows: the shrunk covariance can be inverted.
    wide = np.random.default_rng(0).normal(size=(12, 40))
    thin = Domain.build("thin", wide, [0, 1] * 6)
    after = leace(thin).values(thin.values)
    torch.testing.assert_close(after[thin.labels].mean(0), after[~thin.labels].mean(0))


def test_rows_thinned_out_are_not_scored_as_if_they_were_held_out() -> None:
    rng = np.random.default_rng(0)
    domains = []
    for name in ("a", "b"):
        y = np.arange(300) < 45
        x = rng.normal(size=(300, 6)) + 3 * y[:, None]
        domains.append(Domain.build(name, torch.from_numpy(x), y))
    strata = stratified_inlp(domains, n_general=1, n_specific=1, held_out=0.2, seed=0)
    assert {score.n for score in strata.scores if score.kind == "general"} == {60}
