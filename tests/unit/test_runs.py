"""Run folders: what they hold, what they refuse, and what they say of themselves."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from interp.runfolder import files as run_files
from interp.runfolder.owner import this_process
from interp.runfolder.provenance import code_state
from interp.runs import Run, RunError, headline, list_runs

mpl.use("Agg")


@dataclass(frozen=True)
class Config:
    model: str = "zoo:toy"
    seed: int = 3
    heads: tuple[int, ...] = (1, 2)


def make_figure() -> Any:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot([1, 2], [3, 4])
    return figure


def fill(run: Run) -> None:
    run.record(model="abc", data={"text": "h1"}, seeds={"controls": 7}, device="cpu")
    run.save_table("evidence", pd.DataFrame({"head": ["L0H1"], "effect": [0.25]}))
    run.save_tensors({"scores": torch.arange(6.0).reshape(2, 3).T})
    run.save_figure("heads", make_figure())
    run.save_metrics({"top": np.float64(0.5), "n": torch.tensor(3), "conclusion": "It is so."})


def finished(folder: Path, config: Config | None = None) -> Run:
    with Run.create("toy", config or Config(), out=folder) as run:
        fill(run)
    return Run.open(folder)


def pretend_killed(folder: Path, **owner: Any) -> None:
    """Make a folder look as a process left it that was killed while it ran."""
    (folder / "lock.json").write_text(json.dumps({**this_process(), **owner}))
    (folder / "status.json").write_text('{"status": "running"}')
    (folder / "metrics.json").unlink(missing_ok=True)


# --- a run that ends well ------------------------------------------------------------------------


def test_a_done_run_has_every_file_and_reads_back(tmp_path: Path) -> None:
    run = finished(tmp_path / "r")
    assert run.status == "done"
    assert run_files.names_in(run.path) == [
        "config.yaml",
        "evidence.parquet",
        "figures",
        "log.txt",
        "metrics.json",
        "provenance.json",
        "status.json",
        "tensors.safetensors",
    ]
    assert run.experiment == "toy"
    assert run.config == {"model": "zoo:toy", "seed": 3, "heads": [1, 2]}
    assert run.metrics == {"top": 0.5, "n": 3, "conclusion": "It is so."}
    assert run.table("evidence")["effect"].tolist() == [0.25]
    assert run.tensors()["scores"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert list(run.figures) == ["heads"] and run.tables == ["evidence"]
    assert (run.path / "figures" / "heads.svg").is_file()
    held = yaml.safe_load((run.path / "config.yaml").read_text())
    assert held == {"experiment": "toy", **run.config}


def test_provenance(tmp_path: Path) -> None:
    held = finished(tmp_path / "r").provenance
    assert held["model"] == "abc" and held["data"] == {"text": "h1"}
    assert held["seeds"] == {"controls": 7} and held["device"] == "cpu"
    assert held["started"] <= held["ended"] and held["outcome"] == "done"
    assert held["versions"]["torch"] and held["versions"]["python"]
    assert {"commit", "dirty", "commit_reason", "platform", "command", "cwd"} <= held.keys()
    assert (held["commit"] is None) == (held["commit_reason"] is not None)
    assert held["torch"]["threads"] >= 1


def test_identical_runs_have_identical_results_to_the_bit(tmp_path: Path) -> None:
    first, second = finished(tmp_path / "a"), finished(tmp_path / "b")
    results = [*first.path.rglob("*.parquet"), *first.path.rglob("*.safetensors")]
    results += [*first.path.rglob("figures/*"), first.path / "metrics.json"]
    assert len(results) == 5
    for path in [*results, first.path / "config.yaml"]:
        assert path.read_bytes() == (second.path / path.relative_to(first.path)).read_bytes(), path


def test_default_folders_never_collide(tmp_path: Path) -> None:
    runs = [Run.create("my/../toy", Config(), root=tmp_path) for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    assert all(run.path.parent == tmp_path for run in runs)


def test_log_has_the_projects_records_and_loggers_are_put_back(tmp_path: Path) -> None:
    before = logging.getLogger("interp").level
    with Run.create("toy", Config(), out=tmp_path / "r", loggers=("someone",)) as run:
        logging.getLogger("interp.heads").info("inside")
        logging.getLogger("someone.else").info("theirs")
    logging.getLogger("interp.heads").warning("outside")
    text = (run.path / "log.txt").read_text()
    assert "inside" in text and "theirs" in text and "outside" not in text
    assert logging.getLogger("interp").level == before


# --- a run that does not -------------------------------------------------------------------------


def test_an_exception_is_kept_and_raised_again(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        Run.create("toy", Config(), out=tmp_path / "r") as run,
    ):
        run.save_metrics({"x": 1})
        _ = 1 / 0
    run = Run.open(tmp_path / "r")
    assert run.status == "failed" and run.note.startswith("ZeroDivisionError")
    assert "1 / 0" in (run.path / "traceback.txt").read_text()
    assert "ZeroDivisionError" in (run.path / "log.txt").read_text()
    assert not (run.path / "metrics.json").exists()
    with pytest.raises(RunError, match="has no result: it is failed"):
        _ = run.metrics


def test_ctrl_c_is_interrupted_and_can_be_resumed(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        Run.create("toy", Config(), out=tmp_path / "r") as run,
    ):
        raise KeyboardInterrupt
    assert Run.open(tmp_path / "r").status == "interrupted"
    with Run.create("toy", Config(), out=tmp_path / "r", resume=True) as run:
        fill(run)
    assert run.status == "done"
    assert not (run.path / "traceback.txt").exists()
    assert [a["outcome"] for a in run.provenance["earlier_attempts"]] == ["interrupted"]


def test_a_failure_while_ending_is_a_failed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run_files.write_json

    def full(path: Path, value: Any) -> Path:
        if path.name == "metrics.json":
            raise OSError(28, "No space left on device")
        return real(path, value)

    monkeypatch.setattr(run_files, "write_json", full)
    with pytest.raises(OSError, match="No space"), Run.create("t", Config(), out=tmp_path / "r"):
        pass
    assert Run.open(tmp_path / "r").status == "failed"


def test_writing_outside_the_block_is_refused(tmp_path: Path) -> None:
    run = Run.create("toy", Config(), out=tmp_path / "r")
    with pytest.raises(RunError, match="not open for writing"):
        run.save_metrics({"x": 1})
    with run:
        run.save_metrics({"x": 1})
        assert run.metrics == {"x": 1}
    with pytest.raises(RunError, match="not open for writing"):
        run.save_tensors({})
    with pytest.raises(RunError, match="is done, and not open"), run:
        pass


def test_a_killed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    run_files.write_text(path, "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_files.write_atomic(path, half)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), torch.tensor(float("nan"))])
def test_metrics_refuse_what_is_no_number(tmp_path: Path, bad: Any) -> None:
    with Run.create("toy", Config(), out=tmp_path / "r") as run:
        with pytest.raises(RunError, match=r"metrics\.a\.b\[1\] is (nan|inf); expected a finite"):
            run.save_metrics({"a": {"b": [1, bad]}})
        with pytest.raises(RunError, match="save_table"):
            run.save_metrics({"a": pd.DataFrame()})
        run.save_metrics({"a": None})
        with pytest.raises(RunError, match="saved twice: a"):
            run.save_metrics({"a": 1})


def test_names_that_would_leave_the_folder_are_refused(tmp_path: Path) -> None:
    with Run.create("toy", Config(), out=tmp_path / "r") as run:
        for name in ("../x", "a/b", "", ".hidden", "a.b"):
            with pytest.raises(RunError, match="name"):
                run.save_figure(name, make_figure())
        with pytest.raises(RunError, match="expected a pandas DataFrame"):
            run.save_table("x", [1])  # type: ignore[arg-type]


def test_missing_table_says_what_there_is(tmp_path: Path) -> None:
    run = finished(tmp_path / "r")
    with pytest.raises(RunError, match=r"has no evidense\.parquet; it has: evidence"):
        run.table("evidense")


# --- parts and resuming --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, "x", None], "b": {}},
        None,
        0.1,
        {},
        pd.DataFrame({"x": [1, 2], "y": ["a", "b"]}),
        torch.arange(4.0).reshape(2, 2).T,
        np.arange(3),
        {"a": torch.zeros(2, dtype=torch.bfloat16), "b": torch.tensor(1)},
    ],
    ids=lambda v: type(v).__name__,
)
def test_a_part_is_computed_once_and_read_back_the_same(tmp_path: Path, value: Any) -> None:
    calls = []

    def compute() -> Any:
        calls.append(1)
        return value

    with Run.create("toy", Config(), out=tmp_path / "r") as run:
        first = run.cached("sweep/L0", compute)
        second = run.cached("sweep/L0", compute)
    assert len(calls) == 1
    for got in (first, second):
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(got, value)
        elif isinstance(value, dict) and value and isinstance(value["b"], torch.Tensor):
            assert all(torch.equal(got[k], v) and got[k].dtype == v.dtype for k, v in value.items())
        elif hasattr(value, "shape"):
            assert torch.equal(got, torch.as_tensor(value))
        else:
            assert got == value


def test_parts_refuse_what_they_cannot_give_back(tmp_path: Path) -> None:
    with Run.create("toy", Config(), out=tmp_path / "r") as run:
        for value in (object(), {"a": torch.zeros(1), "b": 1.0, "c": {1: 2}}, float("nan")):
            with pytest.raises(RunError):
                run.cached("x", [value].pop)
        with pytest.raises(RunError, match="part name"):
            run.cached("../x", lambda: 1)


def test_resuming_a_done_run_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = finished(tmp_path / "r")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with caplog.at_level(logging.INFO, logger="interp"):
        again = Run.create("toy", Config(), out=run.path, resume=True)
    assert again.status == "done" and "done already" in caplog.text
    with pytest.raises(RunError, match="not open for writing"), again:
        pass
    assert before == {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def test_resuming_with_another_config_names_the_keys(tmp_path: Path) -> None:
    folder = finished(tmp_path / "r").path
    with pytest.raises(RunError, match=r"another config: seed \(stored 3, asked 4\);"):
        Run.create("toy", Config(seed=4), out=folder, resume=True)
    with pytest.raises(RunError, match="holds a run of 'toy', not of 'other'"):
        Run.create("other", Config(), out=folder, resume=True)
    with pytest.raises(RunError, match=r"already holds a run \(done\)"):
        Run.create("toy", Config(), out=folder)


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    # A config.yaml alone is no sign of a run: other tools write one too.
    (tmp_path / "config.yaml").write_text("lr: 3\n")
    for resume in (False, True):
        with pytest.raises(RunError, match="is not empty and holds no run"):
            Run.create("toy", Config(), out=tmp_path, resume=resume)
    with pytest.raises(RunError, match="is a file"):
        Run.create("toy", Config(), out=tmp_path / "config.yaml")
    assert run_files.names_in(tmp_path) == ["config.yaml"]
    with pytest.raises(RunError, match="resume needs"):
        Run.create("toy", Config(), resume=True)
    with pytest.raises(RunError, match="holds no run"):
        Run.open(tmp_path)
    with pytest.raises(RunError, match="does not exist"):
        Run.open(tmp_path / "nothing")


def test_a_run_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    with Run.create("toy", Config(), out=tmp_path / "r") as run:
        assert Run.open(run.path).status == "running"
        with pytest.raises(RunError, match=f"being written by process {os.getpid()}"):
            Run.create("toy", Config(), out=run.path, resume=True)


def test_what_was_recorded_before_must_still_hold(tmp_path: Path) -> None:
    with Run.create("toy", Config(), out=tmp_path / "r") as run:
        run.record(model="abc", data={"a": "1"})
        run.record(model="abc", data={"b": "2"})
    pretend_killed(run.path, pid=2**22 + 1)
    with Run.create("toy", Config(), out=run.path, resume=True) as run:
        assert run.provenance["data"] == {"a": "1", "b": "2"}
        with pytest.raises(RunError, match="data b was recorded as '2' and is now '3'"):
            run.record(data={"b": "3"})
        with pytest.raises(RunError, match="model was recorded as 'abc' and is now 'abd'"):
            run.record(model="abd")


def test_stage_seeds_depend_on_config_and_stage_only(tmp_path: Path) -> None:
    with Run.create("toy", Config(seed=1), out=tmp_path / "a") as run:
        a, b = run.seed("controls"), run.seed("bootstrap")
        torch.Generator().manual_seed(a)
    with Run.create("toy", Config(seed=1), out=tmp_path / "b") as run:
        assert (run.seed("bootstrap"), run.seed("controls")) == (b, a)
        assert run.provenance["seeds"] == {"bootstrap": b, "controls": a}
    with Run.create("toy", Config(seed=2), out=tmp_path / "c") as run:
        assert run.seed("controls") != a != b


# --- processes -----------------------------------------------------------------------------------


def test_a_dead_process_makes_a_killed_run(tmp_path: Path) -> None:
    folder = finished(tmp_path / "r").path
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        # Not waited for at first: a zombie has a process entry, and is dead all the same.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        pretend_killed(folder, pid=child.pid)
        assert Run.open(folder).status == "killed"
    finally:
        child.wait()
    assert Run.open(folder).status == "killed"


def test_another_process_with_the_same_id_does_not_count(tmp_path: Path) -> None:
    folder = finished(tmp_path / "r").path
    pretend_killed(folder)
    assert Run.open(folder).status == "running"
    pretend_killed(folder, started="12")
    assert Run.open(folder).status == "killed"


def test_restart_and_other_hosts(tmp_path: Path) -> None:
    folder = finished(tmp_path / "r").path
    pretend_killed(folder, boot="before")
    assert Run.open(folder).status == ("killed" if Path("/proc/self/stat").exists() else "running")
    pretend_killed(folder, host=f"not-{socket.gethostname()}")
    run = Run.open(folder)
    assert run.status == "running" and "cannot be seen from here" in run.note
    with pytest.raises(RunError, match=r"delete lock\.json"):
        Run.create("toy", Config(), out=folder, resume=True)
    (folder / "lock.json").unlink()
    assert run.status == "killed"


KILLED_AT_EACH_WRITE = """
import os, sys, json
from dataclasses import dataclass
from pathlib import Path
from interp.runfolder import files
from interp.runs import Run

