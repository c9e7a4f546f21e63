"""The ``interp`` command line, in process; in a subprocess where a process must die or be fresh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from interp import studies
from interp.cli import main
from interp.flags import UsageError, parse_fields
from interp.runs import Run
from interp.zoo import cards, recipes

REPOSITORY = Path(__file__).parents[2]

# An experiment in somebody else's installed package: small, and able to fail in every way.
TOY = '''
import os
import signal
from dataclasses import dataclass

SUMMARY = "Sum random numbers; [red]not[/red] an experiment \\x1b[31m."
PRESETS = {"smoke": {"steps": 2, "label": "from preset"}, "default": {"steps": 4}}


@dataclass(frozen=True)
class Config:
    """Settings of the toy."""

    model: str = "toy-model"
    """The model to pretend to load."""
    seed: int = 0
    """Seed of everything random."""
    steps: int = 3
    rate: float = 0.5
    label: str = "from class"
    heads: tuple[int, ...] = (1,)
    fail_at: int | None = None

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; expected at least 1")


def check(config):
    if config.model == "missing":
        raise ValueError("unknown model 'missing': did you mean toy-model?")


def run(config, run):
    import numpy as np
    import pandas as pd
    import torch

    run.record(model="f00", seeds={"all": config.seed})
    kill_at = os.environ.get("TOY_KILL_AT")
    sums = []
    for step in range(config.steps):
        if kill_at == str(step):
            if os.environ["TOY_SIGNAL"] == "SIGINT":  # a shell's background jobs ignore it
                signal.signal(signal.SIGINT, signal.default_int_handler)
            os.kill(os.getpid(), getattr(signal, os.environ["TOY_SIGNAL"]))
        if config.fail_at == step:
            raise RuntimeError(f"step {step}\\nwent wrong")

        def draw(step=step):
            return torch.tensor(np.random.default_rng([config.seed, step]).normal(size=5))

        sums.append(run.cached(f"steps/{step}", draw).sum().item())
    run.save_table("sums", pd.DataFrame({"step": range(config.steps), "sum": sums}))
    run.save_tensors({"sums": torch.tensor(sums)})
    run.save_metrics(
        {"total": sum(sums), "conclusion": "The sum [bold]is[/bold]\\nas it is. \\x1b[31m"}
    )


def report(run):
    return f"reported {len(run.table('sums'))} steps"
'''


def install(site: Path, package: str, **experiments: str) -> None:
    """Write what pip would leave of a package with these entry points."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    points = "".join(f"{name} = {module}\n" for name, module in experiments.items())
    (info / "entry_points.txt").write_text(f"[interp.experiments]\n{points}")


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the toy experiment, go to an empty folder, and return where it is installed."""
    site, work = tmp_path / "site", tmp_path / "work"
    install(site, "toys", toy="toy_study")
    (site / "toy_study.py").write_text(TOY)
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "toy_study", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    return site


def in_subprocess(site: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), str(REPOSITORY)])
    return subprocess.run(
        [sys.executable, "-m", "interp.cli", *args],
        env={**os.environ, "PYTHONPATH": path, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def results(folder: Path) -> dict[str, bytes]:
    """The bytes of everything that must not depend on when or how often a run was started."""
    names = ("config.yaml", "metrics.json", "sums.parquet", "tensors.safetensors")
    return {name: (folder / name).read_bytes() for name in names}


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Run a command that must be refused in one line and make no folder; return the line."""
    before = sorted(Path().rglob("*"))
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("interp: ") and err.count("\n") == 1, (out, err)
    assert sorted(Path().rglob("*")) == before
    return err


# --- running -------------------------------------------------------------------------------------


def test_run_ends_with_report_conclusion_and_folder(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "toy", "--out", "r", "--seed", "5"]) == 0
    out, err = capsys.readouterr()
    assert "reported 4 steps" in out and "run folder: r" in out and err == ""
    # Text of others is neither markup nor terminal control.
    assert "The sum [bold]is[/bold] as it is. \\x1b[31m" in out and "\x1b" not in out
    run = Run.open("r")
    assert run.status == "done" and run.config["seed"] == 5
    assert run.provenance["model"] == "f00"


