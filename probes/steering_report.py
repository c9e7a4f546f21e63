"""What ``probes steer`` measures and shows."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp import terminal
from interp.models import Model
from interp.models.prompts import PromptsError, read_prompts
from interp.runfolder.files import write_json
from probes.activations import extract
from probes.continuations import Continuations, Place
from probes.direction_effects import steer
from probes.direction_evidence import DirectionEvidence, direction_evidence
from probes.directions import Direction
from probes.domains import Domain
from probes.dose import dose_curve
from probes.edited import EditedRuns
from probes.open_prompts import OpenPrompt, greedy, next_token
from probes.probe import Probe
from probes.steering import SteeringError, natural_gap

if TYPE_CHECKING:
    from pandas import DataFrame

    from probes.commands.steer import SteerSettings
    from probes.data import StatementSet

ONE_PROMPT = (
    "One prompt has no interval, so there is no verdict: give several, or a file of them, for "
    "evidence."
)
NO_ANSWERS = (
    "This shows what the change does, and is no verdict. For evidence say what label 1 should make "
    "likelier (--answer and --wrong, with several prompts), or give a file (--prompts)."
)
NO_LABELS = (
    "These prompts do not say which label they have, so there is no natural gap in log-odds, and "
    "erasing the direction could not be judged. Give corrupt prompts (the same with label 0) for "
    "both."
)


def asked_of(probe: Probe, position: str | None) -> Place:
    """Return where to push: as told, or where the probe reads.

    Raises:
        SteeringError: the probe reads at a character, which prompts may not have.
    """
    told = str(probe.position) if position is None else position
    if told in ("mean", "every"):
        return "every"
    if told == "last":
        return "last"
    try:
        return int(told)
    except ValueError:
        raise SteeringError(
            f"the probe reads at {told}, which is no place in a prompt; give --position last, "
            "every, or a token's index"
        ) from None


def direction_of(probe: Probe, model: Model, data: StatementSet | None, name: str) -> Direction:
    """Return a probe's direction, its natural gap measured on data where some is given.

    Raises:
        ProbeError: another model's probe.
        SteeringError: the natural gap is not known, or not to be measured.
        DataError: a statement cannot be read.
    """
    probe.check(fingerprint=model.fingerprint, model=model.spec.name)
    if data is None:
        return Direction.of(probe, name=name)
    found = extract(model, data, site=probe.site, position=probe.position)
    gap = natural_gap(probe, found.values, found.spread(data.y))
    return Direction.of(probe, name=name, gap=gap, training=Domain.of(found, data))


def show_evidence(
    asked: SteerSettings,
    probe: Probe,
    model: Model,
    *,
    data: StatementSet | None,
    place: Place,
    name: str,
) -> None:
    """Measure pushes and erasure on prompts with answers, and show the evidence."""
    direction = direction_of(probe, model, data, name)
    prompts = _typed(asked, model, place) if asked.prompt else _filed(asked, model, place)
    alone = len(set(prompts.examples.groups)) < 2
    if alone and asked.out is not None:
        raise SteeringError(f"--out {asked.out}: one prompt, or group of them, gives no evidence")
    runs = EditedRuns(model, prompts, direction.site)
    terminal.show(_heading(direction, probe, place, asked.amount))
    terminal.show(
        f"log-odds before   {float(runs.clean.mean()):+.3f} nats, mean of prompts ({len(prompts)})"
    )
    if alone:
        _show_one(runs, direction, asked)
        return
    curve = dose_curve(runs, direction, seed=asked.seed)
    found = direction_evidence(
        model, direction, prompts, amount=asked.amount, n_random=asked.random, seed=asked.seed
    )
    gap = found.effects[0].gap
    if gap is not None:
        told = "" if gap.shown else ": the model makes no difference between the labels here"
        terminal.show(
            f"natural gap       {gap.value:+.3f} nats of log-odds, 95% interval "
            f"[{gap.low:+.3f}, {gap.high:+.3f}]{told}"
        )
    rows = [
        (
            f"{row.amount:+g}",
            f"{row.change:+.3f} [{row.low:+.3f}, {row.high:+.3f}]",
            f"{row.random_low:+.3f} to {row.random_high:+.3f}",
        )
        for row in curve.itertuples()
    ]
    heads = ("pushed, natural gaps", "change of log-odds, nats", "random directions")
    terminal.console().print(terminal.table(heads, rows))
    terminal.console().print(found.table)
    for row in found.rows:
        terminal.show(row.reason)
    if gap is None:
        terminal.show(f"\nNote: {NO_LABELS}")
    if asked.out is not None:
        write_json(asked.out, _kept(asked, probe, direction, found, curve))
        terminal.show(f"\nevidence: {asked.out}")


def show_open(
    asked: SteerSettings,
    probe: Probe,
    model: Model,
    *,
    data: StatementSet | None,
    place: Place,
    name: str,
) -> None:
    """Show what a push or an erasure does to the next token and to a continuation."""
    direction = direction_of(probe, model, data, name)
    amount = None if asked.ablate else asked.amount
    terminal.show(_heading(direction, probe, place, amount))
    for text in asked.prompt:
        prompt = OpenPrompt.of(model.tokenize(text, name="prompt"), at=place)
        found = next_token(
            model, prompt, direction, amount=amount, n_random=asked.random, seed=asked.seed
        )
        terminal.show(f"\nprompt: {text}")
        rows = [
            (
                _text(model, [token]),
                f"{before:.4f}",
                f"{after:.4f}",
                f"{low:+.2f} to {high:+.2f}",
            )
            for token, before, after, low, high in zip(
                found.tokens,
                found.before,
                found.after,
                found.random_low,
                found.random_high,
                strict=True,
            )
        ]
        heads = ("next token", "before", "after", "random directions: log-probability, nats")
        terminal.console().print(terminal.table(heads, rows))
        others = sorted(found.random_divergences)
        terminal.show(
            f"The next token's distribution moves by {found.divergence:.3g} nats (KL); "
            f"{len(others)} random directions move it by {others[len(others) // 2]:.3g} in the "
            f"middle and {others[-1]:.3g} at most (p = {found.p_value:.2g})."
        )
        if asked.tokens:
            every = place == "every"
            for told, one in (("before", None), ("after", direction)):
                ids = greedy(model, prompt, one, n_tokens=asked.tokens, amount=amount, every=every)
                terminal.show(f"{told}: {_text(model, ids)}")
    terminal.show(f"\n{NO_ANSWERS}")


def _show_one(runs: EditedRuns[Continuations], direction: Direction, asked: SteerSettings) -> None:
    effect = steer(runs, direction, amount=asked.amount, n_random=asked.random, seed=asked.seed)
    random = effect.control_effects.abs()
    terminal.show(
        f"pushed            {effect.effect:+.3f} nats by {asked.amount:g} × the natural gap, mean "
        f"of both ways; {len(random)} directions that mean nothing: "
        f"{float(random.median()):.3f} in the middle, {float(random.max()):.3f} at most"
    )
    terminal.show(f"\n{ONE_PROMPT}")


def _typed(asked: SteerSettings, model: Model, place: Place) -> Continuations:
    """Prompts of the command line, checked as those of a file are."""
    rows = [
        json.dumps({"clean": text, "answer": asked.answer, "wrong": wrong})
        for text in dict.fromkeys(asked.prompt)
        for wrong in dict.fromkeys(asked.wrong)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prompt"
        path.write_text("\n".join(rows), encoding="utf-8")
        try:
            read = read_prompts(path, model, first_token=asked.first_token).clean
        except PromptsError as error:
            raise SteeringError(f"--prompt: {str(error).partition(': ')[2]}") from None
    wrongs = len(dict.fromkeys(asked.wrong))
    assert read.wrong is not None
    several = read.wrong.view(-1, wrongs)
    return Continuations.of(read.select(range(0, len(read), wrongs)), wrong=several, at=place)


def _filed(asked: SteerSettings, model: Model, place: Place) -> Continuations:
    assert asked.prompts is not None
    read = read_prompts(
        asked.prompts,
        model,
        first_token=asked.first_token,
        with_corrupt=_has_corrupt(asked.prompts),
    )
    return Continuations.of_pairs(read, at=place)


def _has_corrupt(path: Path) -> bool:
    """Whether any row has a corrupt prompt; what else is wrong with the file is said in reading."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        held = [json.loads(line) for line in lines if line.strip()]
    except ValueError:
        return False
    return any(isinstance(row, dict) and "corrupt" in row for row in held)


