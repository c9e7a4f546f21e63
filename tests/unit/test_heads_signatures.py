"""Signatures in one form, whether a model can do a task, and text of a model's own."""

from __future__ import annotations

import pytest
import torch

from interp.evidence import logit_difference
from interp.heads import (
    SIGNATURES,
    AblationError,
    HeadScores,
    HeadsError,
    ablate,
    parse_signatures,
    sweep,
)
from interp.heads.ability import task_ability
from interp.heads.corrupting import sweep_corrupt
from interp.heads.signatures import attention_signatures, effect_signature
from interp.hooks import Site, capture, session, set_to
from interp.models import Examples, ModelError, load_model
from interp.models.sampling import own_text
from interp.zoo.tasks import repeated_tokens


def test_names_are_read_or_refused():
    assert parse_signatures("all", function_vectors=True) == SIGNATURES
    assert "function-vector" not in parse_signatures("all")
    assert parse_signatures(" induction, attribution,induction") == ("induction", "attribution")
    with pytest.raises(HeadsError, match="did you mean previous-token"):
        parse_signatures("previous_tokens")
    with pytest.raises(HeadsError, match="no signature given"):
        parse_signatures(" , ")


def test_every_attention_and_weight_score_comes_in_one_form(load_tiny):
    model = load_tiny("llama")
    repeated = repeated_tokens(29, n=6, length=8, generator=torch.Generator().manual_seed(0))
    names = [name for name in SIGNATURES if name not in ("attribution", "function-vector")]
    found = attention_signatures(model, repeated, names[::-1], seed=0)
    assert [signature.name for signature in found] == names[::-1]
    for signature in found:
        assert signature.values.shape == signature.null.shape == (3, 4)
        assert torch.equal(signature.carried, signature.above_null >= 0.3)


def test_a_previous_token_head_is_one_on_any_tokens():
    """It does the same on i.i.d. tokens, so that those are no null for it."""
    model = load_model("zoo:code-lm")
    repeated = repeated_tokens(
        model.ordinary_ids,
        n=4,
        length=20,
        bos_id=model.bos_id,
        generator=torch.Generator().manual_seed(0),
    )
    previous, induction = attention_signatures(
        model, repeated, ["previous-token", "induction"], seed=0
    )
    assert bool(previous.carried[0, 0]) and float(previous.null.max()) < 0.2
    assert bool(induction.carried[1, 0]) and not bool(induction.carried[0, 0])


