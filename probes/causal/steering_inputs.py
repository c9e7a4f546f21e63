"""What ``probes steer`` is given: the probe's direction and statements, and prompts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from interp.models import Model
from interp.models.prompts import PromptsError, read_prompts
from probes.activations import extract
from probes.cache import activation_cache
from probes.causal.continuations import Continuations, Place
from probes.causal.directions import Direction
from probes.data import StatementSet, read_statements
from probes.domains import Domain
from probes.probe import Probe
from probes.steering import SteeringError, natural_gap

if TYPE_CHECKING:
    from probes.commands.steer import SteerSettings


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
    """Return a probe's direction, with the activations of statements where there are some.

    Raises:
        ProbeError: another model's probe.
        SteeringError: the natural gap is not known, or goes the other way on the statements.
        DataError: a statement cannot be read.
    """
    probe.check(fingerprint=model.fingerprint, model=model.spec.name)
    if data is None:
        return Direction.of(probe, name=name)
    cache = activation_cache(None, limit_gib=None)
    found = extract(model, data, site=probe.site, position=probe.position, cache=cache)
    stored = probe.metrics.get("train", {}).get("natural_gap")
    gap = stored if data.hash == probe.data_hash else None
    if gap is None:
        gap = natural_gap(probe, found.values, found.spread(data.y))
    # Groups of statements and of prompts come from different files: a name in both means nothing.
    groups = tuple(f"statements: {group}" for group in data.groups)
    training = Domain.of(found, replace(data, groups=groups))
    return Direction.of(probe, name=name, gap=gap, training=training)


def own_statements(probe: Probe) -> StatementSet | None:
    """Return the statements that a probe was trained on, where they are found unchanged."""
    for source in (probe.data, f"set:{probe.data}"):
        try:
            data = read_statements(source)
        except (ValueError, OSError):
            continue
        if data.hash == probe.data_hash:
            return data
    return None


def require_unseen_texts(probe: Probe, prompts: Sequence[str], data: StatementSet) -> None:
    """Refuse prompts that hold a statement the probe was fitted to.

    Raises:
        SteeringError: one does.
    """
    known = set(probe.training_rows)
    fitted = [
        f" {' '.join(text.split())} "
        for text, row in zip(data.texts, data.row_hashes, strict=True)
        if row in known
    ]
    # A statement of one or two words would be found in anything that is said about it.
    fitted = [text for text in fitted if len(text.split()) > 2]
    for prompt in prompts:
        whole = f" {' '.join(prompt.split())} "
        held = next((text for text in fitted if text in whole), None)
        if held is not None:
            raise SteeringError(
                f"a prompt holds a statement that the probe was fitted to ({held.strip()[:60]!r}); "
                "evidence needs prompts about others"
            )


def typed_prompts(asked: SteerSettings, model: Model, place: Place) -> Continuations:
    """Prompts of the command line, checked as those of a file are.

    Raises:
        SteeringError: they cannot be read as prompts.
    """
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


def filed_prompts(asked: SteerSettings, model: Model, place: Place) -> Continuations:
    """Prompts of a file, with those of label 0 where it has any.

    Raises:
        PromptsError: the file cannot be read as prompts.
    """
    assert asked.prompts is not None
    read = read_prompts(
        asked.prompts,
        model,
        first_token=asked.first_token,
        with_corrupt=_has_corrupt(asked.prompts),
    )
    return Continuations.of_pairs(read, at=place)


def prompt_texts(asked: SteerSettings) -> list[str]:
    """What the prompts say, where they are text."""
    if asked.prompts is None:
        return list(asked.prompt)
    held = [json.loads(line) for line in asked.prompts.read_text("utf-8").splitlines() if line]
    found = [row.get(key) for row in held for key in ("clean", "corrupt")]
    return [text for text in found if isinstance(text, str)]


def _has_corrupt(path: Path) -> bool:
    """Whether any row has a corrupt prompt; what else is wrong with the file is said in reading."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        held = [json.loads(line) for line in lines if line.strip()]
    except ValueError:
        return False
    return any(isinstance(row, dict) and "corrupt" in row for row in held)
