"""Bias in concept space on activations: formulas, nulls, intervals, refusals, tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

from interp.models import Examples
from probes.concept_bias import (
    BiasRows,
    ConceptBiasError,
    ConceptRows,
    bias_of_rows,
    by_target,
    concept_bias,
    reference_log_odds,
    slope_metric,
    target_means,
)
from probes.concept_bias.agreement import spearman
from probes.concept_bias.methods import encoded_shifts, reference_vectors, target_vectors
from probes.data import StatementSet

D, N = 10, 40
LEANS = (-2.0, -1.0, -0.3, 0.4, 1.0, 2.0)
SITE = "L0.resid_post"


def concept(name: str, mean: torch.Tensor, seed: int) -> ConceptRows:
    g = torch.Generator().manual_seed(seed)
    values = torch.randn(N, D, generator=g) + mean
    return ConceptRows(name, values, tuple(f"frame {i}" for i in range(N)))


def rows(leans: tuple[float, ...] = LEANS, size: float = 2.0) -> BiasRows:
    axis = torch.zeros(D)
    axis[0] = size
    own = torch.eye(D)[2:] * 3
    targets = [concept(f"t{i}", lean * axis / 2 + own[i], i) for i, lean in enumerate(leans)]
    return BiasRows.build(
        targets,
        concept("women", axis, 50),
        concept("men", -axis, 51),
        concept("neutral", torch.zeros(D), 52),
        seed=0,
    )


PLANTED = {"planted": {f"t{i}": lean for i, lean in enumerate(LEANS)}}


class Rectifier:
    """Latents that are what is above zero, for and against each axis."""

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.cat([x, -x], dim=-1))


def test_vectors_and_biases_are_what_scikit_learn_and_numpy_say():
    data = rows()
    found = bias_of_rows({SITE: data}, n_shuffles=3, n_resamples=0, C=0.5, seed=0)
    table = found.table().set_index("target")
    neutral = data.neutral.values.double().numpy()
    assert len(data.held_out) == 10 and len(neutral) == 30

    def vector(one: ConceptRows) -> tuple[np.ndarray, np.ndarray]:
        x = np.concatenate([one.values.double().numpy(), neutral])
        y = np.arange(len(x)) < N
        w = LogisticRegression(C=0.5, tol=1e-10, max_iter=9999).fit(x, y).coef_[0]
        return w / np.linalg.norm(w), x[:N].mean(0) - neutral.mean(0)

    first, second = vector(data.first), vector(data.second)
    for one in data.targets:
        v, m = vector(one)
        assert table.loc[one.name, "cav"] == pytest.approx(v @ first[0] - v @ second[0], abs=1e-3)
        unit = [x / np.linalg.norm(x) for x in (m, first[1], second[1])]
        expected = unit[0] @ unit[1] - unit[0] @ unit[2]
        assert table.loc[one.name, "mean difference"] == pytest.approx(expected, abs=1e-6)
        axis = found.axes[SITE].double().numpy()
        share = (m @ axis) / ((first[1] - second[1]) @ axis)
        assert table.loc[one.name, "reference probe"] == pytest.approx(share, abs=1e-5)


def test_steering_reaches_the_wanted_probability_and_no_further():
    data = rows()
    once = torch.ones((1, len(data.pool)))
    fits = target_vectors(data, once, C=0.5).fits
    seen: list[torch.Tensor] = []

    class Look:
        def encode(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x

    shifts = encoded_shifts(Look(), fits, data.held_out)
    steered = seen[1].double().unflatten(0, (len(LEANS), -1))
    for k in range(len(LEANS)):
        before = data.held_out.double() @ fits.directions[k] + fits.biases[k]
        after = steered[k] @ fits.directions[k] + fits.biases[k]
        assert torch.allclose(after, before.clamp(min=math.log(99)), atol=1e-3)
        assert torch.allclose(shifts[k] / shifts[k].norm(), fits.units[k], atol=1e-4), (
            "a linear encoder gives back the vector itself"
        )


def test_planted_bias_stands_out_by_every_method_and_a_null_does_not():
    found = bias_of_rows(
        {SITE: rows()}, saes={SITE: {"sae": Rectifier()}}, yardsticks=PLANTED, n_shuffles=99, seed=0
    )
    assert found.methods == ("cav", "mean difference", "reference probe", "sae")
    for size, agreed in zip(found.amplitudes, found.agreements, strict=True):
        assert size.p == 0.01 and size.size > size.null_high and size.references_apart
        assert agreed.rho > 0.9 and agreed.slope_z is not None and agreed.slope_z > 2
        assert size.p_holm == pytest.approx(4 * size.p) and agreed.p_holm >= agreed.p
        assert agreed.low <= agreed.rho <= agreed.high and agreed.p < 0.05
    for row in found.biases:
        assert row.low is not None and row.high is not None and row.low < row.high
        if row.method == "reference probe" and row.target == "t5":
            assert row.low < 1.0 < row.high + 0.3
    nothing = bias_of_rows(
        {SITE: rows(size=0.0)}, yardsticks=PLANTED, n_shuffles=99, n_resamples=20, seed=0
    )
    assert not nothing.amplitudes[0].references_apart
    assert {a.concept for a in nothing.near_chance()} >= {"women", "men", "women − men"}
    assert "not above chance" in repr(nothing) and not nothing.table()["above_chance"].any()
    assert min(a.p for a in nothing.amplitudes) > 0.01


def test_shuffles_keep_frames_together_and_draws_take_them_for_all_concepts():
    data = rows()
    labels = data.shuffles(5, seed=0)
    assert labels.shape == (5, 2 * N)
    # Each frame stands once in each reference: a shuffle swaps within it.
    assert bool((labels[:, :N] ^ labels[:, N:]).all())
    weights = data.resamples(4, seed=0)
    groups = np.array(data.groups)
    for frame in ("frame 0", "frame 7"):
        drawn = weights[:, np.flatnonzero(groups == frame)]
        assert bool((drawn == drawn[:, :1]).all())
    assert torch.equal(weights, data.resamples(4, seed=0))


def test_replicates_are_fits_of_their_own():
    data = rows()
    weights = data.resamples(3, seed=1)
    many = target_vectors(data, weights, C=0.5)
    single = target_vectors(data, weights[1:2], C=0.5)
    assert torch.allclose(many.units[1], single.units[0], atol=1e-6)
    assert torch.allclose(many.means[1], single.means[0])
    labels = data.shuffles(3, seed=2)
    ones = torch.ones((3, len(data.pool)))
    both = reference_vectors(data, ones, labels, C=0.5)
    alone = reference_vectors(data, ones[:1], labels[2:], C=0.5)
    assert torch.allclose(both.probe.units[2], alone.probe.units[0], atol=1e-6)
    assert torch.allclose(both.of(2).units, alone.of(0).units, atol=1e-6)


def test_rank_correlation_is_scipys():
    g = np.random.default_rng(0)
    a, b = g.integers(0, 5, (6, 9)).astype(float), g.normal(size=(6, 9))
    expected = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert np.allclose(spearman(a, b), expected)


def test_tables_and_figures():
    found = bias_of_rows({SITE: rows()}, yardsticks=PLANTED, n_shuffles=9, n_resamples=9, seed=0)
    assert list(found.table().columns) == [
        "site",
        "target",
        "cav",
        "mean difference",
        "reference probe",
        "planted",
        "above_chance",
    ]
    assert found.table()["above_chance"].all()
    assert {"size", "null_high", "rho planted", "slope z planted"} <= set(found.summary().columns)
    assert len(found.intervals()) == 18 and "<table" in found._repr_html_()
    assert found.figure().axes[0].get_ylabel().startswith("mean |bias|")
    assert found.figure_of(SITE, "cav", "planted").axes[0].get_xlabel() == "planted"
    with pytest.raises(ConceptBiasError, match="'cave' was not measured; did you mean cav"):
        found.figure_of(SITE, "cave", "planted")


def test_bad_input_is_refused():
    data = rows()
    with pytest.raises(ConceptBiasError, match="planted has no number for t5"):
        short = {"planted": {f"t{i}": 1.0 for i in range(5)}}
        bias_of_rows({SITE: data}, yardsticks=short, seed=0)
    with pytest.raises(ConceptBiasError, match="that differ in both"):
        same = {"flat": dict.fromkeys(data.names, 1.0)}
        bias_of_rows({SITE: data}, yardsticks=same, n_shuffles=2, n_resamples=0, seed=0)
    with pytest.raises(ConceptBiasError, match="no SAE of another"):
        bias_of_rows({SITE: data}, saes={"L9.resid_post": {"sae": Rectifier()}}, seed=0)
    with pytest.raises(ConceptBiasError, match="an SAE is called cav"):
        bias_of_rows({SITE: data}, saes={SITE: {"cav": Rectifier()}}, seed=0)
    with pytest.raises(ConceptBiasError, match="moves no latent"):

        class Silent:
            def encode(self, x: torch.Tensor) -> torch.Tensor:
                return torch.zeros(len(x), 3)

        bias_of_rows({SITE: data}, saes={SITE: {"sae": Silent()}}, n_shuffles=2, seed=0)
    with pytest.raises(ConceptBiasError, match="n_shuffles=1"):
        bias_of_rows({SITE: data}, n_shuffles=1, seed=0)
    with pytest.raises(ConceptBiasError, match="all of different names"):
        BiasRows.build(data.targets, data.first, data.first, data.neutral, seed=0)
    with pytest.raises(ConceptBiasError, match="expected at least 5"):
        ConceptRows("few", torch.zeros(8, 3), ("a",) * 8)
    with pytest.raises(ConceptBiasError, match="row 3 is not finite"):
        values = torch.zeros(8, 3).index_fill(0, torch.tensor([3]), torch.inf)
        ConceptRows("bad", values, tuple("abcdefgh"))


def asked(n: int = 3) -> dict[str, Examples]:
    return {
        name: Examples(
            tokens=torch.randint(0, 20, (n, 4 + i), generator=torch.Generator().manual_seed(i)),
            answer_at=torch.full((n,), 3 + i),
        )
        for i, name in enumerate(("t0", "t1", "t2"))
    }


def test_the_slope_metric_averages_to_the_least_squares_slope():
    both = by_target(asked())
    assert both.groups == ("t0",) * 3 + ("t1",) * 3 + ("t2",) * 3 and both.padded
    logits = torch.randn(9, 6, 20, generator=torch.Generator().manual_seed(0))
    odds = reference_log_odds(torch.tensor([1, 2]), torch.tensor([5]))
    values = odds.per_example(logits, both)
    row = logits[4, int(both.answer_at[4])].log_softmax(0)
    assert float(values[4]) == pytest.approx(float(row[[1, 2]].logsumexp(0) - row[5]), abs=1e-5)
    scores = {"t0": -1.0, "t1": 0.5, "t2": 3.0}
    found = slope_metric(odds, scores).per_example(logits, both).mean()
    means = target_means(values, both.groups)
    slope = np.polyfit(list(scores.values()), list(means.values()), 1)[0]
    assert float(found) == pytest.approx(slope, abs=1e-5)
    with pytest.raises(ConceptBiasError, match="at least 3 targets"):
        slope_metric(odds, {"t0": 1.0, "t1": 2.0})
    with pytest.raises(ConceptBiasError, match="no score for 't0'"):
        slope_metric(odds, {"a": 1.0, "b": 2.0, "c": 3.0}).per_example(logits, both)
    with pytest.raises(ConceptBiasError, match="may be of both"):
        reference_log_odds(torch.tensor([1, 2]), torch.tensor([2]))
    with pytest.raises(ConceptBiasError, match="as many of each"):
        by_target({**asked(), "t3": asked(2)["t0"]})


def test_text_concepts_share_their_negatives(tiny_folder):
    from interp.models import load_model

    model = load_model(str(tiny_folder("gpt2")))
    words = [f"w{i}" for i in range(8, 29)]
    plain = [f"{w} w7 w6" for w in words]

    def named(name: str, word: str) -> StatementSet:
        texts = [f"{w} {word} w6" for w in words] + plain
        labels = [True] * len(words) + [False] * len(words)
        return StatementSet.build(texts, labels, groups=words * 2, name=name)

    found = concept_bias(
        model,
        [named("a", "w1"), named("b", "w2"), named("c", "w3"), named("d", "w9")],
        named("x", "w4"),
        named("y", "w5"),
        sites=["L0.resid_post", "L2.resid_post"],
        yardsticks={"made up": {"a": 1.0, "b": 2.0, "c": 0.0, "d": 5.0}},
        n_shuffles=9,
        n_resamples=5,
        seed=0,
    )
    assert found.sites == ("L0.resid_post", "L2.resid_post") and len(found.table()) == 8
    with pytest.raises(ConceptBiasError, match=r"token ids; give neutral"):
        ids = Examples(tokens=torch.randint(0, 20, (12, 4)), name="ids")
        concept_bias(
            model,
            [named("a", "w1"), ids],
            named("x", "w4"),
            named("y", "w5"),
            sites=["L0.resid_post"],
            seed=0,
        )
