"""``interp run bench-heads`` in its smoke preset: fast, complete, and in agreement with itself."""

from __future__ import annotations

import json

import pandas as pd

from interp.cli import main
from interp.runs import Run

RATIOS = ["sweep_ratio_8x64", "sweep_ratio_1x16", "controls_ratio"]
COUNTS = [
    "attribution_forward_equivalents",
    "capture_ratio",
    "capture_ratio_of_run_with_cache",
    "packing_ratio",
]


def test_smoke(tmp_path):
    out = tmp_path / "bench"
    assert main(["run", "bench-heads", "--preset", "smoke", "--out", str(out)]) == 0
    run = Run.open(out)
    assert run.status == "done"
    metrics = json.loads((out / "metrics.json").read_text())
    assert 0 <= metrics["max_abs_difference"] <= 2e-6
    for name in RATIOS:
        # Times are not judged here: machines that run tests are busy.
        assert metrics[name] > 0 and metrics[f"{name}_to_bridge"] > 0
    for name in COUNTS:
        assert metrics[name] > 0
    assert metrics["capture_difference"] <= 2e-6 and metrics["packing_difference"] <= 2e-6
    if "peak_mb_capture" in metrics:  # where the system tells
        assert metrics["capture_memory_ratio"] < 1 and metrics["peak_mb_sweep"] > 0
    timings: pd.DataFrame = run.table("timings")
    jobs = {job: set(part["what"]) for job, part in timings.groupby("job")}
    loops = {"sweep", "bridge", "hooks"}
    assert jobs == {
        **{"8x64": loops, "1x16": loops, "controls": loops},
        "attribution": {"attribution", "trunk"},
        "capture": {"capture", "run_with_cache", "trunk"},
        "mixed": {"packed", "in_order"},
    }
    assert (timings["cpu_s"] > 0).all()


def test_refusals_are_one_line(capsys):
    assert main(["run", "bench-heads", "--shapes", "8by64"]) != 0
    assert "8by64" in capsys.readouterr().err
