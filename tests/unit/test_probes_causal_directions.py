"""Directions with their yardsticks: what they hold, what is drawn beside them, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from interp.hooks import Site
from interp.models import Examples
from interp.plots.steering import dose_curves
from probes import Probe
from probes.causal import evidence
from probes.causal.continuations import Continuations
from probes.causal.cross_effects import cross_effects
from probes.causal.directions import Direction
from probes.causal.dose import dose_curve
from probes.causal.edited import EditedRuns
from probes.causal.effects import erase, erase_leace, steer
from probes.causal.evidence import direction_evidence
from probes.causal.random_directions import random_units, shuffled_units
from probes.domains import Domain
from probes.steering import SteeringError

D, N = 20, 12
SITE = Site.parse("L1.resid_post")
HELD = {
    "auroc": 0.9,
    "auroc_low": 0.8,
    "auroc_high": 0.95,
    "lead_over_length_low": 0.1,
    "lead_over_length_high": 0.4,
}


def one(name: str = "w", **changes: Any) -> Direction:
    held: dict[str, Any] = {
        "vector": torch.arange(1.0, D + 1),
        "site": SITE,
        "gap": 3.0,
        "auroc": 0.9,
        "auroc_null": 0.5,
        "separates": True,
    }
    return Direction(name, **(held | changes))


def domain(n: int = 60, *, name: str = "d", seed: int = 0, shift: float = 3.0) -> Domain:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2 == 0
    x = rng.normal(size=(n, D)) * np.linspace(3, 0.1, D)
    x[:, 5] += shift * y
    return Domain.build(name, x, y, groups=[f"{name}{seed}-{i // 2}" for i in range(n)])


@pytest.fixture
def prompts(random_ids: Any) -> Continuations:
    return Continuations.of(
        Examples(
            random_ids(N, 6),
            answer=torch.arange(N),
            wrong=torch.arange(N) + 3,
            answer_at=torch.full((N,), 5),
            groups=tuple(f"g{i % 6}" for i in range(N)),
            name="asked",
        ),
        labels=torch.arange(N) < 6,
        at=2,
    )


def probe(**metrics: Any) -> Probe:
    held = {"train": {"natural_gap": 2.5}, "held_out": HELD, "null": NULL}
    return Probe(
        direction=torch.arange(1.0, D + 1),
        centre=torch.ones(D),
        bias=0.0,
        site=SITE,
        position="last",
        method="mass-mean",
        model="m",
        fingerprint="f" * 64,
        data="facts.csv",
        data_hash="0" * 64,
        seed=0,
        metrics=held | metrics,
        training_rows=(),
    )


NULL = {"aurocs": [0.5] * 20, "mean": 0.5, "percentile_95": 0.6, "p_value": 1 / 21}


def test_a_probe_brings_its_signature_and_its_gap() -> None:
    found = Direction.of(probe())
    assert (found.name, found.gap, found.auroc, found.auroc_null) == ("facts.csv", 2.5, 0.9, 0.5)
    assert found.separates and found.fingerprint == "f" * 64
    weak = Direction.of(probe(held_out=HELD | {"auroc_low": 0.4}), name="x", gap=1.0)
    assert not weak.separates and (weak.name, weak.gap) == ("x", 1.0)
    for bad, message in (
        (probe(train={}), "does not say how far its labels lie apart"),
        (probe(held_out=None), "never measured"),
        (probe(null=None), "never measured"),
        (replace(probe(), method="ridge"), "predicts numbers"),
        (replace(probe(), method="mlp"), "is not that of a direction"),
        (probe(train={"natural_gap": -2.0}), "it points to label 0"),
    ):
        with pytest.raises(SteeringError, match=message):
            Direction.of(bad)


def test_a_fit_measures_on_other_groups() -> None:
    found = Direction.fit(domain(), test=domain(name="e", seed=1), site=SITE, seed=0)
    assert found.separates and found.auroc > 0.8 and abs(found.auroc_null - 0.5) < 0.15
    assert float(found.unit[5]) > 0.8
    assert found.gap == pytest.approx(float(found.vector.norm()), rel=1e-4)  # of a mass mean
    own = Direction.fit(domain(120), site=SITE, seed=0)
    assert own.separates and own.training is not None and len(own.training) < 120
    nothing = Direction.fit(
        domain(shift=0), test=domain(name="e", shift=0, seed=1), site=SITE, seed=0, name="x"
    )
    assert not nothing.separates and nothing.name == "x"
    with pytest.raises(SteeringError, match="90 groups or rows of what it is tested on"):
        Direction.fit(domain(), test=domain(), site=SITE, seed=0)
    with pytest.raises(SteeringError, match="not activations of one place"):
        Direction.fit(domain(), test=replace(domain(seed=1), place="there"), site=SITE, seed=0)
    with pytest.raises(SteeringError, match="expected at least 19"):
        Direction.fit(domain(), site=SITE, n_shuffles=3, seed=0)


def test_directions_that_cannot_be_are_refused(gpt2: Any, prompts: Continuations) -> None:
    for changes, message in (
        ({"gap": 0.0}, "expected a finite number above 0"),
        ({"gap": float("nan")}, "expected a finite number above 0"),
        ({"vector": torch.zeros(D)}, "not zero"),
        ({"centre": torch.zeros(3)}, "centre differ in width"),
        ({"auroc": 1.5}, "between 0 and 1"),
        ({"training": domain(), "vector": torch.ones(3)}, "training rows differ in width"),
    ):
        with pytest.raises(SteeringError, match=message):
            one(**changes)
    with pytest.raises(SteeringError, match="no direction was given"):
        direction_evidence(gpt2, [], prompts)
    with pytest.raises(SteeringError, match="have one name"):
        direction_evidence(gpt2, [one(), one()], prompts)
    with pytest.raises(SteeringError, match="direction of another model"):
        direction_evidence(gpt2, one(fingerprint="e" * 64), prompts)
    with pytest.raises(SteeringError, match="prompts of 'v', but directions are w"):
        direction_evidence(gpt2, one(), {"v": prompts})
    with pytest.raises(SteeringError, match="no prompts for 'v'"):
        direction_evidence(gpt2, [one("v")], {})
    seen = replace(domain(), groups=tuple(f"g{i // 2}" for i in range(60)))
    with pytest.raises(SteeringError, match="6 groups of 'asked', such as 'g0', are among those"):
        direction_evidence(gpt2, one(training=seen), prompts)
    runs = EditedRuns(gpt2, prompts, "L0.resid_post")
    with pytest.raises(SteeringError, match=r"found at L1\.resid_post, the prompts were run to L0"):
        steer(runs, one())
    runs = EditedRuns(gpt2, prompts, SITE)
    with pytest.raises(SteeringError, match="w has 3 numbers"):
        erase(runs, one(vector=torch.ones(3)))
    for amount in (0.0, float("inf"), float("nan")):
        with pytest.raises(SteeringError, match="other than 0"):
            steer(runs, one(), amount=amount)
    with pytest.raises(SteeringError, match="expected finite numbers"):
        dose_curve(runs, one(), amounts=[])
    with pytest.raises(SteeringError, match="direction 'v'"):
        cross_effects(gpt2, [one()], {("v", "x"): prompts})
    with pytest.raises(SteeringError, match="no prompts were given"):
        cross_effects(gpt2, [one()], {})


def test_random_directions_are_unit_and_lie_as_asked() -> None:
    plain = random_units(400, D, seed=0)
    torch.testing.assert_close(plain.norm(dim=1), torch.ones(400, dtype=torch.float64))
    assert float((plain**2).mean(0).max()) < 0.1
    assert not torch.equal(plain, random_units(400, D, seed=1))
    wide = domain(800).values
    like = random_units(400, D, seed=0, like=wide)
    shares = (like**2).mean(0)
    assert float(shares[0]) > 5 * float(shares[-1]), "they point where activations vary"
    few = (random_units(400, D, seed=0, like=wide[:3]) ** 2).mean(0)
    assert float(few.min()) > 0.005, "of three rows, hardly more than any direction"
    for n, like_, message in (
        (0, None, "expected at least 1"),
        (3, torch.zeros(4, D), "the same everywhere"),
        (3, torch.zeros(4, 3), r"expected \[row, 20\]"),
    ):
        with pytest.raises(SteeringError, match=message):
            random_units(n, D, seed=0, like=like_)


def test_shuffled_directions_have_the_spread_of_what_is_shuffled() -> None:
    held = domain(200, shift=0)
    drawn = shuffled_units(held, 300, seed=0)
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(300, dtype=torch.float64))
    variance = held.values.var(0)
    shares = (drawn**2).mean(0)
    assert np.corrcoef(variance.numpy(), shares.numpy())[0, 1] > 0.98
    with pytest.raises(SteeringError, match="at least 1"):
        shuffled_units(held, 0, seed=0)


def test_effects_are_signed_and_the_gap_is_the_yardstick(gpt2: Any, prompts: Continuations) -> None:
    runs = EditedRuns(gpt2, prompts, SITE)
    found = steer(runs, one(), n_random=20, seed=0)
    assert found.values.shape == (N,) and found.controls.shape == found.isotropic.shape == (20, N)
    assert found.gap is not None and found.largest_random > 0
    other = EditedRuns(gpt2, replace(prompts, sign=-1), SITE)
    torch.testing.assert_close(steer(other, one(), n_random=20, seed=0).values, -found.values)
    unknown = EditedRuns(gpt2, replace(prompts, labels=None), SITE)
    both = steer(unknown, one(), n_random=5)
    assert both.gap is None and both.share is None
    curve = dose_curve(unknown, one(), amounts=[-1, 1], n_random=3).set_index("amount")
    assert both.effect == pytest.approx((curve.change[1] - curve.change[-1]) / 2, abs=1e-6)
    drawn = dose_curves({"w": curve.reset_index(), "$v$": curve.reset_index()})
    assert drawn.axes[0].get_xlabel() == "amount pushed, natural gaps"
    assert (curve.low <= curve.change).all() and (curve.change <= curve.high).all()


def test_erasing_twice_is_erasing_once_and_leace_takes_what_it_was_fitted_to(
    gpt2: Any, prompts: Continuations
) -> None:
    runs = EditedRuns(gpt2, prompts, SITE)
    centred = one(centre=torch.zeros(D, dtype=torch.float64))
    assert erase(runs, centred, n_random=3).effect != erase(runs, one(), n_random=3).effect
    found = erase_leace(runs, one(), domain(), n_random=7)
    assert found.controls.shape == (7, N)
    torch.testing.assert_close(found.isotropic, found.controls)
    with pytest.raises(SteeringError, match="3 numbers a row"):
        narrow = Domain.build("x", np.eye(6, 3), [0, 1] * 3)
        erase_leace(runs, one(), narrow)


def test_evidence_is_corrected_by_kind_and_shows_itself(gpt2: Any, prompts: Continuations) -> None:
    found = direction_evidence(
        gpt2,
        [one("a", training=domain()), one("b", vector=torch.ones(D), training=domain())],
        prompts,
        training={"a": domain()},
        n_random=19,
        seed=0,
    )
    kinds = [(e.direction, e.kind) for e in found.effects]
    assert kinds == [
        ("a", "push"),
        ("a", "erasure"),
        ("a", "leace"),
        ("b", "push"),
        ("b", "erasure"),
    ]
    rows = dict(zip(kinds, found.rows, strict=True))
    alone = rows["a", "leace"]
    assert alone.p_holm == alone.p_value, "the only one of its kind"
    first, second = rows["a", "push"], rows["b", "push"]
    assert max(first.p_holm or 0, second.p_holm or 0) >= max(first.p_value, second.p_value)
    assert first.control_family == alone.control_family == "shuffled-label"
    frame = found.frame()
    assert len(frame) == 5 and frame["effect"].tolist() == [row.effect for row in found.rows]
    assert "the push along a" in str(found) and "the push along a" in found._repr_html_()
    assert found.of("b", "erasure")[0].subject == "b"
    with pytest.raises(SteeringError, match="no leace of 'b'"):
        found.of("b", "leace")
    assert len(found.figure().axes) == 1
    crossed = cross_effects(
        gpt2, [one("a")], {("a", "a"): prompts, ("a", "other"): prompts}, n_random=3
    )
    assert crossed.frame()["effect"].nunique() == 1
    assert len(crossed.figure().axes) == 2
    with pytest.raises(SteeringError, match="not tried on prompts of 'c'"):
        crossed.share("a", "c")


def test_a_push_is_put_in_its_own_words(gpt2: Any, prompts: Continuations) -> None:
    given = one("D0", training=domain())
    found = direction_evidence(gpt2, given, prompts, n_random=19, seed=0)
    (push, erasure) = found.rows
    assert push.reason.startswith(("The push along D0", "1")) and "emoving" not in push.reason
    assert "emoving" not in erasure.reason
    turned = replace(push, effect=-1.5, interval=(-2.0, -1.0))
    said = evidence._worded(turned, "push")
    assert said.startswith("The push along D0 moves the log-odds away from what label 1 should")


def test_without_labels_there_is_only_a_push(gpt2: Any, prompts: Continuations) -> None:
    with pytest.raises(SteeringError, match="beside directions fitted to shuffled labels"):
        direction_evidence(gpt2, one(), prompts, n_random=19)
    own = one(training=domain())
    found = direction_evidence(gpt2, own, replace(prompts, labels=None), n_random=19)
    assert [effect.kind for effect in found.effects] == ["push"]
    assert found.frame()["natural_gap"].isna().all()
    with pytest.raises(SteeringError, match="nothing of kind 'erasure'"):
        found.figure("erasure")
