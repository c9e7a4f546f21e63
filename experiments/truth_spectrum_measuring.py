"""The measurements of the truth spectrum, in the order in which they depend on each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.truth_spectrum import Config
from experiments.truth_spectrum_data import position_of, sets_of, sites_of

if TYPE_CHECKING:
    from experiments.truth_spectrum_steering import Steered
    from interp.models import Model
    from interp.runs import Run
    from probes.compared import Compared
    from probes.erasure import ErasureMatrix
    from probes.strata import Direction, Strata


@dataclass(frozen=True)
class Found:
    """What was measured, for the tables and figures.

    Attributes:
        compared: Probes by layer, transfer and likeness.
        erasure: What is left after each domain's label is erased; None where it cannot be.
        strata: General and specific directions; None where there are none.
        shared: Directions that some domains share and another does not.
        steered: What pushing and erasing directions does; None where it was not asked for.
        missing: Why a part is not there, by part.
    """

    compared: Compared
    erasure: ErasureMatrix | None
    strata: Strata | None
    shared: tuple[Direction, ...]
    steered: Steered | None
    missing: dict[str, str]


def measure(config: Config, run: Run, model: Model) -> Found:
    """Measure everything; finished layers, and the steering, are kept in the run."""
    from probes.cache import activation_cache
    from probes.compared import compare_gathered
    from probes.erasure import ErasureError, erasure_matrix
    from probes.gathering import gather
    from probes.nullspace import stratified_inlp, subset_shared

    sets = sets_of(config, model)
    run.record(
        model=model.fingerprint,
        data={one.name: one.hash for one in sets},
        seeds={"all": config.seed},
        device=config.device,
    )
    gathered = gather(
        model,
        sets,
        sites=sites_of(config, model),
        position=position_of(config),
        batch_size=config.batch_size,
        cache=activation_cache(),
    )
    method: Any = config.method
    compared = compare_gathered(
        gathered,
        method=method,
        n_folds=config.folds,
        n_shuffles=config.shuffles,
        n_resamples=config.resamples,
        seed=config.seed,
        keep=run.cached,
    )
    missing: dict[str, str] = {}
    erasure, strata = None, None
    shared: tuple[Direction, ...] = ()
    try:
        erasure = erasure_matrix(
            compared.domains, method=method, n_resamples=config.resamples, seed=config.seed
        )
        shared = tuple(subset_shared(erasure))
    except ErasureError as error:
        missing["erasure"] = str(error)
    try:
        strata = stratified_inlp(
            compared.domains,
            n_general=config.general,
            n_specific=config.specific,
            seed=config.seed,
        )
    except ErasureError as error:
        missing["strata"] = str(error)
    steered = _steered(config, run, model, compared, missing)
    return Found(compared, erasure, strata, shared, steered, missing)


def _steered(
    config: Config, run: Run, model: Model, compared: Compared, missing: dict[str, str]
) -> Steered | None:
    from experiments.truth_spectrum_steering import steer_all
    from probes.causal.continuations import ContinuationsError
    from probes.erasure import ErasureError
    from probes.steering import SteeringError

    if not config.prompts:
        missing["steering"] = "no prompts were asked for"
        return None
    try:
        return steer_all(config, run, model, compared)
    except (SteeringError, ContinuationsError, ErasureError) as error:
        missing["steering"] = str(error)
        return None
