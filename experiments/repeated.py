"""Repeated random tokens for a model, as long as its context and vocabulary allow."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interp.models import Examples, Model

log = logging.getLogger(__name__)


def repeated_examples(model: Model, *, n: int, length: int, seed: int) -> Examples:
    """Return ``[BOS?] r r`` with ``r`` of ``length`` tokens, or fewer where no more fit.

    Raises:
        ValueError: nothing fits.
    """
    import torch

    from interp.zoo.tasks import repeated_tokens

    room = (model.n_ctx - (model.bos_id is not None)) // 2
    fitting = min(length, room, len(model.ordinary_ids))
    if fitting < 2:
        raise ValueError(
            f"{model.spec.name} has a context of {model.n_ctx} tokens and "
            f"{len(model.ordinary_ids)} ordinary ids: too few to repeat anything"
        )
    if fitting < length:
        log.warning("repeating %d tokens, not %d: no more fit", fitting, length)
    return repeated_tokens(
        model.ordinary_ids,
        n=n,
        length=fitting,
        bos_id=model.bos_id,
        generator=torch.Generator().manual_seed(seed),
    )
