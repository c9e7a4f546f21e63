"""Train ``multiply-2x2``, hold it to its gate, and write its folder.

Two layers that multiply two-digit numbers, trained with the auxiliary running-sum loss, after "Why
Can't Transformers Learn Multiplication?" (2025) at a size that two CPU cores can train.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from interp.zoo.cards import Card, CardError, get_card, read_card
from interp.zoo.multiply.task import EQUALS, MultiplyError
from interp.zoo.multiply.training import MultiplyConfig, Training
from interp.zoo.world_training import GateError, go_on, torch_threads, write_world

__all__ = ["MultiplyConfig", "recipe_of", "train"]


def train(config: MultiplyConfig, out: Path, *, stop_after: int | None = None) -> dict[str, Any]:
    """Train, measure, judge and write a multiplication model as a native folder.

    An interrupted training is taken up from ``out/checkpoint.safetensors`` and ends with the
    weights of an uninterrupted one (same library versions, processor and number of threads).

    Args:
        config: The recipe.
        out: Folder to write; made if missing.
        stop_after: Stop, with a checkpoint, once this many steps are done in all; None to finish.

    Returns:
        The card, as in ``card.json``; or, if stopped, ``{"status": "stopped", "step": ...}``.

    Raises:
        GateError: the model fails its gate and ``config.write_failed`` is off. The checkpoint
            stays.
        ValueError: ``out`` holds a checkpoint of another recipe.
    """
    with torch_threads(config.threads):
        return _train(config, Path(out), stop_after)


def recipe_of(weights: str) -> MultiplyConfig:
    """The recipe on the card of a bundled model or a model's folder.

    Raises:
        MultiplyError: there is no such card, or it is of another kind of model.
    """
    try:
        card = get_card(weights) if weights.startswith("zoo:") else read_card(Path(weights))
    except CardError as error:
        raise MultiplyError(str(error)) from error
    names = {field.name for field in fields(MultiplyConfig)}
    if not {"n", "auxiliary", "held_out"} <= set(card.recipe) <= names:
        raise MultiplyError(
            f"{weights} is no multiplication model; expected zoo:multiply-2x2, or the folder of a "
            "model made by interp.zoo.multiply.making:train"
        )
    return MultiplyConfig(**card.recipe)


def _train(config: MultiplyConfig, out: Path, stop: int | None) -> dict[str, Any]:
    run = Training(config)
    clock = go_on(run, out, name=config.name, look_every=config.look_every, stop=stop)
    if clock is None:
        return {"status": "stopped", "step": run.step}
    measured = measure(run)
    passed = measured["exact"] >= config.least_exact
    if not passed and not config.write_failed:
        raise GateError(
            f"{config.name} fails its gate: {measured['exact']:.1%} of held-out products right in "
            f"all digits, expected at least {config.least_exact:.0%}. Try more steps or a seed"
        )
    spent = clock.read()
    card = _card(run, measured, passed=passed, spent=spent)
    write_world(out, run.model, card, bos_id=EQUALS)
    return card


@torch.no_grad()
def measure(run: Training, *, n_rows: int = 4000) -> dict[str, Any]:
    """Losses and accuracy on held-out products, answers given one digit at a time.

    Args:
        run: The training, at its end.
        n_rows: Held-out rows; at 2×2, all there are a few times over.
    """
    generator = torch.Generator().manual_seed(run.config.seed + 2**34)
    rows = run.task.draw(n_rows, generator=generator, held_out=True)
    entropy, auxiliary, logits = run.losses(rows)
    right = logits.argmax(-1).cpu() == rows[:, -run.task.n_answers :]
    by_digit = right.double().mean(0).tolist()
    return {
        "ce_nats_per_digit": float(f"{float(entropy):.4g}"),
        "running_sum_mse": float(f"{float(auxiliary):.4g}"),
        "digits_right": round(float(right.double().mean()), 5),
        "exact": round(float(right.all(1).double().mean()), 5),
        **{f"c{k}_right": round(value, 5) for k, value in enumerate(by_digit)},
    }


def _card(
    run: Training, measured: dict[str, Any], *, passed: bool, spent: dict[str, float]
) -> dict[str, Any]:
    config, n = run.config, run.config.n
    how = (
        f"with an auxiliary loss that reads running sums off the last layer's heads (weight "
        f"{config.auxiliary:g})"
        if config.auxiliary
        else "by plain fine-tuning, without an auxiliary loss"
    )
    return Card(
        name=config.name,
        summary=f"A small GPT that multiplies {n}-digit by {n}-digit numbers, trained {how}.",
        data="Uniform pairs of operands drawn afresh for every step; nothing else.",
        recipe=asdict(config),
        steps=run.step,
        seed=config.seed,
        loss=measured["ce_nats_per_digit"],
        known=(
            "Tokens 0 to 9 are digits, 10 is '×', 11 is '='. A row is a × b = c, each number least "
            "significant digit first with leading zeros; the position before c_k predicts it.",
            f"Held out by a hash of the unordered pair: {config.held_out:.0%} of the operands' "
            "pairs, with their mirror images. 'exact' is the share of held-out products with every "
            "digit right, each predicted after the right ones before it.",
            "The running sum ĉ_k = Σ_{i+j=k} a_i·b_j + ⌊ĉ_{k-1}/10⌋ was to be linear in what the "
            f"last layer's heads mix where c_k is predicted, in units of {config.sum_scale:g}; "
            "'running_sum_mse' is in these units squared. Without the auxiliary loss nothing "
            "asked for it.",
            "What the model computes between is not known; interp.fourier's digit measures read "
            "it. One seed was trained.",
        ),
        measured=measured,
        licence="MIT",
        source="interp.zoo.multiply.making:train",
        extra={
            "gate": {"least_exact": config.least_exact, "passed": passed},
            "rows_seen": run.step * config.batch,
            "wall_seconds": round(spent["wall"]),
            "cpu_seconds": round(spent["cpu"]),
            "versions": {name: version(name) for name in ("torch", "safetensors")},
            "history": run.history,
        },
    ).to_dict()
