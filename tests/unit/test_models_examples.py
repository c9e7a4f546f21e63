"""Examples: checked when made, hashed by what they hold, split by group."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp.models import Examples, ExamplesError

IDS = torch.arange(12).reshape(3, 4)


def mask(*rows):
    return torch.tensor(rows, dtype=torch.bool)


def test_defaults():
    examples = Examples(IDS.to(torch.int32))
    assert examples.tokens.dtype == torch.int64
    assert bool(examples.mask.all())
    assert not examples.padded
    assert examples.groups == ("0", "1", "2")
    assert examples.lengths.tolist() == [4, 4, 4]
    assert len(examples) == 3
    assert "3 × 4 tokens, 3 groups" in repr(examples)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": torch.zeros(3, 4)}, "integer ids"),
        ({"tokens": torch.ones(3, 4, dtype=torch.bool)}, "integer ids"),
        ({"tokens": torch.arange(4)}, "shape"),
        ({"tokens": torch.zeros(0, 4, dtype=torch.int64)}, "no examples"),
        ({"mask": mask([1, 1, 1, 1])}, "mask must be booleans of shape"),
        ({"mask": torch.ones(3, 4)}, "mask must be booleans"),
        ({"mask": mask([1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1])}, "example 1 has no real token"),
        ({"mask": mask([1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1])}, "hole"),
        ({"mask": mask([0, 1, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1])}, "hole"),
        ({"scored": mask(*[[0, 0, 0, 1]] * 3)}, "followed by a real token"),
        (
            {"scored": mask(*[[0, 1, 0, 0]] * 3), "mask": mask(*[[1, 1, 0, 0]] * 3)},
            "followed by a real token",
        ),
        (
            {"scored": mask(*[[1, 0, 0, 0]] * 3), "mask": mask(*[[0, 1, 1, 1]] * 3)},
            "followed by a real token",
        ),
        ({"answer": torch.zeros(2, dtype=torch.int64)}, "answer must have shape"),
        ({"wrong": torch.zeros(3)}, "wrong must be integers"),
        ({"answer_at": torch.tensor([0, 1, 4])}, "answer_at must lie in 0…3"),
        ({"answer_at": torch.tensor([0, 1, -1])}, "answer_at must lie in 0…3"),
        (
            {"answer_at": torch.tensor([3, 3, 3]), "mask": mask(*[[1, 1, 1, 0]] * 3)},
            "answer_at points at padding",
        ),
        ({"groups": ("a", "b")}, "3 group labels, got 2"),
    ],
)
def test_what_cannot_be_examples(fields, message):
    with pytest.raises(ExamplesError, match=message):
        Examples(**({"tokens": IDS} | fields))


def test_padding_may_stand_on_either_side_or_both():
    sides = Examples(IDS, mask([0, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0]))
    assert sides.padded
    assert sides.lengths.tolist() == [3, 2, 2]


def test_select_in_order_by_index_and_by_mask():
    examples = Examples(IDS, answer=torch.tensor([7, 8, 9]), groups=("a", "b", "c"), seed=4)
    chosen = examples.select([2, 0])
    assert chosen.tokens.tolist() == [[8, 9, 10, 11], [0, 1, 2, 3]]
    assert chosen.answer.tolist() == [9, 7]
    assert chosen.groups == ("c", "a")
    assert chosen.seed == 4
    # A mask over rows is no list of zeros and ones.
    assert examples.select(torch.tensor([True, False, True])).groups == ("a", "c")
    assert examples.select([False, False, True]).groups == ("c",)
    with pytest.raises(ExamplesError, match="no examples"):
        examples.select([])


def test_hash_is_of_the_data():
    examples = Examples(IDS)
    assert examples.hash == Examples(IDS.clone(), torch.ones(3, 4, dtype=torch.bool)).hash
    assert examples.hash == Examples(IDS, name="another name").hash
    others = [
        Examples(IDS + 1),
        Examples(IDS.reshape(2, 6)),
        Examples(IDS, mask(*[[1, 1, 1, 0]] * 3)),
        Examples(IDS, answer=torch.tensor([1, 2, 3])),
        Examples(IDS, wrong=torch.tensor([1, 2, 3])),
        Examples(IDS, groups=("a", "b", "c")),
        examples.select([1, 0, 2]),
    ]
    assert len({examples.hash, *(other.hash for other in others)}) == len(others) + 1


@given(
    st.lists(st.sampled_from("abcdef"), min_size=2, max_size=20).filter(lambda g: len(set(g)) > 1),
    st.floats(0.01, 0.99),
    st.integers(0, 2**31),
)
def test_no_group_straddles_a_split(groups, fraction, seed):
    tokens = torch.arange(len(groups))[:, None]
    examples = Examples(tokens, groups=tuple(groups))
    first, second = examples.split(fraction, seed=seed)
    assert not set(first.groups) & set(second.groups)
    together = torch.cat([first.tokens, second.tokens]).flatten().tolist()
    assert sorted(together) == list(range(len(groups)))
    again = examples.split(fraction, seed=seed)[0]
    assert again.hash == first.hash


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, 2.0])
def test_impossible_splits(fraction):
    with pytest.raises(ExamplesError, match="strictly between 0 and 1"):
        Examples(IDS).split(fraction, seed=0)
    with pytest.raises(ExamplesError, match="at least two groups"):
        Examples(IDS, groups=("a", "a", "a")).split(0.5, seed=0)


def test_batches():
    parts = list(Examples(IDS).batches(2))
    assert [rows for rows, _ in parts] == [slice(0, 2), slice(2, 3)]
    assert torch.equal(torch.cat([part.tokens for _, part in parts]), IDS)
    with pytest.raises(ExamplesError, match="at least 1"):
        next(Examples(IDS).batches(0))
