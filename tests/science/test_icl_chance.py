"""Which in-context tasks count: none for a model that knows nothing, recall for one that copies.

Negative controls: guessers drawn at random are let through no more often than the level says; a
model of random weights is marked on every task. Positive controls: the hand-built and the trained
induction models answer what is in the context, and permuted labels take that away.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from interp.heads import IclScore, judge_icl, score_icl
from interp.models import load_model
from interp.models.loading import ZOO_FOLDER
from interp.zoo.icl import icl_task, icl_task_names
from interp.zoo.icl_files import load_icl_folder
from interp.zoo.icl_prompts import icl_prompts
from interp.zoo.tasks import get_task

ALPHA, FAMILIES, TASKS, ITEMS = 0.05, 200, 6, 40
SLACK = 3 * np.sqrt(ALPHA * (1 - ALPHA) / FAMILIES)


def guessed(task, rate, guess, rng):
    """A model that is right at a given rate on a list task, whatever the prompt."""
    hits = torch.from_numpy((rng.random(ITEMS) < rate).astype(np.float32))
    groups = tuple(map(str, range(ITEMS)))
    values = {"hits@1": hits}
    blind = torch.full((ITEMS,), guess)
    return IclScore(str(task), 10, False, values, torch.arange(ITEMS), groups, blind)


def let_through(rate, guess):
    rng = np.random.default_rng(0)
    families = [
        judge_icl([guessed(i, rate, guess, rng) for i in range(TASKS)], alpha=ALPHA)
        for _ in range(FAMILIES)
    ]
    return float(np.mean([bool(report.kept) for report in families]))


@pytest.mark.parametrize("guess", [1 / 2, 1 / 5])
def test_guessers_are_rarely_let_through(guess):
    assert let_through(guess, guess) <= ALPHA + SLACK
    assert let_through(guess + 0.35, guess) > 0.9, "so that the test above could have failed"


def recall(model, **options):
    generator = torch.Generator().manual_seed(0)
    ids = list(model.ordinary_ids)
    return get_task("key-value-recall")(
        ids, n=60, bos_id=model.bos_id, generator=generator, **options
    )


@pytest.mark.parametrize("name", ["zoo:induction-exact", "zoo:code-lm"])
def test_models_that_copy_recall_values_until_labels_are_permuted(name):
    model = load_model(name)
    plain, moved = (
        score_icl(model, recall(model, keys=6, permute_labels=permuted))
        for permuted in (False, True)
    )
    report = judge_icl([plain, moved])
    assert report.kept == (plain, moved) and not report.left_out
    assert plain.mean("hits@1") > 0.7
    assert moved.mean("hits@1") < 0.05, "the context says otherwise"
    assert plain.mean("answer-nll") + 3 < moved.mean("answer-nll")


def test_an_exact_copier_is_right_on_recall_and_on_no_place_in_a_list():
    model = load_model("zoo:induction-exact")
    ids = list(model.ordinary_ids)
    listed = get_task("list-position")(
        ids[2:],
        n=60,
        shots=4,
        sep_id=ids[0],
        end_id=ids[1],
        bos_id=model.bos_id,
        generator=torch.Generator().manual_seed(0),
    )
    report = judge_icl([score_icl(model, recall(model, keys=6)), score_icl(model, listed)])
    assert report.scores[0].mean("hits@1") == 1.0
    assert [mark.task for mark in report.left_out] == ["list-position-first-of-3"]


def test_random_weights_are_at_chance_on_everything():
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        bos_token_id=0,
    )
    tokenizer = AutoTokenizer.from_pretrained(ZOO_FOLDER / "code-lm")
    model = load_model("random", hf_model=LlamaForCausalLM(config), tokenizer=tokenizer)
    scores = [score_icl(model, recall(model, keys=6))]
    for name in icl_task_names():
        prompts = icl_prompts(icl_task(name, n=40), model, n=20, shots=3)
        scores.append(score_icl(model, prompts))
    report = judge_icl(scores)
    assert not report.kept and len(report.left_out) == len(scores) > 20
    assert all(mark.reason for mark in report.left_out)


def test_published_files_on_a_real_model(shared_models):
    """Nearly all at chance: it is a model of children's stories, with no strong induction head."""
    folder = shared_models.parent / "data" / "icl"
    if not folder.is_dir():
        pytest.skip("no published in-context tasks beside the real models")
    model = load_model(str(shared_models / "stories260k"))
    scores = [
        score_icl(model, icl_prompts(task, model, n=40, shots=4))
        for task in load_icl_folder(folder)
    ]
    report = judge_icl(scores)
    assert len(report.scores) >= 10
    assert len(report.left_out) >= 0.8 * len(scores)
