"""The truth spectrum, whole: it recovers what zoo:truth-world plants, and nothing where there is
nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.truth_spectrum import PRESETS, Config, report, run
from interp.evidence import read_evidence
from interp.runs import Run
from probes.compared import compare_gathered
from probes.domains import Domain
from probes.gathering import Gathered
from probes.transfer_report import conclusion

SAME, OTHER = ("D0", "D1", "ANTI"), ("D3", "D4")  # what shares a bit


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOADBEARING_CACHE", str(tmp_path_factory.mktemp("cache")))
        config = Config(**{**PRESETS["smoke"], "layers": "0"})
        out = tmp_path_factory.mktemp("runs") / "world"
        with Run.create("truth-spectrum", config, out=out) as made:
            run(config, made)
    return Run.open(out)


def test_transfer_and_likeness_are_as_planted(finished):
    metrics = finished.metrics
    at = metrics["auroc"]
    assert min(at[name][name] for name in (*SAME, *OTHER)) >= 0.95
    assert min(at["D0"]["D1"], at["D1"]["D0"], at["D3"]["D4"], at["D4"]["D3"]) >= 0.85
    assert max(at[a]["ANTI"] for a in ("D0", "D1")) <= 0.15
    assert set(metrics["verdicts"].values()) == {"signature"}
    r2 = metrics["r2"]
    assert r2["mahalanobis"]["r2"] >= 0.95
    assert r2["mahalanobis"]["r2"] >= r2["cosine"]["r2"] + 0.05
    assert r2["mahalanobis"]["pair_out"] >= 0.9
    assert abs(metrics["shuffled_mean"] - 0.5) <= 0.03


def test_erasure_takes_one_bit_and_leaves_the_other(finished):
    erasure = finished.metrics["erasure"]
    for name in (*SAME, *OTHER):
        assert erasure["retrained"][name][name] <= 0.6
    for erased in SAME:
        for other in OTHER:
            assert erasure["original"][erased][other] >= 0.85


def test_pushes_do_what_was_planted_where_reading_does_not_tell(finished):
    across = finished.metrics["steering"]["across"]
    for group in (SAME, OTHER):
        for source in group:
            for target in (*SAME, *OTHER):
                own = across[source][target]
                if target in group:
                    turned = -1 if (source == "ANTI") != (target == "ANTI") else 1
                    assert turned * own["share_of_own"] >= 0.5, (source, target)
                    assert turned * own["effect"] >= 2 * own["random_largest"], (source, target)
                else:
                    assert abs(own["share_of_own"]) <= 0.05, (source, target)
    # Reading alone would have said otherwise of at least one pair.
    assert (
        "ordered pairs of domains in which one's direction reads" in finished.metrics["conclusion"]
    )


def test_every_domains_own_direction_ends_as_evidence(finished):
    rows = {row.subject: row for row in read_evidence(finished.table("evidence"))}
    for name in (*SAME, *OTHER):
        for subject in (f"the push along {name}", name, f"{name} (LEACE)"):
            assert rows[subject].verdict == "load-bearing", subject
            assert rows[subject].has_signature and rows[subject].share > 0.5
        general = rows[f"the push along general, on {name}"]
        assert general.verdict == "not load-bearing" and general.signature > 0.7
    assert report(finished) is not None


def shuffled(sets, at, seed):
    """The same activations with labels shuffled by groups."""
    from probes.data import shuffled_labels

    rng = np.random.default_rng(seed)
    new = {one.name: shuffled_labels(one.y, one.groups, rng=rng) for one in sets}
    kept = tuple(replace(one, labels=tuple(map(bool, new[one.name]))) for one in sets)
    return kept, {
        site: tuple(replace(d, labels=new[d.name]) for d in ds) for site, ds in at.items()
    }


def world(rng) -> Gathered:
    """Three domains of noise with a bit that all of them tell, at two sites."""
    from interp.hooks import Site
    from probes.data import StatementSet

    sets, at = [], {Site.parse(f"L{i}.resid_post"): [] for i in range(2)}
    for name in "abc":
        labels = np.arange(80) % 2 == 0
        groups = [f"{name}{i // 2}" for i in range(80)]
        ids = [tuple(rng.integers(1, 50, 6).tolist()) for _ in range(80)]
        sets.append(StatementSet.build(None, labels.tolist(), ids=ids, groups=groups, name=name))
        for domains in at.values():
            values = rng.normal(size=(80, 6))
            values[:, 1] += 2.5 * labels
            domains.append(Domain.build(name, values, labels, groups=groups))
    lengths = {one.name: np.full(80, 6.0) for one in sets}
    held = {site: tuple(domains) for site, domains in at.items()}
    return Gathered(tuple(sets), held, lengths, {one.name: {} for one in sets})


def test_shuffled_labels_are_no_evidence_and_true_ones_are():
    verdicts = []
    for seed in range(6):
        gathered = world(np.random.default_rng(seed))
        found = compare_gathered(gathered, n_resamples=200, seed=seed)
        assert found.read == ("a", "b", "c")
        assert "3 of 3 domains have a signature" in conclusion(found)
        sets, at = shuffled(gathered.sets, gathered.at, seed)
        null = compare_gathered(replace(gathered, sets=sets, at=at), n_resamples=200, seed=seed)
        verdicts.append(null.read)
        if not null.read:
            assert conclusion(null).startswith("No evidence of a signature in any domain")
    assert sum(map(bool, verdicts)) <= 1, "by chance once in twenty"


def test_a_model_too_small_for_truth_is_no_evidence(shared_models, tmp_path, monkeypatch):
    monkeypatch.setenv("LOADBEARING_CACHE", str(tmp_path / "cache"))
    config = Config(
        model=str(shared_models / "stories260k"),
        data="set:definitional,set:fictional",
        framings="none",
        layers="2",
        shuffles=20,
        resamples=200,
        general=1,
        specific=0,
        prompts=12,
        random=19,
        n=160,
    )
    with Run.create("truth-spectrum", config, out=tmp_path / "run") as made:
        run(config, made)
    metrics = Run.open(tmp_path / "run").metrics
    assert metrics["headline"] == "no evidence of a truth direction"
    assert metrics["conclusion"].startswith("No evidence")
    assert set(metrics["verdicts"].values()) <= {"no evidence", "inverted"}
    assert "definitional 0." in metrics["conclusion"] and "[" in metrics["conclusion"]
