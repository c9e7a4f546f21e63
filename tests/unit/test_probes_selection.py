"""Several probes at once, the baselines beside them, and what is refused on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interp.hooks import Site
from interp.models import Model, load_model
from interp.models.spec import ModelError
from probes import (
    Activations,
    DataError,
    Probe,
    ProbeError,
    StatementSet,
    Trained,
    conclusion,
    evaluate,
    train,
    train_many,
)
from probes.comparison import signs_of, text_scores, yardsticks
from probes.fit import METHODS, FitError
from probes.measures import MeasureError, auroc
from probes.reinitialised import random_network
from probes.training import fit_probe, split_rows


@pytest.fixture(scope="module")
def worded(tiny_folder: Callable[[str], Path]) -> Model:
    """A tiny GPT-2 with a word tokenizer."""
    return load_model(str(tiny_folder("gpt2")))


def claims(n: int = 80, *, seed: int = 0, **changes: Any) -> StatementSet:
    """Random words, the last of which tells the label."""
    rng = np.random.default_rng(seed)
    texts = [
        " ".join([*(f"w{w}" for w in rng.integers(7, 29, 5)), f"w{5 + i % 2}"]) for i in range(n)
    ]
    return StatementSet.build(texts, [i % 2 for i in range(n)], name="claims", **changes)


def built(values: torch.Tensor, owners: torch.Tensor | None = None) -> Activations:
    return Activations(
        values=values,
        lengths=torch.ones(len(values), dtype=torch.int64),
        fingerprint="f",
        model="m",
        site=Site.parse("L0.resid_post"),
        position="last" if owners is None else "every",
        owners=owners,
    )


def test_every_site_and_method_is_fitted_as_if_alone(worded: Model) -> None:
    data = claims()
    sites, methods = ["L0.resid_post", "L2.resid_post"], ("mass-mean", "lda")
    found = train_many(worded, data, sites=sites, methods=methods, seed=1)
    assert found.names == tuple(f"{site}-{method}" for site in sites for method in methods)
    assert not found.failed
    inside = [probe.metrics["selection"]["auroc"] for probe in found.probes]
    assert found.chosen == int(np.argmax(inside))
    alone = train(worded, data, site=sites[1], method="lda", seed=1)
    same = found.probes[found.names.index("L2.resid_post-lda")]
    assert torch.equal(alone.direction, same.direction)
    for part in ("train", "held_out", "null", "baselines", "data", "notes"):
        assert alone.metrics[part] == same.metrics[part]


def test_the_choice_owes_nothing_to_the_held_out_statements(worded: Model) -> None:
    pairs = [i // 2 for i in range(80)]
    data = claims(groups=pairs)
    sites = [f"L{n}.resid_post" for n in range(3)]
    found = train_many(worded, data, sites=sites)
    known, new = split_rows(data, held_out=0.3, seed=0)
    # Other labels where it is measured; swapped within pairs, they leave the split as it is.
    labels = data.y.copy()
    labels[new] = ~labels[new]
    turned = StatementSet.build(data.texts, labels.tolist(), name="claims", groups=pairs)
    again = train_many(worded, turned, sites=sites)
    assert again.best.training_rows == data.select(known).row_hashes
    assert again.chosen == found.chosen
    for one, other in zip(found.probes, again.probes, strict=True):
        assert one.metrics["selection"] == other.metrics["selection"]
        turned_auroc = 1 - one.metrics["held_out"]["auroc"]
        assert other.metrics["held_out"]["auroc"] == pytest.approx(turned_auroc)


def test_several_probes_come_back_from_their_folder(worded: Model, tmp_path: Path) -> None:
    found = train_many(worded, claims(), sites=["L0.resid_post", "L1H2"], methods=["pca"])
    found.save(tmp_path / "probes")
    again = Trained.load(tmp_path / "probes")
    assert (again.names, again.chosen) == (found.names, found.chosen)
    assert again.best.metrics == found.best.metrics
    with pytest.raises(ProbeError, match="exists already"):
        found.save(tmp_path / "probes")
    found.best.save(tmp_path / "one")
    assert Trained.load(tmp_path / "one").names == (found.names[found.chosen],)
    held = json.loads((tmp_path / "probes" / "probes.json").read_text())
    for wrong in ({}, {"probes": []}, held | {"chosen": "x"}, held | {"probes": ["../one"]}):
        (tmp_path / "probes" / "probes.json").write_text(json.dumps(wrong))
        with pytest.raises(ProbeError, match=r"damaged|outside its folder"):
            Trained.load(tmp_path / "probes")
    (tmp_path / "probes" / "probes.json").unlink()
    with pytest.raises(ProbeError, match="holds no probe"):
        Trained.load(tmp_path / "probes")


def test_saving_several_is_all_or_nothing(
    worded: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = train_many(worded, claims(), sites=["L0.resid_post", "L1.resid_post"])
    save = Probe.save
    done: Iterator[int] = iter(range(9))

    def second_fails(probe: Probe, path: Path) -> Path:
        if next(done) == 1:
            raise OSError(28, "No space left on device")
        return save(probe, path)

    monkeypatch.setattr(Probe, "save", second_fails)
    with pytest.raises(OSError, match="No space left"):
        found.save(tmp_path / "probes")
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_fitted_is_said_beside_the_others(worded: Model) -> None:
    data = claims()
    ended = StatementSet.build([f"{text} w4" for text in data.texts], data.labels)
    found = train_many(worded, ended, sites=["embed", "L1.resid_post"])
    assert found.names == ("L1.resid_post-mass-mean",)
    assert [name for name, _ in found.failed] == ["embed-mass-mean"]
    with pytest.raises(FitError, match=r"no probe could be fitted: embed-.*same activation"):
        train_many(worded, ended, sites=["embed"], methods=["mass-mean", "lda"])


def test_rows_of_tokens_are_measured_by_statement() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2 == 0
    counts = rng.integers(1, 5, 60)
    owners = torch.from_numpy(np.repeat(np.arange(60), counts))
    values = torch.from_numpy(rng.normal(size=(len(owners), 6))).float()
    values[:, 0] += 2 * torch.from_numpy(labels[owners.numpy()])
    data = StatementSet.build([f"t{i}" for i in range(60)], labels.tolist())
    activations = built(values, owners)
    for method in ("mass-mean", "logistic"):
        probe = fit_probe(activations, data, method=method)  # type: ignore[arg-type]
        known, new = split_rows(data, held_out=0.3, seed=0)
        rule = METHODS[method](
            activations.select(known).values, activations.select(known).spread(labels[known])
        )
        assert torch.equal(probe.direction, rule.direction)
        scores = rule.scores(values).numpy()
        means = np.array([scores[owners.numpy() == i].mean() for i in range(60)])
        assert probe.metrics["held_out"]["auroc"] == auroc(means[new], labels[new])
        assert probe.metrics["held_out"]["n"] == len(new)
        assert probe.metrics["null"]["mean"] == pytest.approx(0.5, abs=0.12)


def test_baselines_are_measured_where_the_probe_is() -> None:
    # The word tells the label in half of the statements, and length in none.
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2 == 0
    told = [("yes" if y else "no") if rng.random() < 0.6 else "so" for y in labels]
    texts = [f"{word} {i:03d}" for i, word in zip(rng.permutation(120), told, strict=True)]
    data = StatementSet.build(texts, labels.tolist(), name="told")
    known, new = split_rows(data, held_out=0.4, seed=0)
    scores = text_scores(data)
    signs = signs_of(scores.select(known), data.select(known))
    found = yardsticks(scores.select(new), data.select(new), signs=signs, seed=0)
    assert {row["name"] for row in found.rows} == {
        "words",
        "characters",
        "length in characters",
        "length in words",
    }
    rows = {row["name"]: row for row in found.rows}
    assert rows["words"]["low"] > 0.6
    assert rows["length in words"]["auroc"] == 0.5
    assert found.strongest in ("words", "characters")
    best = data.y[new] + 0.01 * rng.normal(size=len(new))
    above = found.against(best, data.select(new), seed=0)
    assert above["lead_low"] > 0
    same = found.against(found.scores, data.select(new), seed=0)
    assert same["lead_low"] <= 0 <= same["lead_high"]
    held_out = {"auroc": 0.9, "auroc_low": 0.8, "auroc_high": 0.95, "lead_over_length_low": 0.1}
    assert conclusion(held_out, None, above).startswith("A signature")
    said = conclusion(held_out, None, same)
    assert said.startswith("No evidence of a signature beyond the strongest baseline")
    assert "[0.800, 0.950]" in said


def test_one_statement_a_group_too_few_has_no_lexical_baseline() -> None:
    data = StatementSet.build(
        ["a b", "c d", "e f", "g h"], [1, 0, 1, 0], groups=["x", "x", "x", "y"]
    )
    found = text_scores(data)
    assert not found.signed
    assert "no lexical baseline: only 1 groups" in found.notes[0]


def test_a_leak_planted_on_purpose_is_refused(worded: Model) -> None:
    # A claim and its negation, with nothing that binds them.
    texts = [f"w{7 + i % 20} w{7 + i // 20} is {'not ' * n}w5" for i in range(40) for n in (0, 1)]
    data = StatementSet.build(texts, [1, 0] * 40, name="leaky")
    for fit in (
        lambda: train(worded, data, site="L1.resid_post"),
        lambda: fit_probe(built(torch.zeros(80, 4)), data),
    ):
        with pytest.raises(DataError, match=r"the split leaks: .* looks like the negation"):
            fit()
    bound = StatementSet.build(texts, [1, 0] * 40, groups=[i // 2 for i in range(80)])
    known, new = split_rows(bound, held_out=0.3, seed=0)
    assert not {bound.groups[i] for i in known} & {bound.groups[i] for i in new}


def test_what_reading_left_out_is_kept_with_the_probe(worded: Model, tmp_path: Path) -> None:
    data = claims()
    texts = [*data.texts, data.texts[0], " ".join(["w9"] * 40)]
    repeated = StatementSet.build(texts, [*data.labels, data.labels[0], 1], name="claims")
    probe = train(worded, repeated, site="L1.resid_post")
    again = Probe.load(probe.save(tmp_path / "probe"))
    held = again.metrics["data"]
    assert held["read"]["n_read"] == 82
    assert held["read"]["duplicates"] == ["row 81"]
    assert held["skipped"] == {"the span is cut off at 24 tokens": ["row 82"]}
    assert probe.metrics["train"]["n"] + probe.metrics["held_out"]["n"] == 80
    names = [row["name"] for row in again.metrics["baselines"]["rows"]]
    assert "words" in names
    # The same statements, unread as read, are known to it.
    assert evaluate(probe, worded, repeated)["skipped"] == held["skipped"]


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_activations_that_are_not_finite_are_refused(kind: str) -> None:
    values = torch.randn((40, 3), generator=torch.Generator().manual_seed(0))
    values[7, 1] = float(kind)
    with pytest.raises(DataError, match=r"statement 7 .* is not finite; load the model in float32"):
        built(values)
    owners = torch.arange(40) // 2
    with pytest.raises(DataError, match="statement 3 "):
        built(values, owners)


@pytest.mark.parametrize("method", METHODS)
def test_features_without_variance_and_fewer_rows_than_features(method: Any) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 2 == 0
    values = torch.from_numpy(rng.normal(size=(30, 64))).float()
    values[:, :2] += 3 * torch.from_numpy(labels)[:, None]
    values[:, 5] = 7.0
    data = StatementSet.build([f"t{i}" for i in range(30)], labels.tolist())
    probe = fit_probe(built(values), data, method=method)
    assert bool(torch.isfinite(probe.direction).all())
    assert float(probe.direction[5]) == pytest.approx(0, abs=1e-9)
    with pytest.raises(FitError, match="the same activation here"):
        fit_probe(built(torch.full((30, 64), 7.0)), data, method=method)


def test_too_few_of_a_label_are_refused() -> None:
    texts = [f"t{i}" for i in range(30)]
    values = torch.randn((30, 4), generator=torch.Generator().manual_seed(0))
    with pytest.raises(DataError, match="all 30 statements have label 1"):
        StatementSet.build(texts, [1] * 30)
    for minority in (1, 3):
        data = StatementSet.build(texts, [1] * minority + [0] * (30 - minority))
        with pytest.raises(DataError, match="cannot be split"):
            fit_probe(built(values), data)
    one_group = StatementSet.build(texts, [0, 1] * 15, groups=["g"] * 30)
    with pytest.raises(DataError, match="cannot be split"):
        fit_probe(built(values), one_group)


def test_evaluating_on_too_little_is_refused(worded: Model) -> None:
    probe = train(worded, claims(), site="L1.resid_post")
    fresh = claims(seed=1)
    with pytest.raises(DataError, match="do not have both labels"):
        evaluate(probe, worded, fresh.select(fresh.y))
    with pytest.raises((DataError, MeasureError), match="at least two groups with each label"):
        evaluate(probe, worded, fresh.select([0, 1]))


def test_an_untrained_model_cannot_be_its_own_control(load_tiny: Callable[[str], Model]) -> None:
    from interp.models import ModelSpec

    spec = ModelSpec("fresh", native=dict(load_tiny("native").spec.native or {}), seed=3)
    model = load_model(spec)
    with pytest.raises(ModelError, match="was never trained: seed 3 gives the weights"):
        random_network(model, seed=3)
    assert random_network(model, seed=4).fingerprint != model.fingerprint
