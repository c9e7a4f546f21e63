"""What two trainings differ in, in words that a refusal can print."""

from __future__ import annotations

import pytest

from interp.models.trainings import differences


@pytest.mark.parametrize(
    ("found", "expected", "said"),
    [
        ('{"lr": 0.1, "k": 4}', '{"lr": 0.2, "k": 4}', "lr (begun with 0.1, now 0.2)"),
        ('{"a": {"x": 1}}', '{"a": {"x": 2}, "b": null}', "x (begun with 1, now 2), b (begun"),
        # These are refused as different texts, so the difference must not come out empty.
        ('{"lr": 1}', '{"lr": 1.0}', "lr (begun with 1, now 1.0)"),
        # A card of before there was such a field.
        ("null", '{"lr": 1.0}', "it does not say which"),
        ("damaged", '{"lr": 1.0}', "it does not say which"),
    ],
)
def test_differences_name_what_differs(found, expected, said):
    assert differences(found, expected).startswith(said)


def test_of_many_differences_some_are_named():
    found = differences("{}", str({f"s{i}": i for i in range(9)}).replace("'", '"'))
    assert found.count("begun with nothing") == 6
    assert found.endswith("and 3 more")
