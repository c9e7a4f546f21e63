"""How the edit of latents is chosen, and where nothing is edited; one SAE, trained in seconds.

That few latents carry the bias and random ones do not is for ``test_bias_worlds.py``.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.evidence import Metric
from interp.models import Examples, load_model
from interp.sae.carrying_measures import BiasSplit, NoBiasError
from interp.sae.carrying_splits import carrying
from interp.sae.dictionary import SaeError
from interp.sae.settings import SaeSettings
from interp.sae.train import train_sae
from interp.zoo.bias_world.prompts import prompts
from interp.zoo.bias_world.sentences import corpus
from interp.zoo.bias_world.world import STOP, world_of

SITE = "L1.resid_post"


PROMPTS = 8  # of each target, in each split


def full_stops(examples):
    """Where a sentence's bias stands, and so where it is edited."""
    return examples.tokens == STOP


@pytest.fixture(scope="module")
def world():
    return world_of("bias-world")


@pytest.fixture(scope="module")
def model():
    return load_model("zoo:bias-world")


@pytest.fixture(scope="module")
def dictionary(model, world, tmp_path_factory):
    """TopK, k 8, 128 latents."""
    return train_sae(
        model,
        corpus(world, n=4000, seed=9),
        SITE,
        out=tmp_path_factory.mktemp("sae") / "0",
        settings=SaeSettings(arch="topk", d_sae=128, k=8, samples=150_000, lr=2e-3, seed=0),
    ).dictionary


def log_odds_of(first, second):
    """The bias of a prompt: log-odds of one group of words against another where it ends."""

    def measure(logits, examples):
        at = logits[torch.arange(len(examples)), examples.answer_at]
        return at[:, first].logsumexp(1) - at[:, second].logsumexp(1)

    return Metric("log-odds", "nats", True, measure, "answer")


@pytest.fixture(scope="module")
def metric(world):
    return log_odds_of(world.ids("r1"), world.ids("r2"))


def joined(parts):
    return Examples(
        torch.cat([part.tokens for part in parts]),
        answer_at=torch.cat([part.answer_at for part in parts]),
        groups=sum((part.groups for part in parts), ()),
    )


@pytest.fixture(scope="module")
def splits(world):
    def split(part, rows, seed):
        asked = [
            prompts(world, t, n=2 * PROMPTS, place="next", part=part, seed=1).examples.select(rows)
            for t in world.targets
        ]
        return BiasSplit(
            biased=joined(asked),
            targets=tuple(t for t in world.targets for _ in rows),
            neutral=corpus(world, n=96, neutral=True, seed=seed),
        )

    return {
        "select": split("train", range(PROMPTS), 20),
        "tune": split("train", range(PROMPTS, 2 * PROMPTS), 21),
        "test": split("test", range(PROMPTS), 22),
    }


@pytest.fixture(scope="module")
def planted(world):
    return dict(zip(world.targets, world.beta.tolist(), strict=True))


@pytest.fixture(scope="module")
def judge(model, dictionary, metric, splits, planted):
    """Ask whether the SAE's latents carry the bias; settings may be others."""

    def ask(**settings):
        given = {"scores": planted, "seed": 0, **splits, **settings}
        return carrying(model, dictionary, given.pop("metric", metric), **given)

    return ask


def test_more_latents_take_more_and_the_tuning_split_chooses(judge):
    found = judge(tokens=full_stops, counts=(1, 3, 10), n_random=19, n_directions=3)
    gone = [row.slope for row in found.curve]
    assert gone[0] < gone[1] < gone[2]
    assert len(found.tuned) == 6
    cheap = [row for row in found.tuned if row["ce"] <= 0.03]
    best = min(cheap, key=lambda row: abs(1 - row["slope"]))
    assert (best["kind"], best["n"]) == (found.kind, found.chosen.n)
    assert found.recognition is None
    assert list(found.table()["n"].dropna()) == [1, 3, 10]
    assert found.figure().axes[0].get_ylabel() == "share of the bias slope gone"
    # The model's own bias on other prompts serves as well as what was planted.
    own = judge(scores=None, counts=(5,), kinds=("neutral mean",), n_random=9, n_directions=1)
    assert own.chosen.slope > 0.4


def test_where_there_is_no_bias_there_is_none_to_take_away(judge, world, planted):
    verbs = world.ids("verb")
    with pytest.raises(NoBiasError, match="there is none to take away"):
        judge(metric=log_odds_of(verbs[:4], verbs[4:]))
    rng = np.random.default_rng(1)
    shuffled = dict(zip(planted, rng.permutation(list(planted.values())), strict=True))
    with pytest.raises(NoBiasError):
        judge(scores=shuffled)


def test_splits_that_share_texts_are_refused(judge, splits):
    with pytest.raises(SaeError, match="stand in two splits"):
        judge(test=splits["select"])
