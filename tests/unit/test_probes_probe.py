"""A probe keeps what it is, comes back as it was, and refuses what it was not made for."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from interp.hooks import Site
from probes import Activations, Probe, ProbeError
from probes.probe import CARD_FILE, TENSORS_FILE

VALUES = torch.randn((6, 5), generator=torch.Generator().manual_seed(0))


def made(**changes: Any) -> Probe:
    fields: dict[str, Any] = {
        "direction": torch.tensor([0.1, -2.0, 3.0, 0.0, 1e-3]),
        "centre": torch.tensor([1.0, 0.0, -1.0, 0.5, 7.0]),
        "bias": 0.1 + 0.2,
        "site": Site.parse("L2.resid_post"),
        "position": "last",
        "method": "mass-mean",
        "model": "some-model",
        "fingerprint": "ab" * 32,
        "data": "claims.csv",
        "data_hash": "cd" * 32,
        "seed": 3,
        "metrics": {"train": {"n": 4, "length_sign": 1}, "notes": ["só"]},
        "training_rows": ("00" * 8, "ff" * 8, "0123456789abcdef"),
        "revision": "main",
    }
    return Probe(**(fields | changes))


def activations(**changes: Any) -> Activations:
    fields: dict[str, Any] = {
        "values": VALUES,
        "lengths": torch.ones(6, dtype=torch.int64),
        "fingerprint": "ab" * 32,
        "model": "some-model",
        "site": Site.parse("L2.resid_post"),
        "position": "last",
    }
    return Activations(**(fields | changes))


def test_scores_and_predictions_follow_the_formula() -> None:
    probe = made()
    expected = (VALUES - probe.centre) @ probe.direction + probe.bias
    assert torch.allclose(probe.scores(activations()).float(), expected, atol=1e-5)
    assert torch.equal(probe.predict(activations()), expected > 0)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"fingerprint": "ef" * 32, "model": "other"}, "belongs to some-model .*not to other"),
        ({"site": Site.parse("L3.resid_post")}, "reads L2.resid_post at position last, not L3"),
        ({"position": -2}, "not L2.resid_post at position -2"),
        ({"values": VALUES[:, :4]}, "reads 5 numbers a statement, got 4"),
    ],
)
def test_activations_from_elsewhere_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ProbeError, match=why):
        made().scores(activations(**changes))
    with pytest.raises(ProbeError, match=why):
        made().predict(activations(**changes))


def test_a_bare_tensor_is_refused() -> None:
    with pytest.raises(ProbeError, match="not Tensor; get them with extract"):
        made().scores(VALUES)  # type: ignore[arg-type]


def test_a_probe_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().bias = 0.0  # type: ignore[misc]


@pytest.mark.parametrize("position", ["last", -2, 0])
def test_a_saved_probe_comes_back_bit_for_bit(tmp_path: Path, position: Any) -> None:
    probe = made(position=position)
    path = probe.save(tmp_path / "new" / "probe")
    assert sorted(p.name for p in path.iterdir()) == [CARD_FILE, TENSORS_FILE]
    assert [p.name for p in path.parent.iterdir()] == ["probe"]
    back = Probe.load(path)
    for field in dataclasses.fields(Probe):
        mine, theirs = getattr(probe, field.name), getattr(back, field.name)
        same = torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs
        assert same, field.name
    given = activations(position=position)
    assert torch.equal(probe.scores(given), back.scores(given))


def test_saving_overwrites_nothing(tmp_path: Path) -> None:
    probe = made()
    (tmp_path / "empty").mkdir()
    path = probe.save(tmp_path / "empty")
    with pytest.raises(ProbeError, match="exists already"):
        probe.save(path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ProbeError, match="exists already"):
        probe.save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("broken", ["write_tensors", "write_json"])
def test_a_save_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(f"probes.probe.{broken}", fail)
    with pytest.raises(OSError, match="disk full"):
        made().save(tmp_path / "probe")
    assert list(tmp_path.iterdir()) == []


def test_metrics_that_json_cannot_keep_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nan"):
        made(metrics={"auroc": float("nan")}).save(tmp_path / "probe")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_probe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="holds no probe"):
        Probe.load(tmp_path)
    with pytest.raises(ProbeError, match="holds no probe"):
        Probe.load(tmp_path / "absent")


def _edit(path: Path, **changes: Any) -> None:
    card = json.loads((path / CARD_FILE).read_text())
    (path / CARD_FILE).write_text(json.dumps(card | changes))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": 1}, "another version"),
        ({"extra": 1}, "unknown key 'extra'"),
        ({"bias": "big"}, "bias is 'big'; expected a number"),
        ({"site": "L2.nowhere"}, "cannot read the site"),
        ({"position": "first"}, "position is 'first'"),
        ({"tensors_sha256": "00"}, "is not the one"),
    ],
)
def test_a_damaged_card_is_refused(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    path = made().save(tmp_path / "probe")
    _edit(path, **changes)
    with pytest.raises(ValueError, match=why):
        Probe.load(path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = made().save(tmp_path / "probe")
    raw = (path / TENSORS_FILE).read_bytes()
    (path / TENSORS_FILE).write_bytes(raw[:-1] + b"x")
    with pytest.raises(ProbeError, match="is not the one"):
        Probe.load(path)
    (path / CARD_FILE).write_text("{")
    with pytest.raises(ProbeError, match="is damaged"):
        Probe.load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"direction": torch.zeros(5)},
        {"direction": torch.full((5,), float("nan"))},
        {"direction": torch.ones(4)},
        {"direction": torch.ones(5, dtype=torch.float64)},
        {"centre": torch.ones(1, 5)},
        {"bias": float("inf")},
    ],
)
def test_impossible_probes_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ProbeError, match="the probe's"):
        made(**changes)
