"""Runs shown in a notebook, and many of them in a list. All text is escaped."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from interp.runfolder.files import RunError, read_json
from interp.runfolder.reader import METRICS, TRACEBACK, RunReader, is_run

if TYPE_CHECKING:
    from interp.runs import Run

_ROWS = 8


def list_runs(folder: Path | str = "runs") -> list[Run]:
    """Return the runs in a folder (or the one run that it is), oldest first.

    Raises:
        RunError: The folder does not exist.
    """
    from interp.runs import Run

    root = Path(folder)
    if not root.is_dir():
        raise RunError(f"{root} does not exist: expected a folder of runs")
    if is_run(root):
        return [Run(root)]
    found = [Run(path) for path in sorted(root.iterdir()) if path.is_dir() and is_run(path)]
    return sorted(found, key=lambda run: (run.provenance.get("started") or "", run.path.name))


def headline(run: RunReader, *, most: int = 3) -> str:
    """Return a few words on a run's outcome: its own headline, its first numbers, or its error."""
    if run.status != "done":
        return run.note
    metrics = read_json(run.path / METRICS) or {}
    if isinstance(own := metrics.get("headline"), str):
        return own
    numbers = [
        f"{key}={number(value)}"
        for key, value in metrics.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    return ", ".join(numbers[:most])


def number(value: Any) -> str:
    """Return a value as short text, numbers to four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def html(run: RunReader) -> str:
    """Return a run as HTML: status, headline numbers, the first table's head, figures inline."""
    status = run.status
    lines = [
        f"<h4>{escape(run.experiment or 'run')}: {escape(status)}</h4>",
        f"<p><code>{escape(str(run.path))}</code></p>",
    ]
    if status == "done":
        lines += _metrics_html(run.metrics)
    elif run.note:
        lines.append(f"<p>{escape(run.note)}</p>")
    if (run.path / TRACEBACK).is_file():
        text = (run.path / TRACEBACK).read_text(encoding="utf-8", errors="replace")
        lines.append(f"<details><summary>traceback</summary><pre>{escape(text)}</pre></details>")
    for name in run.tables:
        lines += _table_html(run, name)
    for name, path in run.figures.items():
        data = base64.b64encode(path.read_bytes()).decode()
        lines.append(
            f'<figure><img style="max-width:100%" alt="{escape(name)}" '
            f'src="data:image/png;base64,{data}"/><figcaption>{escape(name)}</figcaption></figure>'
        )
    return "<div>" + "\n".join(lines) + "</div>"


def _metrics_html(metrics: dict[str, Any]) -> list[str]:
    said = metrics.get("conclusion")
    texts = [f"<p>{escape(part)}</p>" for part in said.split("\n\n")] if _is_text(said) else []
    rows = "".join(
        f"<tr><th>{escape(key)}</th><td>{escape(number(value))}</td></tr>"
        for key, value in metrics.items()
        if key != "conclusion" and not isinstance(value, (dict, list))
    )
    return [*texts, f"<table>{rows}</table>"]


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str)


def _table_html(run: RunReader, name: str) -> list[str]:
    try:
        frame = run.table(name)
    except (OSError, ValueError) as error:
        return [f"<p>{escape(name)}: {escape(str(error))}</p>"]
    shown = frame.head(_ROWS).to_html(escape=True, float_format=lambda x: f"{x:.4g}")
    more = f" (first {_ROWS} of {len(frame)} rows)" if len(frame) > _ROWS else ""
    return [f"<p>{escape(name)}{more}</p>", shown]
