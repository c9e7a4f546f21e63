"""Many changes in one batch give what one hook at a time gives, on every architecture."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.hooks import Site, SiteError, session, zero
from interp.models import Examples
from probes.causal.continuations import Continuations
from probes.causal.edited import EditedRuns, Erasures, Pushes
from probes.steering import ablate, push

N = 5


def asked(random_ids: Any, padded: Any, side: str, at: Any = -2) -> Continuations:
    """Prompts of different lengths, padded on one side."""
    lengths = [4, 7, 6, 5, 7]
    tokens, mask = padded(random_ids(N, 8), lengths, side)
    ends = mask.int().cumsum(1).argmax(1)
    examples = Examples(
        tokens, mask, answer=torch.arange(N), wrong=torch.arange(N) + 7, answer_at=ends
    )
    return Continuations.of(examples, at=at, labels=torch.arange(N) < 2)


def one_by_one(model: Any, prompts: Continuations, change: Any, row: int) -> float:
    """The log-odds of one prompt, alone and without padding, under one change."""
    examples = prompts.examples
    assert examples.mask is not None and examples.answer is not None
    ids = examples.tokens[row][examples.mask[row]][None]
    with session(model, intervene=change) as s:
        logits = s.run(ids)[0, -1]
    return float(logits[examples.answer[row]] - logits[prompts.wrong[row]].mean())


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_batch_of_pushes_is_what_hooks_do(
    model: Any, random_ids: Any, padded: Any, side: str
) -> None:
    if side == "left" and not model.checks.get("left_padding_agrees", 1.0):
        pytest.skip("this architecture takes no padding on the left")
    prompts = asked(random_ids, padded, side)
    vectors = torch.randn((3, model.d_model), generator=torch.Generator().manual_seed(0))
    for site in ("L0.resid_post", "L1.resid_pre", "L2.resid_post", "L1.attn_out"):
        runs = EditedRuns(model, prompts, site, tokens_per_forward=20)
        found = runs.read(Pushes(vectors))
        assert found.shape == (3, N) and runs.activations.shape == (N, model.d_model)
        for i in (0, 2):
            for row in (0, 3):
                change = push(vectors[i], amount=float(vectors[i].norm()), site=site, position=-2)
                wanted = one_by_one(model, prompts, change, row)
                assert float(found[i, row]) == pytest.approx(wanted, abs=3e-4)
    assert float((found - runs.clean).abs().max()) > 1e-3


def test_the_middle_is_where_it_begins_and_hooks_or_other_sites_are_run_whole(
    gpt2: Any, random_ids: Any, padded: Any, caplog: Any
) -> None:
    prompts = asked(random_ids, padded, "right", at="every")
    vectors = torch.randn((2, gpt2.d_model), generator=torch.Generator().manual_seed(1))
    middle = EditedRuns(gpt2, prompts, "L0.resid_post")
    assert middle._prefix is not None
    with session(gpt2, intervene=zero("L2H0")) as s:
        hooked = EditedRuns(gpt2, prompts, "L0.resid_post")
        assert hooked._prefix is None and "hooks on it" in caplog.text
        assert float((hooked.clean - middle.clean).abs().max()) > 0
        s.run(prompts.examples)
    whole = EditedRuns(gpt2, prompts, "L0.resid_post")
    whole._prefix = None
    torch.testing.assert_close(
        whole.read(Pushes(vectors)), middle.read(Pushes(vectors)), atol=2e-5, rtol=0
    )
    torch.testing.assert_close(whole.activations, middle.activations)


def test_a_head_and_an_erasure(gpt2: Any, random_ids: Any, padded: Any) -> None:
    prompts = asked(random_ids, padded, "right")
    wide = torch.randn((2, gpt2.d_model), generator=torch.Generator().manual_seed(2))
    narrow = torch.randn((2, gpt2.d_head), generator=torch.Generator().manual_seed(2))
    for site, vectors in (("L1.resid_post", wide), ("L1H2", narrow)):
        runs = EditedRuns(gpt2, prompts, site)
        unit = vectors / vectors.norm(dim=1, keepdim=True)
        found = runs.read(Erasures.along(unit, torch.zeros(vectors.shape[1])))
        for row in range(N):
            change = ablate(vectors[1], site=site, position=-2)
            wanted = one_by_one(gpt2, prompts, change, row)
            assert float(found[1, row]) == pytest.approx(wanted, abs=2e-4)


def test_factors_are_each_prompts_own(gpt2: Any, random_ids: Any, padded: Any) -> None:
    prompts = asked(random_ids, padded, "right")
    vector = torch.randn((1, gpt2.d_model), generator=torch.Generator().manual_seed(3))
    factors = torch.tensor([1.0, -1.0, 0.0, 2.0, 1.0])
    runs = EditedRuns(gpt2, prompts, "L0.resid_post")
    found = runs.read(Pushes(vector, factors))[0]
    plus, minus = runs.read(Pushes(torch.cat([vector, -vector])))
    torch.testing.assert_close(found[[0, 4]], plus[[0, 4]])
    assert float(found[1]) == pytest.approx(float(minus[1]), abs=1e-5)
    assert float(found[2]) == pytest.approx(float(runs.clean[2]), abs=1e-5)


def test_a_place_that_cannot_be_edited_or_is_no_vector_is_refused(
    gpt2: Any, random_ids: Any, padded: Any
) -> None:
    prompts = asked(random_ids, padded, "right")
    for site, message in (
        ("L9.resid_post", "no layer 9"),
        ("L0.pattern", "not one vector a token"),
        (Site(0, "resid_post", position=2), "give the position by itself"),
    ):
        with pytest.raises(SiteError, match=message):
            EditedRuns(gpt2, prompts, site)
