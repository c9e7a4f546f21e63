"""What the superposition study leaves behind: tables, figures, headline numbers, plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.superposition_counting import NOISE
from experiments.superposition_toys import on_toys, save_toys, told

if TYPE_CHECKING:
    from pandas import DataFrame

    from experiments.superposition import Config
    from experiments.superposition_counting import Counted
    from experiments.superposition_toys import Toys
    from interp.runs import Run

_GROKKED = 0.9


def save(config: Config, run: Run, toys: Toys, counted: Counted) -> None:
    """Save tables, tensors, figures and metrics."""
    save_toys(run, toys)
    run.save_table("samples", counted.samples)
    seeds = _seeds(counted.samples)
    run.save_table("seeds", seeds)
    _save_curves(run, counted.samples, seeds)
    if counted.moments is not None and counted.losses is not None:
        run.save_table("moments", counted.moments)
        run.save_table("losses", counted.losses)
        _save_training(config, run, counted)
    ends = _ends(counted.samples)
    conclusion = [on_toys(toys.found), *_on_subjects(config, counted, ends)]
    run.save_metrics(
        {
            **{f"r_{c.kind}": c.r for c in toys.found},
            "p_tied": toys.found[0].p_value,
            "d_in": counted.d_in,
            "features": {subject: row["features"] for subject, row in ends.items()},
            "doubts": counted.doubts,
            "headline": "; ".join(
                [
                    *(told(c) for c in toys.found),
                    *(f"{name}: F = {_number(row)}" for name, row in ends.items()),
                ]
            ),
            "conclusion": " ".join(conclusion),
        }
    )


def table_of(run: Run) -> Any:
    """Features counted, beside noise."""
    from interp import terminal

    d_in = run.metrics["d_in"]
    rows = [
        (
            name,
            f"{row['features']:.1f}",
            f"{row['seed_low']:.1f} to {row['seed_high']:.1f}",
            "none" if row["low"] is None else f"{row['low']:.1f} to {row['high']:.1f}",
            f"{row['features'] / d_in:.2f}",
            f"{row['explained']:.2f}",
        )
        for name, row in _ends(run.table("samples")).items()
    ]
    header = ("counted in", "F", "over seeds", "95% interval", "ψ = F / d", "explained")
    return terminal.table(header, rows)


def _seeds(samples: DataFrame) -> DataFrame:
    """The mean over more and more seeds, with its t interval."""
    import numpy as np
    import pandas as pd
    from scipy import stats

    rows = []
    for subject, values in _whole(samples).groupby("subject", sort=False)["features"]:
        found = values.to_numpy()
        for k in range(2, len(found) + 1):
            mean, error = found[:k].mean(), stats.sem(found[:k])
            reach = float(stats.t.ppf(0.975, k - 1) * error)
            spread = float(np.std(found[:k], ddof=1))
            row = {"subject": subject, "seeds": k, "mean": mean, "sd": spread}
            rows.append({**row, "low": mean - reach, "high": mean + reach})
    return pd.DataFrame(rows)


def _save_curves(run: Run, samples: DataFrame, seeds: DataFrame) -> None:
    from interp.plots.superposition import sample_curves, seed_curves

    curves = {}
    for name, rows in samples.groupby("subject", sort=False):
        if rows["n"].nunique() > 1:  # noise is counted once
            parts = {int(n): rows[rows["n"] == n] for n in rows["n"].unique()}
            by_size = {n: part["features"].tolist() for n, part in parts.items()}
            ends = {n: _interval(part) for n, part in parts.items()}
            curves[str(name)] = (by_size, ends)
    run.save_figure("samples", sample_curves(curves, title="F against the number of activations"))
    by_subject = {
        str(name): list(zip(rows["mean"], rows["low"], rows["high"], strict=True))
        for name, rows in seeds.groupby("subject", sort=False)
    }
    run.save_figure("seeds", seed_curves(by_subject, title="F over seeds of the SAE"))


def _save_training(config: Config, run: Run, counted: Counted) -> None:
    from interp.plots.superposition import Followed, features_over_training

    moments, losses = counted.moments, counted.losses
    assert moments is not None and losses is not None
    followed, ends = [], _ends(counted.samples)
    for name, rows in moments.groupby("training", sort=False):
        own = losses[losses["training"] == name]
        steps = sorted(set(rows["step"]))
        followed.append(
            Followed(
                name=str(name),
                steps=steps,
                features=[rows[rows["step"] == s]["features"].tolist() for s in steps],
                noise=ends[f"{name}: {NOISE}"]["features"],
                loss_steps=own["step"].tolist(),
                train_loss=own["train_loss"].tolist(),
                test_loss=own["test_loss"].tolist(),
            )
        )
    title = f"a + b mod {config.p}: effective features of the {config.d_mlp} neurons"
    run.save_figure("features_over_training", features_over_training(followed, title=title))


def _whole(samples: DataFrame) -> DataFrame:
    return samples[samples["n"] == samples.groupby("subject")["n"].transform("max")]


def _ends(samples: DataFrame) -> dict[str, dict[str, Any]]:
    """Every subject's count on all its activations."""
    return {
        str(name): {
            "features": float(rows["features"].mean()),
            "seed_low": float(rows["features"].min()),
            "seed_high": float(rows["features"].max()),
            "low": (ends := _interval(rows) or (None, None))[0],
            "high": ends[1],
            "explained": float(rows["explained_variance"].min()),
        }
        for name, rows in _whole(samples).groupby("subject", sort=False)
    }


