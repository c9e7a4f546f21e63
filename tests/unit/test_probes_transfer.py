"""The transfer matrix: what it holds, how it reads, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss

from interp.hooks import Site
from probes import Activations, StatementSet
from probes.domains import Domain, DomainError, domains_of, require_together
from probes.similarity import similarities
from probes.transfer import (
    TransferError,
    brier,
    calibration_error,
    held_out_scores,
    transfer_matrix,
)
from probes.transferred import ALL, ALL_BUT

D = 5


def domain(name: str, *, n: int = 40, seed: int = 0, sign: int = 1) -> Domain:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2 == 0
    values = rng.normal(size=(n, D))
    values[:, 0] += 3 * sign * (labels - 0.5)
    return Domain.build(name, values, labels, groups=[f"{name}{i // 2}" for i in range(n)])


def activations(n: int, d: int = D) -> Activations:
    return Activations(
        values=torch.from_numpy(np.random.default_rng(0).normal(size=(n, d))).float(),
        lengths=torch.full((n,), 3),
        fingerprint="f" * 64,
        model="m",
        site=Site.parse("L0.resid_post"),
        position="last",
    )


@pytest.fixture(scope="module")
def three() -> list[Domain]:
    return [domain("a"), domain("b<i>", seed=1), domain("c", seed=2, sign=-1)]


@pytest.fixture(scope="module")
def found(three: list[Domain]) -> Any:
    return transfer_matrix(three, method="mass-mean", n_resamples=50)


def test_every_source_meets_every_domain(found: Any) -> None:
    assert found.sources == ("a", "b<i>", "c", ALL_BUT, ALL)
    assert found.matrix().shape == (5, 3)
    assert len(found.table()) == 15
    for cell in found.cells:
        assert 0 <= cell.low <= cell.auroc <= cell.high <= 1
        assert cell.n == 40
        assert cell.n_groups == 20
    assert found["a", "a"].n_folds == 5
    assert found["a", "a"].n_trained == 32
    assert found["a", "b<i>"].n_folds == 1
    assert found["a", "b<i>"].n_trained == 40
    assert found[ALL_BUT, "a"].n_trained == 80
    assert found[ALL, "a"].n_trained == 112
    with pytest.raises(KeyError, match="did you mean"):
        found["a", "d"]


def test_threshold_and_direction_come_from_training(found: Any, three: list[Domain]) -> None:
    rule = found.rules["a"]
    scores = rule.scores(three[1].values).numpy()
    assert found["a", "b<i>"].accuracy == ((scores > 0) == three[1].labels).mean()
    spread = rule.scores(three[0].values).numpy().std()
    np.testing.assert_allclose(found.scores["a", "b<i>"].scores, scores / spread)
    # The inverted domain is wrong more often than not, and surely so.
    assert found["a", "c"].accuracy < 0.3
    assert found["a", "c"].brier > 0.4


def test_it_shows_itself_with_names_escaped(found: Any, three: list[Domain]) -> None:
    shown = found._repr_html_()
    assert "b&lt;i&gt;" in shown
    assert "b<i>" not in shown
    assert found.figure().axes[0].get_xlabel() == "tested on"
    alike = similarities(found, three)
    assert "b<i>" not in alike._repr_html_()
    assert len(alike.table()) == 9
    assert list(alike.regressions()["n_pairs"]) == [6, 9] * 4
    assert alike.figure().axes[0].get_ylabel() == "transfer AUROC"


def test_it_is_the_same_again_and_by_single_rows(three: list[Domain]) -> None:
    one = held_out_scores([three[0]], three[0], method="lda", seed=1)
    two = held_out_scores([three[0]], three[0], method="lda", seed=1)
    np.testing.assert_array_equal(one.scores, two.scores)
    assert list(one.rows) == list(range(40))


def test_spent_rows_are_never_scored(three: list[Domain]) -> None:
    spent = replace(three[1], spent=frozenset(three[1].groups[:10]))
    scored = held_out_scores([three[0]], spent, method="mass-mean")
    assert list(scored.rows) == list(range(10, 40))
    with pytest.raises(DomainError, match="40 of 40 rows are bound"):
        held_out_scores([three[0]], replace(spent, spent=frozenset(spent.rows)), method="mass-mean")


def test_calibration_against_known_values() -> None:
    p = np.array([0.1] * 10 + [0.8] * 10)
    y = np.array([True] + [False] * 9 + [True] * 8 + [False] * 2)
    assert calibration_error(p, y, n_bins=2) == pytest.approx(0)
    assert calibration_error(1 - p, y, n_bins=2) == pytest.approx((0.8 + 0.6) / 2)
    assert brier(p, y) == pytest.approx(brier_score_loss(y, p))
    rng = np.random.default_rng(0)
    floor = [calibration_error(np.full(200, 0.5), rng.random(200) < 0.5) for _ in range(200)]
    assert np.mean(floor) == pytest.approx(np.sqrt(2 / np.pi * 0.25 * 10 / 200), rel=0.05)
    with pytest.raises(TransferError, match="between 0 and 1"):
        brier(np.array([np.nan]), np.array([True]))
    with pytest.raises(TransferError, match="cut into 10 bins"):
        calibration_error(np.array([0.5]), np.array([True]))


def test_domains_come_from_statements_and_share_groups_by_words() -> None:
    texts = [f"t{i}" for i in range(16)]
    labels = [i % 2 for i in range(16)]
    data = StatementSet.build(texts, labels, domains=["x"] * 8 + ["y"] * 8)
    x, y = domains_of(activations(16), data)
    assert (x.name, len(x), y.name) == ("x", 8, "y")
    assert x.place == "m [ffffffffffff] L0.resid_post at last"
    same = Domain.of(activations(16), StatementSet.build(texts, labels), name="z")
    assert same.bound(x.bonds).sum() == 8
    tokens = replace(activations(32), owners=torch.arange(16).repeat_interleave(2))
    every = Domain.of(tokens, data)
    assert list(every.labels[:4]) == [False, False, True, True]
    assert every.groups[0] == every.groups[1] != every.groups[2]
    with pytest.raises(DomainError, match="names no domains"):
        domains_of(activations(16), StatementSet.build(texts, labels))
    with pytest.raises(DomainError, match="16 statements need as many"):
        Domain.of(activations(15), data)


def test_bad_rows_are_refused() -> None:
    labels = [0, 1] * 4
    good = np.random.default_rng(0).normal(size=(8, 3))
    holed = good.copy()
    holed[5, 1] = np.nan
    cases: list[tuple[Any, Any, Any, str]] = [
        (holed, labels, None, "row 5 is not finite"),
        (torch.full((8, 3), 1e5).half(), labels, None, "row 0 is not finite"),  # overflow
        (good, [1] * 8, None, "0 groups with label 0"),
        (good, [0, 1, 2, 1, 0, 1, 0, 1], None, "labels must be 0 or 1"),
        (np.ones((8, 3)), labels, None, "same activation"),
        (good[:3], [0, 1, 0], None, "1 groups with label 1"),
        (good, labels, ["g"] * 8, "1 groups with label 1"),
        (good, labels[:6], None, "as many labels"),
        (good[:, 0], labels, None, r"shape \[row, d\]"),
    ]
    for values, given, groups, message in cases:
        with pytest.raises(DomainError, match=message):
            Domain.build("bad", values, given, groups=groups)


def test_what_does_not_belong_together_is_refused(three: list[Domain]) -> None:
    with pytest.raises(DomainError, match="at least 2"):
        transfer_matrix(three[:1])
    with pytest.raises(DomainError, match="one name"):
        transfer_matrix([three[0], three[0]])
    with pytest.raises(DomainError, match="at one site of one model"):
        require_together([three[0], replace(three[1], place="elsewhere")])
    wide = Domain.build("wide", np.random.default_rng(0).normal(size=(8, 9)), [0, 1] * 4)
    with pytest.raises(DomainError, match="5 numbers a row, wide 9"):
        transfer_matrix([three[0], wide])
    with pytest.raises(TransferError, match="did you mean logistic"):
        transfer_matrix(three, method="logistik")  # type: ignore[arg-type]
    with pytest.raises(TransferError, match="rename it"):
        transfer_matrix([three[0], replace(three[1], name="all")])
    small = Domain.build("small", np.random.default_rng(0).normal(size=(6, D)), [0, 1] * 3)
    with pytest.raises(TransferError, match="cannot be cut into 5 folds"):
        transfer_matrix([three[0], small])
    with pytest.raises(ValueError, match="the matrix is of"):
        similarities(transfer_matrix(three[:2], method="mass-mean", n_resamples=20), three)