def _heading(direction: Direction, probe: Probe, place: Place, amount: float | None) -> str:
    what = (
        "its component set to the centre's"
        if amount is None
        else f"pushed by {amount:+g} × {direction.gap:.4g}, its natural gap"
    )
    signature = "a signature" if direction.separates else "no evidence of a signature"
    return "\n".join(
        [
            f"direction         {direction.name}: {probe.method} at {probe.site} of {probe.model}",
            f"signature         AUROC {direction.auroc:.3f} on statements held out, "
            f"{direction.auroc_null:.3f} with shuffled labels: {signature}",
            f"changed           {what}, at {_place(place)}",
        ]
    )


def _place(place: Place) -> str:
    if place == "every":
        return "every token"
    return "the last token" if place == "last" else f"token {place}"


def _text(model: Model, ids: list[int]) -> str:
    return " ".join(map(str, ids)) if model.tokenizer is None else repr(model.tokenizer.decode(ids))


def _kept(
    asked: SteerSettings,
    probe: Probe,
    direction: Direction,
    found: DirectionEvidence,
    curve: DataFrame,
) -> dict[str, Any]:
    return {
        "probe": direction.name,
        "model": probe.model,
        "fingerprint": probe.fingerprint,
        "site": str(probe.site),
        "position": asked.position or probe.position,
        "amount": asked.amount,
        "natural_gap_in_activations": direction.gap,
        "seed": asked.seed,
        "evidence": [row.to_dict() for row in found.rows],
        "effects": json.loads(found.frame().to_json(orient="records")),
        "dose": json.loads(curve.to_json(orient="records")),
    }
