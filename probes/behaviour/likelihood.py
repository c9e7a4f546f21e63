"""Log-probabilities of texts under a causal model: one forward pass a text, padded on the right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from interp.heads.batching import TOKENS_PER_FORWARD
from interp.models import Model
from probes.behaviour.items import BehaviourError, Text

TIE = 1e-5
"""Nats a token: log-probabilities that differ by less differ by rounding and batching only."""


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The log-probability of each token of a text, given those before it.

    Attributes:
        ids: Its tokens, without the beginning-of-sequence id that stood before them.
        start: 0, or 1 where the model has no such id: nothing then predicts the first token, and
            it is not counted.
        log_probs: Of ``ids[start:]``, in nats.
    """

    ids: tuple[int, ...]
    start: int
    log_probs: Float[np.ndarray, " token"]

    @property
    def total(self) -> float:
        """Σ log p over the text's tokens, in nats."""
        return float(self.log_probs.sum())

    def at(self, positions: Sequence[int]) -> float:
        """Σ log p over the tokens at some positions in ``ids``, none of them before ``start``."""
        return float(self.log_probs[np.asarray(positions, dtype=int) - self.start].sum())

    def after(self, n: int) -> Float[np.ndarray, " token"]:
        """Log-probabilities of the tokens from position ``n`` in ``ids`` on."""
        out: np.ndarray = self.log_probs[max(n - self.start, 0) :]
        return out


def encode(model: Model, text: Text) -> tuple[int, ...]:
    """A text's token ids, without any mark at its beginning.

    Raises:
        BehaviourError: the model has no tokenizer, an id is outside its vocabulary, or there is
            no token.
    """
    if isinstance(text, str):
        if model.tokenizer is None:
            raise BehaviourError(
                f"{model.spec.name} has no tokenizer; give token ids in place of texts"
            )
        ids = tuple(model.tokenizer.encode(text, add_special_tokens=False))
    else:
        ids = tuple(int(i) for i in text)
    if bad := [i for i in ids if not 0 <= i < model.d_vocab]:
        raise BehaviourError(
            f"token id {bad[0]} is outside the vocabulary of {model.spec.name} "
            f"(0…{model.d_vocab - 1})"
        )
    if not ids:
        raise BehaviourError(f"a text gives no token: {text!r}")
    return ids


def why_not(model: Model, ids: Sequence[int]) -> str | None:
    """Why a text cannot be scored, or None if it can."""
    room = model.n_ctx - (model.bos_id is not None)
    if len(ids) > room:
        return f"longer than the model's context of {model.n_ctx} tokens"
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    if unknown is not None and unknown in ids:
        return "a word that is unknown to the model's tokenizer"
    if len(ids) == 1 and model.bos_id is None:
        return "a single token, and the model has no beginning-of-sequence id to predict it from"
    return None


def continuation(before: Sequence[int], rows: Sequence[Sequence[int]]) -> int:
    """Where continuations begin: how many tokens a text and all its continuations share.

    Tokenised with what follows, a text's last token may change; it then counts as continuation.

    Args:
        before: Token ids of the text alone.
        rows: Of the text with each continuation.
    """
    length = min(len(before), *(len(row) - 1 for row in rows))
    return next((i for i in range(length) if any(row[i] != before[i] for row in rows)), length)


@torch.no_grad()
def likelihoods(
    model: Model, rows: Sequence[Sequence[int]], *, tokens_per_forward: int = TOKENS_PER_FORWARD
) -> list[Likelihood]:
    """Score texts, each distinct one once, those of about one length together.

    Args:
        model: The model; its beginning-of-sequence id is put first, where it has one and a text
            does not begin with it already.
        rows: Token ids.
        tokens_per_forward: About how many tokens run together.

    Returns:
        One a row, in order.

    Raises:
        BehaviourError: a text that cannot be scored (``why_not``), or a log-probability that is
            not finite.
    """
    bos = model.bos_id
    distinct = sorted({tuple(row) for row in rows}, key=lambda row: (-len(row), row))
    for row in distinct:
        if (why := why_not(model, row)) is not None:
            raise BehaviourError(f"a text of {len(row)} tokens cannot be scored: {why}")
    found: dict[tuple[int, ...], Likelihood] = {}
    start = 0
    while start < len(distinct):
        width = len(distinct[start]) + 1
        batch = distinct[start : start + max(1, tokens_per_forward // width)]
        start += len(batch)
        fed = [row if bos is None or row[0] == bos else (bos, *row) for row in batch]
        for row, ids, nats in zip(batch, fed, _nats(model, fed), strict=True):
            if not np.isfinite(nats).all():
                raise BehaviourError(
                    f"{model.spec.name} gives a log-probability that is not finite; "
                    "load it in a wider dtype"
                )
            found[row] = Likelihood(row, 1 if ids == row else 0, nats)
    return [found[tuple(row)] for row in rows]


def _nats(model: Model, fed: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Log-probability of every token but the first of each row."""
    width = max(map(len, fed))
    # The padding's ids are masked and behind all that is read: any id inside the vocabulary does.
    tokens = torch.full((len(fed), width), fed[0][0], dtype=torch.int64)
    mask = torch.zeros((len(fed), width), dtype=torch.bool)
    for i, row in enumerate(fed):
        tokens[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = True
    logits = model.logits(tokens, mask)
    targets = tokens[:, 1:].to(logits.device)
    out = []
    for i, row in enumerate(fed):  # row by row: in float32, all rows at once may not fit
        of_row = logits[i, : len(row) - 1].float()
        nats = -torch.nn.functional.cross_entropy(
            of_row, targets[i, : len(row) - 1], reduction="none"
        )
        out.append(nats.double().cpu().numpy())
    return out


def compare(one: float, other: float, *, n_tokens: int) -> int:
    """1, 0 or -1: whether the first log-probability is higher, the same up to rounding, or lower.

    Args:
        one: A log-probability, in nats.
        other: Another.
        n_tokens: Tokens that the longer one is the sum of.
    """
    if math.isclose(one, other, rel_tol=0.0, abs_tol=TIE * n_tokens):
        return 0
    return 1 if one > other else -1
