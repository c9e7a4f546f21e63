"""Turns, templates, framings and tokens: spans stay on their characters, rows stay aligned."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from probes.data import (
    FRAMINGS,
    DataError,
    Framing,
    StatementSet,
    Turn,
    encoded,
    framed,
    rendered,
)

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}<|end|>\n"
    "{% endfor %}"
)
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    + TEMPLATE
)


def tokenizer(template: str | None = None) -> PreTrainedTokenizerFast:
    words = ["<s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz"]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", unk_token="<unk>")
    made.chat_template = template
    return made


def pooled(data: StatementSet) -> list[list[str]]:
    assert data.spans is not None
    return [
        [text[a:b] for a, b in spans] for text, spans in zip(data.texts, data.spans, strict=True)
    ]


def talk(**changes: Any) -> StatementSet:
    given: dict[str, Any] = {
        "prompts": [
            [Turn("system", "Be brief."), Turn("user", "Say it.")],
            [Turn("user", "the end", pooled=True), Turn("user", "again")],
        ],
        "spans": [(4, 7), None],
    }
    return StatementSet.build(["the end", " yes "], [1, 0], **given | changes)


def test_spans_follow_their_characters_through_a_template() -> None:
    data = rendered(talk(), tokenizer(TEMPLATE))
    assert data.prompts is None
    # The same words in the prompt do not mislead it, and what follows the statement is left off.
    assert data.texts[0] == (
        "<|system|>\nBe brief.<|end|>\n<|user|>\nSay it.<|end|>\n<|assistant|>\nthe end"
    )
    assert data.texts[1].startswith("<|user|>\nthe end\n\nagain<|end|>")
    assert pooled(data) == [["end"], ["the end", " yes "]]
    assert data.labels == (True, False)


def test_without_a_template_turns_are_parted_by_blank_lines() -> None:
    data = rendered(talk(), tokenizer())
    assert data.texts[0] == "Be brief.\n\nSay it.\n\nthe end"
    assert pooled(data) == [["end"], ["the end", " yes "]]
    plain = StatementSet.build(["a", "b"], [1, 0])
    assert rendered(plain, tokenizer(TEMPLATE)) is plain


def test_a_template_without_a_system_turn_gets_it_in_the_users() -> None:
    data = rendered(talk(), tokenizer(NO_SYSTEM))
    assert data.texts[0].startswith("<|user|>\nBe brief.\n\nSay it.<|end|>")
    refusing = "{{ raise_exception('nothing at all') }}"
    with pytest.raises(DataError, match=r"row 1: the chat template refuses.*nothing at all"):
        rendered(talk(), tokenizer(refusing))
    with pytest.raises(DataError, match="leaves a turn out"):
        rendered(talk(), tokenizer("{{ messages[0]['content'] }}"))


def test_a_date_in_the_template_is_fixed_or_said(caplog: pytest.LogCaptureFixture) -> None:
    dated = (
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
        "{% endif %}{{ date_string }} "
    )
    data = rendered(talk(), tokenizer(dated + TEMPLATE))
    assert data.texts[0].startswith("26 Jul 2024")
    assert not caplog.records
    always = "{{ strftime_now('%Y-%m-%d') }} "
    data = rendered(talk(), tokenizer(always + TEMPLATE))
    assert data.texts[0].startswith(date.today().isoformat())
    assert "writes today's date" in caplog.text


def test_tokens_that_a_span_falls_on() -> None:
    data = StatementSet.build(["abcd", "xyz"], [1, 0], spans=[(1, 3), [(0, 1), (2, 3)]])
    found = encoded(data, tokenizer(), bos_id=0)
    assert found.tokens.shape == (2, 5)
    assert found.pooled.tolist() == [
        [False, False, True, True, False],
        [False, True, False, True, False],
    ]
    assert found.mask.sum(1).tolist() == [5, 4]
    whole = encoded(StatementSet.build(["abcd", "xyz"], [1, 0]), tokenizer(), bos_id=0)
    assert np.array_equal(whole.pooled, whole.mask & (np.arange(5) > 0))


def test_spans_cut_off_or_on_no_token_are_skipped_with_everything_aligned() -> None:
    data = StatementSet.build(
        ["abcd", "abce", "xyz", "xyw"],
        [1, 0, 1, 0],
        spans=[(3, 4), (0, 1), None, None],
        pairs=["p", "p", "q", "q"],
    )
    found = encoded(data, tokenizer(), bos_id=0, max_length=4)
    assert found.skipped == {"the span is cut off at 4 tokens": ("row 1",)}
    assert found.data.texts == ("abce", "xyz", "xyw")
    assert len(found.tokens) == len(found.pooled) == len(found.data) == 3
    assert [list(rows) for rows in found.data.pair_rows] == [[1], [2]]
    with pytest.raises(DataError, match="no statement is left: the span is cut off"):
        encoded(data, tokenizer(), max_length=0)
    gap = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    gap.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    spaced = StatementSet.build(["a a", "a"], [1, 0], spans=[(1, 2), None])
    found = encoded(spaced, PreTrainedTokenizerFast(tokenizer_object=gap))
    assert found.skipped == {"the span falls on no token": ("row 1",)}


def test_ids_need_no_tokenizer_and_texts_do() -> None:
    data = StatementSet.build(labels=[1, 0], ids=[[5, 6], [7]])
    found = encoded(data, None, bos_id=1)
    assert found.tokens.tolist() == [[1, 5, 6], [1, 7, 0]]
    assert found.pooled.tolist() == [[False, True, True], [False, True, False]]
    with pytest.raises(DataError, match="need a tokenizer"):
        encoded(talk(), None)
    with pytest.raises(DataError, match="no words"):
        rendered(data, tokenizer())

    class Slow:
        def __call__(self, text: str, **options: Any) -> None:
            raise NotImplementedError("offsets")

    with pytest.raises(DataError, match="use its fast version"):
        encoded(talk(prompts=None), Slow())


PAIRS = StatementSet.build(
    [f"s{i} is {w}" for i in range(40) for w in ("so", "no")] + ["alone"],
    [1, 0] * 40 + [1],
    pairs=[i // 2 for i in range(80)] + [None],
)


def test_framings_are_turns_before_the_statements() -> None:
    data = framed(PAIRS, "plain")
    assert data.texts == PAIRS.texts
    assert data.prompts is not None
    assert {turns[0].content for turns in data.prompts} == {"Please tell me a fact."}
    assert data.hash != PAIRS.hash
    assert set(data.row_hashes).isdisjoint(PAIRS.row_hashes)
    inverted = framed(PAIRS, "expectation-inverted")
    assert inverted.labels == PAIRS.labels
    turned = framed(PAIRS, "expectation-inverted", labels="expectation")
    assert turned.labels == tuple(not label for label in PAIRS.labels)
    assert turned.prompts is not None
    assert "dishonest" in turned.prompts[0][0].content
    own = framed(PAIRS, Framing("mine", system="Be odd."))
    assert own.prompts is not None
    assert own.prompts[0] == (Turn("system", "Be odd."),)
    for wrong, why in (("plane", "did you mean plain"), ("sycofantic", "did you mean sycophantic")):
        with pytest.raises(DataError, match=why):
            framed(PAIRS, wrong)
    with pytest.raises(DataError, match="without turns"):
        framed(data, "plain")
    assert set(FRAMINGS) == {"plain", "expectation-inverted", "sycophantic"}


def test_a_sycophantic_users_belief_says_nothing_about_the_truth() -> None:
    data = framed(PAIRS, "sycophantic", seed=0)
    assert len(data) == 80
    assert data.report is not None
    assert list(data.report.skipped.values()) == [("row 81",)]
    assert data.prompts is not None
    said = [turns[0].content for turns in data.prompts]
    agrees = np.array([text in turn for text, turn in zip(data.texts, said, strict=True)])
    assert said[0] == said[1]
    assert (agrees.reshape(-1, 2).sum(1) == 1).all()
    right = agrees[data.y].sum()
    assert 10 < right < 30
    assert framed(PAIRS, "sycophantic", seed=0).hash == data.hash
    assert framed(PAIRS, "sycophantic", seed=1).hash != data.hash
    with pytest.raises(DataError, match="needs pairs"):
        framed(replace(PAIRS, pairs=None), "sycophantic")
