"""The rooms keep their doors: who may import whom, read from the source rather than from running.

Imports anywhere count, inside functions too. Every rule is tried on planted violations below.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent

# Top-level folders, each with the project's own packages it may import.
PACKAGES = {
    "interp": {"interp"},
    "probes": {"interp", "probes"},
    "experiments": {"interp", "probes", "experiments"},
    "notebooks": {"interp", "probes", "experiments"},
    "tests": {"interp", "probes", "experiments"},
}
# What tools and runs leave behind; never in version control.
LEFT_BEHIND = {"runs", "build", "dist", "__pycache__"}

_BASIS = {"models", "hooks", "evidence", "plots"}
# Rooms of interp, each with the rooms it may import besides itself. Plain files beside them, and
# the folders in ON_TOP, stand on top and may import every room.
ROOMS = {
    "plots": set(),
    "models": set(),
    "hooks": {"models"},
    "evidence": {"models", "hooks", "plots"},
    "heads": _BASIS,
    "circuits": _BASIS,
    "sae": _BASIS,
    "fourier": _BASIS,
    "zoo": {"models"},
}
ON_TOP = {"runfolder"}
# Third parties that one place alone touches.
KEEPERS = {
    "transformer_lens": ("interp/models", "interp/hooks"),
    "sae_lens": ("interp/sae",),
}
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve"}
FORBIDDEN_NAMES = {"utils.py", "helpers.py", "util.py", "helper.py"}
FORBIDDEN_SETTINGS = {"allow_pickle": True, "trust_remote_code": True, "weights_only": False}


def imports(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of everything imported, relative imports resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = [*base, *([node.module] if node.module else [])]
            for alias in node.names:  # `from interp import models` reaches into a room as well
                yield node.lineno, ".".join([*stem, alias.name])
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func).rpartition(".")[2]
            first = node.args[0]
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield node.lineno, str(first.value)


def room_of(parts: tuple[str, ...]) -> str | None:
    """The room of a file or dotted name inside interp; None for what stands on top."""
    if len(parts) < 2 or parts[0] != "interp":
        return None
    return parts[1] if parts[1] in ROOMS else None


def violations(root: Path) -> list[str]:
    """Everything in the tree under ``root`` that breaks a rule, one line each."""
    found = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        name = folder.name
        if name.startswith(".") or name in LEFT_BEHIND or name.endswith(".egg-info"):
            continue
        if name not in PACKAGES:
            found.append(f"{name}/: no top-level folder but {', '.join(PACKAGES)}")
            continue
        for file in sorted(folder.rglob("*.py")):
            where = file.relative_to(root)
            if any(part.startswith(".") for part in where.parts):
                continue
            for line, problem in in_file(where, ast.parse(file.read_text(encoding="utf-8"))):
                found.append(f"{where.as_posix()}:{line}: {problem}")
    for folder in sorted((root / "interp").glob("*/")):
        known = ROOMS.keys() | ON_TOP | LEFT_BEHIND
        if folder.is_dir() and folder.name not in known and any(folder.glob("*.py")):
            found.append(
                f"interp/{folder.name}/: no room of that name; add it to tests/test_rooms.py"
            )
    return found


def in_file(where: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, problem) of one file."""
    if where.name in FORBIDDEN_NAMES:
        yield 0, "a file is named for what it is about"
    top = where.parts[0]
    package = list(where.with_suffix("").parts)
    package = package if where.name == "__init__.py" else package[:-1]
    if where.name == "__init__.py":
        package = package[:-1]
    yield from wrong_imports(where, list(imports(tree, package)))
    if top != "tests":
        yield from wrong_calls(where, tree)


