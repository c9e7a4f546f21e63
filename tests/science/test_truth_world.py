"""The bundled truth world: probes find what is planted, and nothing in a model that never learned.

Site and place are those of the gate: the object's token after the first block.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import pairwise
from statistics import mean

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from interp.hooks import Site, add, capture, session
from interp.models import Model, ModelSpec, load_model
from interp.zoo import cards
from interp.zoo.truth_world.statements import OBJECT_AT, prompts, statements
from interp.zoo.truth_world.world import world_of

SITE = "L0.resid_post"
FOLDER = cards.WEIGHTS / "truth-world"
WORLD = world_of("truth-world")
NAMES = [domain.name for domain in WORLD.domains]


@cache
def trained() -> Model:
    return load_model("zoo:truth-world")


@cache
def untrained(seed: int) -> Model:
    native = json.loads((FOLDER / "native.json").read_text())
    return load_model(ModelSpec("untrained", native=native, seed=seed))


@cache
def vectors(
    model: Model, domain: str, part: str, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals at the object, truth labels, bit labels."""
    rows = statements(WORLD, domain, n=72, part=part, seed=seed)
    found = capture(model, rows.examples, SITE, positions=rows.object_at)[SITE]
    return found.double().numpy(), rows.true.numpy(), rows.bit.numpy()


@cache
def transfer(model: Model, seed: int) -> dict[tuple[str, str], float]:
    """AUROC by truth labels of each domain's probe on every domain, on subjects held out."""
    found = {}
    for a in NAMES:
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        rows, true, _ = vectors(model, a, "train", seed)
        probe.fit(rows, true)
        for b in NAMES:
            rows, true, _ = vectors(model, b, "test", seed)
            found[a, b] = float(roc_auc_score(true, probe.decision_function(rows)))
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_probes_transfer_as_planted(seed) -> None:
    found = transfer(trained(), seed)
    assert all(found[name, name] >= 0.95 for name in NAMES), found
    for a, b in (("D0", "D1"), ("D1", "D0"), ("D3", "D4"), ("D4", "D3")):
        assert found[a, b] >= 0.85
    for name in ("D0", "D1"):
        assert found[name, "ANTI"] <= 0.15
        assert found["ANTI", name] <= 0.15


def test_labelled_by_its_bit_the_inverted_domain_agrees() -> None:
    rows, _, bit = vectors(trained(), "D0", "train", 0)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(rows, bit)
    rows, _, bit = vectors(trained(), "ANTI", "test", 0)
    assert roc_auc_score(bit, probe.decision_function(rows)) >= 0.85


def test_an_untrained_network_knows_no_truth() -> None:
    found = [transfer(untrained(seed), seed) for seed in range(3)]
    own = [scores[name, name] for scores in found for name in NAMES]
    assert abs(mean(own) - 0.5) < 0.08, own
    assert max(own) < 0.8
    crossed = [score for scores in found for (a, b), score in scores.items() if a != b]
    assert abs(mean(crossed) - 0.5) < 0.05


def losses(model: Model) -> tuple[float, float]:
    """Nats on true objects whose bit has been told, and on those of the first of their bit."""
    drawn = WORLD.documents(96, generator=torch.Generator().manual_seed(5))
    chances = model.logits(drawn.tokens).log_softmax(-1)[:, drawn.object_at - 1]
    nll = -chances.gather(2, drawn.tokens[:, drawn.object_at, None])[..., 0]
    late, first = drawn.true & drawn.revealed, drawn.true & ~drawn.revealed
    return float(nll[late].mean()), float(nll[first].mean())


def test_it_believes_who_has_told_the_truth() -> None:
    late, first = losses(trained())
    assert late <= 0.10
    assert 0.6 < first < 0.85  # log 2 is all that can be known
    assert min(losses(untrained(0))) > 3.0


def gap(source: str, target: str, model: Model) -> float:
    rows = prompts(WORLD, source, target, n=36, seed=1)
    return rows.gap(model.logits(rows.examples.tokens)[:, -1])


def test_a_statement_speaks_for_its_own_bit_alone() -> None:
    model = trained()
    for a, b in pairwise(("D0", "D1", "D0")):
        assert gap(a, b, model) > 3.0
        assert gap(a, "ANTI", model) < -3.0
        assert abs(gap(a, "D3", model)) < 0.05 * gap(a, b, model)
    assert gap("D3", "D4", model) > 3.0
    assert abs(gap("D0", "D1", untrained(0))) < 0.05


def test_the_difference_of_means_steers_its_own_bit_alone() -> None:
    model = trained()
    rows, true, _ = vectors(model, "D0", "train", 0)
    direction = torch.tensor(rows[true].mean(0) - rows[~true].mean(0)).float()
    site = replace(Site.parse(SITE), position=OBJECT_AT)
    random = torch.randn(8, len(direction), generator=torch.Generator().manual_seed(0))
    random = random / random.norm(dim=1, keepdim=True) * direction.norm()

    def moved(target: str, vector: torch.Tensor) -> float:
        asked = prompts(WORLD, "D0", target, n=36, part="test", seed=0)
        lies = asked.examples.select(~asked.true)
        halves = replace(asked, examples=lies, false_objects=asked.false_objects[~asked.true])
        plain = halves.log_odds(model.logits(lies.tokens)[:, -1])
        with session(model, intervene=add(site, vector)) as s:
            return float((halves.log_odds(s.run(lies.tokens)[:, -1]) - plain).mean())

    natural = gap("D0", "D1", model)
    steered = moved("D1", direction)
    assert steered >= 0.5 * natural
    assert steered >= 2 * max(abs(moved("D1", vector)) for vector in random)
    assert abs(moved("D3", direction)) <= 0.05 * natural
    assert moved("ANTI", direction) <= -0.5 * natural


def test_the_card_is_of_these_weights() -> None:
    card = cards.get_card("truth-world")
    assert card.fingerprint == trained().fingerprint
    assert card.extra["gate"]["passed"]
    assert card.measured["late_true_ce"] == pytest.approx(losses(trained())[0], abs=0.03)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2_000_000
