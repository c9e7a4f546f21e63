"""Probes of several layers and methods at once, one of them chosen without the held-out rows."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from interp.configs import near
from interp.hooks import Site
from interp.hooks.progress import progress
from interp.models import Model
from interp.runfolder.files import read_json, write_json
from probes.activations import Activations, Position, checked_site, extract_sites
from probes.cache import ActivationCache
from probes.card import CARD_FILE, ProbeError, require_free
from probes.comparison import signs_of, text_scores, yardsticks
from probes.data import DataError, StatementSet, group_folds
from probes.data.split import Rows
from probes.fit import METHODS, FitError, NoDirectionError
from probes.fitting import fit_named
from probes.measures import auroc
from probes.probe import Probe
from probes.training import check_settings, fit_probe, split_rows, with_reading

log = logging.getLogger(__name__)

SET_FILE = "probes.json"
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Trained:
    """Probes fitted to the same statements, measured on the same others.

    Attributes:
        probes: One a site and method, in the order asked for.
        chosen: Which of them does best in cross-validation on the training statements alone.
            Its numbers on the held-out statements owe nothing to the choice.
        failed: Why there is no probe, by name, where one could not be fitted.
    """

    probes: tuple[Probe, ...]
    chosen: int = 0
    failed: tuple[tuple[str, str], ...] = ()

    @property
    def best(self) -> Probe:
        """The chosen probe."""
        return self.probes[self.chosen]

    @property
    def names(self) -> tuple[str, ...]:
        """One a probe: its site and method, which is its folder's name too."""
        return tuple(f"{probe.site}-{probe.method}" for probe in self.probes)

    def save(self, path: Path | str) -> Path:
        """Write the probe as a new folder; of several, a folder each inside it, or nothing.

        Raises:
            ProbeError: there is something at ``path`` already.
        """
        target = Path(path)
        if len(self.probes) == 1:
            return self.best.save(target)
        require_free(target)
        made = not target.exists()
        target.mkdir(parents=True, exist_ok=True)
        try:
            for name, probe in zip(self.names, self.probes, strict=True):
                probe.save(target / name)
            # Last: a folder without it was interrupted, and is not read.
            write_json(
                target / SET_FILE,
                {
                    "probes": list(self.names),
                    "chosen": self.names[self.chosen],
                    "failed": [list(pair) for pair in self.failed],
                },
            )
        except BaseException:
            for name in self.names:
                shutil.rmtree(target / name, ignore_errors=True)
            if made:
                target.rmdir()
            raise
        return target

    @classmethod
    def load(cls, path: Path | str) -> Trained:
        """Read one probe, or several, that ``save`` wrote.

        Raises:
            ProbeError: there is none, or one is damaged or of another version.
        """
        folder = Path(path)
        if (folder / CARD_FILE).is_file() or not (folder / SET_FILE).is_file():
            return cls((Probe.load(folder),))
        held = read_json(folder / SET_FILE)
        names = held.get("probes") if isinstance(held, dict) else None
        if not isinstance(names, list) or not names or held.get("chosen") not in names:
            raise ProbeError(f"{folder / SET_FILE} is damaged; train the probes anew")
        if any(not isinstance(name, str) or Path(name).name != name for name in names):
            raise ProbeError(f"{folder / SET_FILE} names a probe outside its folder")
        failed = tuple((str(a), str(b)) for a, b in held.get("failed", ()))
        probes = tuple(Probe.load(folder / name) for name in names)
        return cls(probes, names.index(held["chosen"]), failed)