def test_default_folder_is_under_runs(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "toy", "--preset", "smoke"]) == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("toy-") and str(folder) in capsys.readouterr().out


def test_precedence_class_preset_file_flags(toy: Path) -> None:
    Path("c.yaml").write_text("rate: 1e-2\nlabel: from file\nheads: [3, 4]\n")
    args = ["run", "toy", "--preset", "smoke", "--config", "c.yaml", "--heads", "7", "8"]
    assert main([*args, "--out", "r"]) == 0
    assert Run.open("r").config == {
        "model": "toy-model",  # the class
        "seed": 0,
        "steps": 2,  # the preset
        "rate": 0.01,  # the file
        "label": "from file",  # the file over the preset
        "heads": [7, 8],  # a flag over the file
        "fail_at": None,
    }


def test_a_value_that_only_a_flag_makes_right_is_accepted(toy: Path) -> None:
    Path("c.yaml").write_text("steps: 0\n")
    assert main(["run", "toy", "--config", "c.yaml", "--steps", "1", "--out", "r"]) == 0


def test_config_of_a_run_replays_it(toy: Path) -> None:
    assert main(["run", "toy", "--out", "a", "--seed", "9", "--steps", "3"]) == 0
    assert main(["run", "toy", "--out", "b", "--config", "a/config.yaml"]) == 0
    assert main(["run", "toy", "--out", "c", "--config", "a"]) == 0
    assert results(Path("a")) == results(Path("b")) == results(Path("c"))


