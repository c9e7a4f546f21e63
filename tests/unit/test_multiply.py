"""The multiplication task, its training step, and its model in the bridge."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from interp.evidence import accuracy, loss
from interp.hooks import session
from interp.models import load_model
from interp.zoo.multiply.making import recipe_of, train
from interp.zoo.multiply.task import EQUALS, TIMES, Multiplication, MultiplyError
from interp.zoo.multiply.training import MultiplyConfig, Training, heads_and_logits, new_network
from interp.zoo.world_training import GateError

TINY = MultiplyConfig(
    d_model=16, n_heads=2, steps=12, batch=16, look_every=4, judged=20, write_failed=True
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- the task -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_rows_spell_out_products(n):
    task = Multiplication(n)
    rows = task.draw(200, generator=generator())
    assert rows.shape == (200, task.width)
    for row in rows.tolist():
        a, b = (int("".join(map(str, row[i : i + n][::-1]))) for i in (0, n + 1))
        c = int("".join(map(str, row[2 * n + 2 :][::-1])))
        assert a * b == c
        assert row[n] == TIMES and row[2 * n + 1] == EQUALS
    assert task.predicts[0] == 2 * n + 1
    assert len(task.operands) == len(task.digit_names) == 2 * n
    a, b = task.operands_of(rows)
    assert torch.equal(task.rows(a, b), rows)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_running_sums_end_in_the_digits_of_the_product(n):
    task = Multiplication(n)
    rows = task.draw(300, generator=generator())
    assert torch.equal(task.running_sums(rows) % 10, rows[:, -2 * n :])


def test_running_sums_of_one_product_by_hand():
    # 37 × 48: s = 7·8, 7·4 + 3·8, 3·4; sums 56, 52 + 5, 12 + 5, 1.
    task = Multiplication(2)
    sums = task.running_sums(task.rows(torch.tensor([37]), torch.tensor([48])))
    assert sums.tolist() == [[56, 57, 17, 1]]


def test_what_is_held_out_is_so_with_its_mirror_image_and_is_about_the_share_asked_for():
    task = Multiplication(2, held_out=0.2)
    a, b = torch.cartesian_prod(torch.arange(100), torch.arange(100)).T
    held = task.is_held_out(a, b)
    assert torch.equal(held, task.is_held_out(b, a))
    assert float(held.double().mean()) == pytest.approx(0.2, abs=0.02)
    by_digit = held.reshape(10, 10, 100).double().mean((1, 2))
    assert float(by_digit.std()) < 0.05, "no digit is held out more than others"


def test_the_two_sides_never_meet():
    task = Multiplication(2)
    for side in (False, True):
        rows = task.draw(500, generator=generator(), held_out=side)
        assert len(rows) == 500
        assert bool((task.is_held_out(*task.operands_of(rows)) == side).all())


def test_examples_score_every_digit_or_one():
    task = Multiplication(2)
    rows = task.rows(torch.tensor([12, 34]), torch.tensor([34, 12]))
    whole, one = task.examples(rows), task.examples(rows, 3)
    assert whole.groups == ("12x34", "12x34")
    perfect = torch.zeros(2, task.width, 12)
    perfect[:, :-1].scatter_(2, rows[:, 1:, None], 50.0)
    for examples in (whole, one):
        assert float(accuracy.per_example(perfect, examples).mean()) == 1
    assert float(loss.per_example(perfect, whole).mean()) < 1e-6
    assert one.answer is not None and one.answer.tolist() == rows[:, -1].tolist()
    with pytest.raises(MultiplyError, match="0 to 3"):
        task.examples(rows, 4)


@pytest.mark.parametrize(
    ("fields", "said"), [({"n": 0}, "1 to 9"), ({"n": 10}, "1 to 9"), ({"held_out": 1.0}, "share")]
)
def test_an_impossible_task_is_refused(fields, said):
    with pytest.raises(MultiplyError, match=said):
        Multiplication(**fields)


def test_too_large_operands_are_refused():
    with pytest.raises(MultiplyError, match="0 to 99"):
        Multiplication(2).rows(torch.tensor([100]), torch.tensor([1]))


# -- training -------------------------------------------------------------------------------------


def test_logits_and_heads_are_those_of_the_whole_network():
    network = new_network(TINY)
    rows = TINY.task.draw(5, generator=generator())
    mixed, logits = heads_and_logits(network, rows[:, :-1], 4)
    torch.testing.assert_close(logits, network(rows[:, :-1])[:, -4:])
    assert mixed.shape == (5, 4, 16)
    assert not network.get_submodule("layers.1.attn.o")._forward_pre_hooks


def test_the_auxiliary_loss_is_the_published_one_read_off_the_bridge(tmp_path):
    train(TINY, tmp_path)
    model = load_model(str(tmp_path))
    training = Training(TINY)
    training.model.load_state_dict(_state(tmp_path))
    with torch.no_grad():
        training.readers.copy_(torch.randn(2, 8, generator=generator()))
    rows = TINY.task.draw(6, generator=generator(), held_out=True)
    entropy, auxiliary, logits = training.losses(rows)
    at = list(TINY.task.predicts)
    with session(model, capture=["L1.z"]) as s:
        theirs = s.run(rows)[:, at]
        z = s["L1.z"][:, at]
    torch.testing.assert_close(theirs, logits.detach(), atol=1e-4, rtol=1e-4)
    read = (z * training.readers.detach()).sum(-1)
    target = TINY.task.running_sums(rows)[..., None] / 81.0
    torch.testing.assert_close(
        auxiliary.detach(), (read - target).square().mean(), atol=1e-4, rtol=1e-4
    )
    own = loss.per_example(_whole(model, rows), TINY.task.examples(rows))
    assert float(entropy.detach()) == pytest.approx(float(own.mean()), abs=1e-4)


def _whole(model, rows):
    with session(model) as s:
        return s.run(rows)


def _state(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path):
    train(TINY, tmp_path / "whole")
    stopped = train(TINY, tmp_path / "parts", stop_after=6)
    assert stopped == {"status": "stopped", "step": 6}
    card = train(TINY, tmp_path / "parts")
    ours, theirs = (_state(tmp_path / name) for name in ("whole", "parts"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [look["step"] for look in card["history"]] == [4, 8, 12]
    assert not (tmp_path / "parts" / "checkpoint.safetensors").exists()


def test_another_recipes_checkpoint_is_refused(tmp_path):
    train(TINY, tmp_path, stop_after=4)
    with pytest.raises(ValueError, match="another recipe"):
        train(replace(TINY, auxiliary=0.0), tmp_path)


def test_plain_fine_tuning_reads_no_sums():
    training = Training(replace(TINY, auxiliary=0.0))
    with_loss = Training(TINY)
    for _ in range(3):
        training.advance()
        with_loss.advance()
    assert not bool(training.readers.any())
    assert bool(with_loss.readers.any())


def test_the_gate_refuses_and_keeps_the_checkpoint(tmp_path):
    with pytest.raises(GateError, match="right in all digits"):
        train(replace(TINY, write_failed=False), tmp_path)
    assert (tmp_path / "checkpoint.safetensors").exists()
    assert not (tmp_path / "card.json").exists()


def test_the_card_gives_the_recipe_back(tmp_path):
    card = train(TINY, tmp_path)
    assert recipe_of(str(tmp_path)) == TINY
    assert card["gate"]["passed"] is False
    assert json.loads((tmp_path / "card.json").read_text())["name"] == "multiply-2x2"


@pytest.mark.parametrize("weights", ["zoo:modular-113", "zoo:none-such", "no/such/folder"])
def test_a_model_of_something_else_is_refused(weights):
    with pytest.raises(MultiplyError):
        recipe_of(weights)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"d_model": 30}, "multiple of n_heads"),
        ({"auxiliary": -1.0}, "at least 0"),
        ({"muon_lr": 0.0}, "above 0"),
        ({"weight_decay": -0.1}, "at least 0"),
        ({"steps": 0}, "at least 1"),
        ({"n_layers": 1}, "at least 2"),
        ({"decay_share": 2.0}, "0 to 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        MultiplyConfig(**fields)
