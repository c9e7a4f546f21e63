"""The notebooks as they are shipped: paired with their script, with results, and free of paths."""

from __future__ import annotations

import json
from pathlib import Path

import jupytext
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_script_beside_it_has_the_same_cells(path):
    def cells(file):
        return [(c.cell_type, c.source) for c in jupytext.read(file).cells]

    assert cells(path) == cells(path.with_suffix(".py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_results_are_saved_and_name_no_machine(path):
    text = path.read_text(encoding="utf-8")
    code = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    assert any(c["outputs"] for c in code)
    assert not any(o["output_type"] == "error" for c in code for o in c["outputs"])
    assert "Warning" not in text
    for machine in ("/home/", "/Users/", str(Path.home()) + "/", "site-packages"):
        assert machine not in text
