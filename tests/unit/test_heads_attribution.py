"""Attribution: exact where the model is linear, right to first order everywhere, and honest."""

from __future__ import annotations

import dataclasses
import logging

import pytest
import torch

from interp.evidence import accuracy, kl_from, logit_difference, loss
from interp.heads import AttributionError, ablate, attribute, conductance, rank, replacing
from interp.heads.agreement import compare, hidden_layers, sample
from interp.heads.gradients import slopes
from interp.heads.ranking import _groups, _suspects
from interp.heads.replacing import exact_effects
from interp.heads.units import UNIT_KINDS, unit_kind
from interp.hooks import (
    Site,
    SiteError,
    add,
    available_kinds,
    capture,
    derangement,
    project_out,
    session,
    set_to,
)
from interp.models import Examples, Model, ModelSpec, load_model

LINEAR_GQA = {
    "n_layers": 2,
    "d_model": 16,
    "d_head": 6,
    "n_heads": 4,
    "n_key_value_heads": 2,
    "n_ctx": 24,
    "d_vocab": 29,
    "attn_only": True,
    "act_fn": "relu",
    "normalization_type": None,
    "positional_embedding_type": "rotary",
}


def make(model, n=4, width=9, seed=3):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, model.d_vocab, (n, width), generator=generator)
    answer, wrong = torch.randint(0, model.d_vocab, (2, n), generator=generator)
    at = torch.full((n,), width - 1)
    return Examples(tokens, answer=answer, wrong=wrong, answer_at=at)


@pytest.fixture
def examples(model):
    return make(model)


@pytest.fixture(scope="module")
def linear_gqa():
    """No norm and no MLP: logits are linear in the last layer's head outputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = load_model(ModelSpec("linear-gqa", native=LINEAR_GQA))
        with torch.no_grad():
            for parameter in model.bridge.original_model.parameters():
                parameter.add_(0.15 * torch.randn(parameter.shape))
    return model


def available(model):
    """The kinds of unit this model has."""
    kinds = available_kinds(model, 0)
    return [of for of, unit in UNIT_KINDS.items() if unit.site in kinds]


# -- exact where it must be -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zero", "mean", "mean-by-position", "resample"])
def test_heads_of_the_last_layer_of_a_linear_model_are_exact(linear_gqa, kind):
    examples, reference = make(linear_gqa), make(linear_gqa, n=5, seed=4)
    heads = [(1, h) for h in range(4)]
    truth = ablate(
        linear_gqa,
        examples,
        logit_difference,
        [[h] for h in heads],
        kind=kind,
        reference=reference,
        seed=7,
    ).effects.double()
    assert float(truth.abs().max()) > 0.01
    for steps in (1, 3):  # where the metric is linear the path does not matter
        found = attribute(
            linear_gqa,
            examples,
            logit_difference,
            kind=kind,
            reference=reference,
            steps=steps,
            check=0,
            seed=7,
        )
        torch.testing.assert_close(found.per_example[:, 1].T, truth, rtol=0, atol=1e-5)


@pytest.mark.parametrize("of", ["queries", "keys", "values"])
@pytest.mark.parametrize("kind", ["zero", "mean", "paired"])
def test_the_softmax_exact_correction_is_exact_in_the_last_layer(linear_gqa, of, kind):
    model, examples, reference = linear_gqa, make(linear_gqa), make(linear_gqa, seed=4)
    n = model.n_heads if of == "queries" else model.n_kv_heads
    options = {"of": of, "kind": kind, "reference": reference}
    units = [(1, i) for i in range(n)]
    _, truth = exact_effects(model, examples, logit_difference, units, **options)
    found = attribute(model, examples, logit_difference, check=0, **options)
    assert found.per_example.shape == (4, 2, n)
    torch.testing.assert_close(found.per_example[:, 1].T, truth, rtol=0, atol=1e-5)
    if of != "values":  # and without it, it is not
        plain = attribute(
            model, examples, logit_difference, check=0, softmax_exact=False, **options
        )
        assert float((plain.per_example[:, 1].T - truth).abs().max()) > 1e-3


def test_the_correction_changes_no_other_layer(model, examples):
    """Layer by layer by hand: the patched queries' z, times the gradient at z."""
    reference = make(model, seed=5)
    try:
        found = attribute(
            model, examples, loss, of="queries", kind="paired", reference=reference, check=0
        )
    except SiteError:
        pytest.skip("queries cannot be edited here")
    for layer in range(model.n_layers):
        z, q = Site(layer, "z"), Site(layer, "q")
        donor = capture(model, reference, [q])[q]
        clean = capture(model, examples, [z])[z]
        with session(model, capture=[z], intervene=[set_to(q, donor)]) as s:
            s.run_until_captured(examples.tokens)
        at = slopes(model, examples, loss, {z: torch.zeros_like(clean)})
        by_hand = ((s[z] - clean) * at.gradients[z]).sum((1, 3)).double()
        torch.testing.assert_close(found.per_example[:, layer], by_hand, rtol=1e-4, atol=1e-5)


