"""SAEs on activations whose make-up is known: planted directions are found; noise and random
dictionaries explain what they must and no more."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from interp.models import load_model
from interp.sae import SaeSettings, evaluate_sae, train_sae
from interp.sae.arrays import train_on_array
from interp.sae.texts import read_data

D, N_TRUE = 16, 24


def draw(*shape, seed):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def gaussian(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def explained(sae, x):
    back = sae.decode(sae.encode(x))
    return float(1 - (back - x).square().sum() / (x - x.mean(0)).square().sum())


def shuffled(sae, seed=99):
    """The same with directions drawn at random: the null for whatever it explains."""
    import copy

    made = dataclasses.replace(sae, sae=copy.deepcopy(sae.sae))
    rows = gaussian(sae.d_sae, sae.d_in, seed=seed)
    rows = rows / rows.norm(dim=-1, keepdim=True) * sae.decoder.norm(dim=-1, keepdim=True)
    with torch.no_grad():
        made.sae.W_dec.copy_(rows)
        made.sae.W_enc.copy_(rows.T)
    made.__dict__.pop("decoder", None)
    return made


@pytest.fixture(scope="module")
def planted():
    """24 directions in 16 dimensions, two of them at a time."""
    true = gaussian(N_TRUE, D, seed=0)
    true = true / true.norm(dim=-1, keepdim=True)
    there = draw(12_000, N_TRUE, seed=1) < 2 / N_TRUE
    x = (there * (0.5 + draw(12_000, N_TRUE, seed=2))) @ true
    return true, x


@pytest.fixture(scope="module")
def found(planted):
    settings = SaeSettings(arch="batchtopk", d_sae=32, k=2, batch=256, samples=256 * 700, lr=3e-3)
    return train_on_array(planted[1], settings)


def test_planted_directions_are_found(planted, found):
    true, x = planted
    rows = found.decoder / found.decoder.norm(dim=-1, keepdim=True)
    best = (true @ rows.T).max(dim=1).values
    assert float((best > 0.9).float().mean()) > 0.7
    random = shuffled(found).decoder
    random = random / random.norm(dim=-1, keepdim=True)
    assert float(((true @ random.T).max(dim=1).values > 0.9).float().mean()) < 0.2
    with torch.no_grad():
        assert explained(found, x) > 0.8


@torch.no_grad()
def test_a_random_dictionary_explains_next_to_nothing(planted, found):
    _, x = planted
    assert explained(shuffled(found), x) < 0.3
    assert explained(found, x) > 0.8


def test_noise_has_no_dictionary(planted, found):
    """Of Gaussian noise two latents of 32 can carry only what two directions chosen of 32 do."""
    noise = gaussian(6000, D, seed=3)
    settings = SaeSettings(arch="topk", d_sae=32, k=2, batch=256, samples=256 * 400, lr=3e-3)
    sae = train_on_array(noise, settings)
    fresh = gaussian(4000, D, seed=4)
    with torch.no_grad():
        # The best two of 32 random directions, fitted exactly, are more than any SAE's two.
        rows = gaussian(32, D, seed=5)
        rows = rows / rows.norm(dim=-1, keepdim=True)
        top = (fresh @ rows.T).clamp_min(0).topk(2, dim=-1)
        pairs = rows[top.indices]
        fit = torch.linalg.lstsq(pairs.transpose(1, 2), fresh[:, :, None]).solution
        back = (pairs.transpose(1, 2) @ fit)[:, :, 0]
        bound = float(1 - (back - fresh).square().sum() / fresh.square().sum())
        assert 0.1 < explained(sae, fresh) < bound + 0.1
        assert explained(sae, fresh) < explained(found, planted[1]) - 0.2


def test_an_sae_of_the_bundled_model_keeps_its_loss_and_a_random_one_does_not(tmp_path):
    code_lm = load_model("zoo:code-lm")
    source = "\n".join(p.read_text() for p in sorted(Path(__file__).parent.glob("*.py")))
    (tmp_path / "source.py").write_text(source)
    rows, held_out = read_data(
        code_lm, tmp_path / "source.py", context=64, n_train=20_000, n_held_out=2500
    )
    settings = SaeSettings(
        arch="topk", d_sae=360, k=12, batch=256, samples=256 * 150, buffer=8192, lr=3e-3
    )
    trained = train_sae(
        code_lm, rows, "L1.resid_post", out=tmp_path / "sae", settings=settings, held_out=held_out
    )
    kept = trained.evaluation
    assert kept.undefined is None
    assert kept.explained_variance > 0.5 and kept.ce_recovered > 0.6
    random = evaluate_sae(code_lm, shuffled(trained.dictionary), held_out)
    assert random.explained_variance < 0.3
    assert random.ce_cost > 2 * kept.ce_cost
    assert random.ce_cost_interval[0] > kept.ce_cost_interval[1]


def test_a_model_trained_elsewhere_on_text_of_its_own(shared_models, tmp_path):
    model = load_model(str(shared_models / "stories260k"))
    rows, held_out = read_data(model, "own:3000", context=32, n_train=60_000, n_held_out=800)
    settings = SaeSettings(
        arch="topk", d_sae=256, k=8, batch=256, samples=256 * 150, buffer=4096, lr=3e-3
    )
    trained = train_sae(
        model, rows, "L2.resid_post", out=tmp_path / "sae", settings=settings, held_out=held_out
    )
    assert trained.evaluation.l0 <= 8
    assert trained.evaluation.explained_variance > 0.4
    assert trained.evaluation.ce_recovered > 0.5