def train_many(
    model: Model,
    data: StatementSet,
    *,
    sites: Sequence[Site | str],
    methods: Sequence[str] = ("mass-mean",),
    position: Position = "last",
    held_out: float = 0.3,
    n_shuffles: int = 20,
    seed: int = 0,
    batch_size: int | None = None,
    cache: ActivationCache | None = None,
) -> Trained:
    """``train`` at every site with every method, the activations taken in one pass.

    The split, the baselines and the shuffles are the same for all. Where there are several, one
    is chosen by its mean AUROC over folds of the training statements.

    Args:
        model: The model.
        data: The statements.
        sites: Where to read.
        methods: Of ``METHODS``, ``ccs`` and ``mlp``.
        position: As for ``train``.
        held_out: Share of the statements kept for measuring.
        n_shuffles: Refits for each null.
        seed: Of the split, the folds, the shuffles and the bootstrap.
        batch_size: Statements at a time; None for a budget of tokens.
        cache: Where activations are kept between commands.

    Raises:
        DataError: the statements cannot be split or read as asked.
        SiteError: no such site.
        FitError: an unknown method, or no direction can be fitted anywhere.
    """
    for method in methods:
        check_settings(method, n_shuffles)
    if not methods:
        raise FitError(f"no method given; {near('', METHODS)}")
    places = list(dict.fromkeys(checked_site(model, site) for site in sites))
    split_rows(data, held_out=held_out, seed=seed)  # fail early
    found = extract_sites(
        model, data, sites=places, position=position, batch_size=batch_size, cache=cache
    )
    kept = found.data
    known, new = split_rows(kept, held_out=held_out, seed=seed)
    text = text_scores(kept, seed=seed)
    signs = signs_of(text.select(known), kept.select(known))
    compared = yardsticks(text.select(new), kept.select(new), signs=signs, seed=seed)
    wanted = [(site, method) for site in places for method in dict.fromkeys(methods)]
    probes: list[Probe] = []
    failed: list[tuple[str, str]] = []
    with progress("fitting", total=len(wanted) * n_shuffles) as advance:
        # Refused before anything is fitted, where there are too few groups to choose by.
        folds = _folds(kept.select(known), seed) if len(wanted) > 1 else []
        for site, method in wanted:
            activations = found.at[site]
            try:
                probe = fit_probe(
                    activations,
                    kept,
                    method=method,
                    held_out=held_out,
                    n_shuffles=n_shuffles,
                    seed=seed,
                    text=compared,
                    advance=advance,
                )
                if len(wanted) > 1:
                    inside = _inside(
                        activations.select(known), kept.select(known), method, folds, seed=seed
                    )
                    probe = _noted(probe, "selection", {"auroc": inside, "n": len(wanted)})
            except FitError as error:
                if len(wanted) == 1:
                    raise
                log.warning("%s, %s: %s", site, method, error)
                failed.append((f"{site}-{method}", str(error)))
                continue
            fitted = dict(probe.metrics["train"]) | {"signs": signs}
            probe = _noted(probe, "train", fitted)
            probes.append(with_reading(probe, kept, found.skipped))
    if not probes:
        raise FitError(f"no probe could be fitted: {failed[0][0]}: {failed[0][1]}")
    best = 0
    if len(probes) > 1:
        best = int(np.argmax([probe.metrics["selection"]["auroc"] for probe in probes]))
    return Trained(tuple(probes), best, tuple(failed))


def _noted(probe: Probe, name: str, value: dict[str, object]) -> Probe:
    return replace(probe, metrics=dict(probe.metrics) | {name: value})


def _folds(data: StatementSet, seed: int) -> list[tuple[Rows, Rows]]:
    """Grouped folds of the training statements, as many as their groups allow."""
    groups = np.asarray(data.groups, dtype=object)
    fewest = min(len(set(groups[data.y == label])) for label in (True, False))
    for n_folds in range(min(_FOLDS, fewest), 1, -1):
        try:
            return list(
                group_folds(data.y, data.groups, n_folds=n_folds, seed=seed, name=data.name)
            )
        except DataError:  # large groups may leave a fold with one label
            continue
    raise DataError(
        f"{data.name}: too few groups to choose between probes; give one site and one method"
    )


def _inside(
    activations: Activations,
    data: StatementSet,
    method: str,
    folds: Sequence[tuple[Rows, Rows]],
    *,
    seed: int,
) -> float:
    """Mean AUROC over the folds."""
    found = []
    for known, new in folds:
        x, x_new = activations.select(known), activations.select(new)
        try:
            rule = fit_named(method, x, data.select(known), seed=seed)
        except NoDirectionError:
            found.append(0.5)
            continue
        scores = x_new.by_statement(rule.scores(x_new.values)).numpy()
        found.append(auroc(np.asarray(scores, dtype=np.float64), data.y[new]))
    return float(np.mean(found))
