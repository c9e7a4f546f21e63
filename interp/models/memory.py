"""Running batches under a memory limit nobody can know beforehand: on out-of-memory, halve."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable

import torch

from interp.models.spec import ModelError

log = logging.getLogger(__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that an allocator, on any device, had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )


def in_batches(n: int, size: int, work: Callable[[slice], None], *, smallest: int = 1) -> int:
    """Call ``work(rows)`` over ``n`` rows in consecutive batches; halve on out-of-memory.

    Only for work whose answer does not depend on how rows are batched.

    Args:
        n: Number of rows.
        size: Batch size to begin with.
        work: Does one batch; called again on a smaller one after an out-of-memory, so it must
            change nothing before it has succeeded.
        smallest: Give up below this size.

    Returns:
        The batch size in use at the end.

    Raises:
        ModelError: a single row does not fit, naming the sizes tried.
    """
    if size < 1:
        raise ModelError(f"batch size must be at least 1, got {size}")
    size = max(1, min(size, n))
    tried = [size]
    start = 0
    while start < n:
        rows = slice(start, min(start + size, n))
        try:
            work(rows)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if size <= max(smallest, 1):
                alone = "one example alone does not fit" if size == 1 else "and it cannot be split"
                raise ModelError(
                    f"out of memory at batch sizes {', '.join(map(str, tried))}; {alone}: "
                    "use shorter sequences, a smaller dtype or another device"
                ) from error
            size = max(size // 2, smallest)
            tried.append(size)
            log.warning("out of memory at batch size %d, going on with %d", tried[-2], size)
        else:
            start = rows.stop
            continue
        # Outside the except block, so that the traceback's frames no longer hold tensors.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return size
