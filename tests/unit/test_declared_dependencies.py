"""What the packages import is what pyproject.toml declares, so that pip alone makes them work."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = ("interp", "probes", "experiments")


def imported(source: str) -> set[str]:
    """Top-level names of the modules that a file imports from outside, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - set(OURS)


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def undeclared(used: set[str]) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {plain(re.split(r"[\s<>=!~\[;]", line)[0]) for line in project["dependencies"]}
    owners = packages_distributions()
    return sorted(
        name for name in used if not declared & {plain(d) for d in owners.get(name, [name])}
    )


def test_every_import_is_declared():
    files = [path for package in OURS for path in (ROOT / package).rglob("*.py")]
    used = set().union(*(imported(path.read_text(encoding="utf-8")) for path in files))
    assert {"torch", "yaml", "sklearn"} <= used
    assert undeclared(used) == []


def test_one_that_is_not_would_be_named():
    used = imported("import os\ndef f():\n    from hypothesis.strategies import text\n")
    assert undeclared(used) == ["hypothesis"]
