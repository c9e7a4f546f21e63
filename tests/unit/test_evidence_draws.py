"""Controls drawn from a continuum: told apart by number, and weighed like any others."""

from __future__ import annotations

import pytest
import torch

from interp.evidence import NoControlsError, RandomDraws, logit_difference, weigh


def test_draws_serve_for_the_excess_and_for_p() -> None:
    draws = RandomDraws("random-direction", 99)
    assert len(draws) == 99 and draws.null_sets == draws.sets and len(set(draws.sets)) == 99
    row = weigh(
        "the push",
        signature_name="AUROC",
        signature=0.9,
        signature_null=0.5,
        has_signature=True,
        metric=logit_difference,
        clean=torch.full((20,), 3.0),
        ablated=torch.linspace(0, 1, 20),
        control_effects=torch.randn((99, 20), generator=torch.Generator().manual_seed(0)) / 10,
        controls=draws,
        seed=0,
    )
    assert row.verdict == "load-bearing" and row.p_value == 0.01
    assert row.control_family == "random-direction" and row.control_match is None
    assert row.n_possible > 10**9, "there is no end of them"
    assert "99 drawn" in row.cells["controls, mean to max"]
    assert "10^18" not in "".join(row.cells.values()) + row.reason


def test_none_drawn_is_no_control() -> None:
    with pytest.raises(NoControlsError, match="draw at least one"):
        RandomDraws("random-direction", 0)
