"""``multiply-2x2``: its card holds, and the digit measures find in it what multiplication needs."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from interp.evidence import loss
from interp.fourier import (
    SumProbe,
    attention_tree,
    digit_attribution,
    digit_fits,
    digit_means,
    minkowski_score,
    prism_score,
    probe_sums,
    weigh_sums,
)
from interp.hooks import Site, capture, session
from interp.models import Examples, Model, load_model
from interp.zoo.cards import get_card
from interp.zoo.multiply.making import recipe_of
from interp.zoo.multiply.training import MultiplyConfig

NAME = "zoo:multiply-2x2"
TASK = recipe_of(NAME).task
WHERE = {"operands": TASK.operands, "predicts": TASK.predicts}


@cache
def model() -> Model:
    return load_model(NAME)


@cache
def rows(held_out: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return TASK.draw(1000 if held_out else 2500, generator=generator, held_out=held_out)


@cache
def examples(held_out: bool) -> Examples:
    return TASK.examples(rows(held_out))


@cache
def answers() -> torch.Tensor:
    with session(model()) as s:
        return s.run(rows(True))[:, list(TASK.predicts)]


@cache
def probes() -> list[SumProbe]:
    return probe_sums(
        model(),
        examples(False),
        TASK.running_sums(rows(False)),
        examples(True),
        TASK.running_sums(rows(True)),
        predicts=TASK.predicts,
    )


def test_the_card_tells_the_truth():
    card = get_card(NAME)
    assert recipe_of(NAME) == MultiplyConfig(), "the recipe's defaults made it"
    assert card.fingerprint == model().fingerprint
    right = answers().argmax(-1) == rows(True)[:, -4:]
    assert float(right.all(1).double().mean()) == pytest.approx(card.measured["exact"], abs=0.01)
    with session(model()) as s:
        nats = loss.per_example(s.run(rows(True)), examples(True)).mean()
    assert float(nats) == pytest.approx(card.measured["ce_nats_per_digit"], abs=0.01)
    assert card.extra["gate"]["passed"] is True


def test_it_writes_whole_products_by_itself():
    """Greedily, from the operands alone, with its own digits before it."""
    start = TASK.predicts[0] + 1
    written = rows(True)[:, :start]
    for _ in range(TASK.n_answers):
        with session(model()) as s:
            written = torch.cat([written, s.run(written)[:, -1:].argmax(-1)], 1)
    assert float((written == rows(True)).all(1).double().mean()) > 0.95


def test_each_answer_digit_listens_to_the_digits_it_depends_on():
    found = digit_attribution(model(), rows(True)[:300], **WHERE)
    assert found.stray < 0.01
    needed = torch.tensor([[1, 1, 1], [0, 1, 1], [1, 1, 1], [0, 1, 1]], dtype=torch.bool)
    assert bool((found.drops[:, :3][needed] > 5).all())
    assert bool((found.drops[:, :3][~needed].abs() < 0.5).all())


def test_running_sums_are_read_where_the_auxiliary_loss_put_them():
    there = [p for p in probes() if str(p.site) == "L1.attn_out"]
    assert all(p.readable for p in there)
    assert all(p.tokens_mae is not None and p.mae < p.tokens_mae / 2 for p in there)
    assert all(p.skill > 0.9 for p in there[:3])


def test_removing_the_sums_costs_more_than_random_directions_but_not_than_noise_patterns():
    """A readable sum whose direction carries no more than others along which the stream varies."""
    found = weigh_sums(
        model(),
        [p for p in probes() if str(p.site) == "L1.attn_out"],
        examples(True).select(range(256)),
        reference=examples(False),
        n_controls=59,
    )
    verdicts = {row.control_family: row.verdict for row in found}
    assert verdicts == {"random-direction": "load-bearing", "noise-pattern": "not load-bearing"}


def test_answers_stand_on_a_pentagonal_prism_and_embeddings_do_not():
    at = TASK.predicts[2]
    states = capture(model(), examples(False), "L1.resid_post", positions=at)
    means = digit_means(states[Site(1, "resid_post")], rows(False)[:, at + 1])
    found = prism_score(means)
    assert found.score > 0.6
    assert found.p_value < 0.01
    assert prism_score(model().W_E[:10]).p_value > 0.05
    fits = digit_fits(model(), answers().flatten(0, 1), n_shuffles=199)
    assert fits["logits"].score > 0.98
    assert min(fits[name].excess for name in ("logits", "unembedding")) > 0.3
    assert abs(fits["embedding"].excess) < 0.15


def test_first_layer_heads_look_at_a_pair_and_write_a_sum_of_its_digits():
    tree = attention_tree(model(), examples(False), **WHERE)
    c1 = TASK.predicts[2]  # the token c_1, where c_2 is predicted
    head = int(tree.pair_mass[0, :, c1].argmax())
    assert float(tree.pair_mass[0, head, c1]) > 0.6 > 2 * float(tree.uniform[c1])
    i, j = tree.pair[0, head, c1].tolist()
    assert (i, j) == (1, 4), "a1 and b1"
    z = capture(model(), examples(False), "L0.z", positions=c1)[Site(0, "z")][:, head]
    found = minkowski_score(z, rows(False)[:, i], rows(False)[:, j])
    assert found.score > 0.95
    assert found.between > 0.9
    assert tree.edges and tree.edges[0].head[0] == 1
