"""Training an SAE with sae-lens' own trainer, on activations streamed by the project's capture.

Seeded end to end without touching the caller's random state; checkpointed, so that an interrupted
training goes on to the very same loss curve; saved in sae-lens' format; evaluated as reloaded.

SAEBench (tried: sae-bench 0.6.0, its ``core`` evaluation, offline) takes ``SAE.load_from_disk``
of the folder as a custom SAE: ``load_and_format_sae("mine", sae, "cpu")`` finds hook, layer
and model in the metadata, and ``run_evals`` wants the model's bridge and an ``ActivationsStore``.
Its command lines load models by their Hugging Face name themselves.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from interp.hooks import Site
from interp.hooks.progress import progress
from interp.models import Examples, Model
from interp.models.trainings import differences
from interp.sae.checkpoint import load_checkpoint, save_checkpoint
from interp.sae.dictionary import Dictionary, SaeError, site_width
from interp.sae.evaluate import evaluate_sae
from interp.sae.evaluation import Evaluation
from interp.sae.files import (
    CARD,
    CHECKPOINT,
    CURVE,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)
from interp.sae.interrupts import interrupts_held
from interp.sae.load import load_sae
from interp.sae.saying import card_of, made_by, metadata_of
from interp.sae.settings import SaeSettings
from interp.sae.stream import ActivationStream
from interp.sae.trainer import estimate_scale, finish, new_trainer, own_randomness, step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

_HELD_OUT = 0.05


@dataclass(frozen=True, eq=False)
class TrainedSae:
    """What a training gives.

    Attributes:
        dictionary: The SAE, as reloaded from ``folder``.
        evaluation: Measured on held-out rows, as reloaded.
        curve: One number a step: ``loss`` (all terms), ``mse_loss`` and ``l0``, in the units of
            the scaled activations.
        settings: What was asked for.
        folder: Where it is: sae-lens' two files, ``card.json``, ``curve.safetensors``.
    """

    dictionary: Dictionary
    evaluation: Evaluation
    curve: dict[str, Float[Tensor, " step"]] = field(repr=False)
    settings: SaeSettings
    folder: Path

    def figure(self) -> Figure:
        """Draw the loss over training."""
        from interp.plots.sae_training import loss_curve

        return loss_curve(
            self.curve["mse_loss"].numpy(),
            self.curve["l0"].numpy(),
            title=f"{self.dictionary.name}: {self.settings.arch} at {self.dictionary.site}",
        )


def train_sae(
    model: Model,
    examples: Examples,
    site: Site | str,
    *,
    out: Path | str,
    settings: SaeSettings | None = None,
    held_out: Examples | None = None,
) -> TrainedSae:
    """Train an SAE on what a model holds at a site, save it, reload it and evaluate it.

    A folder that holds the beginning of this very training is gone on with, one that holds all of
    it is read; results are the same as in one go.

    Args:
        model: The model; it is only read.
        examples: What the model reads. May be padded.
        site: Where, such as ``L3.resid_post``, ``L3.z`` (all heads side by side) or ``L3H7``.
        out: The folder to write.
        settings: How; the defaults are for a million activations.
        held_out: Rows to evaluate on; a twentieth of the groups of ``examples`` where None.

    Raises:
        SiteError: no such site, or one that cannot be edited, so that no SAE could be spliced in.
        SaeError: a site without vectors, too little data, settings that sae-lens refuses, or a
            folder that holds something else.
        KeyboardInterrupt: Ctrl-C was pressed; the folder holds where it stood.
    """
    settings = settings or SaeSettings()
    site, folder = Site.parse(site), Path(out)
    site_width(model, site)
    # What cannot be replaced cannot be evaluated: said before the training, not after.
    site.require_editable(model)
    if held_out is None:
        examples, held_out = examples.split(1 - _HELD_OUT, seed=settings.seed)
    stream = ActivationStream(
        model,
        examples,
        site,
        batch=settings.batch,
        buffer=settings.buffer,
        seed=settings.seed,
        skip_bos=settings.skip_bos,
    )
    told = made_by(model, examples, held_out, site, settings)
    if folder.exists() and not folder.is_dir():
        raise SaeError(f"{folder} is a file; give a folder to write")
    if not (folder / CARD).is_file():
        with own_randomness(settings.seed, model.device):
            curve = _train(stream, settings, folder, told)
        dictionary = load_sae(folder, model=model)
        evaluation = evaluate_sae(model, dictionary, held_out, skip_bos=settings.skip_bos)
        evaluation.save(folder)
        write_tensors(folder / CURVE, curve, {})
        write_json(folder / CARD, card_of(dictionary, evaluation, settings, decided_by=told))
        (folder / CHECKPOINT).unlink(missing_ok=True)
    elif (begun := json.dumps(read_json(folder / CARD).get("made_by"), sort_keys=True)) != told:
        raise SaeError(
            f"{folder} holds an SAE of another model, data, site or settings: "
            f"{differences(begun, told)}; choose another folder, or delete it"
        )
    return read_trained(folder, model=model)


def read_trained(folder: Path | str, *, model: Model | None = None) -> TrainedSae:
    """Read back what ``train_sae`` wrote.

    Raises:
        SaeError: there is no finished training, or it does not fit the model.
    """
    folder = Path(folder)
    card = read_json(folder / CARD)
    curve, _ = read_tensors(folder / CURVE)
    return TrainedSae(
        dictionary=load_sae(folder, model=model),
        evaluation=Evaluation.read(folder),
        curve=curve,
        settings=SaeSettings(**card["settings"]),
        folder=folder,
    )


def _train(
    stream: ActivationStream, settings: SaeSettings, folder: Path, told: str
) -> dict[str, Tensor]:
    """Train to the end and write sae-lens' files; return the curve."""
    trainer = new_trainer(
        settings,
        stream.batches(),
        d_in=stream.d_in,
        device=stream.model.device,
        metadata=metadata_of(stream, settings),
    )
    # Not before: what sae-lens refuses leaves no folder behind.
    fresh = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    drawn, curve = 0, dict[str, Tensor]()
    if (folder / CHECKPOINT).is_file():
        drawn, curve = load_checkpoint(folder / CHECKPOINT, trainer, made_by=told)
        log.info("training goes on after step %d of %d", trainer.n_training_steps, settings.n_steps)
    elif strange := [p.name for p in folder.iterdir() if not p.name.startswith(".")]:
        raise SaeError(
            f"{folder} holds other things ({', '.join(sorted(strange)[:3])}) and no training to go "
            "on with; choose another folder"
        )
    batches = _Counted(stream.batches(drawn), drawn)
    trainer.data_provider = batches
    if drawn == 0:
        estimate_scale(trainer)
    seen: dict[str, list[Tensor]] = {}

    def save() -> None:
        parts = {name: torch.stack(values).cpu() for name, values in seen.items()}
        for name, part in parts.items():
            curve[name] = torch.cat([curve[name], part]) if name in curve else part
        seen.clear()
        save_checkpoint(
            folder / CHECKPOINT, trainer, made_by=told, drawn=batches.drawn, curve=curve
        )

    total, start = settings.n_steps, trainer.n_training_steps
    with (
        interrupts_held() as interrupted,
        progress("training the SAE", total=total, initial=start) as advance,
    ):
        while trainer.n_training_steps < total:
            for name, value in step(trainer).items():
                seen.setdefault(name, []).append(value)
            advance(1)
            if trainer.n_training_steps % settings.checkpoint_every == 0 or interrupted():
                _require_finite(seen["loss"], settings, folder, fresh=fresh)
                save()
            if interrupted():
                raise KeyboardInterrupt
    _require_finite(seen.get("loss", []), settings, folder, fresh=fresh)
    if seen:
        save()
    finish(trainer, folder)
    return curve


class _Counted:
    """A stream's batches, counted."""

    def __init__(self, batches: Iterator[Tensor], drawn: int) -> None:
        self._batches, self.drawn = batches, drawn

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        self.drawn += 1
        return next(self._batches)


def _require_finite(
    losses: list[Tensor], settings: SaeSettings, folder: Path, *, fresh: bool
) -> None:
    if not losses or bool(torch.isfinite(torch.stack(losses)).all()):
        return
    kept = "and there is no checkpoint from before; start afresh"
    if (folder / CHECKPOINT).is_file():
        kept = f"{folder} keeps the last checkpoint before; start afresh in another folder"
    elif fresh:
        folder.rmdir()
    unscaled = settings.normalize == "none"
    advice = ", or normalize='expected_average_only_in'" if unscaled else ""
    raise SaeError(
        f"the loss is no longer finite, {kept} with a smaller lr than {settings.lr:g}{advice}"
    )
