"""Stress tests of monitors: can a suffix hide from them what the model goes on to do all the same?

1. Part the statements by group in three: monitors are fitted on the first, suffixes trained and
   thresholds set on the second, and everything is measured on the third.
2. Train a few vectors, the same for every prompt, to lower a monitor's alarm on the prompts that
   it should catch, while the model goes on to predict what it predicts without them.
3. Measure every monitor under every suffix, beside no suffix, random suffixes of equal length and
   one trained for behaviour alone.
4. Refit each monitor on what it missed, and begin again.

After Bailey et al. (2024), "Obfuscated Activations Bypass LLM Latent-Space Defenses".
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from interp.configs import near
from interp.hooks import Site
from interp.hooks.progress import progress
from interp.models import Model
from probes.activations import checked_site
from probes.attack.measuring import AttackRow, Judge
from probes.attack.monitor_parts import View
from probes.attack.monitors import MONITORS, PROBE, RATE, fit_monitor, probe_monitor
from probes.attack.parting import three_parts
from probes.attack.prompts import AttackError, AttackPrompts, Suffix, attack_prompts
from probes.attack.result import AttackResult
from probes.attack.rounds import Rounds
from probes.attack.training import Budget
from probes.data import StatementSet
from probes.data.split import Rows
from probes.extraction import Position
from probes.fit import FitError
from probes.probe import Probe

__all__ = ["AttackError", "AttackResult", "AttackRow", "Budget", "attack_monitors", "probe_name"]

log = logging.getLogger(__name__)


def attack_monitors(
    model: Model,
    data: StatementSet,
    *,
    sites: Sequence[Site | str] = (),
    position: Position = "last",
    against: Sequence[str] = MONITORS,
    probe: Probe | None = None,
    label: int = 1,
    rounds: int = 1,
    budget: Budget | None = None,
    n_next: int = 1,
    n_random: int = 5,
    seed: int = 0,
    resume: Callable[[Mapping[str, Any]], Mapping[str, Suffix]] | None = None,
) -> AttackResult:
    """Attack monitors with soft suffixes and measure what is left of them on held-out prompts.

    The attacker knows the monitor (its weights, not its threshold) and writes at the embedding,
    which no user of a model can: what survives this survives more than words could do.

    Args:
        model: The model.
        data: Labelled statements, with groups where they are bound together.
        sites: Where monitors read; a probe's own place when omitted.
        position: Which tokens they read; a probe's own.
        against: Which monitors: of ``MONITORS``, and ``probe``. All are measured under all.
        probe: A trained probe, where one is among them.
        label: Which label is to be caught, 1 or 0.
        rounds: Attacks on each monitor; before all but the first it is refitted on what the
            attacks so far made of the practice prompts.
        budget: What the attacker may spend.
        n_next: Predictions on which behaviour is judged, see ``attack_prompts``.
        n_random: Random suffixes for every attack.
        seed: Of the split, the fits, the suffixes and the bootstrap.
        resume: Given ``AttackResult.settings``, returns the suffixes of an interrupted run with
            the same ones, which are not trained again (``probes.attack.saving.suffixes_in``).

    Returns:
        The result. Interrupted with Ctrl-C, what was done so far, and ``interrupted`` says so.

    Raises:
        AttackError: settings that allow no attack, or no suffix could be trained.
        ProbeError: the probe belongs to another model.
        DataError: the statements cannot be read, or are too few to be parted in three.
        FitError: a monitor cannot be fitted.
        SiteError: no such site.
    """
    budget = budget or Budget()
    names = _checked(against, probe, label, rounds, n_random)
    places, position = _place(model, probe, sites, position)
    prompts = attack_prompts(
        model, data, position=position, suffix_length=budget.suffix_length, n_next=n_next
    )
    notes: list[str] = []
    fight, n_known = _begin(
        model,
        prompts,
        places,
        notes,
        names=names,
        probe=probe,
        label=label,
        budget=budget,
        rounds=rounds,
        n_random=n_random,
        seed=seed,
    )
    begun = AttackResult(
        rows=(),
        attacked=tuple(fight.monitors),
        asked=tuple(names),
        model=model.spec.name,
        fingerprint=model.fingerprint,
        data=data.name,
        data_hash=data.hash,
        sites=tuple(map(str, places)),
        position=position,
        label=label,
        budget=budget,
        rounds=rounds,
        n_next=n_next,
        n_random=n_random,
        seed=seed,
        probe=None if probe is None else probe_name(probe),
        n_known=n_known,
        n_practice=len(fight.practice),
        n_calibration=len(next(iter(fight.calibration.values()))),
        suffixes={},
        skipped=prompts.skipped,
    )
    if resume is not None:
        fight.suffixes.update(resume(begun.settings()))
    interrupted = None
    with progress("attacking", total=max(1, fight.jobs * budget.steps)) as advance:
        try:
            fight.run(advance)
        except KeyboardInterrupt:
            interrupted = f"interrupted with {len(fight.suffixes)} of {fight.jobs} suffixes trained"
            if not fight.rows:
                raise
            log.warning("%s; what was measured until then is kept", interrupted)
    return replace(
        begun,
        rows=tuple(fight.rows),
        suffixes=fight.suffixes,
        notes=tuple(dict.fromkeys(notes)),
        interrupted=interrupted,
    )


def probe_name(probe: Probe) -> str:
    """Return a probe's method and the beginning of its direction's hash: which probe it is."""
    held = probe.direction.contiguous().numpy().tobytes()
    return f"{probe.method} {hashlib.sha256(held).hexdigest()[:12]}"


def _begin(
    model: Model,
    prompts: AttackPrompts,
    places: Sequence[Site],
    notes: list[str],
    *,
    names: Sequence[str],
    probe: Probe | None,
    label: int,
    seed: int,
    **settings: Any,
) -> tuple[Rounds, int]:
    """Fit and calibrate the monitors; return what attacks begin from, and on how many prompts."""
    data = prompts.data
    caught = data.y if label else ~data.y

    def read(rows: Rows) -> View:
        return prompts.run_all(model, rows, places).view

    known, practice, held = three_parts(data, probe, seed=seed, notes=notes)
    fit, calibration = read(known), read(practice[~caught[practice]])
    monitors = {}
    for name in names:
        try:
            if name == PROBE and probe is not None:
                made = probe_monitor(probe, fit, sign=1 if label else -1)
            else:
                made = fit_monitor(name, fit, caught[known], seed=seed)
        except FitError as error:
            if len(names) == 1:
                raise
            notes.append(f"there is no {name} monitor: {error}")
            continue
        monitors[name] = made.calibrated(calibration)
    if not monitors:
        raise AttackError(f"no monitor could be fitted: {'; '.join(notes)}")
    n_benign = int((~caught[practice]).sum())
    if n_benign * RATE < 1:
        notes.append(
            f"the threshold is the largest score of {n_benign} benign practice prompts, too few "
            f"to tell {RATE:.0%}: about one new benign prompt in {n_benign + 1} exceeds it"
        )
    positive, benign = held[caught[held]], held[~caught[held]]
    clean = prompts.run_all(model, positive, places)
    judge = Judge(
        prompts=prompts,
        rows=positive,
        clean=clean.log_probs,
        view=clean.view,
        benign=read(benign),
        benign_groups=[data.groups[row] for row in benign],
        sites=places,
        seed=seed,
    )
    rows = practice[caught[practice]]
    begun = Rounds(
        model=model,
        judge=judge,
        practice=rows,
        clean=prompts.run_all(model, rows, places).log_probs,
        fit=fit,
        labels=caught[known],
        calibration=calibration,
        seed=seed,
        monitors=monitors,
        suffixes={},
        notes=notes,
        **settings,
    )
    return begun, len(known)


def _place(
    model: Model, probe: Probe | None, sites: Sequence[Site | str], position: Position
) -> tuple[list[Site], Position]:
    """Where monitors read: a probe's own place, where there is one."""
    if probe is not None:
        probe.check(fingerprint=model.fingerprint, model=model.spec.name)
        asked = [Site.parse(site) for site in sites]
        if asked not in ([], [probe.site]) or position not in ("last", probe.position):
            raise AttackError(
                f"the probe reads {probe.site} at position {probe.position}, and monitors beside "
                "it read there too: leave sites and position out"
            )
        return [probe.site], probe.position
    if not sites:
        raise AttackError("no site to read; give at least one, such as L1.resid_post")
    return list(dict.fromkeys(checked_site(model, site) for site in sites)), position


def _checked(
    against: Sequence[str], probe: Probe | None, label: int, rounds: int, n_random: int
) -> list[str]:
    known = (*MONITORS, *((PROBE,) if probe is not None else ()))
    for name in against:
        if name not in known:
            also = "; there is no probe to attack" if name == PROBE else ""
            raise AttackError(f"unknown monitor {name!r}{also}; {near(name, known)}")
    if not against:
        raise AttackError(f"no monitor to attack; {near('', known)}")
    if label not in (0, 1):
        raise AttackError(f"label is {label!r}; expected 1 or 0")
    if rounds < 1 or n_random < 1:
        raise AttackError(
            f"expected at least one round and one random suffix, got {rounds} and {n_random}"
        )
    return list(dict.fromkeys(against))
