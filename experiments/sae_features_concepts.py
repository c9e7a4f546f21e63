"""What latents tell of labelled texts: sparse probes, SCR and TPP, each beside its null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

    from experiments.sae_features_texts import Labelled
    from interp.models import Model
    from interp.runs import Run
    from interp.sae import Dictionary
    from interp.sae.features import Pooled

KS = (1, 2, 5)
NO_TEXTS = (
    "no labelled texts for this model, so no sparse probes, SCR or TPP: give --texts, a file with "
    "columns text and label (and spurious for SCR)"
)


@dataclass(frozen=True, eq=False)
class Told:
    """What latents tell of labelled texts.

    Attributes:
        probes: One row a set of texts, class, k, and what is probed; None without texts.
        differences: Of every class, the latents that fire most differently.
        scores: By ``scr`` and ``tpp``, one row a number of latents removed.
        reasons: Why something is missing.
    """

    probes: DataFrame | None
    differences: DataFrame | None
    scores: Mapping[str, DataFrame]
    reasons: tuple[str, ...]


def tell(
    model: Model,
    dictionary: Dictionary,
    sets: Sequence[Labelled],
    *,
    n_random: int,
    top: int,
    seed: int,
) -> Told:
    """Probe, and take latents out of what is probed.

    Args:
        model: The model.
        dictionary: The autoencoder.
        sets: Labelled texts; TPP is of the first without a spurious label, SCR of the one with it.
        n_random: Random sets of latents.
        top: Latents of each class whose differences are kept.
        seed: Seeds everything.
    """
    import numpy as np
    import pandas as pd

    from interp.sae import SaeError, spurious_correlation_removal, targeted_probe_perturbation
    from interp.sae.features import pool_latents
    from interp.sae.probing_removal import removal_table
    from interp.sae.stream import kept_positions

    probes: list[dict[str, object]] = []
    differences: list[DataFrame] = []
    scores: dict[str, DataFrame] = {}
    reasons = [] if sets else [NO_TEXTS]
    for texts in sets:
        examples = texts.examples
        assert examples.mask is not None
        at = kept_positions(model, examples.tokens, examples.mask, skip_bos=True)
        pooled = pool_latents(model, examples, dictionary, at=at)
        names = sorted(set(texts.labels))
        classes = np.array([names.index(label) for label in texts.labels])
        try:
            probes += _probes(texts.name, pooled, classes, names, seed=seed)
            differences += [_differences(pooled, classes, names, top).assign(texts=texts.name)]
            if texts.spurious is None or len(sets) == 1:
                perturbed = targeted_probe_perturbation(
                    pooled, classes, dictionary, n_random=n_random, seed=seed
                )
                scores["tpp"] = removal_table(perturbed, others="others_lose")
            if texts.spurious is not None:
                spurious = np.array(texts.spurious) == max(texts.spurious)
                freed = spurious_correlation_removal(
                    pooled, classes == 1, spurious, dictionary, n_random=n_random, seed=seed
                )
                scores["scr"] = removal_table(freed, others="clean")
        except SaeError as error:
            reasons.append(f"{texts.name}: {error}")
    return Told(
        probes=pd.DataFrame(probes) if probes else None,
        differences=pd.concat(differences, ignore_index=True) if differences else None,
        scores=scores,
        reasons=tuple(reasons),
    )


def save(run: Run, told: Told, *, title: str) -> None:
    """Store the tables, and one figure of all of them."""
    from interp.plots.removal import probes_and_removals

    if told.probes is None:
        return
    run.save_table("sparse_probes", told.probes)
    assert told.differences is not None
    run.save_table("differences", told.differences)
    for name, frame in told.scores.items():
        run.save_table(name, frame)
    by_k = told.probes.groupby(["of", "k"])["accuracy"].mean()
    run.save_figure(
        "concepts",
        probes_and_removals(
            {of: {k: float(by_k[of, k]) for k in KS} for of in ("latents", "residual")},
            {name.upper(): _curve(frame) for name, frame in told.scores.items()},
            title=title,
        ),
    )


def in_numbers(told: Told) -> dict[str, object]:
    """Headline numbers: mean accuracy by k, and each score by the number of latents removed."""
    if told.probes is None:
        return {}
    by_k = told.probes.groupby(["of", "k"])["accuracy"].mean()
    found: dict[str, object] = {
        "sparse_probes": {
            f"{of} {k}": float(by_k[of, k]) for of in ("latents", "residual") for k in KS
        }
    }
    for name, frame in told.scores.items():
        kept = frame[["n", "score", "random_mean", "p"]].astype(object)
        found[name] = kept.where(kept.notna(), None).to_dict("records")
    return found


def in_words(told: Told) -> str:
    """The same in a paragraph, and what is missing."""
    from probes.data.checks import is_missing

    said = []
    if told.probes is not None:
        by_k = told.probes.groupby(["of", "k"])["accuracy"].mean()
        said.append(
            f"On labelled texts a probe of one latent is right in {by_k['latents', 1]:.0%}, one of "
            f"one dimension of the activation in {by_k['residual', 1]:.0%} (means over "
            f"{told.probes[['texts', 'class']].drop_duplicates().shape[0]} classes; always the "
            f"commoner label is right in {told.probes['majority'].mean():.0%})."
        )
    what = {
        "scr": "brings a biased probe {score:+.2f} of the way to an unbiased one",
        "tpp": "costs its class's probe {score:+.2f} of accuracy more than the others",
    }
    called = {
        "scr": "Spurious correlation removal (SCR)",
        "tpp": "Targeted probe perturbation (TPP)",
    }
    for name, frame in told.scores.items():
        defined = frame[frame["score"].notna()]
        if defined.empty:
            said.append(f"{called[name]} is undefined: {frame['undefined'].iloc[0]}.")
            continue
        row = defined.iloc[min(1, len(defined) - 1)]
        beside = (
            "too few others fire to compare with"
            if is_missing(row["p"])
            else f"random ones that write as much {row['random_mean']:+.2f}, p {row['p']:.2g}"
        )
        said.append(
            f"{called[name]}: taking out {row['n']:.0f} latents "
            + what[name].format(score=row["score"])
            + f" ({beside})."
        )
    return " ".join([*said, *(reason[0].upper() + reason[1:] + "." for reason in told.reasons)])


def _probes(
    name: str, pooled: Pooled, classes: object, names: Sequence[str], *, seed: int
) -> list[dict[str, object]]:
    """Each class against as many others; two classes against each other, once."""
    import numpy as np

    from interp.sae import sparse_probes

    rng = np.random.default_rng(seed)
    labels = np.asarray(classes)
    found: list[dict[str, object]] = []
    for i, label in enumerate(names):
        if len(names) == 2 and i == 0:
            continue
        mine, others = (labels == i).nonzero()[0], (labels != i).nonzero()[0]
        n = min(len(mine), len(others))
        rows = np.sort(
            np.concatenate([rng.choice(part, n, replace=False) for part in (mine, others)])
        )
        for probe in sparse_probes(pooled.select(rows), labels[rows] == i, ks=KS, seed=seed):
            low, high = probe.interval or (None, None)
            found.append(
                {
                    "texts": name,
                    "class": label,
                    "k": probe.k,
                    "of": probe.of,
                    "accuracy": probe.accuracy,
                    "accuracy_low": low,
                    "accuracy_high": high,
                    "majority": probe.majority,
                    "chosen": " ".join(map(str, probe.chosen)),
                }
            )
    return found


def _differences(pooled: Pooled, classes: object, names: Sequence[str], top: int) -> DataFrame:
    import numpy as np
    import pandas as pd

    from interp.sae import differential

    labels = np.asarray(classes)
    parts = [
        differential(pooled.latents, labels == i).table().head(top).assign(**{"class": label})
        for i, label in enumerate(names)
    ]
    return pd.concat(parts, ignore_index=True)


def _curve(frame: DataFrame) -> list[tuple[float, ...]]:
    """(n, score, its ends, mean and largest of random ones); no interval is one of no width."""
    kept = frame[frame["score"].notna()]
    columns = ["n", "score", "score_low", "score_high", "random_mean", "random_max"]
    held = kept[columns].astype(float)
    for end in ("score_low", "score_high"):
        held[end] = held[end].fillna(held["score"])
    return [tuple(row) for row in held.to_numpy().tolist()]
