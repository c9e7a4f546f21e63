"""A probe beside what length and words alone tell, on the same held-out statements."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.data import DataError, StatementSet
from probes.data.baselines import Lexical, lexical_scores
from probes.measures import CONFIDENCE, auroc, auroc_interval, auroc_lead

log = logging.getLogger(__name__)

Scores = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

_KINDS: tuple[Lexical, ...] = ("words", "characters")
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class TextScores:
    """Scores that need no model, one a statement of a whole set.

    Attributes:
        signed: Scores of label 1 as they are.
        unsigned: Lengths: training says which label is the longer one.
        notes: What could not be made, and why.
    """

    signed: Mapping[str, Scores]
    unsigned: Mapping[str, Scores]
    notes: tuple[str, ...] = ()

    def select(self, rows: Rows) -> TextScores:
        """Return the scores of some statements."""
        return TextScores(
            {name: values[rows] for name, values in self.signed.items()},
            {name: values[rows] for name, values in self.unsigned.items()},
            self.notes,
        )


@dataclass(frozen=True, eq=False)
class Yardsticks:
    """Baselines on the statements that a probe is measured on.

    Attributes:
        rows: Of each baseline its ``name``, ``auroc``, ``low`` and ``high``.
        strongest: The name of the one with the highest AUROC.
        scores: Its scores.
        notes: What could not be made, and why.
    """

    rows: tuple[dict[str, Any], ...]
    strongest: str
    scores: Scores
    notes: tuple[str, ...]

    def against(self, scores: Scores, data: StatementSet, *, seed: int) -> dict[str, Any]:
        """Return the baselines, and the interval of a probe's lead over the strongest.

        Args:
            scores: The probe's, of the statements that the baselines were measured on.
            data: Those statements.
            seed: Of the bootstrap.
        """
        low, high = auroc_lead(scores, self.scores, data.y, data.groups, seed=seed)
        return {
            "rows": [dict(row) for row in self.rows],
            "strongest": self.strongest,
            "lead_low": low,
            "lead_high": high,
            "confidence": CONFIDENCE,
            "notes": list(self.notes),
        }


def text_scores(data: StatementSet, *, seed: int = 0) -> TextScores:
    """Score every statement by length, words and runs of characters.

    The lexical scores come from folds that share no group, so that each is by a fit which saw
    nothing of its group; on other rows, and on more of them, than a probe's fit.

    Args:
        data: The statements; turns before them count.
        seed: Of the folds.
    """
    texts = data.texts
    if data.prompts is not None:
        texts = tuple(
            "\n".join([*(turn.content for turn in turns), text])
            for turns, text in zip(data.prompts, data.texts, strict=True)
        )
    lengths = {
        "length in characters": np.array([len(text) for text in texts], dtype=np.float64),
        "length in words": np.array([len(text.split()) for text in texts], dtype=np.float64),
    }
    y = data.y
    fewest = min(len({g for g, t in zip(data.groups, y, strict=True) if t == k}) for k in (0, 1))
    found: dict[str, Scores] = {}
    why = f"only {fewest} groups have one of the labels"
    for n_folds in range(min(_FOLDS, fewest), 1, -1):
        try:
            found = {
                kind: lexical_scores(
                    texts, y, data.groups, kind=kind, n_folds=n_folds, seed=seed, name=data.name
                )
                for kind in _KINDS
            }
            break
        except DataError as error:  # large groups may leave a fold with one label
            why = str(error)
        except ValueError as error:  # scikit-learn: no words at all
            why = str(error)
            break
    notes = () if found else (f"no lexical baseline: {why}",)
    return TextScores(found, lengths, notes)


def yardsticks(
    scores: TextScores, data: StatementSet, *, signs: Mapping[str, int], seed: int
) -> Yardsticks:
    """Measure baselines on statements that a probe is measured on.

    Args:
        scores: Of those statements.
        data: Those statements.
        signs: For each length, 1 if label 1 was the longer one in training, else −1.
        seed: Of the bootstrap.

    Raises:
        MeasureError: fewer than two groups with a label.
    """
    held = dict(scores.signed) | {
        name: signs[name] * values for name, values in scores.unsigned.items() if name in signs
    }
    rows: list[dict[str, Any]] = []
    for name, values in held.items():
        low, high = auroc_interval(values, data.y, data.groups, seed=seed)
        rows.append({"name": name, "auroc": auroc(values, data.y), "low": low, "high": high})
    strongest = max(rows, key=lambda row: row["auroc"])["name"]
    below = [row["name"] for row in rows if row["name"] in scores.signed and row["high"] < 0.5]
    said = (
        f"{' and '.join(below)} alone score below .5, as where a true and a false statement share "
        "words but no group; name the column that binds them (--group)"
    )
    notes = (*scores.notes, *([said] if below and not data.grouped else []))
    return Yardsticks(tuple(rows), strongest, held[strongest], notes)


def signs_of(scores: TextScores, data: StatementSet) -> dict[str, int]:
    """Return which label is the longer one: 1 for label 1, else −1, for each length."""
    return {
        name: 1 if auroc(values, data.y) >= 0.5 else -1 for name, values in scores.unsigned.items()
    }
