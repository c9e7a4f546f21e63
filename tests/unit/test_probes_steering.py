"""Directions as interventions: exact changes of the stream, and nothing to push along."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from interp.hooks import Site, SiteError
from probes import Probe
from probes.steering import SteeringError, ablate, natural_gap, push, random_like

D = 4
W = torch.tensor([3.0, 0, 4, 0])


def probe(direction: Any = W, *, site: str = "L1.resid_post", fingerprint: str = "f" * 64) -> Probe:
    return Probe(
        direction=direction,
        centre=torch.zeros(D),
        bias=0.0,
        site=Site.parse(site),
        position="last",
        method="mass-mean",
        model="m",
        fingerprint=fingerprint,
        data="d",
        data_hash="0" * 64,
        seed=0,
        metrics={},
        training_rows=(),
    )


def test_a_push_adds_the_unit_direction() -> None:
    x = torch.randn(2, 3, D, generator=torch.Generator().manual_seed(0))
    change = push(probe(), amount=-2.0)
    assert str(change.site) == "L1.resid_post"
    torch.testing.assert_close(change.apply(x), x - 2 * W / 5)
    last = push(W, amount=5.0, site="L0.resid_pre", position=-1).apply(x)
    torch.testing.assert_close(last[:, :2], x[:, :2])
    torch.testing.assert_close(last[:, 2], x[:, 2] + W)


def test_an_ablation_removes_the_span_and_nothing_else() -> None:
    x = torch.randn(2, 3, D, generator=torch.Generator().manual_seed(0))
    other = torch.tensor([0.0, 1, 1, 0])
    after = ablate(probe(), probe(other)).apply(x)
    torch.testing.assert_close(after @ torch.stack([W, other]).T, torch.zeros(2, 3, 2))
    torch.testing.assert_close(after[..., 3], x[..., 3])
    torch.testing.assert_close(ablate(W, site="L1.resid_post").apply(after), after)


def test_the_natural_gap_is_along_the_unit_direction() -> None:
    labels = np.array([True, True, False, False])
    x = torch.zeros(4, D)
    x[:2] += W
    assert natural_gap(probe(), x, labels) == pytest.approx(5)
    assert natural_gap(-10 * W, x, labels) == pytest.approx(-5)
    for bad, y, message in (
        (x, np.array([True] * 4), "the same one"),
        (x[:3], labels, r"shape \[4, 4\]"),
        (x * float("nan"), labels, "not finite"),
    ):
        with pytest.raises(SteeringError, match=message):
            natural_gap(W, bad, y)


def test_random_directions_are_as_long_and_as_many() -> None:
    change = push(W, amount=3.0, site="L1.resid_post")
    control = random_like(change, seed=1)
    assert control.value is not None
    assert (control.site, control.scale) == (change.site, 3.0)
    assert float(control.value.norm()) == pytest.approx(1, abs=1e-6)
    assert control.value.dtype == torch.float32
    assert random_like(change, seed=2).value.tolist() != control.value.tolist()
    wide = torch.randn(200, generator=torch.Generator().manual_seed(0))
    along = [
        float(random_like(push(wide, amount=1, site="embed"), seed=s).value @ wide / wide.norm())  # type: ignore[operator]
        for s in range(100)
    ]
    assert np.mean(np.square(along)) == pytest.approx(1 / 200, rel=0.5)  # no lean towards it
    basis = random_like(ablate(W, torch.eye(D)[1], site="embed"), seed=0).value
    assert basis is not None
    torch.testing.assert_close(basis.T @ basis, torch.eye(2, dtype=basis.dtype))


def test_what_cannot_be_steered_is_refused() -> None:
    with pytest.raises(SteeringError, match="give site"):
        push(W, amount=1)
    with pytest.raises(SteeringError, match="not zero"):
        push(torch.zeros(D), amount=1, site="embed")
    with pytest.raises(SteeringError, match="not zero"):
        push(W * float("nan"), amount=1, site="embed")
    with pytest.raises(SteeringError, match="finite number"):
        push(W, amount=float("nan"), site="embed")
    with pytest.raises(SteeringError, match=r"found at L1\.resid_post, not at L2"):
        push(probe(), amount=1, site="L2.resid_post")
    with pytest.raises(SteeringError, match="at least one"):
        ablate()
    with pytest.raises(SteeringError, match="different sites"):
        ablate(probe(), probe(site="L2.resid_post"))
    with pytest.raises(SteeringError, match="different models"):
        ablate(probe(), probe(fingerprint="e" * 64))
    with pytest.raises(SteeringError, match="different widths"):
        ablate(W, torch.ones(5), site="embed")
    with pytest.raises(SiteError, match="not linearly independent"):
        ablate(W, 2 * W, site="embed")
    with pytest.raises(SteeringError, match="no direction"):
        from interp.hooks import zero

        random_like(zero("embed"), seed=0)
