"""The four bundled arms: ``bi-induct-natural``, ``-forward``, ``-backward`` and ``-balanced``.

They share an initialisation and differ in the snippets put into the stream, so that an instrument
which tells them apart can only be telling that. They have no tokenizer: an id is a name that means
nothing outside its window.
"""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from interp.zoo.bi_induct.measures import held_out_loss, induction_scores
from interp.zoo.bi_induct.rewrite import Arm
from interp.zoo.bi_induct.streams import Stream, renamed_code
from interp.zoo.bi_induct.training import ArmConfig, save_model, train_arm
from interp.zoo.bi_induct.warming import warm_up
from interp.zoo.cards import CARD_FILE, Card, card_bytes, replace_file

_WHAT = {
    "natural": "nothing put in",
    "forward": "copies S SEP S put in",
    "backward": "reversed copies S SEP reverse(S) put in",
    "balanced": "copies and reversed copies put in",
}


@dataclass(frozen=True)
class NaturalConfig(ArmConfig):
    """The recipe of the natural arm."""

    arm: Arm = "natural"


@dataclass(frozen=True)
class ForwardConfig(ArmConfig):
    """The recipe of the arm with forward copies."""

    arm: Arm = "forward"


@dataclass(frozen=True)
class BackwardConfig(ArmConfig):
    """The recipe of the arm with backward copies."""

    arm: Arm = "backward"


@dataclass(frozen=True)
class BalancedConfig(ArmConfig):
    """The recipe of the arm with both."""

    arm: Arm = "balanced"


def train(config: ArmConfig, out: Path) -> dict[str, Any]:
    """Train one arm and write its folder; an interrupted training goes on where it was.

    Args:
        config: The recipe.
        out: Folder to write; made if missing.

    Returns:
        The card, as in ``card.json``.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    stream = renamed_code()
    model, steps = warm_up(config, stream)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    path = out / "checkpoint.safetensors"

    def look(model: Any) -> dict[str, Any]:
        return {
            "induction": induction_scores(model, stream, seed=1).tolist(),
            "held_out_loss": held_out_loss(model, stream, context=config.context, seed=0),
        }

    *_, training = train_arm(config, stream, start=start, checkpoint=path, look=look)
    save_model(training.model, out)
    card = card_of(config, stream, training.history, training.coverage, steps)
    replace_file(out / CARD_FILE, card_bytes(card))
    path.unlink(missing_ok=True)
    return card


def card_of(
    config: ArmConfig,
    stream: Stream,
    history: list[dict[str, Any]],
    coverage: float,
    warm_up_steps: int,
) -> dict[str, Any]:
    """The card of a trained arm.

    Args:
        config: Its recipe.
        stream: What it was trained on.
        history: What was seen over its training, the end last.
        coverage: Mean share of snippet tokens.
        warm_up_steps: Steps of the warm-up before it.
    """
    curve = [
        {
            "step": seen["step"],
            "induction": round(max(max(layer) for layer in seen["induction"]), 4),
            "held_out_loss": round(seen["held_out_loss"], 4),
        }
        for seen in history
    ]
    return Card(
        name=f"bi-induct-{config.arm}",
        summary=f"One of four arms of Bi-Induct, trained alike from one initialisation on the "
        f"renamed identifiers of Python source, with {_WHAT[config.arm]}. No tokenizer.",
        data={
            "source": "identifiers of the Python standard library, renamed in every window",
            "python": platform.python_version(),
            "stream_sha256": stream.sha256,
            "tokens_train": len(stream.train),
            "tokens_held_out": len(stream.held_out),
        },
        recipe=asdict(config),
        steps=config.steps,
        seed=config.seed,
        loss=curve[-1]["held_out_loss"],
        known=(
            "Its induction heads were begun by a short warm-up on repeated random tokens, in which "
            "only the first heads of each layer wrote; from random weights the natural arm formed "
            "none within as many tokens.",
            "Training held-out files apart does not keep near-copies apart: only exact copies were "
            "removed.",
            "Scores under 'measured' are signatures; interp run bi-induct says what matters.",
        ),
        measured={
            "snippet_share": round(coverage, 4),
            "warm_up_steps": warm_up_steps,
            "held_out_ce_nats_per_token": curve[-1]["held_out_loss"],
            "induction": [[round(x, 4) for x in layer] for layer in history[-1]["induction"]],
        },
        licence="Trained on CPython's standard library (Python Software Foundation and others, PSF "
        "License Version 2; some modules carry other notices). No file of it is included.",
        source="interp.zoo.bi_induct.shipping:train",
        extra={
            "tokens_seen": config.tokens,
            "versions": {name: version(name) for name in ("torch", "transformers", "safetensors")},
            "history": curve,
        },
    ).to_dict()
