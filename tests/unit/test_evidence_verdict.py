"""The row, the rule behind its verdict, and its refusals."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
import torch

from interp.evidence import (
    ControlSets,
    Evidence,
    EvidenceError,
    StatisticsError,
    accuracy,
    correct,
    loss,
    weigh,
)

N = 40


def sets(n: int, n_possible: int | None = None) -> ControlSets:
    return ControlSets(
        "layer-matched",
        tuple(frozenset({(0, head)}) for head in range(n)),
        n_possible or n,
        n_possible is None,
    )


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def row(
    effect: float = 1.0,
    control: float = 0.1,
    n: int = 19,
    *,
    spread: float = 0.1,
    **changes: Any,
) -> Evidence:
    """One row: per-example effects around ``effect``, controls around ``control``."""
    clean = 2 + 0.3 * noise(N)
    settings: dict[str, Any] = {
        "signature_name": "induction",
        "signature": 0.9,
        "signature_null": 0.02,
        "has_signature": True,
        "metric": loss,
        "clean": clean,
        "ablated": clean + effect + spread * noise(N, seed=1),
        "control_effects": control + 0.05 * noise(n, N, seed=2),
        "controls": sets(n),
        "n_resamples": 999,
        "seed": 0,
    }
    return weigh("L1H6", **(settings | changes))


def test_a_large_effect_is_load_bearing() -> None:
    found = row()
    assert found.verdict == "load-bearing"
    assert found.p_value == found.p_smallest == pytest.approx(0.05)
    assert found.effect == pytest.approx(1.0, abs=0.05)
    assert found.excess == pytest.approx(0.9, abs=0.05)
    assert found.interval[0] < found.effect < found.interval[1]
    assert found.excess_interval[0] < found.excess < found.excess_interval[1]
    assert (found.n_examples, found.n_groups) == (N, N)
    assert "more than all 19 layer-matched controls" in found.reason


def test_few_controls_are_underpowered_and_say_why() -> None:
    found = row(n=3)
    assert found.verdict == "underpowered"
    assert (
        "every one of 3 layer-matched controls, but with so few p cannot be below 0.25; no more"
        in found.reason
    )
    assert "so draw more" in row(n=3, controls=sets(3, 40)).reason
    assert "~10^99" in row(n=3, controls=sets(3, 10**99)).reason


def test_one_control_as_bad_is_enough_against() -> None:
    found = row(control=1.0)
    assert found.verdict == "not load-bearing"
    controls = 0.1 + 0.05 * noise(3, N)
    controls[1] = 5.0
    found = row(n=3, control_effects=controls)
    assert found.verdict == "not load-bearing"
    controls[1] = 1.5
    found = row(n=3, control_effects=controls)
    assert found.verdict == "not load-bearing"
    assert "1 of 3 layer-matched controls cost at least as much" in found.reason


def test_improving_less_than_the_controls_is_not_bearing_a_load() -> None:
    found = row(effect=0.0, control=-1.0)
    assert found.p_value == pytest.approx(0.05)
    assert found.excess_interval[0] > 0
    assert found.verdict == "not load-bearing"
    assert "does not measurably worsen loss" in found.reason


def test_an_excess_within_example_noise_is_not_load_bearing() -> None:
    """Every control is a little below the effect on average, but by example they swing widely."""
    swing = noise(N, seed=3)
    swing -= swing.mean()
    found = row(spread=0.05, control_effects=(0.95 + swing).expand(19, N))
    assert found.p_value == pytest.approx(0.05)
    assert found.interval[0] > 0 > found.excess_interval[0]
    assert found.verdict == "not load-bearing"
    assert "does not measurably cost more than the mean layer-matched control" in found.reason


def test_nothing_at_all_has_p_one() -> None:
    clean = 2 + 0.3 * noise(N)
    found = row(clean=clean, ablated=clean, control_effects=torch.zeros(19, N))
    assert found.p_value == 1.0
    assert found.interval == found.excess_interval == (0.0, 0.0)
    assert found.verdict == "not load-bearing"


def test_rounding_is_not_an_effect() -> None:
    clean = (2 + 0.3 * noise(N)).float()
    found = row(clean=clean, ablated=clean + 4e-7, control_effects=torch.zeros(19, N))
    assert found.effect > 0
    assert found.p_value == 1.0
    assert found.verdict == "not load-bearing"
    exact = row(
        clean=clean.double(),
        ablated=clean.double() + 4e-7,
        control_effects=torch.zeros(19, N).double(),
    )
    assert exact.verdict == "load-bearing"
    assert row(clean=clean, ablated=clean + 4e-7, resolution=1e-9).verdict == "not load-bearing"


def test_the_metric_gives_the_direction() -> None:
    clean = torch.full((N,), 0.9)
    settings: dict[str, Any] = {"metric": accuracy, "clean": clean, "ablated": clean - 0.5}
    assert row(**settings).effect == pytest.approx(0.5)
    assert row(**(settings | {"metric": loss})).effect == pytest.approx(-0.5)
    assert row(**settings).units == "fraction correct"


def test_groups_widen_the_interval() -> None:
    each, paired = row(spread=1.0), row(spread=1.0, groups=[i // 10 for i in range(N)])
    assert paired.n_groups == 4
    assert paired.interval != each.interval


def test_share_of_the_gain_or_the_reason_for_none() -> None:
    found = row(gain=2.0)
    assert found.share == pytest.approx(found.effect / 2)
    assert found.share_reason is None
    assert row().share_reason == "no reference gain was given"
    lost = row(gain=-0.5)
    assert lost.share is None
    assert lost.share_reason is not None
    assert "-0.5 nats" in lost.share_reason


def test_the_signature_does_not_sway_the_verdict() -> None:
    with_it = row()
    without = row(signature=0.0, has_signature=False)
    assert without.verdict == with_it.verdict
    assert ", absent" in without.cells["signature (control)"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"controls": sets(4)}, "do not belong to 4 control sets"),
        ({"control_effects": torch.zeros(19, N - 1)}, "measure both on the same"),
        ({"control_effects": torch.full((19, N), math.nan)}, "control effect is not finite"),
        ({"control_effects": torch.zeros(0, N)}, "do not belong to 19 control sets"),
        ({"alpha": 0.0}, "alpha"),
        ({"signature": math.nan}, "signature is not finite"),
    ],
)
def test_measurements_that_make_no_evidence_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(EvidenceError, match=message):
        row(**changes)


def test_p_of_several_components_needs_the_sets_that_may_share_them() -> None:
    """Off sets that must avoid the target, p would be too small far too often."""
    controls = dataclasses.replace(
        sets(19), null_sets=(frozenset({(1, 6), (1, 30)}),), n_null_possible=1
    )
    with pytest.raises(EvidenceError, match="give null_effects"):
        row(controls=controls)


def test_one_group_of_examples_is_refused() -> None:
    with pytest.raises(StatisticsError, match="two groups"):
        row(groups=["same"] * N)


def test_evidence_cannot_be_built_without_controls() -> None:
    with pytest.raises(EvidenceError, match="evidence needs controls"):
        dataclasses.replace(row(), controls=())
    with pytest.raises(EvidenceError, match="unknown verdict"):
        dataclasses.replace(row(), verdict="crucial")
    with pytest.raises(EvidenceError, match="18 possible"):
        dataclasses.replace(row(), n_possible=18)
    with pytest.raises(EvidenceError, match="interval is not finite"):
        dataclasses.replace(row(), interval=(math.nan, 1.0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        row().p_value = 0.0  # type: ignore[misc]


def test_correcting_for_many_tests_judges_again() -> None:
    strong, null = row(n=99), row(effect=0.1, n=99)
    assert [r.verdict for r in correct([strong, null])] == ["load-bearing", "not load-bearing"]
    family = correct([strong, *[null] * 9])
    assert family[0].p_holm == pytest.approx(0.1)
    assert family[0].p_value == pytest.approx(0.01)
    assert family[0].verdict == "underpowered"
    assert "cannot be below 0.1 after Holm's correction" in family[0].reason
    assert correct(correct([strong, null])) == correct([strong, null])
    assert correct([]) == []
    with pytest.raises(EvidenceError, match=r"one alpha, got 0\.01, 0\.05"):
        correct([strong, row(alpha=0.01)])


def test_json_round_trip_is_exact() -> None:
    for original in (row(), row(gain=2.0, n=3, controls=sets(3, 10**40)), *correct([row(), row()])):
        assert Evidence.from_dict(json.loads(json.dumps(original.to_dict()))) == original


def test_reading_a_broken_row_says_what_is_wrong() -> None:
    values = row().to_dict()
    with pytest.raises(EvidenceError, match="'p_valu'; did you mean 'p_value'"):
        Evidence.from_dict(values | {"p_valu": 1})
    del values["effect"]
    with pytest.raises(EvidenceError, match="missing effect"):
        Evidence.from_dict(values)


def test_it_reads_as_one_line() -> None:
    text = str(row())
    assert "\n" not in text
    assert text.startswith("L1H6: induction 0.9 (control 0.02); removing it costs ")
    said = "p = 0.05 among 19 sets (smallest attainable 0.05): load-bearing"
    assert f"19 layer-matched controls; {said}" in text


def test_html_is_escaped() -> None:
    bad = "<script>alert('x')</script>"
    shown = dataclasses.replace(row(), subject=bad, reason=bad, signature_name=bad)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