def test_evidence_is_shown_as_the_evidence_table(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toy / "toy_study.py"
    text = TOY.replace('"sums", pd', '"evidence", pd').replace("def report(", "def unused(")
    path.write_text(text)
    table = types.ModuleType("interp.evidence.table")
    table.__dict__.update(
        read_evidence=lambda frame: list(frame["step"]), rich_table=lambda rows: f"rows {rows}"
    )
    monkeypatch.setitem(sys.modules, "interp.evidence.table", table)
    assert main(["run", "toy", "--out", "r"]) == 0
    assert "rows [0, 1, 2, 3]" in capsys.readouterr().out
    # A table that cannot be shown does not undo a run that is done.
    table.__dict__["rich_table"] = None
    assert main(["run", "toy", "--out", "s"]) == 0
    out, err = capsys.readouterr()
    assert "cannot be shown: TypeError" in err and "run folder: s" in out


def test_run_study_from_python(toy: Path) -> None:
    run = studies.run_study("toy", preset="smoke", out="r", seed=4, heads=(5,))
    assert run.status == "done" and run.config["seed"] == 4 and run.config["heads"] == [5]
    with pytest.raises(ValueError, match="unknown key 'sead'; did you mean seed"):
        studies.run_study("toy", sead=4)


# --- failing -------------------------------------------------------------------------------------


def test_a_failed_run_keeps_its_folder(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "toy", "--out", "r", "--fail-at", "1"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    trace = Path("r") / "traceback.txt"
    assert "the run failed: RuntimeError: step 1 went wrong" in err and str(trace) in err
    assert Run.open("r").status == "failed" and "RuntimeError" in trace.read_text()
    assert not Path("r/metrics.json").exists()
    assert main(["runs", "."]) == 0
    assert "failed" in (out := capsys.readouterr().out) and "step 1 went wrong" in out


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGINT"])
def test_kill_and_resume_ends_with_the_same_numbers(
    toy: Path, capsys: pytest.CaptureFixture[str], signal: str
) -> None:
    assert main(["run", "toy", "--out", "whole", "--seed", "3"]) == 0
    done = in_subprocess(
        toy, "run", "toy", "--out", "cut", "--seed", "3", TOY_KILL_AT="2", TOY_SIGNAL=signal
    )
    state, code = {"SIGKILL": ("killed", -9), "SIGINT": ("interrupted", 130)}[signal]
    assert done.returncode == code, done.stderr
    assert Run.open("cut").status == state
    assert not Path("cut/metrics.json").exists()
    assert len(list(Path("cut/parts/steps").iterdir())) == 2
    capsys.readouterr()
    assert main(["runs", "."]) == 0
    assert state in capsys.readouterr().out

    # A bare --resume takes the run's own config; asked for by its flags it is the same.
    flags = [] if signal == "SIGKILL" else ["--seed", "3"]
    assert main(["run", "toy", "--out", "cut", "--resume", *flags]) == 0
    assert results(Path("cut")) == results(Path("whole"))
    log = Path("cut/log.txt").read_text()
    assert "part steps/1 is taken from the earlier attempt" in log

    capsys.readouterr()
    assert main(["run", "toy", "--out", "cut", "--resume"]) == 0
    assert "cut is done already" in capsys.readouterr().out


# --- refusing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("run tyo", "unknown experiment 'tyo': did you mean toy?"),
        ("run", "expected a name first"),
        ("run --preset smoke toy", "expected a name first"),
        ("run toy --preset smok", "unknown preset 'smok' of experiment 'toy': did you mean smoke?"),
        ("run toy --sead 3", "unknown option --sead: did you mean --seed"),
        ("run toy --fail_ta 3", "unknown option --fail_ta: did you mean --fail-at"),
        ("run toy --seed three", "Error parsing --seed"),
        ("run toy --seed", "Missing value for argument '--seed'"),
        ("run toy 3", "unexpected argument '3'"),
        ("run toy --out", "--out: expected one argument"),
        ("run toy --steps 0", "steps is 0; expected at least 1"),
        ("run toy --model missing", "unknown model 'missing': did you mean toy-model?"),
        ("run toy --model missing --out new/folder", "unknown model"),
        ("run toy --config nothing.yaml", "config file nothing.yaml does not exist"),
        ("run toy --resume", "--resume needs --out DIR"),
        ("rum toy", "unknown command 'rum': did you mean run"),
        ("runs nowhere", "nowhere does not exist"),
        ("list everything", "unrecognized arguments: everything"),
        ("train nothing", "unknown recipe 'nothing'"),
        ("--verson", "unrecognized arguments: --verson"),
    ],
)
def test_refused_in_one_line(
    toy: Path, capsys: pytest.CaptureFixture[str], args: str, expected: str
) -> None:
    assert expected in refused(capsys, *args.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sead: 3", "c.yaml: unknown key 'sead'; did you mean seed"),
        ("seed: three", "c.yaml: seed is 'three'; expected int"),
        ("experiment: induction", "is for experiment 'induction', not for 'toy'"),
        ("- 1", "expected lines of 'field: value'"),
        ("a: [", "cannot be read"),
        ("steps: 0", "expected at least 1"),
    ],
)
def test_bad_config_files(
    toy: Path, capsys: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    Path("c.yaml").write_text(text)
    assert expected in refused(capsys, "run", "toy", "--config", "c.yaml")


def test_out_folder_in_use(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("")
    assert "not empty and holds no run" in refused(capsys, "run", "toy", "--out", "mine")
    assert main(["run", "toy", "--out", "r"]) == 0
    capsys.readouterr()
    line = refused(capsys, "run", "toy", "--out", "r")
    assert "already holds a run (done): give another folder" in line and "resume" not in line
    line = refused(capsys, "run", "toy", "--out", "r", "--resume", "--seed", "8")
    assert "another config: seed (stored 0, asked 8)" in line


# --- listing -------------------------------------------------------------------------------------


def test_list_shows_also_what_cannot_be_imported(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(toy, "broken", bad="bad_study", worse="worse_study", odd="json")
    (toy / "bad_study.py").write_text("import package_that_is_not_there\n")
    (toy / "worse_study.py").write_text("import sys\nsys.exit('stop')\n")
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "Sum random numbers; [red]not[/red] an experiment \\x1b[31m." in out
    assert "\x1b" not in out and "toys" in out and "broken" in out
    assert "No module named 'package_that_is_not_there'" in out and "SystemExit: stop" in out
    assert "no dataclass called Config" in out
    assert main(["run", "bad"]) == 2
    assert "cannot be imported: ModuleNotFoundError" in capsys.readouterr().err


def test_reserved_field_names_are_refused(toy: Path) -> None:
    path = toy / "toy_study.py"
    path.write_text(TOY.replace("    seed: int = 0", "    seed: int = 0\n    out: str = ''"))
    with pytest.raises(studies.StudyError, match="config fields out are taken"):
        studies.load_study("toy")


def test_runs(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "no runs in runs" in capsys.readouterr().out
    assert main(["run", "toy", "--out", "runs/first"]) == 0
    capsys.readouterr()
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    headings = ("folder", "experiment", "model", "status", "when", "headline")
    assert all(heading in out for heading in headings)
    for cell in ("runs in runs:", " first ", "toy", "toy-model", "done", "total="):
        assert cell in out


def test_runs_takes_a_line_a_run_on_a_narrow_terminal(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "toy-20260101-000000-0123abcd"
    long = "so much is to be said of this run that it cannot all stand in one line of a terminal"
    monkeypatch.setattr("interp.commands.headline", lambda run: long)
    for model in ("/some/long/way/to/the/folder/of/stories", "someone/model-1M"):
        out = f"runs/{name}-{Path(model).name}"
        assert main(["run", "toy", "--model", model, "--out", out]) == 0
    monkeypatch.setenv("COLUMNS", "110")
    capsys.readouterr()
    assert main(["runs"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "done" in line]
    assert len(lines) == 2, lines
    for line, model in zip(lines, ("stories", "someone/model-1M"), strict=True):
        # The folder's name tells the experiment.
        assert line.split()[:3] == [f"{name}-{Path(model).name}", model, "done"]
        assert "so much is to be" in line and line.rstrip().endswith("…")


def test_a_conclusion_is_wrapped_to_be_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from interp import terminal

    text = "word " * 60 + "/a/very-long/" + "p" * 120 + "\n\nnext  paragraph \x1b[31m"
    for columns, limit in (("60", 60), ("300", 100)):
        monkeypatch.setenv("COLUMNS", columns)
        terminal.tell(text)
        lines = capsys.readouterr().out.splitlines()
        assert lines[-2:] == ["", "next paragraph \\x1b[31m"]
        path = "/a/very-long/" + "p" * 120
        assert path in lines, "what is to be copied is not broken"
        widths = [len(line) for line in lines if line != path]
        assert limit - 5 < max(widths) <= limit


def test_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "WEIGHTS", tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")  # No cell is folded.
    assert main(["models"]) == 0
    assert "no models are bundled" in capsys.readouterr().out

    import torch
    from safetensors.torch import save_file

    for name, card, config in (
        ("a", {"summary": "A [b]model[/b].", "measured": {"score": 0.91234}}, {"n_layers": 2}),
        ("b", {"what": "Other.", "headline": "exact"}, {"num_hidden_layers": 4}),
        ("c", None, {}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text(json.dumps(card))
        heads = {"n_heads": 3, "num_attention_heads": 3}
        file = "native.json" if name == "a" else "config.json"
        (tmp_path / name / file).write_text(json.dumps({**heads, **config}))
    save_file({"w": torch.zeros(30, 50)}, tmp_path / "a" / "model.safetensors")
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    for cell in ("zoo:a", "A [b]model[/b].", "2 × 3", "1,500", "score 0.9123", "4 × 3", "exact"):
        assert cell in out
    assert "must hold one JSON object" in out
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["models"]) == 0
    assert "A [b]model[/b]." in (out := capsys.readouterr().out) and "1,500" in out
    assert "0.9123" not in out, "left out where there is no room"


# --- training ------------------------------------------------------------------------------------

RECIPE = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Config:
    seed: int = 0

def make(config, out):
    if config.seed < 0:
        raise RuntimeError("no such seed")
    (out / "card.json").write_text(f'{{"seed": {config.seed}}}')
    return {}
"""


def test_train(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (toy / "toy_recipe.py").write_text(RECIPE)
    monkeypatch.delitem(sys.modules, "toy_recipe", raising=False)
    # It makes no model that could be loaded.
    monkeypatch.setattr("interp.launch._stamp", lambda out: None)
    recipe = recipes.Recipe("toy_recipe:make", "toy_recipe:Config", "a toy", 1)
    monkeypatch.setitem(recipes.RECIPES, "tiny", recipe)
    assert main(["train", "tiny", "--seed", "3", "--out", "m"]) == 0
    assert "model folder: m" in capsys.readouterr().out
    assert json.loads(Path("m/card.json").read_text()) == {"seed": 3}
    assert "is not empty" in refused(capsys, "train", "tiny", "--out", "m")
    assert "did you mean --seed" in refused(capsys, "train", "tiny", "--sead", "1")
    assert main(["train", "zoo:tiny", "--out", "m", "--resume"]) == 0
    assert main(["train", "tiny", "--seed", "-1", "--out", "f"]) == 1
    err = capsys.readouterr().err
    assert "training failed: RuntimeError: no such seed" in err and err.count("\n") == 1
    assert "no such seed" in Path("f/traceback.txt").read_text()


def test_a_trained_model_is_loaded_and_its_card_stamped(tmp_path: Path) -> None:
    out = tmp_path / "exact"
    assert main(["train", "induction-exact", "--out", str(out)]) == 0
    bundled = Path(recipes.__file__).parent / "weights" / "induction-exact"
    assert (out / "card.json").read_bytes() == (bundled / "card.json").read_bytes()


# --- help ----------------------------------------------------------------------------------------


def test_help_of_everything(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for args in ("--help", "list --help", "models --help", "runs --help", "train --help"):
        assert main(args.split()) == 0
        assert capsys.readouterr().out.startswith("usage: interp")
    assert main(["run", "--help"]) == 0
    assert "experiments: " in (out := capsys.readouterr().out) and "toy" in out
    assert main(["run", "toy", "--preset", "smoke", "--help"]) == 0
    out = capsys.readouterr().out
    for text in ("--preset", "default,smoke", "--out", "--resume", "--config", "--fail-at"):
        assert text in out
    assert "The model to pretend to load" in out and "default: 2" in out
    assert main([]) == 2
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("loadbearing ")


@dataclass(frozen=True)
class MayBeNone:
    """Fields that need not have a value."""

    name: str | None = None
    share: float | None = 0.5
    kind: Literal["a", "b"] | None = "a"
    layers: tuple[int, ...] | None = None
    path: Path | None = None


def read(*args: str) -> MayBeNone:
    start = dict.fromkeys(("name", "layers", "path"), None) | {"share": 0.5, "kind": "a"}
    parsed = parse_fields(MayBeNone, start, args, options=(), prog="toy", description="Toy.")
    assert isinstance(parsed, MayBeNone)
    return parsed


def test_fields_that_may_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read("--help")
    out = capsys.readouterr().out
    assert "{None}" not in out and "None," not in out
    for text in ("--name STR", "--share FLOAT", "--kind {a,b}", "--path PATH", "(default: None)"):
        assert text in out
    assert read() == MayBeNone()
    given = read("--name", "x", "--share", "1", "--kind", "b", "--layers", "1", "2", "--path", "p")
    assert given == MayBeNone("x", 1.0, "b", (1, 2), Path("p"))
    assert read("--share", "None", "--kind", "None") == MayBeNone(share=None, kind=None)
    for args, said in ((("--share", "half"), "--share"), (("--kind", "c"), "--kind")):
        with pytest.raises(UsageError, match=said):
            read(*args)


HEAVY = ("torch", "transformers", "transformer_lens", "numpy", "pandas", "matplotlib", "scipy")


@pytest.mark.parametrize(
    "args",
    ["--help", "list", "models", "runs", "run --help", "run toy --help", "train --help"],
)
def test_help_and_lists_import_nothing_heavy(toy: Path, args: str) -> None:
    # A clock would measure the machine; what makes help slow is what it imports.
    code = (
        f"import sys; from interp.cli import main; code = main({args.split()!r}); "
        f"print('loaded:', [m for m in {HEAVY!r} if m in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(toy), str(REPOSITORY)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("loaded: []\n"), done.stdout


def test_config_yaml_is_what_a_reader_expects(toy: Path) -> None:
    assert main(["run", "toy", "--out", "r"]) == 0
    held: dict[str, Any] = yaml.safe_load(Path("r/config.yaml").read_text())
    assert held.pop("experiment") == "toy" and held == Run.open("r").config
