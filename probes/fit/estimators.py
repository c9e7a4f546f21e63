"""The fits in scikit-learn's manners: clone, pipeline, grid search, cross-validation."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from probes.fit.components import pca
from probes.fit.contrast import ccs
from probes.fit.logistic import fit_many, logistic
from probes.fit.means import lda, mass_mean, mass_mean_whitened
from probes.fit.network import mlp
from probes.fit.regression import ridge
from probes.fit.rule import FitError, LinearRule, NetRule

if TYPE_CHECKING:
    from probes.activations import Activations
    from probes.data import StatementSet
    from probes.probe import Probe

Floats = npt.NDArray[np.floating[Any]]


def _tensor(x: Any) -> torch.Tensor:
    """Share the array's memory where it may be written, as torch wants; else copy it."""
    return torch.from_numpy(np.require(x, requirements=["C", "W"]))


class _Ruled(BaseEstimator):
    """What estimators that end in a rule share.

    Attributes:
        rule_: Scores raw activations, whatever the fit did to them inside.
    """

    rule_: LinearRule | NetRule
    method: str

    @property
    def coef_(self) -> Floats:
        """The raw-space direction."""
        return np.asarray(self.rule_.direction.numpy()[None])

    @property
    def intercept_(self) -> Floats:
        """The score of the zero activation along the direction."""
        rule = self.rule_
        return np.array([rule.bias - float(rule.centre.double() @ rule.direction.double())])

    def _scores(self, X: Any) -> Floats:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return np.asarray(self.rule_.scores(_tensor(X)).numpy())

    def as_probe(
        self,
        activations: Activations,
        data: StatementSet,
        *,
        rows: Sequence[int] | None = None,
        seed: int = 0,
        metrics: Mapping[str, Any] | None = None,
    ) -> Probe:
        """Freeze what was fitted, with where and on what. Fit to ``activations.values``.

        Args:
            activations: Of the statements; they know their model, site and position.
            data: The statements, those held out included.
            rows: The statements it was fitted to; None for all.
            seed: Of the split and whatever else was drawn.
            metrics: What was measured, as plain values.

        Raises:
            ProbeError: activations, statements and fit do not belong together.
        """
        from probes.freezing import freeze

        check_is_fitted(self)
        return freeze(
            self.rule_,
            activations,
            data,
            method=self.method,
            rows=rows,
            seed=seed,
            metrics=metrics,
        )


