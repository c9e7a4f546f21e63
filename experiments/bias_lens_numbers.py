"""The numbers of a triple that a run is read by: for metrics, headline and conclusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.bias_lens_stages import MOST_ADDED_LOSS

if TYPE_CHECKING:
    from experiments.bias_lens import Config
    from experiments.bias_lens_stages import Measured
    from interp.sae import Carrying
    from probes.concept_bias import Agreement


def numbers_of(config: Config, one: Measured, site: str) -> dict[str, Any]:
    """Return the numbers that stand for a triple, those of concept space at one site."""
    yardstick = one.subject.yardstick
    here = [row for row in one.bias.amplitudes if row.site == site]
    planted = one.behaviour.get("planted")
    tests = one.tcav.table()
    return {
        "references": [one.bias.first, one.bias.second],
        "n_targets": len(one.behaviour),
        "yardstick": yardstick,
        "behaviour_spread": float(one.behaviour["behaviour"].std()),
        "behaviour_rho_planted": None
        if planted is None
        else float(one.behaviour["behaviour"].corr(planted, method="spearman")),
        "agreement": {
            name: {
                a.method: {"rho": a.rho, "low": a.low, "high": a.high, "p_holm": a.p_holm}
                | {"slope_z": a.slope_z}
                for a in at_site(one, site, name).values()
            }
            for name in one.bias.yardsticks
        },
        "size": {
            row.method: {"size": row.size, "null_high": row.null_high, "p_holm": row.p_holm}
            for row in here
        },
        "references_apart": all(row.references_apart for row in one.bias.amplitudes),
        "n_vectors_near_chance": len(one.bias.near_chance()),
        "sae_less_cav": {
            name: {"difference": difference, "low": low, "high": high}
            for name, (difference, low, high) in sae_less_cav(one, site, seed=config.seed).items()
        },
        "sensitive": tests.loc[tests["verdict"] == "sensitive", ["site", "concept"]].to_dict(
            orient="records"
        ),
        "axis": {
            place: {"share": row.share, "p_holm": row.p_holm, "verdict": row.verdict}
            for place, row in zip(one.bias.axes, one.axis, strict=True)
        },
        "latents": {
            held.name: {"none": held.reason} if held.carrying is None else _edited(held.carrying)
            for held in one.latents
        },
    }


def at_site(one: Measured, site: str, yardstick: str) -> dict[str, Agreement]:
    """Agreement with a yardstick at a site, by method."""
    return {a.method: a for a in one.bias.agreements if (a.site, a.yardstick) == (site, yardstick)}


def sae_less_cav(one: Measured, site: str, *, seed: int) -> dict[str, tuple[float, float, float]]:
    """By SAE: how much more its form agrees with the yardstick than raw vectors do.

    Difference of the two rank correlations, with its 95% interval over targets drawn again, the
    same for both.
    """
    import numpy as np

    from probes.concept_bias.agreement import spearman

    frame = one.bias.intervals()
    wide = frame[frame["site"] == site].pivot(index="target", columns="method", values="bias")
    scores = np.array([one.bias.yardsticks[one.subject.yardstick][name] for name in wide.index])
    drawn = np.random.default_rng(seed).integers(0, len(wide), (1999, len(wide)))
    drawn = np.concatenate([np.arange(len(wide))[None], drawn])
    raw = spearman(wide["cav"].to_numpy()[drawn], scores[drawn])
    found = {}
    for held in one.latents:
        form = spearman(wide[f"sae {held.name}"].to_numpy()[drawn], scores[drawn])
        low, high = np.quantile((form - raw)[1:], [0.025, 0.975])
        found[held.name] = (float(form[0] - raw[0]), float(low), float(high))
    return found


def _edited(found: Carrying) -> dict[str, Any]:
    row = found.chosen
    return {
        "n": row.n,
        "kind": found.kind,
        "slope_gone": row.slope,
        "low": row.interval[0],
        "high": row.interval[1],
        "added_loss": row.ce,
        "most_added_loss": MOST_ADDED_LOSS,
        "kl": row.kl,
        "recognition": row.recognition,
        "recognition_before": found.recognition,
        "how_often": found.how_often,
        "random_most": float(found.random_latents.max()),
        "curve": {str(edit.n): {"slope_gone": edit.slope, "ce": edit.ce} for edit in found.curve},
        "baselines": {
            edit.name: {
                "slope_gone": edit.slope,
                "low": edit.interval[0],
                "high": edit.interval[1],
                "ce": edit.ce,
                "kl": edit.kl,
                "recognition": edit.recognition,
            }
            for edit in found.baselines
        },
        "p_value": found.evidence.p_value,
        "p_holm": found.evidence.p_holm,
        "verdict": found.evidence.verdict,
    }
