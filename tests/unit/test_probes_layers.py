"""The scan over layers and the gathering before it: what is chosen, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from interp.hooks import Site
from probes.data import DataError, StatementSet
from probes.domains import Domain
from probes.gathering import named_domains
from probes.layers import LayerScan, scan_layers
from probes.transfer import TransferError


def domain(name: str, strength: float, seed: int) -> Domain:
    rng = np.random.default_rng(seed)
    labels = np.arange(60) % 2 == 0
    values = rng.normal(size=(60, 4))
    values[:, 0] += strength * labels
    return Domain.build(name, values, labels, groups=[f"{name}{i // 2}" for i in range(60)])


SITES = tuple(Site.parse(f"L{layer}.resid_post") for layer in range(3))


@pytest.fixture(scope="module")
def scan() -> LayerScan:
    strengths = (0.0, 3.0, 1.0)
    at = {
        site: tuple(domain(name, s, seed) for seed, name in enumerate("ab"))
        for site, s in zip(SITES, strengths, strict=True)
    }
    return scan_layers(at, n_shuffles=19, n_resamples=100)


def test_the_layer_with_the_signal_is_chosen_and_beats_shuffled_labels(scan: LayerScan) -> None:
    assert scan.chosen == SITES[1]
    assert scan.aurocs.shape == (3, 2) and scan.aurocs[1].min() > 0.9
    assert scan.p_value == pytest.approx(1 / 20)
    assert scan.null.shape == (19, 3, 2) and abs(scan.null.mean() - 0.5) < 0.05
    assert {c.site for c in scan.table().itertuples()} == set(map(str, SITES))


def test_every_shuffle_makes_the_choice_anew(scan: LayerScan) -> None:
    null = np.zeros_like(scan.null)
    null[:, 2] = 0.9  # whatever layer the true labels chose
    assert (replace(scan, null=null).chosen_null == 0.9).all()
    assert replace(scan, null=null + 1).p_value == 1.0


@pytest.mark.parametrize("method", ["mass-mean", "logistic"])
def test_a_kept_part_is_not_made_again(method: str) -> None:
    at = {SITES[0]: (domain("a", 1.0, 0), domain("b", 1.0, 1))}
    kept: dict[str, object] = {}

    def keep(name: str, compute):  # type: ignore[no-untyped-def]
        if name not in kept:
            kept[name] = compute()
        return kept[name]

    first = scan_layers(at, method=method, n_shuffles=19, n_resamples=100, keep=keep)  # type: ignore[arg-type]
    assert list(kept) == ["layers/L0-resid_post".replace("_", "-")]
    again = scan_layers({SITES[0]: at[SITES[0]]}, method=method, n_shuffles=19, keep=keep)  # type: ignore[arg-type]
    assert first.cells == again.cells and np.array_equal(first.null, again.null)


def test_no_sites_are_refused() -> None:
    with pytest.raises(TransferError, match="no sites given"):
        scan_layers({})


def statements(name: str, domains: list[str] | None = None) -> StatementSet:
    texts = [f"{name} {i} is so" for i in range(8)]
    return StatementSet.build(texts, [i % 2 for i in range(8)], name=name, domains=domains)


def test_sets_are_called_by_their_files_short_names() -> None:
    sets = [statements("a/claims.csv"), statements("b/claims.csv"), statements("empirical")]
    assert [one.name for one in named_domains(sets)] == ["a/claims", "b/claims", "empirical"]
    framed = replace(statements("a/facts.csv"), name="a/facts.csv (plain)")
    assert named_domains([framed, statements("b")])[0].name == "facts (plain)"


def test_one_set_is_cut_into_its_domains_and_several_are_not() -> None:
    one = statements("mixed", ["x"] * 4 + ["y"] * 4)
    assert [(d.name, len(d)) for d in named_domains([one])] == [("x", 4), ("y", 4)]
    assert [d.name for d in named_domains([one, statements("other")])] == ["mixed", "other"]
    with pytest.raises(DataError, match="is one domain"):
        named_domains([statements("alone")])
    with pytest.raises(DataError, match="two sets are called 'other'"):
        named_domains([statements("other"), statements("other")])
