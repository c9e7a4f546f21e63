"""Random concepts are drawn as they say, vectors near chance are flagged, results read well."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from interp.evidence import logit_difference
from interp.models import Examples
from probes.cav import CAVError, concept_vectors, relative_vector, require_concepts, tcav
from probes.cav.randoms import draw
from probes.data import StatementSet
from probes.domains import Domain


def groups(name: str, n: int, each: int = 1) -> list[str]:
    return [f"{name}{i // each}" for i in range(n)]


def test_sets_are_of_one_size_and_share_nothing_they_should_not():
    concepts = {"a": groups("a", 40), "b": groups("b", 60, each=3)}
    drawn = draw(concepts, groups("p", 400), n_random=30, n_partners=3, seed=1)
    assert drawn.size == 30 and drawn.partners.shape == (32, 3, 30)
    assert drawn.concepts.shape == (2, 30) and drawn.randoms.shape == (30, 30)
    away = set(drawn.held_out.tolist())
    for random, partners in zip(drawn.randoms, drawn.partners[2:], strict=True):
        sets = [set(random.tolist()), *(set(p.tolist()) for p in partners)]
        assert all(len(s) == 30 and not s & away for s in sets)
        assert len(set.union(*sets)) == 120, "concept and partners are disjoint"
    own = {groups("b", 60, each=3)[i] for i in drawn.concepts[1].tolist()}
    held = {groups("b", 60, each=3)[i] for i in drawn.concepts_held_out[1].tolist()}
    assert held and not own & held, "no group is fitted and tested on"
    again = draw(concepts, groups("p", 400), n_random=30, n_partners=3, seed=1)
    assert torch.equal(drawn.partners, again.partners)


def test_small_pools_are_refused():
    with pytest.raises(CAVError, match="expected at least 5"):
        draw({"a": groups("a", 40)}, groups("p", 16), n_random=9, n_partners=2, seed=0)
    with pytest.raises(CAVError, match="n_partners=1"):
        draw({"a": groups("a", 40)}, groups("p", 160), n_random=9, n_partners=1, seed=0)


def domain(name: str, shift: float, n: int = 80, seed: int = 0) -> Domain:
    g = torch.Generator().manual_seed(seed)
    labels = np.arange(n) % 2 == 0
    values = torch.randn(n, 12, generator=g)
    values[:, 3] += shift * torch.from_numpy(labels)
    return Domain.build(name, values, labels, groups=groups("t", n, each=2))


def test_vectors_point_to_the_concept_and_noise_is_flagged():
    real, noise = concept_vectors([domain("real", 3.0), domain("noise", 0.0)], C=1.0, seed=0)
    assert real.above_chance and real.accuracy > 0.8 and float(real.direction[3]) > 0.8
    assert not noise.above_chance and "not above chance" in str(noise)
    assert real.n_fitted + real.n_held_out == 80
    require_concepts([real])
    with pytest.raises(CAVError, match="noise: held-out accuracy"):
        require_concepts([real, noise])


def test_relative_vectors_beat_shuffled_labels_only_where_there_is_something():
    gradient = torch.zeros(20, 12)
    gradient[:, 3] = 1.0
    gradient += 0.1 * torch.randn(20, 12, generator=torch.Generator().manual_seed(5))
    real = relative_vector(domain("real", 3.0), {"m": gradient}, n_shuffles=99, seed=0)
    assert real.p_loss == 0.01 and real.loss < 0.5
    assert real.tests[0].p == 0.01 and real.tests[0].effect == pytest.approx(3.0, abs=0.7)
    noise = [
        relative_vector(domain("n", 0.0, seed=s), {"m": gradient}, n_shuffles=19, seed=s)
        for s in range(12)
    ]
    assert sum(one.p_loss <= 0.05 for one in noise) <= 3
    assert sum(one.tests[0].p <= 0.05 for one in noise) <= 3
    assert real.shuffled.shape == (99, 12)


def test_the_whole_test_runs_on_ids_and_reads_well(load_tiny, random_ids):
    model = load_tiny("native")

    def sentences(name: str, n: int, seed: int) -> Examples:
        return dataclasses.replace(Examples(tokens=random_ids(n, 6, seed)), name=name)

    targets = Examples(
        tokens=random_ids(8, 6, 9),
        answer=torch.arange(8),
        wrong=torch.arange(8) + 8,
        answer_at=torch.full((8,), 5),
        name="targets",
    )
    result = tcav(
        model,
        targets,
        [sentences("a <b>", 24, 1), sentences("c", 24, 2)],
        random=sentences("pool", 120, 3),
        sites=["L0.resid_post", "L1.resid_post"],
        metric=logit_difference,
        n_random=19,
        n_partners=2,
        seed=0,
    )
    table = result.table()
    assert len(table) == 4 and set(table["target"]) == {"targets"}
    assert (table["p_holm"] >= table["p"]).all() and (table["p"] >= 0.05).all()
    assert result.size == 18 and ("L0.resid_post", "c") in result.vectors
    assert "a &lt;b&gt;" in result._repr_html_() and "a <b>" not in result._repr_html_()
    assert result.figure().axes[0].get_xlabel().startswith("mean cosine")
    with pytest.raises(CAVError, match="no target 'x'"):
        result.figure("x")
    with pytest.raises(CAVError, match="different names"):
        tcav(model, targets, [], random=sentences("p", 9, 1), sites=["L0.resid_post"], seed=0)
    with pytest.raises(CAVError, match="token ids: position last"):
        tcav(
            model,
            targets,
            [sentences("a", 24, 1)],
            random=sentences("p", 90, 1),
            sites=["L0.resid_post"],
            position="mean",
            seed=0,
        )


def test_few_random_concepts_are_called_too_few():
    """Nineteen random concepts cannot pass Holm over two tests, and the verdict says so."""
    from probes.cav.tcav import adjusted
    from probes.cav.testing import ConceptTest

    test = ConceptTest(
        "s", "c", "t", 1.0, 0.9, 2.0, -0.2, 0.2, 9.0, 0.05, 0.05, 0.0, 0.05, 0.9, 0.8, 1.0, 19
    )
    pair = adjusted([test, dataclasses.replace(test, p=0.5)])
    assert pair[0].p_holm == pytest.approx(0.1)
    assert pair[0].verdict(alpha=0.05, n_tests=2).startswith("underpowered")
    assert pair[1].verdict(alpha=0.05, n_tests=2) == "not to be told from random concepts"
    weak = dataclasses.replace(test, accuracy_low=0.4)
    assert weak.verdict(alpha=0.05, n_tests=1).startswith("no vector")
    assert adjusted([test])[0].verdict(alpha=0.05, n_tests=1) == "sensitive"


def test_text_concepts_and_plain_sentences_are_read(tiny_folder):
    from interp.models import load_model

    model = load_model(str(tiny_folder("gpt2")))
    words = [f"w{i}" for i in range(2, 29)]
    texts = [f"{a} {b}" for a in words for b in words][:300]
    labels = [i % 2 == 0 for i in range(60)]
    concept = StatementSet.build(texts[:60], labels, name="c")
    targets = Examples(
        tokens=torch.tensor([[3, 4], [5, 6]]),
        answer=torch.tensor([1, 2]),
        wrong=torch.tensor([7, 8]),
        answer_at=torch.tensor([1, 1]),
    )
    result = tcav(
        model,
        targets,
        [concept],
        random=texts[100:],
        sites=["L0.resid_post"],
        n_random=9,
        n_partners=2,
        seed=0,
    )
    assert result.size == 23 and len(result.tests) == 1
