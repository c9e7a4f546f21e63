"""Function-vector scores against the definition, one hook and one prompt at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from interp.heads import (
    FunctionPrompts,
    HeadsError,
    function_vector_heads,
    function_vector_scores,
)
from interp.heads.scores import HeadScores
from interp.hooks import Site, session, set_to
from interp.models import Examples


def prompts(padded, seed, *, side="right", prefix="", n=4):
    lengths = [9, 5, 7, 8][:n]
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 29, (n, 9), generator=draw)
    tokens, mask = padded(ids, lengths, side, width=10)
    at = torch.tensor([ln - 1 if side == "right" else 9 for ln in lengths])
    at[0] -= 2  # read before the end: what follows must not matter
    return Examples(
        tokens,
        mask=mask,
        answer=torch.randint(0, 29, (n,), generator=draw),
        answer_at=at,
        groups=tuple(f"{prefix}{seed}-{i}" for i in range(n)),
        name=f"task {seed}",
    )


def naively(model, correct, permuted):
    """Row by row, head by head, by a plain hook."""
    means = {}
    for layer in range(model.n_layers):
        rows = []
        for i in range(len(correct)):
            with session(model, capture=Site(layer, "z")) as s:
                s.run(correct.select([i]))
            rows.append(s[Site(layer, "z")][0, correct.answer_at[i]].clone())
        means[layer] = torch.stack(rows).mean(0)
    found = torch.zeros((len(permuted), model.n_layers, model.n_heads))
    for i in range(len(permuted)):
        row = permuted.select([i])
        at, answer = int(row.answer_at[0]), int(row.answer[0])
        before = model.logits(row.tokens, row.mask)[0, at].softmax(-1)[answer]
        for layer in range(model.n_layers):
            for head in range(model.n_heads):
                put = set_to(Site(layer, "z", head, at), means[layer][head])
                with session(model, intervene=put) as s:
                    after = s.run(row)[0, at].softmax(-1)[answer]
                found[i, layer, head] = after - before
    return found


@pytest.mark.parametrize("side", ["left", "right"])
def test_equals_plain_hooks(model, padded, side):
    if side == "left" and not model.checks.get("left_padding_agrees", 1.0):
        pytest.skip("this architecture takes no padding on the left")
    correct, permuted = prompts(padded, 1, side=side), prompts(padded, 2, side=side)
    reference = prompts(padded, 3, side=side)
    # What the model itself says: a random answer's probability hardly moves in a sure model.
    row = torch.arange(len(permuted))
    said = model.logits(permuted.tokens, permuted.mask)[row, permuted.answer_at].argmax(-1)
    permuted = replace(permuted, answer=said)
    scores = function_vector_scores(
        model, [FunctionPrompts("t", correct, permuted, reference)], tokens_per_forward=40
    )
    expected = naively(model, correct, permuted)
    torch.testing.assert_close(scores.per_example, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(scores.values, expected.mean(0), rtol=0, atol=1e-5)
    control = naively(model, reference, permuted).mean(0)
    torch.testing.assert_close(scores.control, control, rtol=0, atol=1e-5)
    assert float(expected.abs().max()) > 1e-3, "putting a mean there must matter here"
    assert not torch.allclose(scores.values, control, atol=1e-4)


def test_every_task_counts_alike(gpt2, padded):
    tasks = [
        FunctionPrompts(f"t{i}", prompts(padded, i), prompts(padded, i + 10)) for i in range(2)
    ]
    both = function_vector_scores(gpt2, tasks)
    each = [function_vector_scores(gpt2, [task]).values for task in tasks]
    torch.testing.assert_close(both.values, (each[0] + each[1]) / 2)
    assert both.control is None and len(set(both.groups)) == 8
    with pytest.raises(HeadsError, match="different numbers"):
        few = FunctionPrompts("t", prompts(padded, 1), prompts(padded, 2, n=3))
        function_vector_scores(gpt2, [tasks[0], few])
    with pytest.raises(HeadsError, match="no prompts"):
        function_vector_scores(gpt2, [])


def test_pieces_are_kept_and_not_mixed_up(gpt2, padded):
    kept = {}

    def keep(name, compute):
        if name not in kept:
            kept[name] = compute()
        return kept[name]

    first = FunctionPrompts("t", prompts(padded, 1), prompts(padded, 2))
    other = FunctionPrompts("t", prompts(padded, 3), prompts(padded, 2))
    found = [function_vector_scores(gpt2, [task], keep=keep).values for task in (first, other)]
    again = [function_vector_scores(gpt2, [task]).values for task in (first, other)]
    assert torch.equal(found[0], again[0]) and torch.equal(found[1], again[1])
    assert not torch.equal(found[0], found[1]), "another mean is another change"


def test_queries_are_taken_apart(padded):
    correct, permuted = prompts(padded, 1), prompts(padded, 1)
    with pytest.raises(HeadsError, match="4 queries are in the averages"):
        FunctionPrompts("t", correct, permuted)
    split = FunctionPrompts.split(correct, permuted, n=3)
    assert split.permuted.groups == correct.groups[:3]
    assert split.correct.groups == correct.groups[3:]
    assert split.permuted_reference.groups == correct.groups[3:]
    with pytest.raises(HeadsError, match="too few"):
        FunctionPrompts.split(correct, permuted, n=4)
    with pytest.raises(HeadsError, match="not of the same queries"):
        FunctionPrompts.split(correct, prompts(padded, 2), n=2)
    with pytest.raises(HeadsError, match="no answer"):
        bare = Examples(permuted.tokens, groups=permuted.groups)
        function_vector_scores(None, [FunctionPrompts("t", prompts(padded, 9), bare)])


def test_the_highest_heads_are_named():
    values = torch.arange(60.0).reshape(5, 12)
    scores = HeadScores("function-vector", values, "probability", 0.0, control=values.flip(0))
    assert function_vector_heads(scores) == {(4, 10), (4, 11)}, "2 % of 60 is 1.2: two heads"
    assert function_vector_heads(scores, share=0.001) == {(4, 11)}, "never none"
    tilted = HeadScores("function-vector", values, "probability", 0.0, control=2 * values)
    assert function_vector_heads(tilted, above_control=True) == {(0, 0), (0, 1)}
    with pytest.raises(HeadsError, match="no control"):
        bare = HeadScores("function-vector", values, "probability", 0.0)
        function_vector_heads(bare, above_control=True)
    with pytest.raises(ValueError, match="above 0"):
        function_vector_heads(scores, share=0.0)
