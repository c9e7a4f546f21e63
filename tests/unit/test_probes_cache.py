"""The cache of activations: what is kept comes back, the limit holds, and damage is harmless."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from probes.cache import ActivationCache, CacheError, activation_cache

VALUES = torch.arange(256, dtype=torch.float32).reshape(16, 16)  # 1 KiB


def test_what_is_kept_comes_back_under_its_key_alone(tmp_path: Path) -> None:
    cache = ActivationCache(tmp_path / "deep" / "folder", 2**20)
    key = {"fingerprint": "f", "position": -2}
    assert cache.get(key) is None
    cache.put(key, {"values": VALUES})
    found = cache.get({"position": -2, "fingerprint": "f"})
    assert found is not None
    assert torch.equal(found["values"], VALUES)
    for other in ({**key, "position": "-2"}, {**key, "fingerprint": "g"}, {}):
        assert cache.get(other) is None


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = ActivationCache(tmp_path, 4000)  # three of 1 KiB and their headers
    for name in "abc":
        cache.put({"key": name}, {"values": VALUES})
        os.utime(cache.file({"key": name}), (time.time() - 100 + ord(name),) * 2)
    assert cache.get({"key": "a"}) is not None  # used: now the newest
    cache.put({"key": "d"}, {"values": VALUES})
    held = {name for name in "abcd" if cache.file({"key": name}).is_file()}
    assert held == {"a", "c", "d"}
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 4000


def test_what_is_over_the_limit_is_not_kept_and_removes_nothing(tmp_path: Path) -> None:
    cache = ActivationCache(tmp_path, 2000)
    cache.put({"key": "small"}, {"values": VALUES})
    cache.put({"key": "large"}, {"values": VALUES.repeat(4, 1)})
    assert cache.get({"key": "large"}) is None
    assert cache.get({"key": "small"}) is not None
    nothing = ActivationCache(tmp_path / "none", 0)
    nothing.put({"key": "small"}, {"values": VALUES})
    assert not (tmp_path / "none").exists()
    assert ActivationCache(tmp_path, 0).get({"key": "small"}) is None


@pytest.mark.parametrize("damage", [b"", b"\x08", b"not a tensor at all", "cut"])
def test_a_damaged_entry_is_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    cache = ActivationCache(tmp_path, 2**20)
    cache.put({}, {"values": VALUES})
    file = cache.file({})
    file.write_bytes(file.read_bytes()[:-100] if damage == "cut" else damage)
    assert cache.get({}) is None
    assert not file.exists()
    assert "is damaged and is made anew" in caplog.text
    cache.put({}, {"values": VALUES})
    assert cache.get({}) is not None


def test_an_interrupted_write_leaves_nothing_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ActivationCache(tmp_path, 2**20)

    def stop(tensors: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", stop)
        with pytest.raises(KeyboardInterrupt):
            cache.put({}, {"values": VALUES})
    assert cache.get({}) is None
    assert list(tmp_path.iterdir()) == []
    # One that was killed leaves its temporary file, which is removed once it is old.
    old, young = tmp_path / ".x.safetensors.tmp-00", tmp_path / ".y.safetensors.tmp-01"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 10_000,) * 2)
    cache.put({}, {"values": VALUES})
    assert not old.exists()
    assert young.exists()


def test_a_folder_that_cannot_be_written_is_said_and_does_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("probes.cache.write_tensors", full)
    cache = ActivationCache(tmp_path, 2**20)
    cache.put({}, {"values": VALUES})
    assert "No space left on device" in caplog.text
    assert cache.get({}) is None


def test_where_the_cache_is_and_how_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOADBEARING_CACHE", "LOADBEARING_CACHE_GIB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    found = activation_cache()
    assert found.folder == tmp_path / "xdg" / "loadbearing" / "activations"
    assert found.limit == 4 * 2**30
    monkeypatch.setenv("LOADBEARING_CACHE", str(tmp_path / "named"))
    monkeypatch.setenv("LOADBEARING_CACHE_GIB", "0.5")
    assert activation_cache() == ActivationCache(tmp_path / "named", 2**29)
    given = activation_cache(tmp_path / "given", limit_gib=0)
    assert given == ActivationCache(tmp_path / "given", 0)
    for wrong in ("lots", "-1", "nan", "inf"):
        monkeypatch.setenv("LOADBEARING_CACHE_GIB", wrong)
        with pytest.raises(CacheError, match=f"the cache's limit is {wrong}"):
            activation_cache()
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="is a file; expected a folder"):
        activation_cache(tmp_path / "file", limit_gib=1)
