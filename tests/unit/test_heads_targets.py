"""Targets by token identity, against a definition written out loop by loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from interp.heads import (
    HeadsError,
    NoTargetsError,
    Targets,
    find_targets,
    iid_control,
    reduce_pattern,
)
from interp.models import Examples

BOS = 0
KINDS = ("after", "before", "same", "previous")


def one(*tokens: int, **fields: object) -> Examples:
    return Examples(tokens=torch.tensor([tokens]), **fields)  # type: ignore[arg-type]


def cells(targets: Targets, example: int = 0) -> set[tuple[int, int]]:
    return {(int(q), int(k)) for q, k in targets.mask[example].nonzero()}


def by_definition(tokens: list[int], real: list[bool], kind: str, special: set[int]) -> set:
    found = set()
    for q in range(len(tokens)):
        if not real[q]:
            continue
        if kind == "previous":
            if q > 0 and real[q - 1]:
                found.add((q, q - 1))
            continue
        if tokens[q] in special:
            continue
        for p in range(q):
            if not real[p] or tokens[p] != tokens[q]:
                continue
            k = {"after": p + 1, "before": p - 1, "same": p}[kind]
            if 0 <= k < q and real[k] and tokens[k] not in special:
                found.add((q, k))
    return found


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[int], list[bool]]:
    body = draw(st.lists(st.integers(0, 4), min_size=1, max_size=12))
    left, right = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    pad = draw(st.integers(0, 4))  # padding holds an ordinary id, as it may
    return (
        [pad] * left + body + [pad] * right,
        [False] * left + [True] * len(body) + [False] * right,
    )


@settings(max_examples=150, deadline=None)
@given(row=rows(), kind=st.sampled_from(KINDS), per=st.sampled_from(["query", "pair"]))
def test_targets_are_what_the_definition_says(
    row: tuple[list[int], list[bool]], kind: str, per: str
) -> None:
    tokens, real = row
    expected = by_definition(tokens, real, kind, {BOS})
    examples = one(*tokens, mask=torch.tensor([real]))
    if not expected:
        with pytest.raises(NoTargetsError):
            find_targets(examples, kind, special={BOS})  # type: ignore[arg-type]
        return
    targets = find_targets(examples, kind, special={BOS}, per=per)  # type: ignore[arg-type]
    assert cells(targets) == expected
    queries = {q for q, _ in expected}
    assert int(targets.counts) == (len(queries) if per == "query" else len(expected))
    # The null is the score of a pattern that really is uniform.
    uniform = uniform_pattern(targets.real)
    assert float(reduce_pattern(uniform, targets)) == pytest.approx(float(targets.uniform))


def uniform_pattern(real: Tensor) -> Tensor:
    """Attention spread evenly over the real tokens up to each real query."""
    allowed = (real[:, :, None] & real[:, None, :]).tril()
    lengths = allowed.sum(-1, keepdim=True).clamp(min=1)
    return (allowed / lengths).double()[:, None]


def test_induction_targets_on_a_repeat() -> None:
    examples = one(BOS, 5, 6, 7, 5, 6, 7)
    assert cells(find_targets(examples, "after", special={BOS})) == {(4, 2), (5, 3), (6, 4)}
    assert cells(find_targets(examples, "same", special={BOS})) == {(4, 1), (5, 2), (6, 3)}
    # BOS stands before the first token of r, but resting there is no backward copy.
    assert cells(find_targets(examples, "before", special={BOS})) == {(5, 1), (6, 2)}
    assert cells(find_targets(examples, "before")) == {(4, 0), (5, 1), (6, 2)}


def test_every_earlier_occurrence_counts() -> None:
    targets = find_targets(one(5, 6, 5, 7, 5), "after")
    assert cells(targets) == {(2, 1), (4, 1), (4, 3)}
    assert int(targets.counts) == 2
    assert int(find_targets(one(5, 6, 5, 7, 5), "after", per="pair").counts) == 3


def test_a_query_is_no_target_of_itself() -> None:
    # In 5 5 the first 5 was followed by the second, which is where we stand.
    assert cells(find_targets(one(5, 5, 6, 5), "after")) == {(3, 1), (3, 2)}
    with pytest.raises(NoTargetsError):
        find_targets(one(6, 5, 5), "after")


def test_special_tokens_are_neither_queries_nor_targets() -> None:
    tokens = (BOS, 5, BOS, 5)
    assert cells(find_targets(one(*tokens), "same", special={BOS})) == {(3, 1)}
    with pytest.raises(NoTargetsError):
        find_targets(one(*tokens), "after", special={BOS})
    assert cells(find_targets(one(*tokens), "previous", special={BOS})) == {(1, 0), (2, 1), (3, 2)}


def test_scored_queries_only_where_asked() -> None:
    scored = torch.tensor([[False, False, False, False, True, True, False]])
    examples = one(BOS, 5, 6, 7, 5, 6, 7, scored=scored)
    assert cells(find_targets(examples, "after", scored_only=True)) == {(4, 2), (5, 3)}
    assert len(cells(find_targets(examples, "after"))) == 3


def test_errors_say_which_example_and_what_to_do() -> None:
    examples = Examples(tokens=torch.tensor([[1, 2, 1, 2], [1, 2, 3, 4]]), name="mine")
    with pytest.raises(NoTargetsError, match=r"example 1 of 'mine' repeats no token.*targets_of"):
        find_targets(examples, "after")
    with pytest.raises(HeadsError, match="unknown 'behind'"):
        find_targets(examples, "behind")  # type: ignore[arg-type]
    targets = find_targets(one(5, 6, 5, 6), "after")
    with pytest.raises(HeadsError, match="does not belong to targets"):
        reduce_pattern(torch.zeros(1, 2, 3, 3), targets)


def test_control_repeats_nothing_and_keeps_the_rest() -> None:
    mask = torch.ones(6, 9, dtype=torch.bool)
    mask[:, -2:] = False
    examples = Examples(
        tokens=torch.tensor([[BOS, 5, 6, 7, 5, 6, 7, 1, 1]] * 6), mask=mask, name="repeats"
    )
    generator = torch.Generator().manual_seed(0)
    control = iid_control(examples, range(1, 20), generator=generator)
    assert torch.equal(control.mask, mask) and bool((control.tokens[:, 0] == BOS).all())
    assert torch.equal(control.tokens[:, -2:], examples.tokens[:, -2:])
    for row in control.tokens[:, 1:-2].tolist():
        assert len(set(row)) == len(row) and BOS not in row
    again = iid_control(examples, range(1, 20), generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.tokens, control.tokens) and control.seed == 0
    few = iid_control(examples, range(1, 8), generator=generator)  # 6 of 7 ids still differ
    assert all(len(set(row)) == 6 for row in few.tokens[:, 1:-2].tolist())
    with pytest.raises(HeadsError, match="no ids"):
        iid_control(examples, [], generator=generator)
