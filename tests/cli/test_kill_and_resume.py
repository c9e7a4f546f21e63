"""A sweep killed with SIGKILL in the middle, at random points, and resumed: the same table."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time

import pytest

from interp.cli import main
from interp.runs import Run

ARGUMENTS = ["run", "induction", "--model", "zoo:induction-exact", "--preset", "smoke"]
ARGUMENTS += ["--n", "256", "--controls", "19"]
SAME = ["metrics.json", "evidence.parquet", "heads.parquet", "tensors.safetensors"]


def swept(out):
    return len(list(out.glob("parts/sweep-*/*.tensors")))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert main([*ARGUMENTS, "--out", str(out)]) == 0
    return out


def start(out):
    # A fork has everything imported, so that it is killed in the sweep and not in an import.
    process = multiprocessing.get_context("fork").Process(
        target=main, args=([*ARGUMENTS, "--out", str(out)],)
    )
    process.start()
    return process


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this platform"
)
def test_killed_at_a_random_point_and_resumed_it_gives_the_same_bytes(whole, tmp_path):
    in_the_middle = 0
    n_pieces = swept(whole)
    assert n_pieces >= 4, "enough to be killed between"
    for seed in range(3):
        rng = random.Random(seed)
        out = tmp_path / f"run-{seed}"
        pieces, delay = rng.randrange(n_pieces - 1), rng.uniform(0, 0.05)
        process = start(out)
        while process.is_alive() and swept(out) <= pieces:
            time.sleep(0.001)
        time.sleep(delay)
        process.kill()
        process.join()
        killed = process.exitcode == -signal.SIGKILL and not (out / "metrics.json").exists()
        in_the_middle += killed and 0 < swept(out) < n_pieces
        if killed:
            assert Run.open(out).status not in ("done", "running")
        assert main(["run", "induction", "--resume", "--out", str(out)]) == 0
        assert Run.open(out).status == "done"
        assert swept(out) == n_pieces
        for name in SAME:
            assert (out / name).read_bytes() == (whole / name).read_bytes(), (seed, name)
    assert in_the_middle, "no kill fell into the sweep"
