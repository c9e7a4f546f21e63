"""SCR and TPP: near 1 where latents are the concepts, near 0 where latents are something else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from interp.hooks import Site
from interp.sae import probing_removal
from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.features import Pooled
from interp.sae.probing_perturbation import targeted_probe_perturbation
from interp.sae.probing_removal import removal_table, spurious_correlation_removal

D_IN, D_SAE = 20, 16


def dictionary(seed=0):
    """Latent i writes an axis of its own."""
    from sae_lens import StandardSAE, StandardSAEConfig

    sae = StandardSAE(StandardSAEConfig(d_in=D_IN, d_sae=D_SAE, device="cpu", dtype="float32"))
    with torch.no_grad():
        sae.W_dec.copy_(torch.eye(D_IN)[:D_SAE])
    return Dictionary(sae, "made", Site.parse("L0.resid_post"))


def texts(n, concepts, seed, *, hidden=False, sides=1):
    """Latents on their axes, and noise; ``hidden`` puts concepts where no latent writes.

    With two sides a concept has a latent for either, as grammatical genders do.
    """
    rng = np.random.default_rng(seed)
    latents = np.maximum(rng.normal(0, 0.2, size=(n, D_SAE)), 0)
    vectors = np.zeros((n, D_IN))
    for i, (label, size) in enumerate(concepts):
        if hidden:
            vectors[:, D_SAE + i] = size * label
        else:
            latents[:, sides * i] = size * label
            if sides == 2:
                latents[:, 2 * i + 1] = size * ~label
    vectors[:, :D_SAE] += latents
    vectors += rng.normal(0, 0.15, size=vectors.shape)
    return Pooled(sparse.csr_array(latents), vectors, tuple(map(str, range(n))))


def labels(n, seed=0):
    rng = np.random.default_rng(100 + seed)
    return rng.random(n) < 0.5, rng.random(n) < 0.5


def test_removing_the_spurious_latent_frees_the_probe():
    desired, spurious = labels(800)
    # The spurious concept is the louder one, so the biased probe goes by it.
    pooled = texts(800, [(desired, 0.8), (spurious, 3.0)], 1, sides=2)
    found = spurious_correlation_removal(
        pooled, desired, spurious, dictionary(), counts=(2, 3), seed=0
    )
    assert found[0].base < 0.75
    assert found[0].score > 0.5
    assert found[0].accuracy > found[0].base
    assert found[0].reason is None
    assert found[0].interval[0] < found[0].score < found[0].interval[1]
    # Two of the spurious latents are louder than anything that could stand in for them.
    assert max(found[0].random) < 0.2 * found[0].score
    table = removal_table(found, others="clean")
    assert list(table["n"]) == [2, 3]
    assert table["clean"][0] > table["accuracy"][0] > table["base"][0]


def test_the_biased_probe_has_as_many_texts_as_the_unbiased_one(monkeypatch):
    sizes = []
    fit = probing_removal.fit

    def counted(x, y):
        sizes.append((len(x), int(y.sum())))
        return fit(x, y)

    monkeypatch.setattr(probing_removal, "fit", counted)
    desired, spurious = labels(800)
    pooled = texts(800, [(desired, 0.8), (spurious, 3.0)], 1, sides=2)
    spurious_correlation_removal(pooled, desired, spurious, dictionary(), counts=(2,), seed=0)
    (biased, clean, _) = sizes
    assert biased == clean
    assert biased[0] == 2 * biased[1]


def test_where_no_latent_stands_for_it_nothing_is_removed():
    desired, spurious = labels(800)
    pooled = texts(800, [(desired, 0.8), (spurious, 3.0)], 1, hidden=True)
    found = spurious_correlation_removal(
        pooled, desired, spurious, dictionary(), counts=(2, 5), seed=0
    )
    assert max(abs(one.score) for one in found) < 0.1


def test_where_the_spurious_label_costs_nothing_scr_is_undefined():
    desired, spurious = labels(800)
    pooled = texts(800, [(desired, 6.0), (spurious, 0.0)], 1)
    one = spurious_correlation_removal(pooled, desired, spurious, dictionary(), counts=(2,), seed=0)
    assert one[0].score is None
    assert "nothing to remove" in one[0].reason


def test_tpp_is_high_for_classes_of_their_own_latents_and_zero_for_none():
    classes = np.random.default_rng(3).integers(4, size=1200)
    concepts = [(classes == i, 2.5) for i in range(4)]
    own = targeted_probe_perturbation(
        texts(1200, concepts, 2), classes, dictionary(), counts=(1,), seed=0
    )
    assert own[0].score > 0.3
    assert own[0].base > 0.9
    none = targeted_probe_perturbation(
        texts(1200, concepts, 2, hidden=True), classes, dictionary(), counts=(1, 5), seed=0
    )
    assert max(abs(one.score) for one in none) < 0.05
    assert all(one.p > 0.05 for one in none)


def test_latents_that_two_classes_share_are_less_of_either():
    classes = np.random.default_rng(3).integers(4, size=1200)
    own, shared = (
        targeted_probe_perturbation(
            texts(1200, concepts, 2), classes, dictionary(), counts=(1,), seed=0
        )[0]
        for concepts in (
            [(classes == i, 2.5) for i in range(4)],
            [(classes < 2, 2.5), (classes >= 2, 2.5), (classes % 2 == 0, 2.5)],
        )
    )
    assert shared.score < own.score
    assert shared.others > own.others + 0.1


def test_tpp_of_classes_that_nothing_tells_is_undefined():
    undefined = 0
    for seed in range(20):
        classes = np.random.default_rng(seed).integers(3, size=300)
        found = targeted_probe_perturbation(
            texts(300, [], seed), classes, dictionary(), counts=(8,), n_random=19, seed=seed
        )
        undefined += found[0].score is None and "nothing to lose" in found[0].reason
    assert undefined >= 17  # one in forty is expected to be told from chance by chance


def test_few_groups_of_texts_score_nothing():
    desired, spurious = labels(800)
    classes = np.random.default_rng(3).integers(2, size=800)
    pooled = texts(800, [(desired, 0.8), (spurious, 3.0), (classes == 1, 2.0)], 1)
    few = Pooled(pooled.latents, pooled.vectors, tuple(f"group {i % 10}" for i in range(800)))
    scr = spurious_correlation_removal(few, desired, spurious, dictionary(), counts=(2,), seed=0)
    tpp = targeted_probe_perturbation(few, classes, dictionary(), counts=(2,), seed=0)
    for one in (*scr, *tpp):
        assert one.score is None and "fewer than eight groups" in one.reason


def test_bad_input():
    desired, _ = labels(60)
    pooled = texts(60, [(desired, 1.0)], 1)
    with pytest.raises(SaeError, match="some combination of labels"):
        spurious_correlation_removal(pooled, desired, desired, dictionary(), seed=0)
    with pytest.raises(SaeError, match="one class"):
        targeted_probe_perturbation(pooled, np.zeros(60, dtype=int), dictionary(), seed=0)
    with pytest.raises(SaeError, match="counts are \\[20\\]; expected numbers from 1 to 16"):
        spurious_correlation_removal(pooled, desired, desired, dictionary(), counts=[20], seed=0)
    other = Pooled(pooled.latents[:, :4], pooled.vectors, pooled.groups)
    with pytest.raises(SaeError, match="not of made"):
        targeted_probe_perturbation(other, desired.astype(int), dictionary(), seed=0)
