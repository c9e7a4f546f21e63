"""Modular addition taken apart: on logits and neurons whose answer is planted, by slow formulas."""

from __future__ import annotations

import math

import pytest
import torch

from interp.evidence import answer_nll
from interp.fourier import (
    FourierError,
    excluded_logits,
    fourier_basis,
    key_frequencies,
    losses,
    modulus,
    neuron_clusters,
    neuron_readout,
    phases_of,
    progress_losses,
    read_logits,
    read_modular,
    remove_frequencies,
    restricted_logits,
    run_pairs,
    shuffled_components,
    trig_components,
    unit_spectra,
    weigh_frequencies,
    weight_spectra,
)
from interp.hooks import session
from interp.models import ModelSpec, load_model
from interp.zoo.modular.bridging import as_model
from interp.zoo.modular.network import Network
from interp.zoo.modular.tables import modular_addition

P = 13
A, B, C = torch.meshgrid(*[torch.arange(P)] * 3, indexing="ij")
S = A + B - C
NATIVE = Network(n=P, n_answers=P, d_model=16, n_heads=2, d_mlp=24, seed=0).native_config()


def wave(k: int, p: int = P) -> torch.Tensor:
    residues = torch.arange(p)
    total = residues[:, None, None] + residues[:, None] - residues
    return (2 * math.pi * k * total.double() / p).cos()


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def planted() -> torch.Tensor:
    """Key frequencies 2 and 5, a term that depends on the pair alone, one on c alone, and noise."""
    return 20 * wave(2) + 12 * wave(5) + noise(0, P, P, 1) + noise(1, P) + 0.3 * noise(2, P, P, P)


def table() -> torch.Tensor:
    """Logits of a perfect lookup table."""
    return 30.0 * (S % P == 0)


# -- components -----------------------------------------------------------------------------------


