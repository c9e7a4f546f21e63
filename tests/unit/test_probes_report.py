"""What may be concluded from which numbers."""

from __future__ import annotations

from typing import Any

import pytest

from probes.report import CAUTION, as_text, conclusion, few_groups, measured_lines

GOOD: dict[str, Any] = {
    "n": 40,
    "n_label_1": 20,
    "n_groups": 40,
    "auroc": 0.9,
    "auroc_low": 0.8,
    "auroc_high": 0.95,
    "confidence": 0.95,
    "accuracy": 0.8,
    "majority": 0.5,
    "length_auroc": 0.6,
    "lead_over_length_low": 0.1,
    "lead_over_length_high": 0.4,
}
NULL = {"aurocs": [0.5] * 20, "mean": 0.5, "percentile_95": 0.6, "p_value": 1 / 21}


@pytest.mark.parametrize(
    ("changes", "null", "begins"),
    [
        ({}, NULL, "A signature: the direction separates"),
        ({}, None, "A signature: the direction separates"),
        ({"auroc_low": 0.5}, NULL, "No evidence of a signature: the AUROC's interval"),
        ({"auroc_low": 0.1, "auroc_high": 0.4}, NULL, "Inverted: "),
        ({}, NULL | {"percentile_95": 0.9}, "No evidence of a signature: probes fitted to shuff"),
        ({"lead_over_length_low": 0.0}, NULL, "No evidence of a signature beyond length"),
    ],
)
def test_a_signature_needs_every_control(
    changes: dict[str, Any], null: dict[str, Any] | None, begins: str
) -> None:
    assert conclusion(GOOD | changes, null).startswith(begins)


def test_the_caution_is_always_there_and_nothing_is_called_truth() -> None:
    for closing in (None, conclusion(GOOD, NULL)):
        text = as_text(measured_lines(GOOD, NULL), closing=closing, notes=["a note"])
        assert " ".join(CAUTION.split()) in " ".join(text.split())
        assert "truth" not in text.lower()
        assert "probes steer" in text
        assert "Note: a note." in text
        assert max(map(len, text.splitlines())) <= 100


def test_few_groups_are_said() -> None:
    assert few_groups(GOOD) == []
    assert few_groups(GOOD | {"n_groups": 8}) == [
        "only 8 groups are held out, so the interval is rough"
    ]