def wrong_imports(where: Path, names: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield what is imported against the direction."""
    top, room = where.parts[0], room_of(where.parts)
    for line, name in names:
        parts = tuple(name.split("."))
        if parts[0] in PACKAGES and parts[0] not in PACKAGES[top]:
            yield line, f"{top} may not import {parts[0]}"
        if room is not None and parts[0] == "interp" and len(parts) > 1:
            other = room_of(parts)
            if other is None:
                yield line, f"the room {room} may not import {name}, which stands on top"
            elif other not in ROOMS[room] | {room}:
                yield line, f"the room {room} may not import the room {other}"
        for owner, places in KEEPERS.items():
            inside = any(where.as_posix().startswith(f"{place}/") for place in places)
            if parts[0] == owner and not inside and top != "tests":
                yield line, f"{owner} is imported by {' and '.join(places)} alone"
        if parts[0] in UNPICKLERS and top != "tests":
            yield line, f"{parts[0]} unpickles"
        if parts[:2] in (("torch", "load"), ("torch", "save")) and top != "tests":
            yield line, f"{name} is pickle; tensors are kept as safetensors"


def wrong_calls(where: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield prints in libraries and calls that unpickle or run others' code."""
    names_of_torch = {"torch"} | {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "torch" and alias.asname
    }
    library = where.parts[0] in ("interp", "probes") and where.name != "cli.py"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if library and isinstance(node.func, ast.Name) and node.func.id == "print":
                yield node.lineno, "print in a library; use logging"
            for keyword in node.keywords:
                if keyword.arg not in FORBIDDEN_SETTINGS or not isinstance(
                    keyword.value, ast.Constant
                ):
                    continue
                if keyword.value.value is FORBIDDEN_SETTINGS[keyword.arg]:
                    yield node.lineno, f"{keyword.arg}={keyword.value.value} runs others' code"
        elif (
            isinstance(node, ast.Attribute)
            and node.attr in ("load", "save")
            and isinstance(node.value, ast.Name)
            and node.value.id in names_of_torch
        ):
            yield node.lineno, f"torch.{node.attr} is pickle; tensors are kept as safetensors"


def test_every_rule_is_kept():
    assert (REPO / "interp" / "models").is_dir()
    assert violations(REPO) == []


# -- the checker itself ---------------------------------------------------------------------------

CLEAN = {
    "interp/__init__.py": "__version__ = '0'",
    "interp/plots/__init__.py": "import matplotlib",
    "interp/models/__init__.py": "from interp.models.spec import Spec",
    "interp/models/spec.py": "import transformer_lens\nclass Spec: ...",
    "interp/hooks/__init__.py": "from interp.models import Spec\nfrom transformer_lens import x",
    "interp/evidence/__init__.py": "from ..models import Spec\nimport interp.plots",
    "interp/heads/__init__.py": "from interp import evidence\nfrom .own import y",
    "interp/heads/own.py": "y = 1  # print('no')",
    "interp/sae/__init__.py": "def f():\n    import sae_lens",
    "interp/zoo/__init__.py": "from interp.models import Spec",
    "interp/zoo/weights/readme.txt": "no Python here",
    "interp/runfolder/__init__.py": "from interp import heads",
    "interp/cli.py": "from interp import heads, zoo\nprint('a table')",
    "probes/__init__.py": "import interp.heads, probes.fit",
    "probes/fit.py": "import numpy as np\nnp.load('x', allow_pickle=False)",
    "experiments/one.py": "import probes, interp.zoo\nprint('a study may')",
    "notebooks/one.py": "import experiments.one",
    "tests/test_one.py": "import pickle, torch, transformer_lens\ntorch.load('x')\nprint(1)",
    ".hidden/utils.py": "import pickle",
    "loadbearing.egg-info/x.py": "import pickle",
    "runs/left.py": "import pickle",
    "setup.py": "import pickle",
}

PLANTED = [
    ("interp/cli.py", "import probes", "interp may not import probes"),
    ("interp/cli.py", "def f():\n  from experiments import one", "interp may not import experim"),
    ("interp/models/a.py", "import_module('probes.fit')", "interp may not import probes"),
    ("probes/a.py", "from experiments.one import x", "probes may not import experiments"),
    ("experiments/a.py", "import notebooks.one", "experiments may not import notebooks"),
    ("probes/a.py", "import tests.conftest", "probes may not import tests"),
    ("interp/models/a.py", "from interp.hooks import x", "models may not import the room hooks"),
    ("interp/models/a.py", "from interp import hooks", "models may not import the room hooks"),
    ("interp/models/a.py", "from ..hooks import x", "models may not import the room hooks"),
    ("interp/models/a.py", "from .. import hooks", "models may not import the room hooks"),
    ("interp/models/__init__.py", "from .. import hooks", "may not import the room hooks"),
    ("interp/models/a.py", "class A:\n  def f():\n    import interp.zoo", "import the room zoo"),
    ("interp/plots/a.py", "import interp.models", "plots may not import the room models"),
    ("interp/hooks/a.py", "import interp.evidence", "hooks may not import the room evidence"),
    ("interp/hooks/a.py", "import interp.plots", "hooks may not import the room plots"),
    ("interp/evidence/a.py", "import interp.heads", "evidence may not import the room heads"),
    ("interp/heads/a.py", "import interp.circuits", "heads may not import the room circuits"),
    ("interp/fourier/a.py", "import interp.sae", "fourier may not import the room sae"),
    ("interp/zoo/a.py", "import interp.hooks", "zoo may not import the room hooks"),
    ("interp/heads/a.py", "import interp.zoo", "heads may not import the room zoo"),
    ("interp/heads/a.py", "import interp.cli", "heads may not import interp.cli, which stands"),
    ("interp/zoo/a.py", "from interp.runfolder import x", "which stands on top"),
    ("interp/heads/a.py", "import transformer_lens.hooks", "transformer_lens is imported by"),
    ("interp/cli.py", "def f():\n  import transformer_lens", "transformer_lens is imported by"),
    ("probes/a.py", "from transformer_lens import x", "transformer_lens is imported by"),
    ("interp/models/a.py", "import sae_lens", "sae_lens is imported by interp/sae alone"),
    ("interp/modelsx.py", "import transformer_lens", "transformer_lens is imported by"),
    ("library/a.py", "", "library/: no top-level folder but"),
    ("interp/cellar/a.py", "", "interp/cellar/: no room of that name"),
    ("interp/models/utils.py", "", "named for what it is about"),
    ("tests/helpers.py", "", "named for what it is about"),
    ("interp/models/a.py", "def f():\n  print('x')", "print in a library"),
    ("probes/a.py", "print('x')", "print in a library"),
    ("interp/models/a.py", "import pickle", "pickle unpickles"),
    ("probes/a.py", "def f():\n  from joblib import load", "joblib unpickles"),
    ("experiments/a.py", "import torch\ntorch.load('x')", "torch.load is pickle"),
    ("interp/models/a.py", "import torch as t\nt.save(1, 'x')", "torch.save is pickle"),
    ("interp/models/a.py", "from torch import load", "torch.load is pickle"),
    ("probes/a.py", "np.load('x', allow_pickle=True)", "allow_pickle=True"),
    ("notebooks/a.py", "f(trust_remote_code=True)", "trust_remote_code=True"),
    ("interp/models/a.py", "f(weights_only=False)", "weights_only=False"),
]


def plant(root: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)


def test_a_clean_tree_passes(tmp_path):
    plant(tmp_path, CLEAN)
    assert violations(tmp_path) == []


@pytest.mark.parametrize(("file", "source", "problem"), PLANTED)
def test_planted_violations_are_caught(tmp_path, file, source, problem):
    plant(tmp_path, CLEAN | {file: source})
    found = violations(tmp_path)
    assert len(found) == 1, found
    assert problem in found[0]
    assert found[0].startswith(file.split("/a.py")[0])
