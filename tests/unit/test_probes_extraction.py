"""Pooled activations of a real forward pass: the right tokens, at every site, cached or not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interp.hooks import Site, session
from interp.models import Model, load_model
from interp.runfolder.files import write_tensors
from probes import DataError, StatementSet, extract, extract_sites, extraction
from probes.activations import parse_position
from probes.cache import ActivationCache
from probes.data import Turn

# No word begins with w1, the tokenizer's beginning-of-sequence mark, which it would find in it.
TEXTS = ["w3 w4 w5", "w6", "w7 w8 w9 w20 w22", "w23 w24"]
# The characters of the middle token, of the only one, of the second and fourth, of the first.
SPANS = [(3, 5), None, [(3, 5), (9, 12)], (0, 3)]
POOLED = [[1], [0], [1, 3], [0]]
SITES = ["L0.resid_post", "L2.mlp_post", "L1H2"]


@pytest.fixture(scope="module", params=[False, True], ids=["bare", "bos"])
def worded(
    request: pytest.FixtureRequest,
    make_hf: Callable[[str], Any],
    make_tokenizer: Callable[..., Any],
) -> Model:
    """A tiny Llama with a word tokenizer, without and with a beginning-of-sequence token."""
    tokenizer = make_tokenizer(bos=request.param)
    return load_model("worded", hf_model=make_hf("llama"), tokenizer=tokenizer)


@pytest.fixture
def data() -> StatementSet:
    return StatementSet.build(TEXTS, [0, 1, 0, 1], spans=SPANS, name="set")


def alone(model: Model, text: str, site: str) -> torch.Tensor:
    """Activations of one text by itself, without its beginning-of-sequence token."""
    with session(model, capture=[site]) as s:
        s.run(model.tokenize(text).tokens)
    return s[Site.parse(site)][0, int(model.bos_id is not None) :]


@pytest.mark.parametrize("position", ["last", "mean", "every", "char:0", "char:-1", -1])
@pytest.mark.parametrize("held", [2**28, 1])
def test_every_way_of_pooling_reads_that_statements_tokens(
    worded: Model,
    data: StatementSet,
    monkeypatch: pytest.MonkeyPatch,
    *,
    position: Any,
    held: int,
) -> None:
    monkeypatch.setattr("probes.extraction._HELD_BYTES", held)
    found = extract_sites(worded, data, sites=SITES, position=position)
    assert [str(site) for site in found.at] == SITES
    for site, activations in found.at.items():
        rows = []
        for text, over in zip(TEXTS, POOLED, strict=True):
            tokens = alone(worded, text, str(site))
            chosen = {
                "last": tokens[over[-1]][None],
                "mean": tokens[over].mean(0)[None],
                "every": tokens[over],
                "char:0": tokens[0][None],
            }.get(position, tokens[-1][None])
            rows.append(chosen)
        assert torch.allclose(activations.values, torch.cat(rows), atol=1e-5)
        assert activations.position == position
        assert activations.n_statements == len(data)
        lengths = [len(text.split()) + int(worded.bos_id is not None) for text in TEXTS]
        assert activations.statement_lengths.tolist() == lengths
    assert found.data is data


def test_without_spans_the_mean_is_over_the_statement_and_not_its_first_mark(worded: Model) -> None:
    data = StatementSet.build(TEXTS, [0, 1, 0, 1])
    found = extract(worded, data, site="L1.resid_post", position="mean")
    for row, text in enumerate(TEXTS):
        expected = alone(worded, text, "L1.resid_post").mean(0)
        assert torch.allclose(found.values[row], expected, atol=1e-5)


def test_turns_come_before_the_statement_and_are_not_pooled(worded: Model) -> None:
    turns = [[Turn("user", "w20 w21")]] * 4
    plain = StatementSet.build(TEXTS, [0, 1, 0, 1], spans=SPANS)
    asked = StatementSet.build(TEXTS, [0, 1, 0, 1], spans=SPANS, prompts=turns)
    found = extract(worded, asked, site="L2.resid_post", position="mean")
    for row, (text, over) in enumerate(zip(TEXTS, POOLED, strict=True)):
        tokens = alone(worded, f"w20 w21 {text}", "L2.resid_post")[2:]
        assert torch.allclose(found.values[row], tokens[over].mean(0), atol=1e-5)
    without = extract(worded, plain, site="L2.resid_post", position="mean")
    assert not torch.allclose(found.values, without.values, atol=1e-3)


def test_a_chat_template_is_used_where_there_is_one(
    make_hf: Callable[[str], Any], make_tokenizer: Callable[..., Any]
) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ 'w1 ' if m['role'] == 'user' else 'w2 ' }}{{ m['content'] }} w3 "
        "{% endfor %}"
    )
    model = load_model("chatty", hf_model=make_hf("llama"), tokenizer=tokenizer)
    data = StatementSet.build(["w8 w9", "w7"], [0, 1], prompts=[[Turn("user", "w20")]] * 2)
    found = extract(model, data, site="L2.resid_post")
    for row, text in enumerate(("w1 w20 w3 w2 w8 w9", "w1 w20 w3 w2 w7")):
        expected = alone(model, text, "L2.resid_post")[-1]
        assert torch.allclose(found.values[row], expected, atol=1e-5)


def test_sets_of_ids_need_no_tokenizer(load_tiny: Callable[[str], Model]) -> None:
    model = load_tiny("native")
    data = StatementSet.build(labels=[0, 1], ids=[[3, 4, 5], [6]])
    found = extract(model, data, site="L1.resid_post", position="mean")
    with session(model, capture=["L1.resid_post"]) as s:
        s.run(torch.tensor([[3, 4, 5]]))
    expected = s[Site.parse("L1.resid_post")][0].mean(0)
    assert torch.allclose(found.values[0], expected, atol=1e-5)
    with pytest.raises(DataError, match="no characters; give a token's index"):
        extract(model, data, site="L1.resid_post", position="char:0")
    beyond = StatementSet.build(labels=[0, 1], ids=[[3], [99]])
    with pytest.raises(ValueError, match="token id 99 is outside the vocabulary"):
        extract(model, beyond, site="L1.resid_post")


def test_statements_that_cannot_be_read_are_left_out_and_counted(worded: Model) -> None:
    long = " ".join(["w2"] * 30)
    data = StatementSet.build(
        ["w3 w4", long, "w5  w6", "w7"],
        [0, 1, 0, 1],
        spans=[None, None, (2, 3), None],
        pairs=["p", "p", "q", "q"],
        name="set",
    )
    found = extract_sites(worded, data, sites=["L1.resid_post"], position="mean")
    (activations,) = found.at.values()
    assert found.data.texts == ("w3 w4", "w7")
    assert found.skipped == {
        "the span is cut off at 24 tokens": ("row 2",),
        "the span falls on no token": ("row 3",),
    }
    expected = alone(worded, "w7", "L1.resid_post")[0]
    assert torch.allclose(activations.values[1], expected, atol=1e-5)
    with pytest.raises(DataError, match=r"set, row 2: the span is cut off .*1 of 4 statements"):
        extract(worded, data, site="L1.resid_post")
    with pytest.raises(DataError, match="no statement is left"):
        extract(worded, data.select([1]), site="L1.resid_post")


def test_a_slow_tokenizer_cannot_place_spans(worded: Model, data: StatementSet) -> None:
    class Slow:
        chat_template = None

        def __call__(self, text: str, **options: Any) -> None:
            raise NotImplementedError("offsets")

    with pytest.raises(DataError, match="use its fast version"):
        extract(dataclasses.replace(worded, tokenizer=Slow()), data, site="L1.resid_post")


def test_cached_activations_are_those_of_the_run(
    worded: Model, data: StatementSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ActivationCache(tmp_path, 2**20)
    first = extract_sites(worded, data, sites=SITES[:2], position="every", cache=cache)
    runs: list[list[str]] = []
    run = extraction._run

    def seen(model: Model, reading: Any, sites: Any, *rest: Any) -> Any:
        runs.append([str(site) for site in sites])
        return run(model, reading, sites, *rest)

    monkeypatch.setattr("probes.extraction._run", seen)
    again = extract_sites(worded, data, sites=SITES, position="every", cache=cache)
    assert runs == [SITES[2:]]
    for site, activations in first.at.items():
        assert torch.equal(again.at[site].values, activations.values)
    extract_sites(worded, data, sites=SITES[:1], position="mean", cache=cache)
    extract_sites(worded, data.select([1, 0, 2, 3]), sites=SITES[:1], position="every", cache=cache)
    assert runs[1:] == [SITES[:1]] * 2
    # An entry that does not fit is not believed.
    for file in tmp_path.iterdir():
        write_tensors(file, {"values": torch.zeros(1, 2)})
    anew = extract_sites(worded, data, sites=SITES[:1], position="every", cache=cache)
    assert torch.equal(next(iter(anew.at.values())).values, next(iter(first.at.values())).values)


def test_rows_of_tokens_keep_to_their_statements(worded: Model, data: StatementSet) -> None:
    found = extract(worded, data, site="L0.resid_post", position="every")
    assert found.owners is not None
    assert found.owners.tolist() == [0, 1, 2, 2, 3]
    part = found.select([2, 0])
    assert part.owners is not None
    assert part.owners.tolist() == [0, 0, 1]
    assert torch.equal(part.values, found.values[[2, 3, 0]])
    assert part.spread(np.array([True, False])).tolist() == [True, True, False]
    assert part.by_statement(torch.tensor([1.0, 3.0, 5.0])).tolist() == [2.0, 5.0]


def test_positions_are_read_and_written_the_same() -> None:
    for text in ("last", "mean", "every", "char:3", "char:-1"):
        assert parse_position(text) == text
        assert parse_position(parse_position(text)) == text
    assert parse_position("-2") == parse_position(-2) == -2
    for wrong in ("char:", "char:x", "first", "1.5"):
        with pytest.raises(DataError, match="expected last, mean, every"):
            parse_position(wrong)
