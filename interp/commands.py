"""The commands that list: ``interp list``, ``interp models`` and ``interp runs``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interp import terminal
from interp.flags import LineParser
from interp.runfolder.files import read_json
from interp.runfolder.show import number
from interp.runs import headline, list_runs
from interp.studies import list_studies
from interp.zoo import cards

# Columns of a terminal below which a table leaves out what its other columns also tell.
_ROOMY = 140


def list_experiments(args: Sequence[str]) -> int:
    """``interp list``: a line for every experiment, also for those that cannot be imported."""
    parser = LineParser(prog="interp list", description="List the installed experiments.")
    parser.parse_args(args)
    lines = list_studies()
    if not lines:
        terminal.show("no experiments are installed: pip install -e . in the project's folder")
        return 0
    rows = []
    for line in lines:
        text = line.summary if line.error is None else f"cannot be used: {line.error}"
        rows.append((line.name, text, line.package))
    terminal.console().print(terminal.table(("experiment", "what it asks", "package"), rows))
    return 0


def list_run_folders(args: Sequence[str]) -> int:
    """``interp runs [DIR]``: the runs in a folder, oldest first."""
    parser = LineParser(prog="interp runs", description="List the runs in a folder, oldest first.")
    parser.add_argument("folder", nargs="?", metavar="DIR", help="a folder of runs (default: runs)")
    folder = Path(parser.parse_args(args).folder or "runs")
    # Only the folder that nobody named may be absent: before the first run it does not exist.
    missing = not folder.is_dir() and parser.parse_args(args).folder is None
    runs = [] if missing else list_runs(folder)
    if not runs:
        terminal.show(f"no runs in {folder}")
        return 0
    rows = [
        (
            run.path.name or str(run.path),
            run.experiment,
            _last_part(run.config.get("model")),
            run.status,
            (run.provenance.get("started") or "")[:16].replace("T", " ") or None,
            headline(run),
        )
        for run in runs
    ]
    headings = ("folder", "experiment", "model", "status", "when (UTC)", "headline")
    out, columns = terminal.console(), list(range(len(headings)))
    if out.width < _ROOMY:
        columns.remove(4)  # The rows stand in the order of their times.
        if all(row[0].startswith(f"{row[1]}-") for row in rows):
            columns.remove(1)
    terminal.show(f"runs in {folder}:")
    shown = [[row[i] for i in columns] for row in rows]
    made = terminal.table([headings[i] for i in columns], shown, whole=len(columns) - 1, cut=True)
    out.print(made)
    return 0


def _last_part(model: Any) -> Any:
    """A model's folder without the way to it; a name as it is."""
    if not isinstance(model, str) or not model.startswith(("/", "./", "../", "~")):
        return model
    return Path(model).name


def list_models(args: Sequence[str]) -> int:
    """``interp models``: the bundled models, from their cards and their files."""
    parser = LineParser(prog="interp models", description="List the bundled models.")
    parser.parse_args(args)
    folders = [path.parent for path in sorted(cards.WEIGHTS.glob(f"*/{cards.CARD_FILE}"))]
    if not folders:
        terminal.show(f"no models are bundled in {cards.WEIGHTS}")
        return 0
    columns = ("model", "layers\n× heads", "parameters", "what", "size", "measured")
    out = terminal.console()
    shown = 4 if out.width < _ROOMY else len(columns)
    rows = [_model_row(path)[:shown] for path in folders]
    out.print(terminal.table(columns[:shown], rows, whole=3))
    return 0


def _model_row(folder: Path) -> tuple[Any, ...]:
    name = f"zoo:{folder.name}"
    try:
        card = cards.read_card(folder)
    except cards.CardError as error:
        return (name, None, None, str(error), None, None)
    weights = folder / "model.safetensors"
    parameters = _parameters(weights)
    size = f"{weights.stat().st_size / 1e6:.1f} MB" if weights.is_file() else None
    shown = f"{parameters:,}" if parameters is not None else None
    return (name, _shape(folder), shown, card.summary, size, _measured(card))


def _shape(folder: Path) -> str | None:
    """Layers × heads, as the model's own configuration has them."""
    held = read_json(folder / "native.json") or read_json(folder / "config.json") or {}
    layers = _first(held, "n_layers", "num_hidden_layers", "n_layer", "num_layers")
    heads = _first(held, "n_heads", "num_attention_heads", "n_head", "num_heads")
    return f"{layers} × {heads}" if layers is not None and heads is not None else None


def _first(held: Mapping[str, Any], *keys: str) -> Any:
    return next((held[key] for key in keys if key in held), None)


def _parameters(weights: Path) -> int | None:
    """Count a safetensors file's numbers from its header: eight bytes of length, then JSON."""
    try:
        with weights.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        return sum(math.prod(entry["shape"]) for entry in tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _measured(card: cards.Card, *, most: int = 3) -> str | None:
    """The card's own headline, the first numbers that it measured, or what is known first."""
    if isinstance(own := card.extra.get("headline"), str):
        return own
    numbers = [f"{k} {number(v)}" for k, v in card.measured.items() if isinstance(v, (int, float))]
    return ", ".join(numbers[:most]) or next(iter(card.known), None)
