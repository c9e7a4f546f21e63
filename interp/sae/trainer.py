"""sae-lens' own trainer, made of our settings and driven step by step between its public doors."""

from __future__ import annotations

import difflib
import math
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import torch
from jaxtyping import Float
from torch import Tensor

from interp.sae.dictionary import SaeError
from interp.sae.files import CONFIG, WEIGHTS, replace_file
from interp.sae.settings import SaeSettings

#: Fields of sae-lens' configuration that no option may change, and what decides them.
_SET_ELSEWHERE = {
    "d_in": "the site decides it",
    "reshape_activations": "the site decides it",
    "device": "the model decides it",
    "dtype": "SAEs are trained in float32",
    "metadata": "the training writes it",
    "d_sae": "give d_sae itself",
    "k": "give k itself",
    "normalize_activations": "give normalize",
    "l1_coefficient": "give sparsity",
    "l0_coefficient": "give sparsity",
    "matryoshka_widths": "d_sae decides it",
}


def new_trainer(
    settings: SaeSettings,
    batches: Iterator[Float[Tensor, "batch d_in"]],
    *,
    d_in: int,
    device: torch.device,
    metadata: Mapping[str, Any],
) -> Any:
    """Return a ``SAETrainer`` before its first step.

    Weights are drawn from torch's global state: call it inside ``own_randomness``.

    Args:
        settings: How.
        batches: Endless, all of the configured size.
        d_in: Width of the activations.
        device: Where it trains.
        metadata: What the SAE says of itself when saved.

    Raises:
        SaeError: settings that sae-lens refuses.
    """
    from sae_lens import SAETrainer, TrainingSAE
    from sae_lens.config import SAETrainerConfig
    from sae_lens.registry import get_sae_training_class
    from sae_lens.saes.sae import SAEMetadata

    options = checked_options(settings)
    fields = {**settings.sae_fields(d_in), **options}
    architecture = fields.pop("architecture")
    _, config_class = get_sae_training_class(architecture)
    if str(metadata.get("hook_name")).endswith("hook_z") and "hook_head_index" not in metadata:
        fields["reshape_activations"] = "hook_z"
    try:
        config = config_class(**fields, device=str(device), metadata=SAEMetadata(**metadata))
        sae = TrainingSAE.get_sae_class_for_architecture(architecture)(config)
    except (TypeError, ValueError) as error:
        raise SaeError(f"sae-lens refuses these settings for {architecture}: {error}") from error
    trainer_config = SAETrainerConfig(**settings.trainer_fields(), device=str(device))
    trainer: Any = SAETrainer(trainer_config, sae, data_provider=batches)
    return trainer


def checked_options(settings: SaeSettings) -> dict[str, Any]:
    """The further fields of sae-lens' configuration, each of the type that it has there.

    Raises:
        SaeError: no such field, one that is set elsewhere, or a number that it cannot be.
    """
    from sae_lens.registry import get_sae_training_class

    _, config_class = get_sae_training_class(settings.arch)
    hints = get_type_hints(config_class)
    kinds = {name: {hint, *get_args(hint)} & {bool, int, float} for name, hint in hints.items()}
    # Lists and choices are no numbers, which is what options are.
    known = {
        name: next(iter(kind))
        for name, kind in kinds.items()
        if kind and name not in _SET_ELSEWHERE and get_origin(hints[name]) is not list
    }
    found = {}
    for name, value in settings.options.items():
        if name in hints and name in _SET_ELSEWHERE:
            raise SaeError(f"{name} is no option: {_SET_ELSEWHERE[name]}")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or sorted(known)
            raise SaeError(f"{settings.arch} has no option {name!r}; near: {', '.join(near)}")
        kind = known[name]
        if not math.isfinite(value) or (kind is not float and value != int(value)):
            expected = "a number" if kind is float else "a whole number"
            raise SaeError(f"option {name} is {value}; expected {expected}")
        if kind is bool and value not in (0, 1):
            raise SaeError(f"option {name} is {value:g}; expected 1 for yes or 0 for no")
        found[name] = kind(value)
    return found


def estimate_scale(trainer: Any) -> None:
    """Estimate the scale of activations on the stream's first batches, as ``fit`` would."""
    kind, d_in = trainer.sae.cfg.normalize_activations, trainer.sae.cfg.d_in
    scaler, n = trainer.activation_scaler, trainer.cfg.n_batches_for_norm_estimate
    with redirect_stderr(StringIO()):  # its own progress bar
        if kind == "expected_average_only_in":
            scaler.estimate_scaling_factor(d_in, trainer.data_provider, n)
        elif kind == "covariance_whitening":
            scaler.estimate_whitening(d_in, trainer.data_provider, n)


@torch.no_grad()
def step(trainer: Any) -> dict[str, Float[Tensor, ""]]:
    """Make one step; return what a curve keeps of it."""
    total = trainer.cfg.total_training_steps
    if trainer.n_training_steps == total - total // 5:
        # Firing rates and L0 in the SAE's metadata are those of its last fifth.
        trainer.act_freq_scores.zero_()
        trainer.n_frac_active_samples = 0
    with torch.enable_grad():
        done = trainer.step(next(trainer.data_provider))
    trainer.n_training_steps += 1
    active = done.feature_acts.detach()
    active = active.to_dense() if active.is_sparse else active
    return {
        "loss": done.loss.detach().float(),
        "mse_loss": done.losses["mse_loss"].detach().float(),
        "l0": (active != 0).float().sum(-1).mean(),
    }


def finish(trainer: Any, folder: Path) -> None:
    """After the last step: fold the scaling in and write sae-lens' two files, weights first."""
    with redirect_stderr(StringIO()):
        trainer.fit()  # no step is left: this folds and fills in the metadata
    temporary = folder / f".saving-{secrets.token_hex(6)}"
    try:
        trainer.sae.save_inference_model(temporary)
        for name in (WEIGHTS, CONFIG):
            replace_file(folder / name, (temporary / name).read_bytes())
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """sae-lens draws from torch's global state: seed it here, and give it back as it was."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield
