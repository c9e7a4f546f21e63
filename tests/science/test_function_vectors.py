"""What function-vector scores find where the answer is known, and that they find nothing else."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from interp.heads import (
    FunctionPrompts,
    function_vector_heads,
    function_vector_scores,
)
from interp.models import ModelSpec, load_model
from interp.zoo.tasks import get_task

KEYS = 6


def both(model, n=60, keys=KEYS):
    ids = list(model.ordinary_ids)
    return tuple(
        get_task("key-value-recall")(
            ids,
            n=n,
            keys=keys,
            bos_id=model.bos_id,
            permute_labels=permuted,
            generator=torch.Generator().manual_seed(0),
        )
        for permuted in (False, True)
    )


@cache
def exact():
    model = load_model("zoo:induction-exact")
    return function_vector_scores(model, [FunctionPrompts.split(*both(model))])


def test_random_weights_have_no_function_vectors():
    native = {
        "n_layers": 2,
        "d_model": 32,
        "d_head": 8,
        "n_heads": 4,
        "n_ctx": 32,
        "d_vocab": 64,
        "act_fn": "gelu",
        "d_mlp": 64,
        "normalization_type": "LN",
        "positional_embedding_type": "standard",
    }
    model = load_model(ModelSpec("random", native=native))
    scores = function_vector_scores(model, [FunctionPrompts.split(*both(model))])
    # p(answer) is near 1/64 whatever is put anywhere: nothing beyond a fraction of that, nor beyond
    # what varies from prompt to prompt.
    assert float(scores.values.abs().max()) < 0.2 / 64
    assert float((scores.values - scores.control).abs().max()) < 0.2 / 64
    error = scores.per_example.std(0) / len(scores.per_example) ** 0.5
    assert float((scores.values / error).abs().max()) < 4


def test_on_the_exact_copier_only_the_induction_head_scores_and_by_its_absence():
    """A known artefact. With any constant in the induction head's place the wrong value is no
    longer copied, and the right one goes from nothing to about 1 of the vocabulary. The mean over
    permuted prompts does that as well: the control shows that no task is carried."""
    scores = exact()
    vocabulary = 28
    values = scores.values.clone()
    found = float(values[1, 7])
    values[1, 7] = 0
    assert float(values.abs().max()) < 1e-6
    assert found == pytest.approx(1 / vocabulary, abs=0.01)
    assert float(scores.control[1, 7]) == pytest.approx(1 / vocabulary, abs=0.01)
    assert function_vector_heads(scores) == {(1, 7)}
    assert abs(found - float(scores.control[1, 7])) < 0.01


def test_a_head_that_carries_the_task_is_found_above_its_control():
    """Positive control: ids are swapped row by row so that the answer is the same in all prompts.
    Then the induction head's mean over correct prompts writes that very answer."""
    model = load_model("zoo:induction-exact")
    correct, permuted = both(model)
    target = int(correct.answer[0])
    swap = torch.arange(model.d_vocab).repeat(len(correct), 1)
    row = torch.arange(len(correct))
    swap[row, correct.answer], swap[:, target] = target, correct.answer
    same = [
        replace(
            part,
            tokens=swap.gather(1, part.tokens),
            answer=swap[row, part.answer],
            wrong=swap[row, part.wrong],
        )
        for part in (correct, permuted)
    ]
    assert set(same[0].answer.tolist()) == {target}
    scores = function_vector_scores(model, [FunctionPrompts.split(*same)])
    assert float(scores.values[1, 7]) > 0.9
    assert float(scores.control[1, 7]) < 0.2
    assert function_vector_heads(scores, above_control=True) == {(1, 7)}
