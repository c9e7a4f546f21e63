"""The bundled arms of Bi-Induct: equal in all but the snippets, and what their heads carry."""

import pytest
import torch

from interp.evidence import loss
from interp.heads import head_scores, iid_control, weigh_heads
from interp.models import load_model
from interp.zoo.bi_induct.streams import SEP
from interp.zoo.cards import WEIGHTS, read_card
from interp.zoo.tasks import repeated_tokens, reversed_tokens

ARMS = ("natural", "forward", "backward", "balanced")


def test_arms_differ_in_nothing_but_the_snippets():
    cards = [read_card(WEIGHTS / f"bi-induct-{arm}") for arm in ARMS]
    recipes = [{k: v for k, v in card.recipe.items() if k != "arm"} for card in cards]
    assert recipes.count(recipes[0]) == 4
    assert len({card.extra["tokens_seen"] for card in cards}) == 1
    begun = {card.extra["history"][0]["held_out_loss"] for card in cards}
    assert len(begun) == 1, "one initialisation"
    shares = [card.measured["snippet_share"] for card in cards]
    assert shares[0] == 0 and all(abs(share - 0.25) < 0.01 for share in shares[1:])


@pytest.mark.parametrize("arm", ARMS)
def test_two_heads_copy_forwards_and_none_backwards(arm):
    model = load_model(f"zoo:bi-induct-{arm}")
    rng = torch.Generator().manual_seed(5)
    ids = [i for i in model.ordinary_ids if i != SEP]
    prompts = repeated_tokens(ids, n=24, length=40, bos_id=model.bos_id, generator=rng)
    control = iid_control(prompts, ids, generator=rng)
    score = head_scores(model, prompts, ["induction"], control=control)["induction"]
    above = score.values - score.control
    # What the natural stream alone made of a beginning of .38.
    assert [tuple(h) for h in (above > 0.5).nonzero().tolist()] == [(1, 0), (1, 1)]
    backwards = reversed_tokens(ids, n=24, length=40, bos_id=0, sep_id=SEP, generator=rng)
    unlike = iid_control(backwards, ids, generator=rng)
    anti = head_scores(model, backwards, ["anti-induction"], control=unlike)["anti-induction"]
    # Beside the control, for heads that look back a fixed way land there now and then.
    assert float((anti.values - anti.control).max()) < 0.05


def test_the_natural_arm_depends_on_its_two_heads_together():
    model = load_model("zoo:bi-induct-natural")
    rng = torch.Generator().manual_seed(6)
    ids = [i for i in model.ordinary_ids if i != SEP]
    prompts = repeated_tokens(ids, n=48, length=40, bos_id=model.bos_id, generator=rng)
    choose, judge = prompts.split(0.5, seed=0)
    control = iid_control(choose, ids, generator=rng)
    score = head_scores(model, choose, ["induction"], control=control)["induction"]
    table = weigh_heads(model, score, selected_on=choose, judged_on=judge, metric=loss)
    row = table[0]
    assert row.subject == "L1H0+L1H1" and row.control_family == "layer-matched"
    assert row.verdict == "load-bearing" and row.effect > 1
    # The other pairs of the layer cost little beside it.
    assert max(row.controls) < row.effect / 2
