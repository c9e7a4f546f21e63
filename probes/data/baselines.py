"""What length and words alone tell of the labels: what a probe has to beat.

True claims tend to be longer than false ones, and negations share words. Both baselines are
computed with every data set, on folds that share no group.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from probes.data.checks import DataError
from probes.data.split import group_folds
from probes.data.statements import StatementSet

log = logging.getLogger(__name__)

Lexical = Literal["words", "characters"]
_MOST_FEATURES = 20_000


@dataclass(frozen=True)
class Baseline:
    """AUROC of a baseline, with its interval by the bootstrap over groups.

    Attributes:
        name: ``length in characters``, ``length in words``, ``words`` or ``characters``.
        auroc: For length, that longer means label 1; for words, of scores on held-out folds.
        low: Lower end of the interval.
        high: Upper end.
    """

    name: str
    auroc: float
    low: float
    high: float

    @property
    def near_chance(self) -> bool:
        """Whether the interval covers .5."""
        return self.low <= 0.5 <= self.high


@dataclass(frozen=True)
class Baselines:
    """The baselines of one data set.

    Attributes:
        data: The set's name.
        hash: The set's hash.
        rows: One a baseline.
        n_folds: Folds of the lexical baselines.
        confidence: Coverage of the intervals.
        seed: Of folds and bootstrap.
    """

    data: str
    hash: str
    rows: tuple[Baseline, ...]
    n_folds: int
    confidence: float
    seed: int

    def __getitem__(self, name: str) -> Baseline:
        from interp.configs import near

        found = {row.name: row for row in self.rows}
        if name not in found:
            raise DataError(f"no baseline {name!r}; {near(name, found)}")
        return found[name]

    @property
    def strongest(self) -> Baseline:
        """The one furthest from chance, to either side: a probe could learn either sign."""
        return max(self.rows, key=lambda row: abs(row.auroc - 0.5))

    def remarks(self) -> list[str]:
        """Return one sentence for everything a reader of a probe's numbers should know."""
        said = []
        for row in self.rows:
            if row.low > 0.5:
                said.append(f"{row.name} alone tells the labels with AUROC {row.auroc:.3f}")
            elif row.high < 0.5 and not row.name.startswith("length"):
                said.append(
                    f"{row.name}: AUROC {row.auroc:.3f}, below .5, as where a true and a false "
                    "statement share words but no group; give groups that bind them"
                )
            elif row.high < 0.5:
                said.append(f"{row.name}: AUROC {row.auroc:.3f}, so label 0 is the longer one")
        return said

    def __str__(self) -> str:
        lines = [f"{r.name}: AUROC {r.auroc:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in self.rows]
        return "; ".join([f"{self.data}, what length and words alone tell", *lines])

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values."""
        return asdict(self) | {"rows": [asdict(row) for row in self.rows]}


def baselines(data: StatementSet, *, n_folds: int = 5, seed: int = 0) -> Baselines:
    """Measure what length, words and runs of characters tell of the labels.

    Length is scored as it is. The lexical ones are logistic regressions on words (one and two)
    and on runs of two to four characters, scaled by tf-idf, each row scored by the fit that saw
    no row of its group. Statements that swap words within a group cannot be told by words.

    Args:
        data: The statements; turns before them count, ids count as words.
        n_folds: Folds that share no group; fewer where there are too few groups, at least 2.
        seed: Of folds and bootstrap.

    Raises:
        DataError: one label only, or fewer than two groups with a label.
    """
    from probes.measures import CONFIDENCE, MeasureError, auroc, auroc_interval

    y, groups = data.y, data.groups
    fewest = min(len({g for g, t in zip(groups, y, strict=True) if t == one}) for one in (0, 1))
    if fewest < 2:
        raise DataError(f"{data.name}: baselines need at least two groups with each label")
    n_folds = min(n_folds, fewest)
    texts = data.texts
    if data.prompts is not None:
        texts = tuple(
            "\n".join([*(turn.content for turn in turns), text])
            for turns, text in zip(data.prompts, data.texts, strict=True)
        )
    scores: dict[str, npt.NDArray[np.float64]] = {
        "length in characters": np.array([len(text) for text in texts], dtype=np.float64),
        "length in words": np.array([len(text.split()) for text in texts], dtype=np.float64),
        "words": lexical_scores(
            texts, y, groups, kind="words", n_folds=n_folds, seed=seed, name=data.name
        ),
        "characters": lexical_scores(
            texts, y, groups, kind="characters", n_folds=n_folds, seed=seed, name=data.name
        ),
    }
    rows = []
    for name, values in scores.items():
        try:
            low, high = auroc_interval(values, y, groups, seed=seed)
        except MeasureError as error:
            raise DataError(f"{data.name}: {error}") from None
        rows.append(Baseline(name, auroc(values, y), low, high))
    found = Baselines(data.name, data.hash, tuple(rows), n_folds, CONFIDENCE, seed)
    log.info("%s", found)
    return found


def lexical_scores(
    texts: Sequence[str],
    labels: npt.NDArray[np.bool_],
    groups: Sequence[str],
    *,
    kind: Lexical,
    n_folds: int = 5,
    seed: int = 0,
    name: str = "the data",
) -> npt.NDArray[np.float64]:
    """Score every text by a logistic regression on words that saw nothing of its group.

    Args:
        texts: The texts.
        labels: True for label 1.
        groups: One name a text.
        kind: Words (one and two in a row), or runs of two to four characters.
        n_folds: Folds that share no group.
        seed: Of the folds.
        name: What the data are called, for messages.

    Returns:
        Log-odds of label 1, one a text, each fold's centred on its own mean, so that folds of
        other intercepts can be ranked together.

    Raises:
        DataError: see ``group_folds``.
    """
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    shapes: dict[str, dict[str, Any]] = {
        "words": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\w+|[^\w\s]"},
        "characters": {"analyzer": "char_wb", "ngram_range": (2, 4)},
    }
    found = np.zeros(len(texts))
    folds = group_folds(labels, groups, n_folds=n_folds, seed=seed, name=name)
    # Counted once for all folds: which words there are says nothing of the labels.
    counts = CountVectorizer(max_features=_MOST_FEATURES, **shapes[kind]).fit_transform(texts)
    for known, new in folds:
        model = make_pipeline(
            TfidfTransformer(sublinear_tf=True), LogisticRegression(C=10.0, max_iter=1000)
        )
        model.fit(counts[known], labels[known])
        values = model.decision_function(counts[new])
        found[new] = values - values.mean()
    return found
