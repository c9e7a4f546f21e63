"""Prompts from a file: read exactly, or refused by file, row and reason."""

from __future__ import annotations

import json

import pytest
import torch

from interp.models import load_model
from interp.models.prompts import PromptsError, read_prompts


@pytest.fixture(scope="module")
def worded(tiny_folder):
    return load_model(str(tiny_folder("gpt2")))


@pytest.fixture
def file(tmp_path):
    def write(*rows):
        path = tmp_path / "prompts.jsonl"
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def row(clean="w3 w4 w5", answer=" w6", **more):
    return {"clean": clean, "answer": answer, **more}


def test_what_a_file_says_is_what_comes_back(worded, file):
    path = file(
        row(wrong=" w7", corrupt="w8 w4 w5"),
        "",
        row("w2 w9", " w1", wrong=" w3", corrupt="w2 w1"),
        row(wrong=" w7", corrupt="w8 w4 w5"),
    )
    found = read_prompts(path, worded, with_corrupt=True)
    assert found.clean.tokens[0].tolist() == [3, 4, 5]
    assert found.clean.tokens[1, :2].tolist() == [2, 9]
    assert found.clean.mask.sum(1).tolist() == [3, 2, 3]
    assert found.clean.answer.tolist() == [6, 1, 6]
    assert found.clean.wrong.tolist() == [7, 3, 7]
    assert found.clean.answer_at.tolist() == [2, 1, 2]
    assert found.corrupt.tokens[0].tolist() == [8, 4, 5]
    assert found.clean.groups[0] == found.clean.groups[2] != found.clean.groups[1]
    assert (found.n_duplicates, found.n_cut, found.n_unequal) == (1, 0, 0)


def test_clean_and_corrupt_stay_together_when_split(worded, file):
    rows = [row(f"w{i} w4", corrupt=f"w{i} w5") for i in range(10)]
    found = read_prompts(file(*rows), worded, with_corrupt=True)
    for part in found.split(0.5, seed=3):
        assert torch.equal(part.clean.tokens[:, 0], part.corrupt.tokens[:, 0])
        assert len(part.clean) == 5
    first, second = found.split(0.5, seed=3)
    assert not set(first.clean.groups) & set(second.clean.groups)


def test_ids_stand_for_themselves_where_there_is_no_tokenizer(load_tiny, file):
    path = file(row([1, 2, 3], 4), row([2, 3], [5]))
    found = read_prompts(path, load_tiny("llama"))
    assert found.clean.answer.tolist() == [4, 5]
    with pytest.raises(PromptsError, match=r"prompts.jsonl:1: tiny-llama has no tokenizer"):
        read_prompts(file(row()), load_tiny("llama"))


def test_several_tokens_are_cut_only_where_that_was_asked_for(worded, file):
    path = file(row(), row("w1 w2", " w6 w7"))
    with pytest.raises(PromptsError, match=r":2: 'answer' is 2 tokens; expected one"):
        read_prompts(path, worded)
    found = read_prompts(path, worded, first_token=True)
    assert found.n_cut == 1 and found.clean.answer.tolist() == [6, 6]


def test_rows_of_unequal_length_are_left_out_only_where_that_was_asked_for(worded, file):
    path = file(row(corrupt="w1 w2 w3"), row(corrupt="w1 w2"))
    with pytest.raises(PromptsError, match=r":2: clean has 3 tokens and corrupt 2"):
        read_prompts(path, worded, with_corrupt=True)
    found = read_prompts(path, worded, with_corrupt=True, skip_unequal=True)
    assert found.n_unequal == 1 and len(found.clean) == 1
    assert len(read_prompts(path, worded).clean) == 2, "nobody asked for corrupt prompts"
    later = [row(corrupt="w1 w2"), row(corrupt="w1 w2 w3", group="a")]
    path = file(*later, row(corrupt="w1 w2 w3", group="b"))
    with pytest.raises(PromptsError, match=":3: this prompt stands"):  # the file's row, not ours
        read_prompts(path, worded, with_corrupt=True, skip_unequal=True)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["{"], ":1: no JSON"),
        ([row(), "[1]"], ":2: a JSON list; expected an object"),
        ([{"clean": "w1"}], ":1: 'answer' is missing"),
        ([row(anwser="w1")], ":1: unknown key 'anwser'; did you mean 'answer'?"),
        ([row(wrong=" w6")], ":1: answer and wrong begin with the same token"),
        ([row(wrong=" w7"), row()], ":2: 'wrong' must be given in every row or in none"),
        ([row(clean=7)], ":1: 'clean' is a int; expected text or a list"),
        ([row(clean=[1, 99])], ":1: 'clean' has id 99, outside the vocabulary 0…28"),
        ([row(answer="")], ":1: 'answer' is empty"),
        ([row(answer="6")], ":1: 'answer' runs together with the prompt's last token"),
        ([row(clean=" ".join(["w1"] * 30))], ":1: 'clean' has 30 tokens, the context"),
        ([row(group="a"), row(group="b")], ":2: this prompt stands in group 'a' already"),
        ([row(group=[1])], ":1: 'group' is a list"),
        ([""], "holds no prompts"),
    ],
)
def test_the_first_bad_row_is_named(worded, file, rows, said):
    with pytest.raises(PromptsError) as caught:
        read_prompts(file(*rows), worded)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_is_said(worded, tmp_path):
    with pytest.raises(PromptsError, match="cannot be read"):
        read_prompts(tmp_path / "none.jsonl", worded)
