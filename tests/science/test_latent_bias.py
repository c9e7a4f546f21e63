"""On the world of planted bias: a few latents carry it, random ones do not, and what that costs.

SAEs of two seeds, trained here in seconds.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from interp.evidence import Metric
from interp.hooks import capture
from interp.models import Examples, load_model
from interp.sae.carrying_measures import BiasSplit, NoBiasError
from interp.sae.carrying_splits import carrying
from interp.sae.dictionary import SaeError
from interp.sae.settings import SaeSettings
from interp.sae.train import train_sae
from interp.zoo.bias_world.prompts import prompts
from interp.zoo.bias_world.sentences import corpus, sentences
from interp.zoo.bias_world.world import REFERENCES, STOP, world_of

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
def dictionaries(model, world, tmp_path_factory):
    """TopK, k 8, 128 latents, two seeds."""
    documents = corpus(world, n=8000, seed=9)
    return {
        seed: train_sae(
            model,
            documents,
            SITE,
            out=tmp_path_factory.mktemp("sae") / str(seed),
            settings=SaeSettings(arch="topk", d_sae=128, k=8, samples=300_000, lr=2e-3, seed=seed),
        ).dictionary
        for seed in (0, 1)
    }


def log_odds_of(first, second):
    """The bias of a prompt: log-odds of one group of words against another where it ends."""

    def measure(logits, examples):
        at = logits[torch.arange(len(examples)), examples.answer_at]
        return at[:, first].logsumexp(1) - at[:, second].logsumexp(1)

    return Metric("log-odds", "nats", True, measure, "answer")


@pytest.fixture(scope="module")
def metric(world):
    return log_odds_of(world.ids("r1"), world.ids("r2"))


@pytest.fixture(scope="module")
def recognised(world, metric):
    """Whether the reference that the text has named is the likelier one."""

    def measure(logits, examples):
        odds = metric.per_example(logits, examples)
        first = torch.isin(examples.answer, world.ids("r1"))
        return (torch.where(first, odds, -odds) > 0).double()

    return Metric("recognition", "fraction", True, measure, "answer")


def joined(parts):
    return Examples(
        torch.cat([part.tokens for part in parts]),
        answer_at=torch.cat([part.answer_at for part in parts]),
        groups=sum((part.groups for part in parts), ()),
    )


def named(world, part):
    """Sentences that name a reference, and no target."""
    made = []
    for name in REFERENCES:
        rows = sentences(world, "neutral", n=40, reference=name, part=part, seed=3)
        n, width = rows.examples.tokens.shape
        made.append((rows.examples, world.ids(name)[:1].expand(n)))
    tokens = torch.cat([examples.tokens for examples, _ in made])
    return Examples(
        tokens,
        answer=torch.cat([answer for _, answer in made]),
        answer_at=torch.full((len(tokens),), width - 1),
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
            recognition=named(world, part),
        )

    return {
        "select": split("train", range(PROMPTS), 20),
        "tune": split("train", range(PROMPTS, 2 * PROMPTS), 21),
        "test": split("test", range(PROMPTS), 22),
    }


@pytest.fixture(scope="module")
def direction(model, world):
    """A probe of the one reference against the other, on activations as they are."""
    held = [
        capture(
            model,
            sentences(world, name, n=300, part="train", seed=1).examples,
            SITE,
            positions="last",
        )[SITE]
        for name in REFERENCES
    ]
    labels = np.repeat([1, 0], [len(part) for part in held])
    probe = LogisticRegression(C=0.1, max_iter=2000).fit(torch.cat(held).numpy(), labels)
    return torch.tensor(probe.coef_[0], dtype=torch.float32)


@pytest.fixture(scope="module")
def planted(world):
    return dict(zip(world.targets, world.beta.tolist(), strict=True))


@pytest.fixture(scope="module")
def judge(model, dictionaries, metric, splits, planted):
    """Ask whether an SAE's latents carry the bias; settings may be others."""

    def ask(seed, **settings):
        given = {"scores": planted, "seed": seed, **splits, **settings}
        return carrying(model, dictionaries[seed], given.pop("metric", metric), **given)

    return ask


@pytest.mark.parametrize("seed", [0, 1])
def test_five_latents_carry_the_bias(judge, recognised, direction, seed):
    found = judge(
        seed,
        recognised=recognised,
        direction=direction,
        tokens=full_stops,
        counts=(5,),
        kinds=("neutral mean",),
    )
    row = found.chosen
    assert row.n == 5
    assert row.slope >= 0.50, found
    assert row.interval[0] > 0.2
    assert row.sd > 0.25
    assert row.ce <= 0.03
    assert row.kl < 0.03
    # Random latents that fire as often take nothing away; some add a little.
    assert len(found.random_latents) == 99
    assert found.random_latents.mean() <= 0.05
    assert found.random_latents.max() <= 0.20
    assert found.evidence.verdict == "load-bearing", found.evidence
    assert found.evidence.n_groups == 20
    assert found.evidence.share == pytest.approx(row.slope, abs=1e-6)
    plain = {one.name: one for one in found.baselines}
    assert abs(plain["reconstruction"].slope) < 0.25
    # Drawn as activations vary, and at full stops they vary most with the bias itself: so some of
    # them take as much, and most do not.
    assert len(found.random_directions) == 99
    assert np.median(np.abs(found.random_directions)) < 0.5
    # The reference probe takes more away: here too much, so that the slope turns round.
    projected = plain["direction projected out"]
    assert projected.slope >= 0.80
    assert projected.overshoot == pytest.approx(projected.slope - 1, abs=1e-9)
    assert projected.ce <= 0.03
    # Taking the bias away does not make the model deaf to a reference that is named.
    assert found.recognition > 0.95
    assert row.recognition > found.recognition - 0.05
    table = found.table()
    assert list(table["n"].dropna()) == [5]
    assert found.figure().axes[0].get_ylabel() == "share of the bias slope gone"


def test_more_latents_take_more_and_the_tuning_split_chooses(judge):
    found = judge(0, tokens=full_stops, counts=(1, 3, 10), n_random=19, n_directions=3)
    gone = [row.slope for row in found.curve]
    assert gone[0] < gone[1] < gone[2]
    assert len(found.tuned) == 6
    cheap = [row for row in found.tuned if row["ce"] <= 0.03]
    best = min(cheap, key=lambda row: abs(1 - row["slope"]))
    assert (best["kind"], best["n"]) == (found.kind, found.chosen.n)
    assert found.recognition is None
    # The model's own bias on other prompts serves as well as what was planted.
    own = judge(0, scores=None, counts=(5,), kinds=("neutral mean",), n_random=9, n_directions=1)
    assert own.chosen.slope > 0.4


def test_where_there_is_no_bias_there_is_none_to_take_away(judge, world, planted):
    verbs = world.ids("verb")
    with pytest.raises(NoBiasError, match="there is none to take away"):
        judge(0, metric=log_odds_of(verbs[:4], verbs[4:]))
    rng = np.random.default_rng(1)
    shuffled = dict(zip(planted, rng.permutation(list(planted.values())), strict=True))
    with pytest.raises(NoBiasError):
        judge(0, scores=shuffled)


def test_splits_that_share_texts_are_refused(judge, splits):
    with pytest.raises(SaeError, match="stand in two splits"):
        judge(0, test=splits["select"])
