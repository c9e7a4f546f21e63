"""A comparison of domains as files: tidy tables, figures, and headline numbers."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from interp.runfolder.files import write_atomic, write_figure, write_json, write_table
from probes.card import require_free
from probes.compared import Compared
from probes.transfer_report import conclusion, notes


def save(found: Compared, folder: Path) -> Path:
    """Write tables (parquet and CSV), figures (PNG and SVG) and ``metrics.json`` as a new folder.

    Args:
        found: The comparison.
        folder: Must be new or empty.

    Raises:
        ProbeError: there is something in it already.
    """
    require_free(folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for name, frame in tables(found).items():
            write_table(folder / f"{name}.parquet", frame)
            write_atomic(folder / f"{name}.csv", partial(frame.to_csv, index=False))
        for name, figure in figures(found).items():
            for ending in ("svg", "png"):
                write_figure(folder / f"{name}.{ending}", figure)
        write_json(folder / "metrics.json", metrics(found))  # last: without it nothing is whole
    except BaseException:
        if made:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def tables(found: Compared) -> dict[str, Any]:
    """Return tidy tables by name: transfer, layers, own, and where they exist likeness and R²."""
    import dataclasses

    import pandas as pd

    held = {
        "transfer": found.matrix.table(),
        "layers": found.scan.table(),
        "own": pd.DataFrame([_own_row(found, name) for name in found.gathered.names]),
    }
    if found.likeness is not None:
        held["likeness"] = found.likeness.table()
    if found.regressions:
        rows = [dataclasses.asdict(one) for one in found.regressions.values()]
        held["regressions"] = pd.DataFrame(rows)
    return held


def _own_row(found: Compared, name: str) -> dict[str, Any]:
    numbers = found.diagonal[name]
    baselines = {
        f"{row['name']} {key}": row[key]
        for row in numbers["baselines"]["rows"]
        for key in ("auroc", "low", "high")
    }
    return {
        "domain": name,
        **numbers["held_out"],
        "shuffled_mean": numbers["null"]["mean"],
        "shuffled_95": numbers["null"]["percentile_95"],
        "strongest_baseline": numbers["baselines"]["strongest"],
        "lead_low": numbers["baselines"]["lead_low"],
        "lead_high": numbers["baselines"]["lead_high"],
        **baselines,
        "verdict": found.verdicts[name],
    }


def figures(found: Compared) -> dict[str, Any]:
    """Return figures by name: layers, transfer, and where there are enough pairs, likeness."""
    made = {"auroc_by_layer": found.scan.figure(), "transfer": found.matrix.figure()}
    if found.regressions and found.likeness is not None:
        made["transfer_against_likeness"] = found.likeness.figure()
    return made


def metrics(found: Compared) -> dict[str, Any]:
    """Return headline numbers, and the conclusion in words."""
    matrix = found.matrix
    return {
        "place": matrix.place,
        "site": str(found.site),
        "sites": [str(site) for site in found.scan.sites],
        "method": matrix.method,
        "domains": list(matrix.domains),
        "data": {one.name: one.hash for one in found.gathered.sets},
        "n": {one.name: len(one) for one in found.gathered.sets},
        "auroc": {
            source: {test: matrix[source, test].auroc for test in matrix.domains}
            for source in matrix.sources
        },
        "verdicts": found.verdicts,
        "p_value_of_diagonals": found.scan.p_value,
        "shuffled_mean": float(found.scan.null.mean()),
        "r2": {
            f"{predictor}{' with all' if combined else ''}": {
                "r2": one.r2,
                "pair_out": one.r2_pair_out,
                "domains_out": one.r2_domain_out,
            }
            for (predictor, combined), one in found.regressions.items()
        },
        "no_regression": found.unlike,
        "notes": notes(found),
        "conclusion": conclusion(found),
    }