def test_an_estimate_is_carried_only_where_it_is_above_zero_beyond_chance():
    generator = torch.Generator().manual_seed(0)
    per_example = torch.randn((40, 3, 8), generator=generator, dtype=torch.float64)
    per_example[:, 1, 2] += 3
    groups = tuple(str(i // 2) for i in range(40))
    score = HeadScores(
        "attribution", per_example.mean(0), "nats", 0.0, per_example=per_example, groups=groups
    )
    found = effect_signature("attribution", score)
    assert found.carried.nonzero().tolist() == [[1, 2]]
    bare = HeadScores("attribution", per_example.mean(0), "nats", 0.0)
    with pytest.raises(HeadsError, match="no value an example"):
        effect_signature("attribution", bare)


def test_a_model_of_random_weights_can_do_nothing(load_tiny):
    model = load_tiny("gpt2")
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 29, (30, 6), generator=generator)
    answer = torch.randint(0, 29, (30,), generator=generator)
    at = torch.full((30,), 5)
    bare = Examples(tokens, answer=answer, answer_at=at)
    beside = Examples(tokens, answer=answer, wrong=(answer + 1) % 29, answer_at=at)
    for examples in (bare, beside, Examples(tokens)):
        found = task_ability(model, examples)
        assert not found.able
        assert found.reason


def test_one_who_always_says_the_same_is_as_right_as_one_who_knows(load_tiny):
    """Where all answers are one token, nothing tells the model from a guesser."""
    model = load_tiny("gpt2")
    tokens = torch.randint(0, 29, (30, 6), generator=torch.Generator().manual_seed(1))
    at = torch.full((30,), 5)
    top = model.logits(tokens)[:, 5].mean(0)
    answer = torch.full((30,), int(top.argmax()))
    wrong = torch.full((30,), int(top.argmin()))
    assert not task_ability(model, Examples(tokens, answer=answer, wrong=wrong, answer_at=at)).able
    answers = model.logits(tokens)[:, 5].argmax(-1)
    if len(set(answers.tolist())) > 3:  # its own answers, which differ: those it does know
        assert task_ability(model, Examples(tokens, answer=answers, answer_at=at)).able


def test_corrupt_heads_do_what_they_do_on_the_other_prompt(model):
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(0, model.d_vocab, (6, 9), generator=generator)
    other = torch.randint(0, model.d_vocab, (6, 9), generator=generator)
    answer = torch.arange(6)
    examples = Examples(
        tokens, answer=answer, wrong=answer + 1, answer_at=torch.tensor([8, 7, 8, 5, 8, 8])
    )
    sets = [[], [(0, 1)], [(0, 0), (1, 2)]]
    found = sweep_corrupt(model, examples, logit_difference, sets, Examples(other))
    sites = [Site(layer, "z") for layer in range(2)]
    there = capture(model, Examples(other), sites)
    here = capture(model, examples, sites)
    new = here[sites[0]].clone()
    new[:, :, 1] = there[sites[0]][:, :, 1]
    with session(model, intervene=[set_to(sites[0], new)]) as s:
        truth = logit_difference.per_example(s.run(examples), examples)
    torch.testing.assert_close(found.ablated[1], truth.cpu(), rtol=0, atol=2e-5)
    assert torch.equal(found.ablated[0], found.clean)
    same = sweep_corrupt(model, examples, logit_difference, sets, examples)
    torch.testing.assert_close(same.effects, torch.zeros(3, 6), rtol=0, atol=2e-5)
    plain = sweep(model, examples, logit_difference, sets, kind="zero")
    assert torch.equal(plain.clean, found.clean)
    naive = ablate(model, examples, logit_difference, sets, kind="zero")
    torch.testing.assert_close(plain.ablated, naive.ablated, rtol=0, atol=2e-5)
    with pytest.raises(AblationError, match="row i from row i"):
        sweep_corrupt(model, examples, logit_difference, sets, Examples(other[:, 1:]))


def test_own_text_is_the_same_for_a_seed_and_likelier_than_random(load_tiny):
    from interp.evidence import loss

    model = load_tiny("neox")

    def drawn(seed):
        return own_text(
            model, n=40, length=12, generator=torch.Generator().manual_seed(seed), batch_size=16
        )

    text = drawn(3)
    assert text.hash == drawn(3).hash != drawn(4).hash
    assert text.tokens.shape == (40, 12) and len(set(text.groups)) == 40
    random = Examples(torch.randint(0, 29, (40, 12), generator=torch.Generator().manual_seed(0)))
    own, other = (
        float(loss.per_example(model.logits(each.tokens), each).mean()) for each in (text, random)
    )
    assert own < other
    with pytest.raises(ModelError, match="a length of 2 to 24"):
        own_text(model, n=1, length=25, generator=torch.Generator())


def test_an_effect_is_paired_with_its_control_prompt_by_prompt():
    """Noise that score and control share is no reason for doubt, noise of their own is."""
    rng = torch.Generator().manual_seed(0)
    wrong = 0
    for _ in range(200):
        score, control = torch.randn(2, 25, 1, 4, generator=rng).double()
        made = HeadScores(
            name="x",
            values=score.mean(0),
            units="",
            null=0.0,
            per_example=score,
            control=control.mean(0),
            control_per_example=control,
        )
        wrong += int(effect_signature("x", made, alpha=0.05).carried.any())
    assert wrong <= 22, f"{wrong} of 200 null scores called present, 10 expected"
    shared = 10 * torch.randn(25, 1, 4, generator=rng).double()
    there = HeadScores(
        name="x",
        values=(shared + 1).mean(0),
        units="",
        null=0.0,
        per_example=shared + 1 + 0.1 * score,
        control=shared.mean(0),
        control_per_example=shared,
    )
    assert effect_signature("x", there, alpha=0.05).carried.all()
