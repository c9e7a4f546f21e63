"""Gradients at a site and position, sensitivities, and directions taken away."""

from __future__ import annotations

import pytest
import torch

from interp.evidence import logit_difference, loss
from interp.hooks import Site, SiteError, add, session, set_to
from interp.models import Examples
from probes.causal.random_directions import random_units
from probes.cav import (
    CAVError,
    changed_metric,
    metric_gradients,
    sensitivity,
    weigh_direction,
)
from probes.steering import push

SITE = "L1.resid_post"


@pytest.fixture
def asked(random_ids, padded):
    tokens, mask = padded(random_ids(6, 9), [9, 5, 7, 9, 6, 8], "right")
    lengths = mask.sum(1)
    return Examples(
        tokens=tokens,
        mask=mask,
        answer=torch.arange(6) + 3,
        wrong=torch.arange(6) + 12,
        answer_at=lengths - 1,
        groups=tuple(map(str, range(6))),
    )


@pytest.mark.parametrize("name", ["native", "gpt2"])
def test_gradients_are_finite_differences(load_tiny, asked, name):
    model = load_tiny(name)
    found = metric_gradients(model, asked, logit_difference, SITE, position=-2, batch_size=4)
    gradient = found[Site.parse(SITE)]
    direction = torch.randn(gradient.shape[1], generator=torch.Generator().manual_seed(0))
    for row in range(len(asked)):
        one = asked.select([row])
        length = int(one.lengths[0])
        short = Examples(
            tokens=one.tokens[:, :length],
            answer=one.answer,
            wrong=one.wrong,
            answer_at=one.answer_at,
        )
        values = []
        for step in (-1e-2, 1e-2):
            with session(model, intervene=add(f"{SITE}@-2", direction, scale=step)) as s:
                values.append(float(logit_difference.per_example(s.run(short), short)))
        slope = (values[1] - values[0]) / 2e-2
        assert slope == pytest.approx(float(gradient[row] @ direction.double()), abs=2e-2)


def test_positions_and_what_the_metric_does_not_read(load_tiny, asked):
    model = load_tiny("native")
    last = metric_gradients(model, asked, logit_difference, SITE)[Site.parse(SITE)]
    same = metric_gradients(model, asked, logit_difference, SITE, position=-1)[Site.parse(SITE)]
    assert torch.equal(last, same)
    with pytest.raises(CAVError, match="no answer_at"):
        bare = Examples(tokens=asked.tokens, mask=asked.mask)
        metric_gradients(model, bare, logit_difference, SITE)
    with pytest.raises(CAVError, match=r"example 1 .* has 5 tokens"):
        metric_gradients(model, asked, logit_difference, SITE, position=7)
    with pytest.raises(CAVError, match=r"does not depend on L2\.resid_post at position 0"):
        metric_gradients(model, asked, logit_difference, "L2.resid_post", position=0)
    with pytest.raises(SiteError, match="not one vector a token"):
        metric_gradients(model, asked, logit_difference, "L1.pattern")


def test_sensitivity_is_share_and_mean_cosine():
    gradients = torch.tensor([[3.0, 0.0], [0.0, 1.0], [-2.0, 0.0], [5.0, 5.0]])
    found = sensitivity(gradients, torch.tensor([[2.0, 0.0], [0.0, -1.0]]))
    assert found.fraction.tolist() == [0.625, 0.25]  # ties count half
    root = 0.5**0.5
    assert found.magnitude.tolist() == pytest.approx([root / 4, -(1 + root) / 4])
    many = sensitivity(gradients, torch.ones(3, 5, 2))
    assert many.fraction.shape == many.magnitude.shape == (3, 5)
    with pytest.raises(CAVError, match="gradient is zero"):
        sensitivity(torch.zeros(2, 2), torch.ones(1, 2))
    with pytest.raises(CAVError, match="direction is zero"):
        sensitivity(gradients, torch.zeros(1, 2))
    with pytest.raises(CAVError, match="same last axis"):
        sensitivity(gradients, torch.ones(1, 3))


@pytest.mark.parametrize("name", ["native", "gpt2", "llama"])
def test_many_directions_are_what_single_interventions_are(load_tiny, asked, name):
    model = load_tiny(name)
    directions = random_units(5, model.d_model, seed=0)
    clean, removed = changed_metric(model, asked, logit_difference, directions, site=SITE)
    _, pushed = changed_metric(
        model, asked, logit_difference, directions, site=SITE, amount=-3.0, where="last"
    )
    with session(model, capture=SITE) as s:
        plain = logit_difference.per_example(s.run(asked), asked)
        held = s[SITE].double()
    centre = held[asked.mask].mean(0)
    assert torch.allclose(clean.float(), plain, atol=1e-5)
    for k, direction in enumerate(directions):
        value = held - ((held - centre) @ direction)[..., None] * direction
        with session(model, intervene=set_to(SITE, value.float())) as s:
            single = logit_difference.per_example(s.run(asked), asked)
        assert torch.allclose(removed[k].float(), single, atol=2e-4)
    row = asked.select([1])
    short = Examples(
        tokens=row.tokens[:, :5], answer=row.answer, wrong=row.wrong, answer_at=row.answer_at
    )
    change = push(directions[2], amount=-3.0, site=SITE, position=-1)
    with session(model, intervene=change) as s:
        single = logit_difference.per_example(s.run(short), short)
    assert float(pushed[2, 1]) == pytest.approx(float(single), abs=2e-4)


def test_evidence_has_controls_and_bad_directions_are_refused(load_tiny, asked):
    model = load_tiny("native")
    controls = random_units(19, model.d_model, seed=1)
    row = weigh_direction(
        model,
        asked,
        logit_difference,
        controls[0] * 4,
        controls[1:],
        site=SITE,
        subject="noise",
        signature_name="none",
        signature=0.0,
        signature_null=0.0,
        has_signature=False,
        seed=0,
    )
    assert len(row.controls) == 18 and row.control_family == "random direction"
    with pytest.raises(CAVError, match="zero or not finite"):
        changed_metric(model, asked, logit_difference, torch.zeros(1, model.d_model), site=SITE)
    with pytest.raises(CAVError, match="reads the answer's position"):
        changed_metric(model, asked, loss, controls[:1], site=SITE)
    with pytest.raises(CAVError, match="wide"):
        changed_metric(model, asked, logit_difference, torch.ones(1, 3), site=SITE)
    with pytest.raises(CAVError, match="amount"):
        changed_metric(model, asked, logit_difference, controls[:1], site=SITE, amount=float("nan"))
    with pytest.raises(CAVError, match="where is 'first'"):
        changed_metric(model, asked, logit_difference, controls[:1], site=SITE, where="first")
    with pytest.raises(CAVError, match=r"example 1 .* no token at 6"):
        changed_metric(model, asked, logit_difference, controls[:1], site=SITE, where=6)