def _interval(rows: DataFrame) -> tuple[float, float] | None:
    ends = rows[["low", "high"]].iloc[0]
    return None if ends.isna().any() else (float(ends["low"]), float(ends["high"]))


def _number(row: dict[str, Any]) -> str:
    return f"{row['features']:.1f} ({row['seed_low']:.1f} to {row['seed_high']:.1f} over seeds)"


def _on_subjects(config: Config, counted: Counted, ends: dict[str, dict[str, Any]]) -> list[str]:
    """What the counts say, beside noise, and why they may say little."""
    said = [] if counted.moments is None else [_on_training(counted, ends)]
    for name, found in ends.items():
        noise = f"{name}: {NOISE}"
        if noise not in ends:
            continue
        apart, beside = _apart(found, ends[noise]), _number(ends[noise])
        said.append(
            f"{name}: F = {_number(found)} in {counted.d_in} dimensions, "
            + (
                f"{apart} than noise in random directions of the same mean, covariance and "
                f"distances from the mean ({beside}): structure beyond the spread, features or not."
                if apart
                else f"not to be told from noise in random directions as far out ({beside})"
                ": it speaks of the spread over dimensions, not of features."
            )
            + _still_rising(counted.samples, name)
        )
        if name in counted.doubts:
            said.append(f"A doubt: {counted.doubts[name]}.")
    return said


def _on_training(counted: Counted, ends: dict[str, dict[str, Any]]) -> str:
    moments, losses = counted.moments, counted.losses
    assert moments is not None and losses is not None
    decayed, memoriser = dict.fromkeys(losses["training"])
    own = losses[losses["training"] == decayed]
    last = float(own["test_accuracy"].iloc[-1])
    if last < _GROKKED:
        return (
            f"The decayed model has not grokked ({last:.0%} of held-out pairs right at the end): "
            "its counts say nothing of grokking."
        )
    known = own[(own["train_accuracy"] >= 0.99) & (own["test_accuracy"] < 0.5)]["step"]
    rows = moments[moments["training"] == decayed]
    before = rows[rows["step"].isin(known)]
    text = ""
    if len(before):
        step = int(before["step"].max())
        then = before[before["step"] == step]["features"]
        row = {
            "features": float(then.mean()),
            "seed_low": float(then.min()),
            "seed_high": float(then.max()),
        }
        apart = _apart(ends[decayed], row)
        text = (
            f"Before it generalised (step {step}) the model that groks had F = {_number(row)}, "
            f"at the end {_number(ends[decayed])}: {apart or 'not to be told apart over seeds'}. "
        )
    apart = _apart(ends[decayed], ends[memoriser])
    said = f"{apart} than" if apart else "no other number, over seeds, than"
    text += f"At the end it has {said} its memorising twin ({_number(ends[memoriser])})."
    noise = [ends[f"{name}: {NOISE}"] for name in (decayed, memoriser)]
    if apart and _apart(*noise) == apart:
        here, there = (f"{row['features']:.1f}" for row in noise)
        text += (
            f" So has noise in random directions ({here} beside {there}): how activations "
            "spread over dimensions is enough to make that difference, features or not."
        )
    return text


def _apart(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """Whether all seeds of one count lie on one side of all of the other's."""
    if one["seed_high"] < other["seed_low"]:
        return "fewer"
    return "more" if one["seed_low"] > other["seed_high"] else None


def _still_rising(samples: DataFrame, name: str) -> str:
    by_size = samples[samples["subject"] == name].groupby("n")["features"].mean()
    rise = by_size.iloc[-1] / by_size.iloc[-2] - 1
    if rise < 0.05:
        return ""
    return f" It rose by {rise:.0%} with the last doubling of activations: a lower estimate."
