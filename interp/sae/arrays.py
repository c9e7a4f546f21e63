"""An SAE on activations that are at hand as an array: toy models, stored activations, noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float
from torch import Tensor

from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.load import load_sae
from interp.sae.settings import SaeSettings
from interp.sae.trainer import estimate_scale, finish, new_trainer, own_randomness, step


def train_on_array(
    x: Float[Tensor, "n d_in"], settings: SaeSettings, *, name: str = "array"
) -> Dictionary:
    """Train an SAE by sae-lens' trainer on an array, and return it as saved and reloaded.

    For a model's site use ``train_sae``, which holds no more than a buffer and keeps a folder.

    Args:
        x: The activations; every epoch they are shuffled anew.
        settings: How; ``context``, ``buffer`` and ``checkpoint_every`` mean nothing here.
        name: What it is called.

    Raises:
        SaeError: fewer activations than a batch, or settings that sae-lens refuses.
    """
    if x.ndim != 2 or len(x) < settings.batch:
        raise SaeError(
            f"activations of shape {list(x.shape)}: expected [n, d_in] with n of at least a batch, "
            f"{settings.batch}"
        )
    with own_randomness(settings.seed, x.device), TemporaryDirectory() as place:
        batches = _batches(x, settings.batch, torch.Generator().manual_seed(settings.seed))
        trainer = new_trainer(
            settings, batches, d_in=x.shape[1], device=x.device, metadata={"model_name": name}
        )
        estimate_scale(trainer)
        while trainer.n_training_steps < settings.n_steps:
            step(trainer)
        finish(trainer, Path(place))
        return replace(load_sae(place), name=name)


def _batches(x: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for i in range(len(x) // size):
            yield x[order[i * size : (i + 1) * size]]