def test_first_order_everywhere(model, examples):
    """Every kind of unit on every architecture, against a small step."""
    for of in available(model):
        found = attribute(
            model, examples, loss, of=of, kind="zero", softmax_exact=False, check=0
        ).per_example
        for layer in range(model.n_layers):
            site = Site(layer, unit_kind(of).site)
            old = capture(model, examples, [site])[site]

            def at(step, site=site, old=old):
                with session(model, intervene=[add(site, old, scale=-step)]) as s:
                    return loss.per_example(s.run(examples), examples).double()

            slope = (at(5e-3) - at(-5e-3)) / 1e-2
            summed = found[:, layer].reshape(len(examples), -1).sum(1)
            torch.testing.assert_close(summed, slope, rtol=0.02, atol=2e-3, msg=f"{of} L{layer}")


def test_integrated_estimates_of_a_layer_sum_to_the_layers_damage(model, examples):
    reference = make(model, n=3, seed=8)
    found = attribute(model, examples, loss, reference=reference, steps=48, check=0)
    whole = [[(layer, h) for h in range(model.n_heads)] for layer in range(model.n_layers)]
    truth = ablate(model, examples, loss, whole, reference=reference).effects.double()
    torch.testing.assert_close(found.per_example.sum(2).T, truth, rtol=0.01, atol=2e-3)
    single = attribute(model, examples, loss, reference=reference, check=0)
    missed = (single.per_example.sum(2).T - truth).abs().mean()
    assert float((found.per_example.sum(2).T - truth).abs().mean()) < float(missed) / 5


# -- the exact side -------------------------------------------------------------------------------