def test_components_are_those_of_the_definition():
    logits = planted()
    found = trig_components(logits)
    centred = logits.double() - logits.double().mean(2, keepdim=True)
    centred = centred - centred.mean((0, 1))
    for k in range(1, P // 2 + 1):
        t = wave(k).double()
        inner = (t * centred).sum()
        share = inner**2 / (t.square().sum() * centred.square().sum())
        assert float(found.cos_fve[k - 1]) == pytest.approx(float(share), rel=1e-6, abs=1e-9)
        assert float(found.alpha[k - 1]) == pytest.approx(float(inner / t.square().sum()), rel=1e-6)
        angle = 2 * math.pi * k * (A + B)[:, :, 0].double() / P
        u, v = (f.flatten() / f.norm() for f in (angle.cos(), angle.sin()))
        flat = centred.flatten(0, 1)
        both = (u @ flat).square().sum() + (v @ flat).square().sum()
        assert float(found.pair_fve[k - 1]) == pytest.approx(
            float(both / centred.square().sum()), rel=1e-6
        )
    assert bool((found.pair_fve >= found.cos_fve - 1e-12).all())
    assert float(found.alpha[1]) == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize("p", [12, 13])
def test_shares_of_pure_cosines_add_up_to_one(p):
    logits = sum(float(k) * wave(k, p) for k in range(1, p // 2 + 1))
    assert trig_components(logits).total == pytest.approx(1, abs=1e-6)


def test_planted_keys_are_found_strongest_first():
    found = trig_components(planted())
    null = shuffled_components(planted(), n=19, seed=0)
    assert key_frequencies(found, null) == (2, 5)
    assert float(null.max()) < 0.1 * float(found.cos_fve[1])
    with pytest.raises(FourierError, match="n_shuffles is 0; expected at least 1"):
        shuffled_components(planted(), n=0, seed=0)


def test_a_lookup_table_has_every_frequency_and_so_none():
    found = trig_components(table())
    torch.testing.assert_close(found.cos_fve, torch.full((6,), 1 / 6, dtype=torch.float64))
    assert found.lookup_share == pytest.approx(1 / 6)
    assert key_frequencies(found) == ()
    for train in (None, modular_addition(P).split(0.4, seed=0)):
        reading = read_logits(table(), train=train)
        assert reading.grokked is (None if train is None else True)
        assert reading.key_frequencies is None
        assert "no frequency stands out" in reading.reason
        assert ("by heart" in reading.reason) == (train is None)


def test_a_frequency_that_speaks_against_the_answer_is_not_key():
    assert key_frequencies(trig_components(20 * wave(2) - 20 * wave(5))) == (2,)


def test_constant_and_random_logits_have_no_keys():
    assert trig_components(torch.ones(P, P, P)).total == 0
    reading = read_logits(torch.zeros(P, P, P))
    assert reading.accuracy.all == 0, "a uniform model knows nothing, also where the answer is 0"
    assert not reading.grokked
    assert key_frequencies(trig_components(noise(3, P, P, P))) == ()


def test_in_shuffled_order_there_is_nothing():
    order = torch.randperm(P, generator=torch.Generator().manual_seed(0))
    shuffled = planted()[order][:, order][:, :, order]
    reading = read_logits(shuffled)
    assert not reading.grokked
    assert reading.key_frequencies is None
    assert reading.progress is None
    assert reading.components.total < 0.1


def test_pairs_whose_mirror_was_trained_on_do_not_show_grokking():
    train = torch.triu(torch.ones(P, P, dtype=torch.bool))
    memorised = planted() * (train | train.T)[..., None]
    found = read_logits(memorised, train=train)
    assert found.accuracy.test == 1, "every held-out pair is right"
    assert (found.accuracy.n_unseen, found.accuracy.unseen) == (0, None)
    assert found.grokked is None and found.key_frequencies is None and found.progress is None
    assert "cannot be told" in found.reason and "at least 50" in found.reason
    half = modular_addition(P).split(0.4, seed=0)
    known = half | half.T
    found = read_logits(planted() * known[..., None], train=half)
    assert (found.grokked, found.accuracy.unseen) == (False, 0.0)
    assert found.accuracy.test > 0.3, "the mirror images are right"
    found = read_logits(planted(), train=half)
    assert found.grokked and found.key_frequencies == (2, 5)


def test_keys_that_do_not_suffice_are_said_to_be_so():
    # A frequency that says little alone, and a table that makes up for it.
    logits = 6 * wave(2) + 5 * wave(5) + 9 * (S % P == 0)
    found = read_logits(logits, train=modular_addition(P).split(0.4, seed=0))
    assert found.grokked and found.key_frequencies == (2,) and found.progress is not None
    assert found.progress.restricted.all > found.progress.full.all > 0
    assert not found.progress.suffices
    assert "they alone do not suffice" in found.reason
    # A model that memorised all pairs looks like this too (measured at p = 23).
    unknown = read_logits(logits)
    assert unknown.grokked is None and unknown.key_frequencies is None and unknown.progress is None
    assert "frequencies 2 stand out" in unknown.reason and "by heart" in unknown.reason
    enough = read_logits(planted())
    assert enough.progress is not None and enough.progress.suffices
    assert "suffice" not in enough.reason


# -- restricted and excluded ----------------------------------------------------------------------


def test_restricted_and_excluded_are_those_of_the_definition():
    logits, keys = planted(), (2, 5)
    flat = logits.double().flatten(0, 1)
    angles = 2 * math.pi * (A + B)[:, :, 0].flatten().double() / P
    part = torch.zeros_like(flat)
    for k in keys:
        for f in ((k * angles).cos(), (k * angles).sin()):
            u = f / f.norm()
            part += u[:, None] * (u @ flat)
    restricted = part + (flat - part).mean(0)
    torch.testing.assert_close(restricted_logits(logits, keys).flatten(0, 1), restricted)
    torch.testing.assert_close(excluded_logits(logits, keys).flatten(0, 1), flat - part)
    answers = ((A + B) % P)[:, :, 0].flatten()
    train = modular_addition(P).split(0.3, seed=0)
    found = progress_losses(logits, keys, train=train)
    for name, values in (("full", flat), ("restricted", restricted), ("excluded", flat - part)):
        nll = torch.nn.functional.cross_entropy(values, answers, reduction="none")
        loss = getattr(found, name)
        assert loss.all == pytest.approx(float(nll.mean()))
        assert loss.train == pytest.approx(float(nll[train.flatten()].mean()))
        assert loss.test == pytest.approx(float(nll[~train.flatten()].mean()))
    assert found.excluded_each[2] == progress_losses(logits, (2,), train=train).excluded
    assert found.full == losses(logits, train=train)
    assert found.restricted.all < found.full.all < 0.1
    assert found.excluded.all > 2


def test_a_memoriser_does_not_need_the_frequencies():
    train = modular_addition(P).split(0.5, seed=0)
    found = progress_losses(table() * train[..., None], (2,), train=train)
    assert found.excluded.train < 1e-3
    assert found.restricted.test > 1.0


def test_masks_and_frequencies_must_fit():
    with pytest.raises(FourierError, match=r"1…6"):
        progress_losses(planted(), (7,))
    with pytest.raises(FourierError, match=r"1…6"):
        restricted_logits(planted(), ())
    for mask, said in (
        (torch.ones(P, P, dtype=torch.bool), "both sides"),
        (torch.ones(P, P), "booleans"),
        (torch.ones(3, 3, dtype=torch.bool), "shape"),
    ):
        with pytest.raises(FourierError, match=said):
            progress_losses(planted(), (2,), train=mask)
    with pytest.raises(FourierError, match="p, p, p"):
        trig_components(torch.ones(3, 3, 4))
    with pytest.raises(FourierError, match="finite"):
        losses(torch.full((3, 3, 3), torch.nan))


# -- neurons --------------------------------------------------------------------------------------


def test_neurons_go_to_their_frequencies():
    a, b = A[:, :, 0], B[:, :, 0]

    def angle(k: int, x: torch.Tensor) -> torch.Tensor:
        return 2 * math.pi * k * x / P

    made = [
        angle(3, a).cos() + angle(3, b).cos() + 5,
        angle(4, a).sin() * angle(4, b).cos(),
        angle(2, a).cos() * angle(5, b).cos(),
        torch.full((P, P), 2.0),
        noise(0, P, P),
    ]
    found = neuron_clusters(torch.stack(made, -1))
    assert found.frequency[:2].tolist() == [3, 4]
    assert found.fve[:2].tolist() == pytest.approx([1, 1])
    assert float(found.fve[2]) < 1e-6, "products of two frequencies are of neither"
    assert found.alive.tolist() == [True, True, True, False, True]
    assert 0 < float(found.fve[4]) < 0.3
    assert found.sizes() == {3: 1, 4: 1}
    assert found.share() == pytest.approx(2 / 4)
    assert neuron_clusters(torch.zeros(P, P, 2)).mean_fve is None


# -- phases ---------------------------------------------------------------------------------------


def test_phases_are_read_by_rule():
    steps = [0, 10, 20, 30, 40, 50, 60]
    series = {
        "test_loss": [4, 10, 9, 8, 3, 0.5, 0.001],
        "excluded_loss": [4, 0.5, 1, 3, 6, 7, 7],
        "train_accuracy": [0.1, 0.95, 1, 1, 1, 1, 1],
    }

    def read(**changes):
        return phases_of(steps, **{**series, **changes}, n_answers=50)

    found = read()
    assert (found.circuit_from, found.cleanup_from, found.over_at) == (10, 40, 60)
    assert (found.within, found.reason) == (10, None)
    # The peak counts where it is, also before the turn: 9 would not have fallen by half at step 30.
    late = read(test_loss=[12, 9, 8, 5, 3, 0.5, 0.001], excluded_loss=[4, 2, 0.5, 3, 6, 7, 7])
    assert (late.circuit_from, late.cleanup_from) == (20, 30)
    for changes, said in (
        ({"excluded_loss": [7, 6, 5, 4, 3, 2, 1]}, "never turns up"),
        ({"test_loss": [5] * 7}, "never falls"),
        ({"train_accuracy": [0.1, 0.5, 1, 1, 1, 1, 1]}, "only 50% of the training pairs"),
        ({"test_loss": [4, 3, 2, 1, 0.5, 0.1, 0.001]}, "below that of guessing, 3.9"),
    ):
        none = read(**changes)
        assert said in none.reason
        assert (none.circuit_from, none.cleanup_from, none.over_at) == (None, None, None)
    with pytest.raises(FourierError, match="one length"):
        read(test_loss=[1])


# -- models ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return as_model(Network(n=P, n_answers=P, d_model=16, n_heads=2, d_mlp=24, seed=0))


def test_all_pairs_at_once(model):
    ran = run_pairs(model, batch_size=50)
    assert ran.p == P
    tokens = torch.tensor([[3, 7, P]])
    with session(model, capture=["L0.mlp_post"]) as s:
        logits = s.run(tokens)[0, -1]
        neurons = s["L0.mlp_post@-1"][0]
    torch.testing.assert_close(ran.logits[3, 7], logits)
    torch.testing.assert_close(ran.neurons[3, 7], neurons)
    torch.testing.assert_close(
        ran.logits[1, 2] - ran.logits[1, 3],
        ((ran.neurons[1, 2] - ran.neurons[1, 3]) @ neuron_readout(model))
        + _direct(model, 2)
        - _direct(model, 3),
        atol=1e-5,
        rtol=1e-4,
    )


def _direct(model, b: int) -> torch.Tensor:
    with session(model, capture=["L0.resid_mid"]) as s:
        s.run(torch.tensor([[1, b, P]]))
        return s["L0.resid_mid@-1"][0] @ model.W_U


def test_attention_is_read_with_the_bias_of_its_query():
    network = Network(n=P, n_answers=P, d_model=16, n_heads=2, d_mlp=24, seed=0)
    network.layers[0].attn.q.bias.data = 3 * noise(5, 16)
    biased = as_model(network)
    with session(biased, capture=["L0.pattern"]) as s:
        s.run(torch.stack([torch.arange(P), torch.zeros(P).long(), torch.full((P,), P)], 1))
        pattern = s["L0.pattern"][:, :, 2].double()
    # What "=" pays to the operand beside itself: the score, but for a constant.
    wanted = unit_spectra((pattern[..., 0] / pattern[..., 2]).log())
    torch.testing.assert_close(weight_spectra(biased).heads, wanted, atol=1e-4, rtol=1e-3)


def test_a_null_needs_shuffles():
    with pytest.raises(FourierError, match="n_shuffles is 0; expected at least 1"):
        read_logits(planted(), n_shuffles=0)


def test_an_output_for_the_sign_is_left_out():
    wide = load_model(ModelSpec("wide", native={**NATIVE, "d_vocab_out": P + 1}))
    assert modulus(wide) == P
    assert run_pairs(wide).logits.shape == (P, P, P)
    assert not read_modular(wide).grokked
    assert remove_frequencies(wide, [1], site="logits").value.shape == (P + 1, 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_layers": 2}, "2 layers"),
        ({"attn_only": True}, "no MLP"),
        ({"normalization_type": "LN"}, "norms"),
        ({"d_vocab_out": P - 1}, "14 tokens and 12 outputs"),
        ({"n_ctx": 2}, "2 positions"),
        ({"d_vocab": 3, "d_vocab_out": 2}, "expected 3 up"),
    ],
)
def test_models_of_another_shape_are_refused(changes, said):
    other = load_model(ModelSpec("other", native={**NATIVE, **changes}))
    with pytest.raises(FourierError, match=said):
        read_modular(other)


def test_language_models_are_refused(load_tiny):
    with pytest.raises(FourierError, match="no one-layer model of modular addition"):
        modulus(load_tiny("gpt2"))


# -- removal --------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["L0.mlp_post@-1", "L0.resid_post@-1", "logits@-1", "embed"])
def test_a_control_costs_what_the_intervention_does(model, site):
    """The shortcut past the neurons against the model run with the intervention in place."""
    judged = modular_addition(P).examples().select(range(40))
    rows = weigh_frequencies(model, [2], judged, site=site, n_controls=3)
    with session(model, intervene=remove_frequencies(model, [2], site=site)) as s:
        ablated = answer_nll.per_example(s.run(judged), judged)
    clean = answer_nll.per_example(model.logits(judged.tokens), judged)
    assert rows[0].effect == pytest.approx(float((ablated - clean).mean()), abs=1e-5)
    families = ["random-frequency", "random-plane"][: 1 + site.startswith("logits")]
    assert [row.control_family for row in rows] == families


def test_removed_from_the_logits_nothing_of_it_is_left(model):
    judged = modular_addition(P).examples()
    with session(model, intervene=remove_frequencies(model, [2, 3], site="logits@-1")) as s:
        left = s.run(judged)[:, -1].double() @ fourier_basis(P).T
    clean = model.logits(judged.tokens)[:, -1].double() @ fourier_basis(P).T
    assert float(left[:, 3:7].abs().max()) < 1e-5
    torch.testing.assert_close(left[:, 7:], clean[:, 7:], atol=1e-5, rtol=1e-4)


def test_an_even_modulus_has_a_last_frequency_of_one_row():
    even = as_model(Network(n=12, n_answers=12, d_model=16, n_heads=2, d_mlp=24, seed=0))
    change = remove_frequencies(even, [6], site="logits@-1")
    assert change.value.shape == (12, 1)
    judged = modular_addition(12).examples()
    with session(even, intervene=change) as s:
        left = s.run(judged)[:, -1].double() @ fourier_basis(12).T
    assert float(left[:, -1].abs().max()) < 1e-5 < float(left[:, -2].abs().max())
    rows = weigh_frequencies(even, [6], judged, n_controls=4)
    assert len(rows) == 2
    assert not read_modular(even).grokked


def test_removed_from_the_embedding_it_no_longer_turns(model):
    change = remove_frequencies(model, [4], site="embed")
    rows = fourier_basis(P)[7:9].float()
    assert float((rows @ change.apply(model.W_E[None, :P])[0]).abs().max()) < 1e-5
    assert float((rows @ model.W_E[:P]).abs().max()) > 0.1


def test_what_cannot_be_removed_is_refused(model):
    judged = modular_addition(P).examples()
    with pytest.raises(FourierError, match=r"cannot be removed at L0\.attn_out"):
        remove_frequencies(model, [2], site="L0.attn_out")
    with pytest.raises(FourierError, match=r"1…6"):
        remove_frequencies(model, [9])
    with pytest.raises(FourierError, match="too few others"):
        weigh_frequencies(model, [1, 2, 3, 4], judged)


def test_random_frequencies_are_other_ones_and_all_of_them(model):
    judged = modular_addition(P).examples().select(range(30))
    rows = weigh_frequencies(model, [2, 5], judged, n_controls=99)
    by_subject = {(row.subject, row.control_family): row for row in rows}
    alone = by_subject["k=2 at logits", "random-frequency"]
    assert alone.n_possible == 4, "six frequencies but the two keys"
    together = by_subject["k=2+k=5 at logits", "random-frequency"]
    assert (together.n_possible, together.n_null_possible) == (6, 14)
    assert alone.p_holm is not None and together.p_holm is None
