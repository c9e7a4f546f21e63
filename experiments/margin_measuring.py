"""One quadratic network: trained, or taken from an interrupted run, and its margin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.margin import Config
    from interp.fourier import ParityReading
    from interp.runs import Run


def measure_group(config: Config, run: Run, group: str) -> dict[str, Any]:
    """Train on a group's whole table; a row of the results."""
    import dataclasses

    from experiments.margin import recipe
    from interp.fourier import (
        QuadraticNetwork,
        best_cyclic,
        cyclic_neurons,
        largest_margin,
        named_group,
        normalised_margin,
    )
    from interp.zoo.groups.quadratic import train_on_group

    known = named_group(group)
    how, names = recipe(config, config.width * known.order), ("u", "v", "w")

    def trained(steps: int, climb: int = 0) -> QuadraticNetwork:
        final = dataclasses.replace(how, steps=steps, climb=climb)

        def compute() -> dict[str, Any]:
            return dict(zip(names, train_on_group(known.table, final), strict=True))

        return QuadraticNetwork(**run.cached(f"{group}/{steps}-{climb}", compute))

    network, before, after = trained(how.steps), trained(0), trained(how.steps, config.climb)
    largest = largest_margin(known)
    margin = normalised_margin(network, known.table)
    row: dict[str, Any] = {
        "network": known.name,
        "neurons": how.hidden,
        "margin": margin,
        "largest": largest,
        "share": margin / largest,
        "climbed share": normalised_margin(after, known.table) / largest,
        "untrained share": normalised_margin(before, known.table) / largest,
    }
    if not group.startswith("c"):
        return row
    found, null = cyclic_neurons(network), cyclic_neurons(before)
    construction = best_cyclic(known.order)
    return {
        **row,
        "neurons needed": len(construction.u),
        "construction share": normalised_margin(construction, known.table) / largest,
        "frequency power": found.mean_power,
        "untrained power": null.mean_power,
        "frequencies agree": found.agreement,
        "phase residual": found.mean_residual,
        "untrained residual": null.mean_residual,
        "frequencies used": found.coverage,
    }


def measure_parity(config: Config, run: Run) -> dict[str, Any]:
    """Train on sparse parity; a row of the results."""
    import dataclasses

    from experiments.margin import recipe
    from interp.fourier import best_parity, largest_parity_margin, read_parity
    from interp.zoo.groups.quadratic import parity_data, train_on_parity

    n, k = config.parity_bits, config.parity_k
    how, data, support = recipe(config, config.parity_width), parity_data(n, k), list(range(k))

    def trained(steps: int, climb: int = 0) -> ParityReading:
        def compute() -> dict[str, Any]:
            u, w = train_on_parity(n, k, dataclasses.replace(how, steps=steps, climb=climb))
            return {"u": u, "w": w}

        weights = run.cached(f"parity/{steps}-{climb}", compute)
        return read_parity(**weights, rows=data[0], answers=data[1], support=support)

    found, before, after = trained(how.steps), trained(0), trained(how.steps, config.climb)
    return {
        "network": f"parity of {k} of {n}",
        "neurons": how.hidden,
        "margin": found.margin,
        "largest": largest_parity_margin(k),
        "share": found.share,
        "climbed share": after.share,
        "untrained share": before.share,
        "construction share": read_parity(*best_parity(n, k), *data, support).share,
        "weight on the bits": found.on_support,
        "untrained on the bits": before.on_support,
        "evenness": found.evenness,
    }
