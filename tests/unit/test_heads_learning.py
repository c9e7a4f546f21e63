"""The in-context-learning score: which tokens' losses it compares, and with which sign."""

from __future__ import annotations

import functools

import pytest
import torch

from interp.heads import HeadsError, in_context_learning_score
from interp.models import Examples, Model, ModelSpec, load_model


@functools.cache
def tiny() -> Model:
    fields = {
        "n_layers": 2,
        "d_model": 16,
        "d_head": 8,
        "n_heads": 2,
        "n_ctx": 640,
        "d_vocab": 20,
        "attn_only": True,
    }
    return load_model(ModelSpec("tiny", native=fields))


def text(n: int = 5, length: int = 24) -> Examples:
    generator = torch.Generator().manual_seed(0)
    return Examples(tokens=torch.randint(0, 20, (n, length), generator=generator), name="text")


def loss_on(tokens: torch.Tensor, t: int) -> torch.Tensor:
    logits = tiny().logits(tokens)[:, t - 1].log_softmax(-1)
    return -logits.gather(1, tokens[:, t : t + 1])[:, 0].double()


def test_it_is_late_minus_early_loss() -> None:
    found = in_context_learning_score(tiny(), text(), early=3, late=20, batch_size=2)
    tokens = text().tokens
    torch.testing.assert_close(found.early_loss, loss_on(tokens, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.late_loss, loss_on(tokens, 20), atol=1e-5, rtol=0)
    assert found.value == pytest.approx(float((found.late_loss - found.early_loss).mean()))
    low, high = found.interval()
    assert low < found.value < high
    assert "on token 20" in repr(found) and "on token 20" in found._repr_html_()


def test_windows_average_tokens_on_either_side() -> None:
    tokens = text().tokens
    found = in_context_learning_score(tiny(), text(), early=3, late=20, window=3)
    early = torch.stack([loss_on(tokens, t) for t in (3, 4, 5)]).mean(0)
    late = torch.stack([loss_on(tokens, t) for t in (18, 19, 20)]).mean(0)
    torch.testing.assert_close(found.early_loss, early, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.late_loss, late, atol=1e-5, rtol=0)


def test_default_positions_are_the_papers_scaled_to_the_context() -> None:
    found = in_context_learning_score(tiny(), text(1, 512))
    assert (found.early, found.late) == (50, 500)
    found = in_context_learning_score(tiny(), text(2, 128))
    assert (found.early, found.late) == (12, 125)


@pytest.mark.parametrize("side", ["left", "right"])
def test_positions_count_real_tokens(side: str) -> None:
    whole = text(3, 20)
    pad = torch.full((3, 6), 7)
    parts = [pad, whole.tokens] if side == "left" else [whole.tokens, pad]
    real = [torch.zeros(3, 6).bool(), torch.ones(3, 20).bool()]
    padded = Examples(
        tokens=torch.cat(parts, 1), mask=torch.cat(real if side == "left" else real[::-1], 1)
    )
    expected = in_context_learning_score(tiny(), whole)
    found = in_context_learning_score(tiny(), padded)
    assert (found.early, found.late) == (expected.early, expected.late)
    torch.testing.assert_close(found.per_example, expected.per_example, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "positions",
    [
        {"early": 0},
        {"late": 24},
        {"early": 10, "late": 10},
        {"early": 10, "late": 12, "window": 2},
        {"window": 0},
    ],
)
def test_positions_that_cannot_be_are_refused(positions: dict[str, int]) -> None:
    with pytest.raises(HeadsError, match="expected 1 ≤ early and late ≤ 23"):
        in_context_learning_score(tiny(), text(), **positions)  # type: ignore[arg-type]