@dataclass(frozen=True)
class Config:
    seed: int = 0

def work(out, resume):
    with Run.create("toy", Config(), out=out, resume=resume) as run:
        parts = [run.cached(f"p{i}", lambda i=i: {"x": run.seed(f"s{i}")}) for i in range(2)]
        run.save_metrics({"sum": sum(p["x"] for p in parts)})

def killed_at(n, out):
    pid = os.fork()
    if pid == 0:
        real, count = Path.replace, [0]
        def replace(self, target):
            count[0] += 1
            if count[0] == n:
                os._exit(9)
            return real(self, target)
        Path.replace = replace
        work(out, False)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9

root, lines, n = Path(sys.argv[1]), [], 0
while True:
    n += 1
    out = root / str(n)
    killed = killed_at(n, out)
    status = Run.open(out).status if any(p.name[0] != "." for p in out.iterdir()) else "empty"
    if not killed:
        lines.append([status, (out / "metrics.json").read_text()])
        break
    work(out, True)
    lines.append([status, (out / "metrics.json").read_text()])
    assert Run.open(out).status == "done"
    assert not list(out.rglob(".*")), list(out.rglob(".*"))
print(json.dumps(lines))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process at each of its writes")
def test_killed_before_any_of_its_writes_a_run_tells_so_and_resumes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EACH_WRITE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *killed, (status, metrics) = json.loads(done.stdout)
    assert status == "done" and len(killed) >= 9
    assert {state for state, _ in killed} == {"empty", "killed"}
    assert all(same == metrics for _, same in killed)


