"""Extraction: the right vector of the right statement, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from interp.hooks import Site, SiteError, session
from interp.models import Model, ModelError, load_model
from probes import Activations, DataError, StatementSet, extract, tokenise
from probes.activations import parse_position

TEXTS = ["w3 w4 w5", "w6", "w7 w8 w9 w10 w11", "w12 w13"]
DATA = StatementSet.build(TEXTS, [0, 1, 0, 1], name="set")


@pytest.fixture(scope="module")
def worded(tiny_folder: Callable[[str], Path]) -> Model:
    """A tiny GPT-2 with a word tokenizer."""
    return load_model(str(tiny_folder("gpt2")))


@pytest.mark.parametrize("site", ["L1.resid_post", "L2.mlp_post", "L0H3", "final_norm"])
@pytest.mark.parametrize("position", ["last", 0, -1])
def test_each_row_is_that_statement_run_alone(worded: Model, site: str, position: Any) -> None:
    found = extract(worded, DATA, site=site, position=position, batch_size=3)
    assert found.lengths.tolist() == [3, 1, 5, 2]
    assert found.fingerprint == worded.fingerprint
    for row, text in enumerate(TEXTS):
        with session(worded, capture=[site]) as s:
            s.run(worded.tokenize(text).tokens)
        alone = s[Site.parse(site)][0, -1 if position == "last" else position]
        assert torch.allclose(found.values[row], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("site", "why"),
    [
        ("L0.z", r"L0\.z is not one vector a token \(head × d_head\); .*L0H0"),
        ("L0.pattern", "not one vector a token"),
        ("L0H1.pattern", "not one vector a token"),
        ("L9.resid_post", "no layer 9"),
        ("L0.resid_pots", "did you mean resid_post"),
        ("L0.resid_post@2", "give the position by itself, as position=2"),
    ],
)
def test_places_without_one_vector_a_token_are_refused(worded: Model, site: str, why: str) -> None:
    with pytest.raises(SiteError, match=why):
        extract(worded, DATA, site=site)


def test_positions_that_some_statement_lacks_are_refused(worded: Model) -> None:
    for position in (1, -2):
        with pytest.raises(DataError, match=f"set, row 2: 1 tokens, .*position {position}"):
            extract(worded, DATA, site="L0.resid_post", position=position)
    with pytest.raises(DataError, match="position is 'end'; expected last"):
        extract(worded, DATA, site="L0.resid_post", position="end")
    assert parse_position("-2") == -2
    assert parse_position("last") == "last"


def test_too_long_a_statement_is_refused_with_its_row(worded: Model) -> None:
    data = StatementSet.build(["w1", " ".join(["w2"] * 25)], [0, 1], name="set")
    with pytest.raises(DataError, match=r"set: row 2: the statement has 25 tokens"):
        tokenise(worded, data)


def test_statements_that_are_the_same_to_the_model_are_refused(worded: Model) -> None:
    data = StatementSet.build(["w3 Paris", "w3 Rome", "w4"], [1, 0, 0], name="set")
    with pytest.raises(DataError, match=r"set, row 2: .*the same as row 1 \('w3 Paris'\)"):
        tokenise(worded, data)


def test_a_model_without_tokenizer_is_refused(load_tiny: Callable[[str], Model]) -> None:
    with pytest.raises(ModelError, match="no tokenizer"):
        tokenise(load_tiny("native"), DATA)


def test_activations_check_themselves() -> None:
    fields: dict[str, Any] = {
        "fingerprint": "f",
        "model": "m",
        "site": Site.parse("L0.resid_post"),
        "position": "last",
    }
    two = torch.ones(2, dtype=torch.int64)
    with pytest.raises(DataError, match="shape"):
        Activations(values=torch.zeros(2), lengths=two, **fields)
    with pytest.raises(DataError, match="as many lengths"):
        Activations(values=torch.zeros(3, 4), lengths=two, **fields)
    with pytest.raises(DataError, match=r"statement 1 at .* is not finite"):
        values = torch.tensor([[0.0, 1.0], [float("nan"), 0.0]])
        Activations(values=values, lengths=two, **fields)
    found = Activations(values=torch.eye(2), lengths=torch.tensor([3, 4]), **fields).select([1])
    assert found.values.tolist() == [[0.0, 1.0]]
    assert found.lengths.tolist() == [4]
