"""Sparse probes, SCR and TPP on the world of planted bias: latents that are concepts, and none.

A trained SAE, the same SAE with random weights, random latents in place of the chosen, and shuffled
labels. TPP is the one that random weights pass: as published it is high for them too.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from interp.models import Examples, load_model
from interp.sae import (
    SaeSettings,
    differential,
    pool_latents,
    sparse_probes,
    spurious_correlation_removal,
    targeted_probe_perturbation,
    train_sae,
)
from interp.sae.stream import kept_positions
from interp.zoo.bias_world.sentences import corpus, sentences
from interp.zoo.bias_world.world import REFERENCES, world_of

WORLD = world_of("bias-world")
# Two targets that lean to neither reference, so that only what is planted ties them to one.
LEVEL = [WORLD.targets[i] for i in torch.argsort(WORLD.beta.abs()).tolist()[:2]]
CONCEPTS = (*REFERENCES, "neutral", *LEVEL, "t0")
N, DRAWS = 200, 39


@pytest.fixture(scope="module")
def model():
    return load_model("zoo:bias-world")


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    settings = SaeSettings(arch="topk", d_sae=128, k=8, samples=150_000, lr=2e-3, seed=0)
    out = tmp_path_factory.mktemp("sae") / "trained"
    documents = corpus(WORLD, n=6000, seed=9)
    return train_sae(model, documents, "L1.resid_post", out=out, settings=settings).dictionary


@pytest.fixture(scope="module")
def untrained(trained):
    found = copy.deepcopy(trained)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(found.sae.W_dec.shape, generator=generator)
    rows /= rows.norm(dim=1, keepdim=True)
    with torch.no_grad():
        found.sae.W_dec.copy_(rows)
        found.sae.W_enc.copy_(rows.T)
    return found


def pooled(model, dictionary, parts):
    tokens = torch.cat([part.examples.tokens for part in parts])
    groups = tuple(group for part in parts for group in part.examples.groups)
    examples = Examples(tokens, groups=groups)
    at = kept_positions(model, examples.tokens, examples.mask, skip_bos=True)
    return pool_latents(model, examples, dictionary, at=at)


def crossed(model, dictionary, seed):
    """Both targets with both references: one label is to be learnt, the other agrees with it."""
    cells = [(target, reference) for target in (0, 1) for reference in (0, 1)]
    parts = [sentences(WORLD, LEVEL[t], n=N, reference=REFERENCES[r], seed=seed) for t, r in cells]
    desired, spurious = (np.repeat([bool(cell[i]) for cell in cells], N) for i in (0, 1))
    return pooled(model, dictionary, parts), desired, spurious


def told(model, dictionary, seed):
    parts = [sentences(WORLD, name, n=N, seed=seed) for name in CONCEPTS]
    return pooled(model, dictionary, parts), np.repeat(np.arange(len(CONCEPTS)), N)


@pytest.mark.parametrize("seed", [3, 4])
def test_scr_is_high_for_the_latents_of_the_spurious_label_only(model, trained, untrained, seed):
    scores = {}
    for name, dictionary in (("trained", trained), ("untrained", untrained)):
        data = crossed(model, dictionary, seed)
        (scores[name],) = spurious_correlation_removal(
            *data, dictionary, counts=(10,), n_random=DRAWS, seed=seed
        )
    found, null = scores["trained"], scores["untrained"]
    assert found.base < 0.55 and found.others > 0.95, "the planted correlation is what is learnt"
    assert found.interval[0] > 0.4
    assert found.p == 1 / (DRAWS + 1)
    assert null.score < 0.5 * found.score
    assert null.p > 0.1


def test_scr_is_undefined_where_the_spurious_label_is_shuffled(model, trained):
    data, desired, spurious = crossed(model, trained, 3)
    shuffled = np.random.default_rng(0).permutation(spurious)
    for one in spurious_correlation_removal(data, desired, shuffled, trained, n_random=5, seed=0):
        assert one.score is None
        assert "not told from 0" in one.reason


def test_tpp_hurts_the_probe_of_the_class_and_shuffled_classes_none(model, trained, untrained):
    data, classes = told(model, trained, 13)
    (found,) = targeted_probe_perturbation(
        data, classes, trained, counts=(5,), n_random=DRAWS, seed=0
    )
    assert found.base > 0.98
    assert found.interval[0] > 0.2
    assert found.others < 0.5 * (found.base - found.accuracy)
    assert found.p == 1 / (DRAWS + 1)
    assert abs(np.mean(found.random)) < 0.05
    shuffled = np.random.default_rng(0).permutation(classes)
    for one in targeted_probe_perturbation(
        data, shuffled, trained, counts=(2, 5, 10), n_random=5, seed=0
    ):
        assert one.score is None and one.p is None
        assert "not told from chance" in one.reason
    # A known weakness: any directions chosen by the probe harm it. Only the trained ones tell why.
    data, classes = told(model, untrained, 13)
    (null,) = targeted_probe_perturbation(
        data, classes, untrained, counts=(5,), n_random=DRAWS, seed=0
    )
    assert 0.1 < null.score < found.score


def test_one_latent_tells_a_concept_that_one_dimension_does_not(model, trained):
    data, classes = told(model, trained, 13)
    scores = {"latents": [], "residual": []}
    for i, name in enumerate(CONCEPTS):
        rows = np.concatenate([(classes == i).nonzero()[0], (classes != i).nonzero()[0][::5]])
        labels = classes[rows] == i
        for probe in sparse_probes(data.select(rows), labels, ks=(1,), seed=0):
            scores[probe.of].append(probe.accuracy)
            if probe.of == "latents":
                best = differential(data.latents, classes == i).auroc[probe.chosen[0]]
                assert max(best, 1 - best) > 0.9, name
    assert min(scores["latents"]) > 0.9
    assert np.mean(scores["latents"]) > np.mean(scores["residual"]) + 0.03


def test_sparse_probes_and_differences_of_shuffled_labels_are_at_chance(model, trained):
    data, classes = told(model, trained, 13)
    missed, aurocs = 0, []
    for seed in range(10):
        labels = np.random.default_rng(seed).permutation(classes < 3)
        for probe in sparse_probes(data, labels, ks=(5,), seed=seed):
            missed += not probe.interval[0] <= 0.5 <= probe.interval[1]
        fired = np.diff(data.latents.tocsc().indptr) > 0
        aurocs.append(np.abs(differential(data.latents, labels).auroc[fired] - 0.5).mean())
    assert missed <= 4  # 1 of 20 expected; more than 4 has chance .003
    assert np.mean(aurocs) < 0.02