# --- showing -------------------------------------------------------------------------------------


def test_html_shows_results_and_escapes_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    with Run.create(evil, Config(), out=tmp_path / "r") as run:
        run.save_table("evidence", pd.DataFrame({evil: [evil] * 20}))
        run.save_figure("heads", make_figure())
        run.save_metrics({evil: evil, "conclusion": evil, "top": 0.123456})
    html = Run.open(run.path)._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert "0.1235" in html and "data:image/png;base64," in html and "first 8 of 20 rows" in html


def test_html_of_a_failed_run(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="<b>"),
        Run.create("toy", Config(), out=tmp_path / "r") as run,
    ):
        raise ValueError("<b>")
    html = run._repr_html_()
    assert "failed" in html and "<b>" not in html and "traceback" in html


def test_list_and_headline(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    finished(tmp_path / "z")
    finished(tmp_path / "a")
    assert [run.path.name for run in list_runs(tmp_path)] == ["z", "a"]
    assert [run.path.name for run in list_runs(tmp_path / "a")] == ["a"]
    assert headline(Run.open(tmp_path / "a")) == "top=0.5, n=3"
    assert "status='done'" in repr(Run.open(tmp_path / "a"))
    with pytest.raises(RunError, match="does not exist"):
        list_runs(tmp_path / "nothing")


# --- the code's commit ---------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def test_commit_and_dirty_flag(tmp_path: Path) -> None:
    package = tmp_path / "interp"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git(tmp_path, "init")
    assert code_state(package)["commit"] is None
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = code_state(package)
    assert len(clean["commit"]) == 40 and clean["dirty"] is False
    # Results written into the checkout do not make the code another code; a new module does.
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "x").write_text("")
    assert code_state(package) == clean
    (package / "new.py").write_text("")
    assert code_state(package) == {**clean, "dirty": True}


def test_an_environment_inside_some_checkout_is_not_that_checkout(tmp_path: Path) -> None:
    package = tmp_path / ".venv" / "interp"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (tmp_path / "mine.py").write_text("")
    git(tmp_path, "init")
    git(tmp_path, "add", "mine.py")
    git(tmp_path, "commit", "-m", "theirs")
    state = code_state(package)
    assert state["commit"] is None and state["dirty"] is None and state["commit_reason"]
