"""The bundled hand-built models: their answers, worked out, and their folders, written.

``zoo:induction-exact`` has one previous-token head and one induction head; ``zoo:induction-decoy``
has a second head with the induction head's pattern that the model does not use. How they work is in
:mod:`interp.zoo.induction_circuit`; here is what an instrument must find.

On determined positions the right token gets ``beta`` logits and all others 0, so that the loss is
log(1 + (V - 1) exp(-beta)). Zero the induction head's output, or the previous-token head's, and all
logits are 0: the loss is log V. Zero any other head and no bit of any logit changes.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save

from interp.zoo.cards import CARD_FILE, Card, card_bytes, replace_file
from interp.zoo.induction_circuit import (
    BOS,
    DecoyConfig,
    ExactConfig,
    native_config,
    place_margin,
    state_dict,
)

__all__ = [
    "BOS",
    "DecoyConfig",
    "ExactConfig",
    "build",
    "closed_form",
    "native_config",
    "place_margin",
    "state_dict",
]


def closed_form(model: str | ExactConfig, *, length: int = 25, repeats: int = 2) -> dict[str, Any]:
    """The right answers on ``[BOS, r, r, …]`` with distinct tokens in ``r``, by calculation.

    Args:
        model: A bundled model's name, with or without ``zoo:``, or a configuration.
        length: Tokens in ``r``, at least 3.
        repeats: How often ``r`` stands.

    Returns:
        A dict: ``heads`` and ``indices`` (role to ``L1H7`` and to ``(1, 7)``; roles are
        ``previous-token``, ``induction`` and, in the decoy model, ``decoy``); ``load_bearing``
        (labels of heads the task needs); ``scores`` (``induction``: attention from scored queries
        to what followed earlier occurrences of their token, summed over these; ``previous-token``:
        attention to the position before, over all queries but BOS; each by label, and ``uniform``
        for all other heads); ``clean_nll``, ``ablated_nll`` and ``effect``, in nats a scored
        position (by label, and ``uniform``; a head is ablated by zeroing its output).

    Raises:
        ValueError: an unknown name, or a task that does not fit the model.
    """
    config = _named(model)
    width = 1 + length * repeats
    if not (3 <= length <= config.n_content and repeats >= 2 and width <= config.n_ctx):
        raise ValueError(
            f"length={length}, repeats={repeats}: expected 3 to {config.n_content} distinct "
            f"tokens, at least 2 repeats and at most {config.n_ctx} positions with BOS"
        )
    indices = {"previous-token": (0, config.previous_head), "induction": (1, config.induction_head)}
    if config.decoy_head is not None:
        indices["decoy"] = (1, config.decoy_head)
    heads = {role: f"L{layer}H{head}" for role, (layer, head) in indices.items()}
    scored = range(1 + length, width - 1)
    uniform = sum(((q - 1) // length) / (q + 1) for q in scored) / len(scored)
    before = sum(1 / (q + 1) for q in range(1, width)) / (width - 1)
    clean = math.log1p((config.n_vocab - 1) * math.exp(-config.beta))
    ablated = {
        label: clean if role == "decoy" else math.log(config.n_vocab)
        for role, label in heads.items()
    } | {"uniform": clean}
    return {
        "heads": heads,
        "indices": indices,
        "load_bearing": [heads["previous-token"], heads["induction"]],
        "scores": {
            "induction": {label: float(role != "previous-token") for role, label in heads.items()}
            | {"uniform": uniform},
            # From position 1 the induction pattern looks at BOS: the position before, by chance.
            "previous-token": {
                label: 1.0 if role == "previous-token" else 1 / (width - 1)
                for role, label in heads.items()
            }
            | {"uniform": before},
        },
        "clean_nll": clean,
        "ablated_nll": ablated,
        "effect": {label: value - clean for label, value in ablated.items()},
    }


def _named(model: str | ExactConfig) -> ExactConfig:
    if isinstance(model, ExactConfig):
        return model
    for config in (ExactConfig(), DecoyConfig()):
        if model.removeprefix("zoo:") == config.name:
            return config
    raise ValueError(f"no hand-built model {model!r}; expected induction-exact or induction-decoy")


def build(config: ExactConfig, out: Path) -> dict[str, Any]:
    """Write the model's folder: ``native.json``, ``model.safetensors``, ``card.json``.

    Each file is written whole, the card last; the same configuration gives the same bytes.

    Args:
        config: ``ExactConfig()`` and ``DecoyConfig()`` make the bundled models.
        out: The folder; made if missing.

    Returns:
        The card's fields. Its fingerprint is None: ``interp.zoo.cards.stamp`` enters it.
    """
    out.mkdir(parents=True, exist_ok=True)
    card = _card(config).to_dict()
    settings = json.dumps(native_config(config), indent=2)
    replace_file(out / "native.json", f"{settings}\n".encode())
    replace_file(out / "model.safetensors", save(state_dict(config)))
    replace_file(out / CARD_FILE, card_bytes(card))
    return card


def _card(config: ExactConfig) -> Card:
    answers = closed_form(config, length=min(25, config.n_content))
    heads = answers["heads"]
    known = [
        f"{heads['previous-token']} attends to the position before, {heads['induction']} to what "
        "followed earlier occurrences of the current token (to BOS if there is none), weight 1.",
        f"Both are needed: zero the output of either and the loss on a repeat rises from "
        f"{answers['clean_nll']:.1e} to {math.log(config.n_vocab):.4f} nats, the log of "
        f"{config.n_vocab} tokens.",
        "All other heads attend uniformly and write, with outputs of like norm, where nothing "
        "reads; removing them changes no logit by one bit.",
        "Sequences must begin with BOS (id 0), which is never copied. Positions enter only as "
        "differences, so that left padding behind an attention mask does no harm.",
        "The loss is at its floor, where its gradient is nearly zero: attribution by gradients "
        "has to use a difference of logits.",
    ]
    summary = (
        "Hand-built two-layer attention-only model: one previous-token head, one induction head, "
        "every score and effect known exactly."
    )
    if "decoy" in heads:
        summary = (
            "Hand-built as induction-exact, with a second perfect induction pattern that the model "
            "does not use: a signature without a mechanism."
        )
        known.append(
            f"{heads['decoy']} has the attention pattern and the output norm of "
            f"{heads['induction']}, and writes where nothing reads: score 1, effect 0."
        )
    return Card(
        name=config.name,
        summary=summary,
        kind="hand-built",
        data="None: the weights are written down, not trained.",
        recipe=asdict(config),
        seed=config.seed,
        known=tuple(known),
        licence="MIT",
        source="interp.zoo.induction_exact:build",
        extra={"closed_form": answers},
    )
