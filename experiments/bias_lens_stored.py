"""Results of the bias lens as plain values and back, so that a resumed run need not measure again.

Evidence has its own form; the rest are dataclasses of numbers, names and a few vectors.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.sae import Carrying
    from probes.cav import TCAV
    from probes.concept_bias import ConceptBias


def tcav_stored(found: TCAV) -> dict[str, Any]:
    """Its tests as plain values; the vectors are left out."""
    return {
        "tests": [asdict(test) for test in found.tests],
        "metric": found.metric,
        "alpha": found.alpha,
        "size": found.size,
    }


def tcav_from(held: dict[str, Any]) -> TCAV:
    """Rebuild what ``tcav_stored`` made plain, without vectors."""
    from probes.cav import TCAV, ConceptTest

    tests = tuple(ConceptTest(**test) for test in held["tests"])
    return TCAV(tests, held["metric"], held["alpha"], held["size"], {}, {})


def bias_stored(found: ConceptBias) -> dict[str, Any]:
    """Every row and axis as plain values."""
    parts = ("biases", "amplitudes", "agreements", "accuracies")
    return {
        "first": found.first,
        "second": found.second,
        **{part: [asdict(row) for row in getattr(found, part)] for part in parts},
        "axes": {site: axis.tolist() for site, axis in found.axes.items()},
        "yardsticks": {name: dict(scores) for name, scores in found.yardsticks.items()},
    }


def bias_from(held: dict[str, Any]) -> ConceptBias:
    """Rebuild what ``bias_stored`` made plain."""
    import torch

    from probes.concept_bias import Agreement, Amplitude, ConceptBias, TargetBias, VectorAccuracy

    return ConceptBias(
        first=held["first"],
        second=held["second"],
        biases=tuple(TargetBias(**row) for row in held["biases"]),
        amplitudes=tuple(Amplitude(**row) for row in held["amplitudes"]),
        agreements=tuple(Agreement(**row) for row in held["agreements"]),
        accuracies=tuple(VectorAccuracy(**row) for row in held["accuracies"]),
        axes={site: torch.tensor(axis) for site, axis in held["axes"].items()},
        yardsticks=held["yardsticks"],
    )


def carrying_stored(found: Carrying) -> dict[str, Any]:
    """Edits, draws and evidence as plain values."""
    return {
        "ranked": list(found.ranked),
        "estimated": found.estimated.tolist(),
        "kind": found.kind,
        "chosen": asdict(found.chosen),
        "curve": [asdict(row) for row in found.curve],
        "baselines": [asdict(row) for row in found.baselines],
        "random_latents": found.random_latents.tolist(),
        "random_directions": found.random_directions.tolist(),
        "evidence": found.evidence.to_dict(),
        "slope": found.slope,
        "slope_interval": list(found.slope_interval),
        "sd": found.sd,
        "recognition": found.recognition,
        "tuned": [dict(row) for row in found.tuned],
    }


def carrying_from(held: dict[str, Any]) -> Carrying:
    """Rebuild what ``carrying_stored`` made plain."""
    import numpy as np
    import torch

    from interp.evidence import Evidence
    from interp.sae import Carrying
    from interp.sae.carrying_measures import Reduction

    def edit(row: dict[str, Any]) -> Reduction:
        pairs = {name: tuple(row[name]) for name in ("interval", "ce_interval")}
        return Reduction(**{**row, **pairs})

    return Carrying(
        **{
            **held,
            "ranked": tuple(held["ranked"]),
            "estimated": torch.tensor(held["estimated"]),
            "chosen": edit(held["chosen"]),
            "curve": tuple(map(edit, held["curve"])),
            "baselines": tuple(map(edit, held["baselines"])),
            "random_latents": np.array(held["random_latents"]),
            "random_directions": np.array(held["random_directions"]),
            "evidence": Evidence.from_dict(held["evidence"]),
            "slope_interval": tuple(held["slope_interval"]),
            "tuned": tuple(held["tuned"]),
        }
    )
