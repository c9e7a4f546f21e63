"""``interp run bench-probes`` in its smoke preset: fast, complete, and in agreement with itself."""

from __future__ import annotations

import json

from interp.cli import main
from interp.runs import Run


def test_smoke(tmp_path):
    out = tmp_path / "bench"
    assert main(["run", "bench-probes", "--preset", "smoke", "--out", str(out)]) == 0
    run = Run.open(out)
    assert run.status == "done"
    metrics = json.loads((out / "metrics.json").read_text())
    # Times are not judged here: machines that run tests are busy.
    assert metrics["fit_ratio"] > 0 and metrics["extract_ratio"] > 0
    assert -1e-2 < metrics["objective_gap"] <= 1e-6
    assert metrics["sklearn_excess"] >= -1e-6
    assert metrics["max_probability_difference"] < 0.02
    assert metrics["max_abs_difference_extract"] <= 2e-6
    assert {"batched", "one by one", "capture", "cache"} <= set(run.table("timings")["what"])


def test_refusals_are_one_line(capsys):
    assert main(["run", "bench-probes", "--n-concepts", "1"]) != 0
    assert "expected at least two concepts" in capsys.readouterr().err
