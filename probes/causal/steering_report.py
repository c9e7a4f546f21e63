"""What ``probes steer`` measures and shows."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

from interp import terminal
from interp.models import Model
from interp.runfolder.files import write_json
from probes import report
from probes.causal.continuations import Continuations, Place
from probes.causal.directions import Direction
from probes.causal.dose import dose_curve
from probes.causal.edited import EditedRuns
from probes.causal.effects import steer
from probes.causal.evidence import DirectionEvidence, direction_evidence
from probes.causal.open_prompts import OpenPrompt, greedy, next_token
from probes.causal.steering_inputs import (
    direction_of,
    filed_prompts,
    own_statements,
    prompt_texts,
    require_unseen_texts,
    typed_prompts,
)
from probes.probe import Probe
from probes.steering import SteeringError

if TYPE_CHECKING:
    from pandas import DataFrame

    from probes.commands.steer import SteerSettings
    from probes.data import StatementSet

ONE_PROMPT = (
    "One prompt, or one group of them, has no interval, so there is no verdict: give several, or a "
    "file of them, for evidence."
)
NO_STATEMENTS = (
    "The statements that the probe was trained on are not found unchanged, and there is no verdict "
    "without directions fitted to shuffled labels on them: give them, or others like them, with "
    "--data."
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
    data = own_statements(probe) if data is None else data
    direction = direction_of(probe, model, data, name)
    prompts = (
        typed_prompts(asked, model, place) if asked.prompt else filed_prompts(asked, model, place)
    )
    alone = len(set(prompts.examples.groups)) < 2
    why = ONE_PROMPT if alone else NO_STATEMENTS if direction.training is None else None
    if why is not None and asked.out is not None:
        raise SteeringError(f"--out {asked.out}: {why[0].lower()}{why[1:].rstrip('.')}")
    if data is not None and why is None:
        require_unseen_texts(probe, prompt_texts(asked), data)
    runs = EditedRuns(model, prompts, direction.site)
    lines = _heading(direction, probe, place, asked.pushed)
    before = f"{float(runs.clean.mean()):+.3f} nats, mean of prompts ({len(prompts)})"
    lines.append(("log-odds before", before))
    if why is not None:
        _show([*lines, ("pushed", _moved(runs, direction, asked))])
        _say(f"\n{why}")
        return
    found = direction_evidence(
        model, direction, prompts, amount=asked.pushed, n_random=asked.random, seed=asked.seed
    )
    curve = dose_curve(runs, direction, seed=asked.seed)
    gap = found.effects[0].gap
    if gap is not None:
        told = "" if gap.shown else ": the model makes no difference between the labels here"
        span = f"[{gap.low:+.3f}, {gap.high:+.3f}]"
        lines.append(
            ("natural gap", f"{gap.value:+.3f} nats of log-odds, 95% interval {span}{told}")
        )
    _show(lines)
    rows = [
        (
            f"{row.amount:+g}",
            f"{row.change:+.3f} [{row.low:+.3f}, {row.high:+.3f}]",
            f"{row.random_low:+.3f} to {row.random_high:+.3f}",
        )
        for row in curve.itertuples()
    ]
    heads = ("pushed, natural gaps", "change of log-odds, nats", "isotropic directions")
    terminal.console().print(terminal.table(heads, rows))
    terminal.console().print(found.table)
    for row in found.rows:
        _say(row.reason)
    if gap is None:
        _say(f"\nNote: {NO_LABELS}")
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
    amount = None if asked.ablate else asked.pushed
    n_tokens = 20 if asked.tokens is None else asked.tokens
    several = [
        (text, OpenPrompt.of(model.tokenize(text, name="prompt"), at=place))
        for text in asked.prompt
    ]
    _show(_heading(direction, probe, place, amount))
    for text, prompt in several:
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
        heads = ("next token", "before", "after", "isotropic directions: log-probability, nats")
        terminal.console().print(terminal.table(heads, rows))
        others = sorted(found.random_divergences)
        _say(
            f"The next token's distribution moves by {found.divergence:.3g} nats (KL); "
            f"{len(others)} isotropic directions as long move it by "
            f"{others[len(others) // 2]:.3g} in the middle and {others[-1]:.3g} at most."
        )
        if n_tokens:
            every = place == "every"
            for told, one in (("before", None), ("after", direction)):
                ids = greedy(model, prompt, one, n_tokens=n_tokens, amount=amount, every=every)
                _say(f"{told}: {_text(model, ids)}")
    _say(f"\n{NO_ANSWERS}")


def _moved(runs: EditedRuns[Continuations], direction: Direction, asked: SteerSettings) -> str:
    effect = steer(runs, direction, amount=asked.pushed, n_random=asked.random, seed=asked.seed)
    random = effect.isotropic_effects.abs()
    return (
        f"{effect.effect:+.3f} nats by {asked.pushed:g} × the natural gap, the way the labels "
        f"would; {len(random)} isotropic directions as long: {float(random.median()):.3f} in the "
        f"middle, {float(random.max()):.3f} at most"
    )


def _show(lines: list[tuple[str, str]]) -> None:
    terminal.show(report.as_text(lines, closing=None, notes=[], caution=False))


def _say(text: str) -> None:
    first = "\n" * (len(text) - len(text.lstrip("\n")))
    terminal.show(first + textwrap.fill(text.strip("\n"), 100))


def _heading(
    direction: Direction, probe: Probe, place: Place, amount: float | None
) -> list[tuple[str, str]]:
    what = (
        "its component set to the centre's"
        if amount is None
        else f"pushed by {amount:+g} × {direction.gap:.4g}, its natural gap"
    )
    signature = "a signature"
    if not direction.separates:
        signature = "no evidence of a signature (probes show says why)"
    return [
        ("direction", f"{direction.name}: {probe.method} at {probe.site} of {probe.model}"),
        (
            "signature",
            f"AUROC {direction.auroc:.3f} on statements held out, {direction.auroc_null:.3f} with "
            f"shuffled labels: {signature}",
        ),
        ("changed", f"{what}, at {_place(place)}"),
    ]


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
        "amount": asked.pushed,
        "natural_gap_in_activations": direction.gap,
        "seed": asked.seed,
        "evidence": [row.to_dict() for row in found.rows],
        "effects": json.loads(found.frame().to_json(orient="records")),
        "dose": json.loads(curve.to_json(orient="records")),
    }
