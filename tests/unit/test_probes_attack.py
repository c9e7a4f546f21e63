"""Attacks on monitors: where the suffix goes, what is read, what stays, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from interp.hooks import Site, session
from interp.hooks.suffix import Rewrite
from probes import extract, train
from probes.attack.attacking import AttackError, Budget, attack_monitors
from probes.attack.measuring import share_interval
from probes.attack.parting import three_parts
from probes.attack.prompts import EMBED, _batch, _putting, attack_prompts
from probes.attack.training import random_like, train_suffix
from probes.data import DataError, StatementSet
from probes.probe import ProbeError

SITE = Site.parse("L1.resid_post")
SMALL = Budget(steps=2, suffix_length=2, batch=8)


@pytest.fixture(scope="module")
def data() -> StatementSet:
    """Rows of ids of several lengths; the last tells the label."""
    rng = np.random.default_rng(0)
    ids = [
        (*rng.integers(7, 29, rng.integers(3, 9)).tolist(), 5 if i % 2 else 6) for i in range(120)
    ]
    return StatementSet.build(ids=ids, labels=[i % 2 for i in range(120)], name="told")


@pytest.mark.parametrize("arch", ["gpt2", "llama", "native"])
def test_the_vectors_stand_where_they_should_and_move_only_what_follows(load_tiny, data, arch):
    model = load_tiny(arch)
    prompts = attack_prompts(model, data, suffix_length=2)
    rows = list(range(12))
    suffix = torch.randn(2, model.d_model, generator=torch.Generator().manual_seed(1))
    batch = _batch(prompts, rows, 2)
    edit = Rewrite(EMBED, "set", function=_putting(suffix, batch.slots))
    with session(model, capture=[EMBED, SITE], intervene=edit) as s:
        logits = s.run(batch.tokens, batch.mask)
        embedded, after = s[EMBED], s[SITE]
    with session(model, capture=[EMBED, SITE]) as s:
        s.run(batch.tokens, batch.mask)
        before, clean = s[EMBED], s[SITE]
    for i, row in enumerate(rows):
        at = prompts.start[row]
        assert at == len(data.ids[row]) - 1
        assert torch.equal(embedded[i, at : at + 2], suffix)
        rest = torch.ones(embedded.shape[1], dtype=torch.bool)
        rest[at : at + 2] = False
        assert torch.equal(embedded[i, rest], before[i, rest])
        assert torch.equal(after[i, :at], clean[i, :at])
        assert not torch.allclose(after[i, at + 2], clean[i, at + 2])
        # The token that is read is the prompt's own last.
        assert int(batch.tokens[i][batch.read[i]]) == data.ids[row][-1]
    found = prompts.run_all(model, rows, [SITE], suffix)
    ends = batch.mask.sum(1) - 1
    own = logits[torch.arange(len(rows)), ends].log_softmax(-1)
    assert torch.allclose(found.log_probs[:, 0], own, atol=1e-4)
    assert torch.allclose(
        found.view[SITE].values[:, 0], after[torch.arange(len(rows)), ends], atol=1e-4
    )


def test_without_a_suffix_a_monitor_reads_what_a_probe_does(gpt2, data):
    for position in ("last", "mean", "every", -2):
        found = attack_prompts(gpt2, data, position=position)
        view = found.run_all(gpt2, range(len(data)), [SITE]).view[SITE]
        same = extract(gpt2, data, site=SITE, position=position)
        assert torch.allclose(view.rows(), same.values, atol=1e-5), position


def test_where_all_tokens_are_read_the_suffix_is_too(gpt2, data):
    prompts = attack_prompts(gpt2, data, position="every", suffix_length=3)
    suffix = torch.zeros(3, gpt2.d_model)
    clean, attacked = (prompts.run_all(gpt2, [0, 1], [SITE], s).view[SITE] for s in (None, suffix))
    assert (attacked.real.sum(1) - clean.real.sum(1)).tolist() == [3, 3]


def test_the_continuation_is_the_models_own(gpt2, data):
    prompts = attack_prompts(gpt2, data, n_next=3)
    assert prompts.n_next == 3
    row = list(data.ids[4])
    for _ in range(2):
        row.append(int(gpt2.logits(torch.tensor([row]))[0, -1].argmax()))
    assert list(prompts.ids[4]) == row
    found = prompts.run_all(gpt2, [4], [SITE])
    assert found.log_probs.shape[1] == 3
    assert found.log_probs[0, :2].argmax(-1).tolist() == row[-2:]


def test_training_touches_no_weight_and_lowers_its_loss(gpt2, data):
    prompts = attack_prompts(gpt2, data, suffix_length=2)
    rows = np.arange(40)
    clean = prompts.run_all(gpt2, rows, [SITE]).log_probs
    before = [p.clone() for p in gpt2.bridge.original_model.parameters()]

    def gap(steps: int) -> float:
        budget = Budget(steps=steps, suffix_length=2, batch=40)
        suffix = train_suffix(gpt2, prompts, rows, clean=clean, monitor=None, budget=budget, seed=0)
        moved = prompts.run_all(gpt2, rows, [SITE], suffix).log_probs
        return float((clean.exp() * (clean - moved)).sum(-1).mean())

    assert gap(15) < gap(0)
    after = list(gpt2.bridge.original_model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is None for p in after)


def test_random_suffixes_are_as_long_and_others_each_time():
    suffix = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    one, two = (random_like(suffix, generator=generator) for _ in range(2))
    assert torch.allclose(one.norm(dim=1), suffix.norm(dim=1))
    assert not torch.allclose(one, two)


@pytest.fixture(scope="module")
def result(load_tiny, data):
    return attack_monitors(
        load_tiny("gpt2"),
        data,
        sites=[SITE],
        against=["logistic", "mahalanobis"],
        rounds=2,
        budget=SMALL,
        n_random=2,
    )


def test_every_monitor_is_measured_under_every_suffix(result):
    table = result.table()
    first = table[table["round"] == 0]
    count = first.groupby(["condition", "against"]).size().to_dict()
    assert count == {
        ("clean", ""): 2,
        ("behaviour only", ""): 2,
        ("attack", "logistic"): 2,
        ("attack", "mahalanobis"): 2,
        ("random", "logistic"): 4,
        ("random", "mahalanobis"): 4,
    }
    assert list(result.transfer().index) == [
        "logistic",
        "mahalanobis",
        "clean",
        "random, lowest",
        "behaviour only",
    ]
    refit = table[table["round"] == 1]
    assert set(refit["against"]) == {"logistic"}
    assert any("mahalanobis monitor knows benign prompts only" in note for note in result.notes)
    assert bool((table["recall_low"] <= table["recall"]).all())
    assert set(result.suffixes) == {"behaviour", "0-logistic", "0-mahalanobis", "1-logistic"}
    with pytest.raises(KeyError):
        result.one("attack", monitor="logistic", against="none")


def test_a_result_shows_itself_escaped(result):
    named = replace(result, model="<b>$x$</b>")
    assert "<b>" not in named._repr_html_()
    assert "&lt;b&gt;" in named._repr_html_()
    assert len(named.figure().axes) == 1
    assert named.metrics()["status"] == "done"


def test_the_same_seed_gives_the_same_numbers(load_tiny, data):
    def run(seed: int):
        return attack_monitors(
            load_tiny("gpt2"),
            data,
            sites=[SITE],
            against=["mean-difference"],
            budget=SMALL,
            n_random=1,
            seed=seed,
        )

    assert run(0).rows == run(0).rows
    assert not torch.equal(run(0).suffixes["behaviour"], run(1).suffixes["behaviour"])


def test_a_probe_is_a_monitor_by_its_own_score_of_either_label(load_tiny, data):
    model = load_tiny("gpt2")
    probe = train(model, data, site=SITE, method="mass-mean")
    for label in (1, 0):
        found = attack_monitors(
            model, data, probe=probe, against=["probe"], label=label, budget=SMALL, n_random=1
        )
        clean = found.one("clean", monitor="probe")
        assert clean.auroc > 0.8
        assert found.n_known == probe.metrics["train"]["n"]
        assert any("that the probe knows" in note for note in found.notes)
    turned = replace(probe, direction=-probe.direction)
    with pytest.raises(AttackError, match="leave sites and position out"):
        attack_monitors(model, data, probe=turned, sites=["L0.resid_post"], against=["probe"])


def test_another_model_is_refused(load_tiny, data):
    probe = train(load_tiny("gpt2"), data, site=SITE)
    with pytest.raises(ProbeError, match="belongs to"):
        attack_monitors(load_tiny("llama"), data, probe=probe, against=["probe"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"against": ["probe"]}, "there is no probe to attack"),
        ({"against": ["mahalonobis"]}, "did you mean mahalanobis"),
        ({"against": []}, "no monitor to attack"),
        ({"sites": []}, "no site to read"),
        ({"label": 2}, "label is 2"),
        ({"rounds": 0}, "at least one round"),
        ({"n_random": 0}, "one random suffix"),
        ({"position": 0}, "no suffix can come before"),
        ({"n_next": 30}, "the context of tiny-gpt2 has 24"),
        ({"budget": Budget(suffix_length=40)}, "use shorter statements or a shorter suffix"),
    ],
)
def test_settings_that_allow_no_attack_are_refused(gpt2, data, options, message):
    with pytest.raises(AttackError, match=message):
        attack_monitors(gpt2, data, **({"sites": [SITE]} | options))


@pytest.mark.parametrize(
    "bad", [{"steps": -1}, {"suffix_length": 0}, {"weight": 1.5}, {"lr": 0.0}, {"batch": 0}]
)
def test_a_budget_that_cannot_be_spent_is_refused(bad):
    with pytest.raises(AttackError, match="expected"):
        Budget(**bad)


def test_too_few_statements_are_refused(gpt2, data):
    with pytest.raises(DataError, match="cannot be split"):
        attack_monitors(gpt2, data.select(range(6)), sites=[SITE])


def test_no_group_is_on_both_sides(gpt2, data):
    paired = StatementSet.build(
        ids=data.ids, labels=data.labels, groups=[str(i // 4) for i in range(120)], name="told"
    )
    notes: list[str] = []
    parts = three_parts(paired, None, seed=0, notes=notes)
    groups = [{paired.groups[i] for i in part} for part in parts]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 30
    assert sorted(np.concatenate(parts).tolist()) == list(range(120))


def test_a_share_of_all_or_none_is_not_certain():
    groups = [str(i) for i in range(10)]
    assert share_interval(np.ones(10, bool), groups, seed=0) == (pytest.approx(0.6915, abs=1e-3), 1)
    low, high = share_interval(np.zeros(10, bool), groups, seed=0)
    assert (low, high) == (0, pytest.approx(0.3085, abs=1e-3))
    low, high = share_interval(np.arange(10) < 5, groups, seed=0)
    assert low < 0.5 < high
