"""Times in interleaved rounds, and peak memory."""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

log = logging.getLogger(__name__)


class Timing(NamedTuple):
    """One measurement: of ``timed`` parts, scaled up to ``whole``."""

    what: str
    job: str
    threads: int
    round: int
    whole: int
    timed: int
    cpu_s: float
    wall_s: float


@dataclass(frozen=True)
class Job:
    """Calls that are timed one after the other in each round, and compared.

    Attributes:
        name: What they have in common.
        calls: By name: what to call, and which share of the whole it does, as (done, whole).
        compare: Differences between what they returned, by name.
        all_threads: Whether it is timed on all threads as well.
    """

    name: str
    calls: Mapping[str, tuple[Callable[[], Any], int, int]]
    compare: Callable[[Mapping[str, Any]], Mapping[str, float]] = field(default=lambda _: {})
    all_threads: bool = True

    def once(self, threads: int, number: int) -> tuple[list[Timing], Mapping[str, float]]:
        """Time every call once, and compare what they return."""
        timings, results = [], {}
        for what, (call, done, whole) in self.calls.items():
            with threads_of(threads):
                cpu, wall = time.process_time(), time.perf_counter()
                results[what] = call()
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            scale = whole / done
            timings.append(
                Timing(what, self.name, threads, number, whole, done, cpu * scale, wall * scale)
            )
            log.info(
                "%s, %s, %d threads: %.2f s CPU, %.2f s wall (timed on %d of %d)",
                self.name, what, threads, cpu * scale, wall * scale, done, whole,
            )  # fmt: skip
        return timings, self.compare(results)


@contextmanager
def threads_of(n: int) -> Iterator[None]:
    """Let PyTorch use ``n`` threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_mb(calls: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Peak memory of each call above what was resident before, where the system tells: Linux."""
    found: dict[str, float] = {}
    for name, call in calls.items():
        try:
            # What the allocator keeps from earlier calls would hide what this one takes.
            with suppress(AttributeError):
                ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            before = _status("VmRSS")
            call()
            found[name] = (_status("VmHWM") - before) / 1000
        except OSError as error:
            log.info("peak memory is not known here: %s", error)
            return {}
    return found


def _status(key: str) -> int:
    """One of the kernel's own counts for this process, in kB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {key}")