def test_replacing_by_hand_equals_ablate(model, examples):
    heads = [(0, 1), (2, 3), (1, 0)]
    truth = ablate(model, examples, loss, [[h] for h in heads], kind="resample", seed=2)
    donors = examples.select(derangement(len(examples), seed=2))
    clean, found = exact_effects(
        model, examples, loss, heads, of="heads", kind="paired", reference=donors, batch_size=3
    )
    torch.testing.assert_close(clean, truth.clean.double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(found, truth.effects.double(), rtol=0, atol=1e-5)


def test_replacing_a_neuron_equals_projecting_it_out(gpt2):
    examples = make(gpt2)
    clean, found = exact_effects(gpt2, examples, loss, [(1, 7)], of="neurons", kind="zero")
    direction = torch.zeros(80)
    direction[7] = 1
    with session(gpt2, intervene=[project_out("L1.mlp_post", direction)]) as s:
        values = loss.per_example(s.run(examples), examples).double()
    torch.testing.assert_close(found[0], values - clean, rtol=0, atol=1e-5)


# -- rows, padding, and what is left behind -------------------------------------------------------


def test_batched_is_looped(model, examples):
    for of in available(model):
        options = {"of": of, "kind": "resample", "check": 0, "seed": 1}
        whole = attribute(model, examples, loss, batch_size=64, **options)
        split = attribute(model, examples, loss, batch_size=1, **options)
        torch.testing.assert_close(whole.per_example, split.per_example, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_changes_nothing(model, padded, side):
    ids = make(model, n=3).tokens
    lengths = [9, 5, 7]
    tokens, mask = padded(ids, lengths, side)
    examples = Examples(tokens, mask)
    for of in available(model):
        options = {"of": of, "kind": "mean", "reference": make(model, seed=6), "check": 0}
        found = attribute(model, examples, loss, **options).per_example
        for row, length in enumerate(lengths):
            alone = attribute(model, Examples(ids[row : row + 1, :length]), loss, **options)
            mine = found[row]
            if of == "residual":
                assert float(mine[:, ~mask[row]].abs().max()) == 0.0
                mine = mine[:, mask[row]]
            torch.testing.assert_close(mine, alone.per_example[0], rtol=1e-3, atol=1e-4)


def test_nothing_is_left_behind(model, examples):
    parameters = dict(model.bridge.original_model.named_parameters())
    before = {name: (p.requires_grad, p.detach().clone()) for name, p in parameters.items()}
    logits = model.logits(examples.tokens)
    attribute(model, examples, loss, kind="zero", check=3)
    conductance(model, examples, loss, of="residual", steps=2, check=2)
    rank(model, examples, loss, kind="zero", budget=8)
    for name, p in parameters.items():
        assert p.grad is None
        assert p.requires_grad == before[name][0]
        assert torch.equal(p, before[name][1])
    points = model.bridge.hook_dict.values()
    assert not any(p.fwd_hooks or p.bwd_hooks or p._forward_hooks for p in points)
    assert torch.equal(model.logits(examples.tokens), logits)


def test_frozen_parameters_do_not_matter(make_hf):
    model = load_model("frozen", hf_model=make_hf("gpt2"))
    examples = make(model)
    before = attribute(model, examples, loss, kind="zero", check=0).per_example
    for parameter in model.bridge.parameters():
        parameter.requires_grad_(False)
    after = attribute(model, examples, loss, kind="zero", check=0).per_example
    torch.testing.assert_close(after, before)


def test_heads_that_write_nothing_get_nothing(make_hf):
    hf = make_hf("llama")
    d_head = 6
    for layer in hf.model.layers:
        layer.self_attn.o_proj.weight.data[:, d_head : 2 * d_head] = 0
    model = load_model("silent", hf_model=hf)
    found = attribute(model, make(model), loss, kind="zero", check=12)
    assert float(found.per_example[:, :, 1].abs().max()) == 0.0
    assert float(found.per_example[:, :, [0, 2, 3]].abs().mean()) > 1e-3
    assert found.agreement is not None
    assert found.agreement.n_units == 12


# -- what it costs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "forwards"),
    [
        ({"of": "heads"}, 1),
        ({"of": "neurons", "kind": "resample"}, 2),
        ({"of": "queries"}, 2),
        ({"of": "heads", "steps": 4}, 1 + 3 * 4),
    ],
)
def test_forward_passes_are_as_stated(gpt2, monkeypatch, options, forwards):
    examples, calls = make(gpt2), []
    plain = Model.forward

    def counting(self, tokens, mask=None):
        if tokens.shape[1] > 1:  # shapes are found on one token
            calls.append(len(tokens))
        return plain(self, tokens, mask)

    attribute(gpt2, examples, loss, check=0, **{"kind": "zero", **options})  # sites surveyed
    monkeypatch.setattr(Model, "forward", counting)
    found = attribute(gpt2, examples, loss, check=0, **{"kind": "zero", **options})
    assert calls == [len(examples)] * forwards
    backwards = options.get("steps", 1) * (3 if "steps" in options else 1)
    assert found.forward_equivalents == forwards + 2 * backwards


@pytest.mark.parametrize(("budget", "looks"), [(9, False), (14, True)])
def test_rank_keeps_its_budget_and_says_what_is_exact(gpt2, monkeypatch, budget, looks):
    examples, calls = make(gpt2, n=6), []
    plain, swept = Model.forward, replacing.sweep

    def counting(self, tokens, mask=None):
        calls.append(tokens.shape[1] > 1)
        return plain(self, tokens, mask)

    def counting_sets(model, examples, metric, sets, **options):
        calls.extend([True] * (1 + len(sets)))  # the unchanged run, and one for each set
        with monkeypatch.context() as inside:
            inside.setattr(Model, "forward", plain)
            return swept(model, examples, metric, sets, **options)

    attribute(gpt2, examples, loss, kind="zero", check=0)  # sites surveyed
    monkeypatch.setattr(Model, "forward", counting)
    monkeypatch.setattr(replacing, "sweep", counting_sets)
    found = rank(gpt2, examples, loss, kind="zero", budget=budget, explore=0.25)
    assert sum(calls) + 2 == found.forward_equivalents <= budget
    n = len(found.heads)
    # Screening 3 and an unchanged run; looking at the 3 layers takes another of those.
    assert looks == (sum(calls) == 1 + 1 + n + 1 + 3)
    assert n == (6 if looks else 5)
    table = found.table()
    assert len(table) == 12
    assert table["is_exact"].tolist() == [True] * n + [False] * (12 - n)
    assert table["exact"][:n].is_monotonic_decreasing
    assert table["exact"][n:].isna().all()
    assert table["estimated"][n:].is_monotonic_decreasing
    assert sorted(table["chosen"][:n]) == sorted(found.chosen)
    assert set(table["chosen"][n:]) == {"not ablated"}
    assert (table["low"][:n] <= table["exact"][:n]).all()
    truth = ablate(gpt2, examples, loss, [[h] for h in found.heads], kind="zero").effects
    torch.testing.assert_close(found.exact, truth.double().mean(1), rtol=0, atol=1e-6)
    n_top = found.chosen.count("estimate")
    assert [unit for unit, _ in found.estimates.top(n_top)] == list(found.heads[:n_top])
    assert 0 <= found.missed <= found.chosen.count("random") >= 1
    assert f"{n} of 12 heads exact" in repr(found)


def test_rank_ablates_all_where_it_can(gpt2):
    examples = make(gpt2)
    whole = rank(gpt2, examples, loss, kind="zero", budget=16)
    assert whole.table()["is_exact"].all()
    assert whole.missed == 0
    assert whole.forward_equivalents == 16
    assert whole.agreement.chosen == "all"


def test_groups_tell_heads_apart():
    for n in (1, 2, 5, 12, 32):
        groups = _groups(n)
        assert all(groups)
        assert len(groups) == 2 * (n - 1).bit_length()
        for hidden in range(n):
            harm = torch.tensor([3.0 if hidden in group else 0.0 for group in groups])
            assert _suspects(harm, groups, n)[0] == hidden


def test_hidden_layers():
    means = torch.tensor([[0.1, 0.0], [2.0, 1.0], [0.0, 0.0], [-1.0, 0.5]])
    # Little estimated and much done; explained; nothing done; explained by size, whatever the sign.
    assert hidden_layers(means, torch.tensor([4.0, 4.0, 0.01, 1.5])) == [0]
    assert hidden_layers(0 * means, torch.tensor([4.0, 5.0, 0.01, 3.0])) == [1, 0, 3]


# -- agreement ------------------------------------------------------------------------------------


def against(estimated, exact, **options):
    names = [f"L0H{i}" for i in range(len(exact))]
    settings = {"n_units": 50, "chosen": "all", "scale": 1.0, "cost": 5.0} | options
    return compare(names, torch.tensor(estimated), torch.tensor(exact), **settings)


def test_agreement_of_what_agrees():
    exact = [float(i) for i in range(20)]
    found = against([0.5 * x for x in exact], exact)
    assert found.spearman == pytest.approx(1.0)
    assert found.interval == pytest.approx((1.0, 1.0))
    assert (found.recall, found.recall_at, found.chance) == (1.0, 10, 0.5)
    assert found.magnitude == pytest.approx(0.5)
    assert found.problem is None
    assert "Spearman 1.00" in str(found)
    assert found.table()["exact"].tolist() == exact[::-1]


@pytest.mark.parametrize(
    ("estimated", "exact", "problem"),
    [
        ([1e-7, 2e-8, 0.0, 0.0], [3.0, 3.0, 0.0, 0.0], "gradient has vanished"),
        ([0.3, 0.2, 0.1, 0.0], [0.0, 0.0, 0.0, 1e-9], "nothing to agree on"),
        ([40.0, 30.0, 20.0, 10.0], [1.0, 0.5, 0.3, 0.2], "times as large"),
        ([1.0, 1.0, 1.0, 1.0], [4.0, 3.0, 2.0, 1.0], "do not differ"),
        ([1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0], "no better than chance"),
        ([0.0, *map(float, range(1, 12))], [20.0, *map(float, range(1, 12))], "overlooked: L0H0"),
    ],
)
def test_agreement_says_what_is_wrong(estimated, exact, problem):
    found = against(estimated, exact)
    assert found.problem is not None
    assert problem in found.problem
    assert "no guide to exact replacement" in str(found)


def test_ties_by_rounding_are_ties():
    exact = [2.0, 1.0, *[0.0] * 18]
    noise = (1e-8 * torch.randn(20, generator=torch.Generator().manual_seed(0))).tolist()
    found = against([2.0, 1.0, *noise[2:]], exact)
    assert found.spearman == pytest.approx(1.0)
    assert (found.recall_at, found.recall) == (2, 1.0)
    # Of 20 equal estimates, two places: a recall of 2 in 20 each way they are broken.
    assert against([1.0] * 20, exact).recall == pytest.approx(0.1)


def test_the_sample_has_both_ends():
    means = torch.arange(40.0).reshape(4, 10) - 20
    units, how = sample(means, 10, seed=0)
    assert len(set(units)) == 10
    assert sorted(float(means[u]) for u in units[:5]) == [-20.0, -19.0, -18.0, 18.0, 19.0]
    assert how == "5 largest estimates, 5 at random"
    assert sample(means, 10, seed=0)[0] == units
    assert sample(means, 10, seed=1)[0] != units
    assert sample(means, 99, seed=0)[1] == "all"
    assert sample(torch.arange(3.0), 9, seed=0)[0] == [(0,), (1,), (2,)]


def test_a_result_shows_itself(gpt2):
    examples = make(gpt2)
    found = attribute(gpt2, examples, loss, kind="zero", check=6)
    assert found.agreement is not None
    assert len(found.agreement.units) == 6
    assert found.agreement.forward_equivalents == 6 + 1 + 3
    (head, value), *_ = found.top(2)
    assert found.scores().top(1) == [(head, pytest.approx(value))]
    assert found.table()["name"][0] == f"L{head[0]}H{head[1]}"
    assert "6 of 12 units exact" in repr(found)
    unchecked = attribute(gpt2, examples, loss, of="mlps", kind="zero", check=0)
    assert "Not compared with exact replacement" in repr(unchecked)
    assert set(unchecked.table()["name"]) == {f"L{layer}.mlp_out" for layer in range(3)}
    assert unchecked.table()["index"].isna().all()
    names = {
        of: attribute(gpt2, examples, loss, of=of, kind="zero", check=0).table()["name"]
        for of in ("neurons", "residual", "keys")
    }
    assert "L2N79" in set(names["neurons"])
    assert "L2.resid_pre@8" in set(names["residual"])
    assert "L2H3.k" in set(names["keys"])
    with pytest.raises(AttributionError, match="mlps are not query heads"):
        unchecked.scores()


# -- conductance ----------------------------------------------------------------------------------


def test_conductance_is_complete_where_units_cut_every_way(model, examples):
    gaps = []
    for steps in (8, 128):
        found = conductance(model, examples, loss, of="residual", steps=steps, check=0)
        sums = found.per_example.sum(2)  # [example, layer]
        size = found.total.abs().mean()
        gaps.append(float((sums - found.total[:, None]).abs().mean() / size))
    assert gaps[-1] < 0.02
    assert gaps[-1] < gaps[0] / 4
    assert found.gap < 0.02
    assert found.forward_equivalents == 1 + 3 * 129


def test_conductance_of_parts_adds_up(load_tiny):
    """Neurons of a layer sum to what passes through its MLP; heads, through their z."""
    for name in ("gpt2", "llama"):
        model = load_tiny(name)
        examples = make(model)
        options = {"steps": 128, "check": 0}
        neurons = conductance(model, examples, loss, of="neurons", **options)
        mlps = conductance(model, examples, loss, of="mlps", **options)
        torch.testing.assert_close(
            neurons.per_example.sum(2), mlps.per_example, rtol=0.02, atol=5e-3
        )


def test_a_baseline_that_is_the_input_carries_nothing(gpt2):
    tokens = torch.full((2, 6), 5)
    found = conductance(
        gpt2, Examples(tokens), loss, of="heads", baseline=gpt2.W_E[5], steps=2, check=0
    )
    assert float(found.per_example.abs().max()) < 1e-6
    assert float(found.total.abs().max()) < 1e-6


def test_conductance_warns_where_the_path_is_not_smooth(load_tiny, caplog):
    """Without position embeddings a norm cannot tell x from x/2: all happens next to zero."""
    model = load_tiny("llama")
    with caplog.at_level(logging.WARNING):
        found = conductance(model, make(model), loss, baseline="zero", steps=8, check=0)
    assert found.gap > 0.5
    assert "another baseline" in caplog.text


def test_conductance_refusals(gpt2):
    examples = make(gpt2)
    with pytest.raises(AttributionError, match="20 numbers, got shape"):
        conductance(gpt2, examples, loss, baseline=torch.zeros(3))
    with pytest.raises(AttributionError, match="unknown baseline 'noise'"):
        conductance(gpt2, examples, loss, baseline="noise")  # type: ignore[arg-type]
    with pytest.raises(AttributionError, match="steps ≥ 1"):
        conductance(gpt2, examples, loss, steps=0)


# -- refusals and warnings ------------------------------------------------------------------------


def test_refusals_say_what_to_do(gpt2, load_tiny, padded):
    examples = make(gpt2)
    with pytest.raises(AttributionError, match="unknown units of='neuron'; expected neurons"):
        attribute(gpt2, examples, loss, of="neuron", kind="zero")  # type: ignore[arg-type]
    with pytest.raises(AttributionError, match="unknown replacement 'median'"):
        attribute(gpt2, examples, loss, kind="median")  # type: ignore[arg-type]
    for kind in ("mean", "mean-by-position", "paired"):
        with pytest.raises(AttributionError, match="needs reference="):
            attribute(gpt2, examples, loss, kind=kind)
    with pytest.raises(AttributionError, match="no gradient; use logit_difference or loss"):
        attribute(gpt2, examples, accuracy, kind="zero")
    with pytest.raises(AttributionError, match="steps ≥ 1 and check ≥ 0"):
        attribute(gpt2, examples, loss, kind="zero", steps=0)
    short = make(gpt2, width=5)
    with pytest.raises(AttributionError, match="one shape and one mask"):
        attribute(gpt2, examples, loss, kind="paired", reference=short)
    with pytest.raises(AttributionError, match="means for 5 positions, the examples have 9"):
        attribute(gpt2, examples, loss, kind="mean-by-position", reference=short)
    left = Examples(*padded(examples.tokens, [9, 5, 7, 3], "left"))
    with pytest.raises(AttributionError, match="without padding on the left"):
        attribute(gpt2, left, loss, kind="mean-by-position", reference=examples)
    with pytest.raises(AttributionError, match="one length, without padding"):
        attribute(gpt2, left, loss, kind="resample")
    with pytest.raises(SiteError, match="has no mlp_post"):
        native = load_tiny("native-attn-only")
        attribute(native, make(native), loss, of="neurons", kind="zero")
    with pytest.raises(AttributionError, match="give at least 6"):
        rank(gpt2, examples, loss, kind="zero", budget=5)
    with pytest.raises(AttributionError, match="the screening takes 19"):
        rank(gpt2, examples, loss, kind="zero", budget=9, steps=2)
    with pytest.raises(AttributionError, match="share from 0 to 1"):
        rank(gpt2, examples, loss, kind="zero", explore=1.5)


def test_kl_has_no_slope_at_the_clean_model(gpt2, caplog):
    examples = make(gpt2)
    kl = kl_from(gpt2.logits(examples.tokens))
    with caplog.at_level(logging.WARNING):
        found = attribute(gpt2, examples, kl, kind="zero", check=12)
    assert float(found.per_example.abs().max()) < 1e-5
    assert found.agreement is not None
    assert "gradient has vanished" in str(found.agreement.problem)
    assert "no guide to exact replacement" in caplog.text
    stepped = attribute(gpt2, examples, kl, kind="zero", steps=8, check=12)
    assert stepped.agreement is not None
    assert stepped.agreement.problem is None


def test_sixteen_bits_are_warned_about(make_hf, caplog):
    model = load_model("half", hf_model=make_hf("llama").bfloat16(), dtype="bfloat16")
    examples = make(model)
    with caplog.at_level(logging.WARNING):
        found = attribute(model, examples, loss, kind="zero", check=0)
    assert "runs in bfloat16" in caplog.text
    wide = load_model("wide", hf_model=make_hf("llama"))
    truth = attribute(wide, examples, loss, kind="zero", check=0)
    torch.testing.assert_close(found.values, truth.values, rtol=0, atol=0.1)


def test_one_answer_needs_no_scored_positions(gpt2):
    examples = dataclasses.replace(make(gpt2), wrong=None)
    with pytest.raises(ValueError, match="has no `wrong`"):
        attribute(gpt2, examples, logit_difference, kind="zero")
