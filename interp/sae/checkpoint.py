"""All that a training needs to go on exactly, out of sae-lens' trainer and back, without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.models.trainings import differences, optimizer_tensors, put_optimizer_tensors
from interp.sae.dictionary import SaeError
from interp.sae.files import read_tensors, write_tensors

_COUNTS = ("act_freq_scores", "n_forward_passes_since_fired")
_NUMBERS = ("n_training_steps", "n_training_samples", "n_frac_active_samples")
_WHITENING = ("mean", "matrix", "inverse_matrix")


def save_checkpoint(
    path: Path, trainer: Any, *, made_by: str, drawn: int, curve: Mapping[str, Tensor]
) -> None:
    """Write where a training stands.

    Args:
        path: The file; replaced whole.
        trainer: sae-lens' ``SAETrainer`` between two steps.
        made_by: What decides the training; a checkpoint of something else is refused.
        drawn: Batches taken from the stream.
        curve: What was measured at each step so far.
    """
    tensors = {f"sae.{name}": value for name, value in trainer.sae.state_dict().items()}
    kept = optimizer_tensors(dict(trainer.sae.named_parameters()), trainer.optimizer)
    tensors |= {f"optimizer.{name}": value for name, value in kept.items()}
    tensors |= {f"trainer.{name}": getattr(trainer, name) for name in _COUNTS}
    tensors |= {f"curve.{name}": value for name, value in curve.items()}
    tensors["random"] = torch.get_rng_state()
    scaler = trainer.activation_scaler
    if scaler.whitening is not None:
        tensors |= {f"whitening.{name}": getattr(scaler.whitening, name) for name in _WHITENING}
    state = {
        "made_by": made_by,
        "drawn": drawn,
        "scaling_factor": scaler.scaling_factor,
        "lr": [group["lr"] for group in trainer.optimizer.param_groups],
        "lr_scheduler": _plain(trainer.lr_scheduler.state_dict()),
        "coefficients": {n: c.state_dict() for n, c in trainer.coefficient_schedulers.items()},
        **{name: getattr(trainer, name) for name in _NUMBERS},
    }
    write_tensors(path, tensors, state)


def load_checkpoint(path: Path, trainer: Any, *, made_by: str) -> tuple[int, dict[str, Tensor]]:
    """Put a fresh trainer where a checkpoint stands.

    Returns:
        Batches taken from the stream, and the curve so far.

    Raises:
        SaeError: the checkpoint is damaged, or of another training.
    """
    tensors, state = read_tensors(path)
    if state["made_by"] != made_by:
        raise SaeError(
            f"{path.parent} holds a training with another model, data, site or settings: "
            f"{differences(state['made_by'], made_by)}; choose another folder, or delete it"
        )
    trainer.sae.load_state_dict(_part(tensors, "sae."))
    parameters = dict(trainer.sae.named_parameters())
    put_optimizer_tensors(parameters, trainer.optimizer, _part(tensors, "optimizer."))
    for group, lr in zip(trainer.optimizer.param_groups, state["lr"], strict=True):
        group["lr"] = lr
    trainer.lr_scheduler.load_state_dict(state["lr_scheduler"])
    for name, fields in state["coefficients"].items():
        trainer.coefficient_schedulers[name].load_state_dict(fields)
    for name in _COUNTS:
        setattr(trainer, name, tensors[f"trainer.{name}"].to(trainer.cfg.device))
    for name in _NUMBERS:
        setattr(trainer, name, state[name])
    trainer.activation_scaler.scaling_factor = state["scaling_factor"]
    if whitening := _part(tensors, "whitening."):
        from sae_lens.training.activation_scaler import ActivationWhitening

        trainer.activation_scaler.whitening = ActivationWhitening(**whitening)
    torch.set_rng_state(tensors["random"])
    return int(state["drawn"]), _part(tensors, "curve.")


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _plain(value: Any) -> Any:
    """Only what JSON keeps: a scheduler's nested state, without the functions in it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else None
