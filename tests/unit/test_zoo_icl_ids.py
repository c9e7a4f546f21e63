"""In-context tasks in token ids: the answer is in the context, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from interp.zoo.tasks import TaskError, get_task


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("marks", [{}, {"sep_id": 3, "end_id": 5, "bos_id": 0}])
@pytest.mark.parametrize("repeats", [1, 3])
def test_key_value_recall_is_in_the_context_and_only_there(marks, repeats):
    make = get_task("key-value-recall")
    options = {"n": 30, "keys": 4, "repeats": repeats, **marks}
    prompts = make(40, **options, generator=seeded())
    moved = make(40, **options, permute_labels=True, generator=seeded())
    fill = list(marks.values())
    for i in range(30):
        row = [t for t in prompts.tokens[i].tolist() if t not in fill]
        keys, values, query = row[:-1:2], row[1::2], row[-1]
        pairs = dict(zip(keys, values, strict=True))
        assert len(pairs) == 4 and len(keys) == 4 * repeats
        assert not set(keys) & set(values)
        assert pairs[query] == int(prompts.answer[i])
        assert int(prompts.wrong[i]) in set(values) - {pairs[query]}
        other = [t for t in moved.tokens[i].tolist() if t not in fill]
        assert other[:-1:2] == keys and sorted(other[1::2]) == sorted(values)
        assert all(a != b for a, b in zip(values, other[1::2], strict=True))
    assert torch.equal(prompts.answer, moved.answer) and prompts.groups == moved.groups
    assert torch.equal(prompts.wrong, moved.wrong)
    assert int(prompts.tokens[0, -1]) == marks.get("sep_id", int(prompts.tokens[0, -1]))


@pytest.mark.parametrize("position", ["first", "last"])
def test_list_position(position):
    make = get_task("list-position")
    options = {"n": 20, "shots": 3, "items": 4, "position": position, "sep_id": 1, "end_id": 2}
    prompts = make(60, **options, bos_id=0, generator=seeded())
    moved = make(60, **options, bos_id=0, permute_labels=True, generator=seeded())
    place = {"first": 0, "last": 3}[position]
    for i in range(20):
        row = prompts.tokens[i].tolist()
        assert row[0] == 0 and len(row) == 1 + 3 * 7 + 5
        blocks = [row[1 + 7 * b : 8 + 7 * b] for b in range(3)]
        for block in blocks:
            assert (block[4], block[6]) == (1, 2) and block[5] == block[place]
        query = row[-5:-1]
        assert row[-1] == 1 and query[place] == int(prompts.answer[i])
        assert int(prompts.wrong[i]) in set(query) - {query[place]}
        told = [moved.tokens[i].tolist()[1 + 7 * b + 5] for b in range(3)]
        right = [block[5] for block in blocks]
        assert sorted(told) == sorted(right)
        assert all(a != b for a, b in zip(told, right, strict=True))
    assert float(prompts.guess[0]) == 0.25


def test_tasks_in_ids_refuse_what_cannot_be():
    with pytest.raises(TaskError, match="distinct tokens"):
        get_task("key-value-recall")(7, n=1, keys=4, generator=seeded())
    with pytest.raises(TaskError, match="keys=1"):
        get_task("key-value-recall")(9, n=1, keys=1, generator=seeded())
    with pytest.raises(TaskError, match="first or last"):
        get_task("list-position")(
            50, n=1, shots=1, position="middle", sep_id=1, end_id=2, generator=seeded()
        )
    with pytest.raises(TaskError, match="shots=1"):
        get_task("list-position")(
            50, n=1, shots=1, permute_labels=True, sep_id=1, end_id=2, generator=seeded()
        )
