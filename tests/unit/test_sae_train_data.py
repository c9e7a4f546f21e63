"""Data for a training: rows of one length from texts, ids and a model's own text."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from interp.models import load_model
from interp.sae import SaeError
from interp.sae.texts import read_data, read_rows


@pytest.fixture(scope="module")
def model(make_hf, make_tokenizer):
    return load_model("tiny", hf_model=make_hf("gpt2"), tokenizer=make_tokenizer(bos=True))


def words(n, seed=0, low=2):
    return " ".join(f"w{i}" for i in np.random.default_rng(seed).integers(low, 29, n))


def test_rows_are_of_one_length_and_begin_with_the_mark(model, tmp_path):
    (tmp_path / "a.txt").write_text(words(300))
    train, held_out = read_data(model, tmp_path / "a.txt", context=12, n_train=200, n_held_out=30)
    assert train.tokens.shape[1] == held_out.tokens.shape[1] == 12
    assert (train.tokens[:, 0] == model.bos_id).all()
    ids = model.tokenizer.encode(words(300), add_special_tokens=False)
    assert train.tokens[0, 1:].tolist() == ids[:11] and train.tokens[1, 1:].tolist() == ids[11:22]


def test_different_texts_go_to_training_and_to_evaluation(model, tmp_path):
    for i in range(8):
        (tmp_path / f"{i}.txt").write_text(" ".join([f"w{i + 2}"] * 60))
    train, held_out = read_data(model, tmp_path, context=11, n_train=200, n_held_out=100)
    bos = model.bos_id
    kinds = [set(x.tokens.unique().tolist()) - {bos} for x in (train, held_out)]
    assert not kinds[0] & kinds[1]
    assert len(held_out) >= 10


def test_no_more_is_read_than_is_wanted(model, tmp_path):
    (tmp_path / "a.txt").write_text(words(5000))
    (tmp_path / "b.txt").write_text(words(5000, seed=1))
    train, held_out = read_data(model, tmp_path, context=20, n_train=400, n_held_out=100)
    assert (len(train), len(held_out)) == (20, 5)


def test_jsonl(model, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": words(40, seed=i)}) for i in range(9)))
    train, _ = read_data(model, path, context=10, n_train=100, n_held_out=20)
    assert len(train) == 10
    path.write_text('{"txt": "w1"}')
    with pytest.raises(SaeError, match='line 1: expected a JSON object with "text"'):
        read_data(model, path, context=10, n_train=100, n_held_out=20)


def test_ids(model, tmp_path):
    path = tmp_path / "ids.npy"
    np.save(path, np.random.default_rng(0).integers(0, 29, (40, 9)))
    train, held_out = read_data(model, path, n_train=300, n_held_out=36)
    assert len(train) + len(held_out) == 40 and len(held_out) == 4
    np.save(path, np.zeros((40, 9)))
    with pytest.raises(SaeError, match="expected whole numbers"):
        read_data(model, path, n_train=300, n_held_out=36)
    np.save(path, np.full((40, 9), 29))
    with pytest.raises(ValueError, match="outside the vocabulary"):
        read_data(model, path, n_train=300, n_held_out=36)


def test_held_out_rows_that_are_trained_on_are_left_out(model, tmp_path, caplog):
    # Thirty rows of eleven words, of which the last three are held out: two of them stand above.
    text = words(27 * 11, low=20).split()
    text += [*text[:22], *words(11, seed=9, low=20).split()]
    (tmp_path / "a.txt").write_text(" ".join(text))
    train, held_out = read_data(model, tmp_path / "a.txt", context=12, n_train=9999, n_held_out=99)
    assert (len(train), len(held_out)) == (27, 1)
    assert held_out.tokens[0, 1:].tolist() == model.tokenizer.encode(
        words(11, seed=9, low=20), add_special_tokens=False
    )
    assert "2 of 3 held-out rows of a.txt are also trained on and were left out" in caplog.text


def test_text_that_repeats_itself_out_of_step_is_refused(model, tmp_path):
    # A period of 97 words and rows of 23: no row is ever the same as another.
    (tmp_path / "a.txt").write_text(" ".join([words(97)] * 30))
    with pytest.raises(SaeError, match=r"repeats itself: all \d+ held-out rows"):
        read_data(model, tmp_path / "a.txt", context=24, n_train=480, n_held_out=240)
    (tmp_path / "b.txt").write_text(words(3000))
    train, held_out = read_data(model, tmp_path / "b.txt", context=24, n_train=480, n_held_out=240)
    assert (len(train), len(held_out)) == (20, 10)


def test_a_single_text_gives_both_sides_what_was_asked_for(model, tmp_path):
    (tmp_path / "a.txt").write_text(words(5000))
    train, held_out = read_data(model, tmp_path / "a.txt", context=20, n_train=400, n_held_out=100)
    assert (len(train), len(held_out)) == (20, 5)
    assert not {tuple(row) for row in train.tokens.tolist()} & {
        tuple(row) for row in held_out.tokens.tolist()
    }


def test_rows_without_anything_held_out(model, tmp_path):
    (tmp_path / "a.txt").write_text(words(500))
    rows = read_rows(model, tmp_path / "a.txt", context=12, n=100)
    assert rows.tokens.shape == (9, 12)
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(0, 29, (40, 9)))
    assert len(read_rows(model, tmp_path / "ids.npy", n=45)) == 5
    assert len(read_rows(model, "own", context=8, n=80)) == 10
    (tmp_path / "short.txt").write_text("w3 w4")
    with pytest.raises(SaeError, match="0 rows of 12 tokens; give more text"):
        read_rows(model, tmp_path / "short.txt", context=12, n=100)


@pytest.mark.parametrize("n", [0, -5])
def test_something_must_be_held_out(n, model, tmp_path):
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(0, 29, (40, 9)))
    with pytest.raises(SaeError, match="held-out tokens to evaluate on; expected at least 1"):
        read_data(model, tmp_path / "ids.npy", n_train=300, n_held_out=n)


def test_own_text_is_seeded_and_limited(model):
    def read(source):
        return read_data(model, source, context=8, n_train=400, n_held_out=16, seed=2)

    train, held_out = read("own:80")
    assert (len(train), len(held_out)) == (10, 2)
    assert torch.equal(train.tokens, read("own:80")[0].tokens)
    assert not (set(train.groups) & set(held_out.groups))
    assert len(read("own")[0]) == 50


def test_too_little_text_is_refused(model, tmp_path):
    (tmp_path / "a.txt").write_text("w3 w4")
    with pytest.raises(SaeError, match="0 rows of 12 tokens; expected two at least"):
        read_data(model, tmp_path / "a.txt", context=12, n_train=200, n_held_out=30)


def test_without_the_hub_a_data_set_fails_quickly(model, monkeypatch):
    monkeypatch.setattr("interp.sae.offline.hub_reachable", lambda: False)
    with pytest.raises(SaeError, match="no network to the Hub"):
        read_data(model, "someone/some-data", n_train=10, n_held_out=10)


def test_a_model_without_tokenizer_needs_ids(load_tiny, tmp_path):
    (tmp_path / "a.txt").write_text("w3 w4")
    with pytest.raises(SaeError, match=r"an \.npy file, or 'own'"):
        read_data(load_tiny("native"), tmp_path / "a.txt", n_train=9, n_held_out=9)