class _Classifier(ClassifierMixin, _Ruled):
    """Two labels, told apart by a score: above zero for the second of ``classes_``."""

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to rows and their labels, of which there are two."""
        X, labels = self._read(X, y)
        self.rule_ = self._fit(X, labels)
        return self

    def decision_function(self, X: Any) -> Floats:
        """Scores, above zero for the second class."""
        return self._scores(X)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The class on whose side of zero each score lies."""
        scores = self._scores(X)
        return np.asarray(self.classes_[(scores > 0).astype(int)])

    def predict_proba(self, X: Any) -> Floats:
        """The sigmoid of the score. Log-odds for logistic, LDA and the network; else a shape."""
        p = expit(self._scores(X))
        return np.stack([1 - p, p], axis=1)

    def _fit(self, X: torch.Tensor, labels: npt.NDArray[np.bool_]) -> LinearRule | NetRule:
        raise NotImplementedError

    def _read(self, X: Any, y: Any) -> tuple[torch.Tensor, npt.NDArray[np.bool_]]:
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), ensure_min_samples=2)
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind != "binary":
            raise FitError(
                f"Only binary classification is supported. The type of the target is {kind}."
            )
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise FitError("a direction needs both labels, and all rows here have the same class")
        return _tensor(X), np.asarray(y == self.classes_[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


class MassMean(_Classifier):
    """The difference of class means, whitened within classes if asked (Marks & Tegmark 2023)."""

    def __init__(self, *, whiten: bool = False) -> None:
        self.whiten = whiten

    @property
    def method(self) -> str:  # type: ignore[override]
        """Its name in ``METHODS``."""
        return "mass-mean-whitened" if self.whiten else "mass-mean"

    def _fit(self, X: torch.Tensor, labels: npt.NDArray[np.bool_]) -> LinearRule:
        return mass_mean_whitened(X, labels) if self.whiten else mass_mean(X, labels)


class Logistic(_Classifier):
    """Logistic regression on standardised features.

    Several C are told apart by their log loss on held-out folds and the best is kept, as
    ``C_``; all of them are fitted in one solve a fold. Folds keep the groups whole if they are
    given to ``fit``.
    """

    method = "logistic"

    def __init__(self, *, C: float | Sequence[float] = 1.0, folds: int = 5) -> None:
        self.C = C
        self.folds = folds

    def fit(self, X: Any, y: Any, groups: Sequence[Hashable] | None = None) -> Self:
        """Fit to rows and their labels; groups matter only where a C is to be chosen."""
        X, labels = self._read(X, y)
        several = [float(c) for c in np.atleast_1d(np.asarray(self.C, dtype=np.float64))]
        self.C_ = several[0] if len(several) == 1 else self._best(X, labels, several, groups)
        self.rule_ = logistic(X, labels, C=self.C_)
        return self

    def _best(
        self,
        X: torch.Tensor,
        labels: npt.NDArray[np.bool_],
        several: list[float],
        groups: Sequence[Hashable] | None,
    ) -> float:
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

        # Not shuffled: the same folds every time, and no seed to remember.
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        lost = np.zeros(len(set(several)))
        for inside, outside in kind(self.folds).split(X, labels, groups):
            if not 0 < labels[inside].sum() < len(inside):
                raise FitError("a fold leaves one label to fit on; use fewer folds")
            (grid,) = fit_many([X[inside]], labels[inside, None], C=several)
            scores = grid.scores(X[outside])[:, 0].numpy()
            lost += np.logaddexp(0, np.where(labels[outside], -scores, scores)).sum(1)
        self.log_loss_ = dict(zip(grid.C, (lost / len(labels)).tolist(), strict=True))
        return min(self.log_loss_, key=lambda c: self.log_loss_[c])


class ShrunkenLDA(_Classifier):
    """Linear discriminant with a covariance shrunk as far as its sampling error asks."""

    method = "lda"

    def _fit(self, X: torch.Tensor, labels: npt.NDArray[np.bool_]) -> LinearRule:
        return lda(X, labels)


class PrincipalComponent(_Classifier):
    """The direction of greatest variance; the labels give its sign and threshold only."""

    method = "pca"

    def _fit(self, X: torch.Tensor, labels: npt.NDArray[np.bool_]) -> LinearRule:
        return pca(X, labels)


class ContrastConsistent(_Classifier):
    """Contrast-consistent search (Burns et al. 2023); ``fit`` needs ``pairs``, one name a row."""

    method = "ccs"

    def __init__(self, *, n_starts: int = 10, seed: int = 0) -> None:
        self.n_starts = n_starts
        self.seed = seed

    def fit(self, X: Any, y: Any, pairs: Sequence[Hashable] | None = None) -> Self:
        """Fit to pairs, each a statement and then its negation; labels give the sign only."""
        if pairs is None:
            raise FitError("CCS compares statements with their negations: give pairs=")
        X, labels = self._read(X, y)
        self.rule_ = ccs(X, labels, pairs, n_starts=self.n_starts, seed=self.seed)
        return self


class MLP(_Classifier):
    """A network of one hidden layer, for contrast."""

    method = "mlp"

    def __init__(self, *, hidden: int = 32, alpha: float = 1.0, seed: int = 0) -> None:
        self.hidden = hidden
        self.alpha = alpha
        self.seed = seed

    def _fit(self, X: torch.Tensor, labels: npt.NDArray[np.bool_]) -> NetRule:
        return mlp(X, labels, hidden=self.hidden, alpha=self.alpha, seed=self.seed)


class Linear(RegressorMixin, _Ruled):
    """Ridge regression on standardised features, for targets that are numbers."""

    method = "ridge"

    def __init__(self, *, alpha: float | None = None) -> None:
        self.alpha = alpha

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to rows and their numbers."""
        X, y = validate_data(
            self, X, y, dtype=(np.float64, np.float32), y_numeric=True, ensure_min_samples=3
        )
        self.rule_ = ridge(_tensor(X), y, alpha=self.alpha)
        return self

    def predict(self, X: Any) -> Floats:
        """The predicted numbers."""
        return self._scores(X)
