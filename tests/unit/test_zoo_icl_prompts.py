"""Prompts: where the answer begins, which labels move, and what is dropped and counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from interp.models import load_model
from interp.models.loading import ZOO_FOLDER
from interp.zoo.icl import IclError, IclTask, icl_task, icl_task_names
from interp.zoo.icl_boundary import deranged
from interp.zoo.icl_prompts import icl_prompts


@pytest.fixture(scope="module")
def texts():
    """An untrained model with the bundled tokenizer of Python source, and its BOS."""
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
        bos_token_id=0,
    )
    tokenizer = AutoTokenizer.from_pretrained(ZOO_FOLDER / "code-lm")
    return load_model("tiny-text", hf_model=LlamaForCausalLM(config), tokenizer=tokenizer)


@pytest.mark.parametrize("name", icl_task_names())
def test_the_answer_begins_where_the_prompt_ends(texts, name):
    task = icl_task(name, n=40)
    prompts = icl_prompts(task, texts, n=15, shots=3)
    outputs = dict(task.pairs)
    every = {output for _, output in task.pairs} | {c for each in task.choices for c in each}
    decode = texts.tokenizer.decode
    assert len(prompts) == 15 and prompts.mask is not None
    for i in range(15):
        row = prompts.tokens[i][prompts.mask[i]].tolist()
        assert row[0] == texts.bos_id and len(row) == int(prompts.answer_at[i]) + 1
        text = decode(row[1:])
        shown = [line[3:] for line in text.split("\n") if line.startswith("Q: ")]
        assert text.rstrip(" ").endswith("A:") and len(shown) == 4
        answers = [line[3:] for line in text.split("\n") if line.startswith("A: ")][:3]
        assert answers == [outputs[given] for given in shown[:3]]
        assert shown[-1] not in shown[:-1], "the query must not be among the shots"
        # Prompt and first token, as text: the beginning of the prompt and its output.
        begun = decode([*row[1:], int(prompts.answer[i])])
        assert len(begun) > len(text)
        whole = f"{text.rstrip(' ')} {outputs[shown[-1]]}"
        assert whole.startswith(begun) and begun.strip() != text.strip()
        ids = texts.tokenizer.encode(whole, add_special_tokens=False)
        assert ids[: len(row)] == [*row[1:], int(prompts.answer[i])]
        assert prompts.answer[i] != prompts.wrong[i]
        wrong = decode([int(prompts.wrong[i])]).strip()
        assert any(other.startswith(wrong) for other in every) and wrong
        assert prompts.groups[i] == f"{name}: {shown[-1]}"


def test_permuted_labels_pair_with_the_unpermuted(texts):
    task = icl_task("capitalize", n=60)
    plain, moved = (
        icl_prompts(task, texts, n=20, shots=5, permute_labels=p, seed=2) for p in (False, True)
    )
    assert plain.groups == moved.groups and moved.permuted and not plain.permuted
    assert torch.equal(plain.answer, moved.answer) and torch.equal(plain.wrong, moved.wrong)
    for i in range(20):
        told = [texts.tokenizer.decode(p.tokens[i][p.mask[i]][1:]) for p in (plain, moved)]
        lines = [text.split("\n") for text in told]
        assert [li[3:] for li in lines[0] if li[:1] == "Q"] == [
            li[3:] for li in lines[1] if li[:1] == "Q"
        ]
        labels = [[li[3:] for li in each if li.startswith("A: ")] for each in lines]
        assert sorted(labels[0]) == sorted(labels[1])
        assert all(a != b for a, b in zip(*labels, strict=True))


def test_fewer_shots_and_fewer_prompts_are_the_first_of_more(texts):
    task = icl_task("first-letter", n=50)
    one, five = (icl_prompts(task, texts, n=8, shots=shots) for shots in (1, 5))
    assert one.groups == five.groups
    few = icl_prompts(task, texts, n=4, shots=5)
    assert few.groups == five.groups[:4]
    for i in range(8):
        short, long = (
            texts.tokenizer.decode(p.tokens[i][p.mask[i]][1:]).split("\n\n") for p in (one, five)
        )
        assert short[0] == long[0] and short[-1] == long[-1]
        assert (len(short), len(long)) == (2, 6)
    bare = icl_prompts(task, texts, n=3, shots=0)
    assert "A:" in texts.tokenizer.decode(bare.tokens[0][bare.mask[0]])


def test_queries_are_each_used_once_before_any_again_and_never_straddle(texts):
    task = icl_task("capitalize", n=12)
    prompts = icl_prompts(task, texts, n=24, shots=2)
    assert len(set(prompts.groups[:12])) == 12 and len(set(prompts.groups)) == 12
    left, right = prompts.split(0.5, seed=0)
    assert not set(left.groups) & set(right.groups)
    assert type(left) is type(prompts) and left.echo.shape == (len(left),)


def test_what_cannot_be_tokenised_apart_is_dropped_and_counted(texts):
    task = icl_task("singular-plural", n=60)
    # Nothing stands between input and output, so that they often share a token.
    prompts = icl_prompts(task, texts, n=60, shots=2, template="{input}{output}\n")
    count = dict(prompts.dropped)["prompt and answer share a token"]
    assert count > 0 and len(prompts) + sum(dict(prompts.dropped).values()) == 60
    same = IclTask("same", "copy", (("a", "x"), ("b", "x"), ("c", "x")))
    with pytest.raises(IclError, match="no other output begins with another token"):
        icl_prompts(same, texts, n=3, shots=1)


def test_guess_and_echo_say_what_a_guesser_gets(texts):
    listed = icl_prompts(icl_task("choose-first-of-3", n=40), texts, n=30, shots=2)
    assert listed.guess is not None and listed.echo is not None
    # A third, or more where other items begin with the same token.
    assert float(listed.guess.min()) == pytest.approx(1 / 3)
    assert bool(listed.echo.all()), "the first item is how the query begins"
    bare = icl_prompts(icl_task("word-length", n=40), texts, n=30, shots=2)
    assert bare.guess is None and bare.echo is not None and not bool(bare.echo.any())


def test_too_long_prompts_say_how_many_shots_fit(texts):
    task = icl_task("choose-first-of-5", n=60)
    with pytest.raises(IclError, match=r"at most [0-9]+ shots fit") as error:
        icl_prompts(task, texts, n=10, shots=30)
    fits = int(str(error.value).split("at most ")[1].split()[0])
    reduced = icl_prompts(task, texts, n=10, shots=30, on_overflow="reduce")
    assert reduced.shots == fits and reduced.tokens.shape[1] <= texts.n_ctx
    assert torch.equal(reduced.tokens, icl_prompts(task, texts, n=10, shots=fits).tokens)
    with pytest.raises(IclError, match="at most"):
        icl_prompts(task, texts, n=10, shots=fits + 1)
    long = IclTask("long", "copy", tuple((f"{i} " + "a b " * 300, f"{i}") for i in range(3)))
    with pytest.raises(IclError, match="not even 0 shots"):
        icl_prompts(long, texts, n=2, shots=1, on_overflow="reduce")


def test_arguments_out_of_range(texts, gpt2):
    task = icl_task("copy", n=5)
    for options, said in (
        ({"shots": 5}, "at most 4 shots"),
        ({"shots": -1}, "at least 0"),
        ({"shots": 1, "permute_labels": True}, "at least 2"),
        ({"n": 0}, "at least 1"),
        ({"template": "{output} {input}"}, "expected {input} once"),
        ({"template": "{input}"}, "expected {input} once"),
        ({"on_overflow": "cut"}, "on_overflow"),
    ):
        with pytest.raises(IclError, match=said):
            icl_prompts(task, texts, **{"n": 2, "shots": 2, **options})
    with pytest.raises(IclError, match="no tokenizer"):
        icl_prompts(task, gpt2, n=2, shots=2)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=12), st.integers(0, 99))
def test_labels_move_as_far_as_they_can(labels, seed):
    source = deranged(labels, np.random.default_rng(seed))
    assert sorted(source) == list(range(len(labels)))
    kept = sum(labels[i] == labels[j] for i, j in enumerate(source))
    # All can move unless one label has the majority; then the surplus cannot.
    assert kept == max(0, 2 * max(map(labels.count, labels)) - len(labels))
