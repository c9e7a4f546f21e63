"""What an SAE is said to keep: right on SAEs whose every number is known, and undefined with its
reason where there is nothing to say."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from interp.hooks import capture, session, set_to
from interp.models import Examples
from interp.sae import Dictionary, Evaluation, SaeError, evaluate_sae

SITE = "L1.resid_post"


def standard(weight_in, weight_out, bias_in, bias_out, **metadata):
    """A sae-lens SAE written down by hand."""
    from sae_lens import StandardSAE, StandardSAEConfig

    d_in, d_sae = weight_in.shape
    sae = StandardSAE(StandardSAEConfig(d_in=d_in, d_sae=d_sae, apply_b_dec_to_input=False))
    with torch.no_grad():
        for name, value in (
            ("W_enc", weight_in),
            ("W_dec", weight_out),
            ("b_enc", bias_in),
            ("b_dec", bias_out),
        ):
            getattr(sae, name).copy_(value)
    from interp.hooks import Site

    return Dictionary(sae=sae, name="by hand", site=Site.parse(SITE), metadata=metadata)


def exact(d, *, dead=0):
    """x = relu(x) − relu(−x): reconstructs everything; some latents more never fire."""
    eye = torch.eye(d)
    silent = torch.zeros(d, dead)
    return standard(
        torch.cat([eye, -eye, silent], 1),
        torch.cat([eye, -eye, torch.ones(dead, d)]),
        torch.cat([torch.zeros(2 * d), -torch.ones(dead)]),
        torch.zeros(d),
    )


@pytest.fixture(scope="module")
def tiny(load_tiny):
    return load_tiny("native")


@pytest.fixture(scope="module")
def rows(random_ids):
    return Examples(tokens=random_ids(20, 12))


def test_an_exact_sae_keeps_everything(tiny, rows):
    found = evaluate_sae(tiny, exact(tiny.d_model, dead=3), rows)
    assert found.explained_variance == pytest.approx(1.0, abs=1e-9)
    assert found.cosine == pytest.approx(1.0, abs=1e-6)
    assert found.kl == pytest.approx(0.0, abs=1e-5)
    assert found.ce_cost == pytest.approx(0.0, abs=1e-5)
    assert found.l0 == pytest.approx(tiny.d_model)
    assert found.n_dead == 3 and (found.density[-3:] == 0).all()
    assert found.n_activations == 240 and found.n_predictions == 220


def test_density_counts_firings(tiny, rows):
    found = evaluate_sae(tiny, exact(tiny.d_model), rows)
    x = capture(tiny, rows, SITE)[SITE].flatten(0, 1)
    assert torch.allclose(found.density, torch.cat([x > 0, x < 0], 1).float().mean(0))
    assert (found.frame()["dead"] == (found.density == 0).numpy()).all()
    found.figure()


def test_an_sae_that_gives_the_mean_explains_nothing(tiny, rows):
    d = tiny.d_model
    mean = capture(tiny, rows, SITE)[SITE].mean((0, 1))
    sae = standard(torch.zeros(d, 4), torch.zeros(4, d), -torch.ones(4), mean)
    found = evaluate_sae(tiny, sae, rows)
    assert found.explained_variance == pytest.approx(0.0, abs=1e-5)
    assert found.l0 == 0 and found.n_dead == 4


def test_an_sae_that_gives_zero_recovers_nothing(tiny, rows):
    d = tiny.d_model
    sae = standard(torch.zeros(d, 4), torch.zeros(4, d), -torch.ones(4), torch.zeros(d))
    found = evaluate_sae(tiny, sae, rows)
    assert found.ce_spliced == pytest.approx(found.ce_zero)
    assert found.kl == pytest.approx(found.kl_zero) and found.kl > 0
    assert found.explained_variance < 0


def test_losses_are_those_of_the_model(tiny, rows):
    d = tiny.d_model
    sae = standard(torch.zeros(d, 4), torch.zeros(4, d), -torch.ones(4), torch.full((d,), 0.3))

    def nll(logits):
        logp = logits[:, :-1].log_softmax(-1)
        return float(-logp.gather(2, rows.tokens[:, 1:, None]).mean())

    found = evaluate_sae(tiny, sae, rows, tokens_per_forward=40)
    assert found.ce == pytest.approx(nll(tiny.logits(rows.tokens)), rel=1e-5)
    put = torch.full((20, 12, d), 0.3)
    with session(tiny, intervene=set_to(SITE, put)) as s:
        assert found.ce_spliced == pytest.approx(nll(s.run(rows)), rel=1e-5)
    low, high = found.ce_cost_interval
    assert low <= found.ce_cost <= high


def test_recovered_is_undefined_where_zero_costs_nothing(tiny, rows):
    found = evaluate_sae(tiny, exact(tiny.d_model), rows)
    assert found.ce_recovered is None
    assert "nothing to recover" in found.undefined or "not told from none" in found.undefined


def test_recovered_where_zero_costs(tiny, rows):
    # Each row's own best next tokens: zero ablation must cost.
    tokens = rows.tokens.clone()
    for at in range(11):
        tokens[:, at + 1] = tiny.logits(tokens)[:, at].argmax(-1)
    easy = Examples(tokens=tokens)
    found = evaluate_sae(tiny, exact(tiny.d_model), easy)
    assert found.undefined is None
    assert found.ce_recovered == pytest.approx(1.0, abs=1e-4)


def test_padding_changes_nothing(tiny, random_ids, padded):
    ids, lengths = random_ids(9, 14), [14, 5, 9] * 3
    sae = exact(tiny.d_model)
    with torch.no_grad():
        sae.sae.W_dec *= 0.5
    by_side = []
    for side in ("left", "right"):
        tokens, mask = padded(ids, lengths, side)
        by_side.append(evaluate_sae(tiny, sae, Examples(tokens=tokens, mask=mask)))
    alone = [
        evaluate_sae(tiny, sae, Examples(tokens=ids[i : i + 1, :n])) for i, n in enumerate(lengths)
    ]
    ce = sum(e.ce_spliced * e.n_predictions for e in alone) / sum(e.n_predictions for e in alone)
    for found in by_side:
        assert found.n_activations == sum(lengths)
        assert found.ce_spliced == pytest.approx(ce, rel=1e-5)
        assert found.l0 == pytest.approx(by_side[0].l0)
        low, high = found.ce_cost_interval
        assert low < found.ce_cost < high
    assert alone[0].ce_cost_interval is None


def test_bos_is_neither_encoded_nor_replaced(make_hf, make_tokenizer):
    from interp.models import load_model

    model = load_model("tiny", hf_model=make_hf("gpt2"), tokenizer=make_tokenizer(bos=True))
    examples = model.tokenize(["w2 w3 w4 w9", "w5 w6 w7 w1"])
    d = model.d_model
    sae = standard(torch.zeros(d, 4), torch.zeros(4, d), -torch.ones(4), torch.zeros(d))
    kept = evaluate_sae(model, sae, examples)
    assert kept.n_activations == 7  # of ten: two marks in front, and w1 is the mark
    assert kept.ce_spliced != pytest.approx(
        evaluate_sae(model, sae, examples, skip_bos=False).ce_spliced
    )


def test_what_does_not_vary_has_no_explained_variance(tiny):
    one = Examples(tokens=torch.full((4, 2), 3))
    # One position alone: the same token there in every row.
    found = evaluate_sae(tiny, exact(tiny.d_model), one)
    assert found.explained_variance is not None
    same = dataclasses.replace(one, mask=torch.ones(4, 2, dtype=torch.bool))
    embed = dataclasses.replace(exact(tiny.d_model), site=None)
    found = evaluate_sae(tiny, embed, same, site="embed")
    assert found.explained_variance is None


def test_saved_and_read_back(tiny, rows, tmp_path):
    found = evaluate_sae(tiny, exact(tiny.d_model), rows)
    found.save(tmp_path)
    again = Evaluation.read(tmp_path)
    assert again.metrics() == found.metrics()
    assert torch.equal(again.density, found.density)
    assert all(math.isfinite(v) for v in found.metrics().values() if isinstance(v, float))


def test_what_does_not_fit_is_refused(tiny, rows):
    sae = exact(tiny.d_model + 1)
    with pytest.raises(SaeError, match=r"17, L1\.resid_post of native is 16 wide"):
        evaluate_sae(tiny, sae, rows)
    with pytest.raises(SaeError, match="pass site="):
        evaluate_sae(tiny, dataclasses.replace(exact(tiny.d_model), site=None), rows)
    other = dataclasses.replace(exact(tiny.d_model), fingerprint="0" * 64)
    with pytest.raises(SaeError, match="trained on another model"):
        evaluate_sae(tiny, other, rows)
