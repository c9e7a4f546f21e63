"""Running under a memory limit: halve, go on, and say so when one row does not fit."""

from __future__ import annotations

import pytest
import torch

from interp.models import ModelError
from interp.models.memory import in_batches, is_out_of_memory


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """A full collection after each failure takes a second in a process as large as a test run."""
    monkeypatch.setattr("gc.collect", lambda: 0)


def limited(limit, error=None):
    done, tried = [], []

    def work(rows):
        tried.append(rows.stop - rows.start)
        if tried[-1] > limit:
            raise error or torch.OutOfMemoryError("CUDA out of memory")
        done.extend(range(rows.start, rows.stop))

    return work, done, tried


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 100])
@pytest.mark.parametrize("n", [1, 5, 8, 13])
def test_every_row_once_and_in_order(n, limit):
    work, done, tried = limited(limit)
    size = in_batches(n, 8, work)
    assert done == list(range(n))
    assert size <= max(limit, 1)
    assert max(tried) == min(n, 8)


def test_the_sizes_tried_are_named(caplog):
    work, done, _ = limited(0)
    with pytest.raises(ModelError, match="at batch sizes 6, 3, 1; one example alone") as caught:
        in_batches(6, 100, work)
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    assert not done
    assert "out of memory at batch size 6, going on with 3" in caplog.text


def test_a_smallest_size():
    work, done, tried = limited(3)
    with pytest.raises(ModelError, match="at batch sizes 8, 5; and it cannot be split"):
        in_batches(8, 8, work, smallest=5)
    assert tried == [8, 5]
    assert not done


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    ],
)
def test_what_counts_as_out_of_memory(error):
    assert is_out_of_memory(error)
    work, done, _ = limited(2, error)
    in_batches(4, 4, work)
    assert done == [0, 1, 2, 3]


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory")])
def test_other_errors_are_not_swallowed(error):
    assert not is_out_of_memory(error)
    work, _, tried = limited(2, error)
    with pytest.raises(type(error), match=str(error)):
        in_batches(4, 4, work)
    assert tried == [4]


def test_nothing_to_do_and_impossible_sizes():
    work, _, tried = limited(2)
    in_batches(0, 4, work)
    assert not tried
    with pytest.raises(ModelError, match="batch size must be at least 1, got 0"):
        in_batches(4, 0, work)
