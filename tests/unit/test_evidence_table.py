"""Frames that survive parquet, and tables that show text as it is."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console

from interp.evidence import (
    ControlSets,
    Evidence,
    EvidenceError,
    EvidenceTable,
    correct,
    evidence_frame,
    loss,
    read_evidence,
    rich_table,
    weigh,
)


def rows() -> list[Evidence]:
    clean = torch.linspace(1, 2, 12)
    found = [
        weigh(
            f"L1H{i}",
            signature_name="induction",
            signature=0.1 * i,
            signature_null=0.01,
            has_signature=i > 0,
            metric=loss,
            clean=clean,
            ablated=clean + i * torch.linspace(0.9, 1.1, 12),
            control_effects=torch.linspace(0, 0.1, 3)[:, None] * torch.ones(12),
            controls=ControlSets(
                "layer-matched", tuple(frozenset({(0, h)}) for h in range(3)), 10**30, False
            ),
            gain=None if i else 2.0,
            n_resamples=99,
            seed=0,
        )
        for i in range(3)
    ]
    return [found[0], *correct(found[1:])]


def printed(table: object, width: int = 220) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue()


def test_frame_and_parquet_round_trip(tmp_path: Path) -> None:
    frame = evidence_frame(rows())
    assert read_evidence(frame) == rows()
    assert str(frame["p_value"].dtype) == "float64"
    assert str(frame["share"].dtype) == "Float64"
    assert frame["share"].isna().tolist() == [False, True, True]
    assert frame["interval_low"].lt(frame["interval_high"]).tolist() == [False, True, True]
    frame.to_parquet(tmp_path / "evidence.parquet")
    assert read_evidence(pd.read_parquet(tmp_path / "evidence.parquet")) == rows()


def test_an_empty_frame_keeps_its_columns(tmp_path: Path) -> None:
    empty = evidence_frame([])
    assert list(empty.columns) == list(evidence_frame(rows()).columns)
    empty.to_parquet(tmp_path / "empty.parquet")
    assert read_evidence(pd.read_parquet(tmp_path / "empty.parquet")) == []


def test_a_foreign_frame_is_refused() -> None:
    with pytest.raises(EvidenceError, match="p_value is missing"):
        read_evidence(evidence_frame(rows()).drop(columns="p_value"))


def test_extra_columns_are_left_alone() -> None:
    assert read_evidence(evidence_frame(rows()).assign(model="gpt2")) == rows()


def test_the_terminal_table_shows_everything_that_matters() -> None:
    shown = printed(rich_table(rows(), title="Heads"))
    for text in ("Heads", "L1H2", "0.2 (0.01)", "nats", "0.05 to 0.1", "3 of ~10^30", "Holm 0.5"):
        assert text in shown, text
    assert "0.25 (0.25)" in shown
    assert "underpowered" in shown
    assert "not load-bearing" in shown


def test_a_narrow_terminal_hides_nothing() -> None:
    shown = printed(rich_table(rows()), width=80)
    assert "…" not in shown
    assert "layer-matched" in shown
    assert "underpowered" in shown


def test_markup_in_the_data_is_shown_not_obeyed() -> None:
    odd = dataclasses.replace(rows()[0], subject="[bold red]L0[/]", control_family="[/nope]")
    assert "[bold red]L0[/]" in printed(rich_table([odd], title="[i]t[/i]"))
    assert "[i]t[/i]" in printed(rich_table([odd], title="[i]t[/i]"))


def test_evidence_table_is_a_sequence_that_shows_itself() -> None:
    table = EvidenceTable(rows())
    assert len(table) == 3
    assert table[0] == rows()[0]
    assert table[1:] == EvidenceTable(rows()[1:])
    assert list(table) == rows()
    assert table.frame().equals(evidence_frame(rows()))
    assert printed(table) == printed(rich_table(rows()))
    assert str(table).count("\n") == 2
    assert repr(table) == str(table)


def test_the_notebook_table_is_escaped() -> None:
    bad = '"><img src=x onerror=alert(1)>'
    odd = dataclasses.replace(rows()[0], subject=bad, reason=bad, units=bad)
    for shown in (EvidenceTable([odd])._repr_html_(), odd._repr_html_()):
        assert "<img" not in shown
        assert "&lt;img" in shown


@pytest.mark.parametrize("show", [rich_table, EvidenceTable])
def test_no_evidence_is_an_empty_table(show: type) -> None:
    assert "verdict" in printed(show([]))
