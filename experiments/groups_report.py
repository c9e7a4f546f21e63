"""What the study of groups leaves behind: tables, figures, headline numbers, and plain words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.groups import Config
    from experiments.groups_measuring import Found
    from interp.fourier import GroupReading
    from interp.runs import Run

PUBLISHED = {
    "s5": ("S5", 1.00, 0.94, 0.89, 0.12, 1e-5, 11.7, 2e-7),
    "d59": ("D59", 0.997, 0.985, 0.88, 0.12, 6e-6, 12.4, 2e-6),
    "c113": ("C113", 0.995, 0.98, 0.90, 0.12, 2e-5, 6.0, 7e-3),
}
"""Means over seeds of Chughtai et al. (2023) for networks with one hidden layer: shares of W_a, W_U
and the neurons in key representations, that of functions of ab among these, and losses. The
restricted one is of key representations and nothing else."""

_MEASURES = ("W_a", "W_U", "neurons", "of ab", "test loss", "excluded", "restricted")
# Published groups to set beside ours where ours is a smaller one of the same kind.
_KIN = {"s": "s5", "d": "d59", "c": "c113"}
_FAMILIES = {
    "renamed-elements": "as many directions fitted with elements renamed",
    "random-product-subspace": "random subspaces of what the neurons say of ab",
}


def save(config: Config, run: Run, found: list[Found]) -> None:
    """Save tables, tensors, figures and metrics."""
    import pandas as pd

    from interp.evidence import evidence_frame

    run.save_table("comparison", pd.DataFrame(_comparison(found)))
    run.save_table("representations", pd.concat([_representations(one) for one in found]))
    frames = [evidence_frame(one.table).assign(group=one.name) for one in found if one.table]
    run.save_table("evidence", pd.concat(frames) if frames else evidence_frame(()))
    _save_figures(run, found)
    tensors = {}
    for one in found:
        tensors[f"{one.name} relabelled similarity"] = one.reading.shares.relabelled
        if one.cosets is not None:
            tensors[f"{one.name} coset concentration"] = one.cosets.concentration
            tensors[f"{one.name} coset index"] = one.cosets.index
            tensors[f"{one.name} purity"] = one.cosets.purity
    run.save_tensors(tensors)
    run.save_metrics(
        {
            "groups": {one.name: _numbers(one) for one in found},
            "headline": "; ".join(_headline(one) for one in found),
            "conclusion": " ".join(_conclusion(config, one) for one in found),
        }
    )


def table_of(run: Run) -> Any:
    """The table of the paper beside ours."""
    from interp import terminal

    frame = run.table("comparison")
    return terminal.table(list(frame.columns), [list(map(_cell, row)) for row in frame.values])


def _cell(value: Any) -> str | None:
    """A number to three digits, a name as it is, and nothing for what was not measured."""
    if value is None or isinstance(value, str):
        return value
    return f"{value:.3g}" if math.isfinite(value) else None


def _ours(reading: GroupReading) -> tuple[float | None, ...]:
    losses, names = reading.losses, reading.group.names
    chosen = [names.index(name) for name in reading.keys or ()]
    of_product = float(reading.shares.neurons[2, chosen].sum()) if chosen else None
    # Where all are key, the weights have nowhere else to be: 1 whatever was learnt.
    all_key = len(chosen) == len(names) - 1
    return (
        None if all_key else reading.share_in_keys("W_a"),
        None if all_key else reading.share_in_keys("W_U"),
        reading.share_in_keys("neurons"),
        of_product,
        None if losses is None else losses.full.test,
        None if losses is None else losses.excluded.train,
        None if losses is None else losses.restricted_bare.all,
    )


def _comparison(found: list[Found]) -> list[dict[str, Any]]:
    """A row for each of ours, then one for each published group of the same kinds."""
    rows: list[dict[str, Any]] = []
    for one in found:
        measured = dict(zip(_MEASURES, _ours(one.reading), strict=True))
        rows.append(
            {"group": one.reading.group.name, "source": "here", **_keys(one.reading), **measured}
        )
    for kin in dict.fromkeys(_KIN[one.name[0]] for one in found):
        name, *numbers = PUBLISHED[kin]
        values = dict(zip(_MEASURES, numbers, strict=True))
        blank = {"keys": None, "chance": None}
        rows.append({"group": name, "source": "published mean", **blank, **values})
    return rows


def _keys(reading: GroupReading) -> dict[str, str | float | None]:
    """How many are key, and what share of unstructured weights would be in as many."""
    names = reading.group.names
    chosen = [names.index(name) for name in reading.keys or ()]
    return {
        "keys": f"{len(chosen)} of {len(names) - 1}",
        "chance": float(reading.shares.chance[chosen].sum()) if chosen else None,
    }


def _representations(one: Found) -> Any:
    import pandas as pd

    reading, shares = one.reading, one.reading.shares
    removed = {} if reading.losses is None else reading.losses.excluded_each
    return pd.DataFrame(
        {
            "group": one.name,
            "representation": irrep.name,
            "dimension": irrep.dimension,
            "rank": irrep.rank,
            "key": irrep.name in (reading.keys or ()),
            "similarity": float(shares.similarity[i]),
            "chance": float(shares.chance[i]),
            "W_a": float(shares.W_a[i]),
            "W_b": float(shares.W_b[i]),
            "W_U": float(shares.W_U[i]),
            "neurons, of a": float(shares.neurons[0, i]),
            "neurons, of b": float(shares.neurons[1, i]),
            "neurons, of ab": float(shares.neurons[2, i]),
            "excluded_alone": removed[irrep.name].train if irrep.name in removed else None,
        }
        for i, irrep in enumerate(reading.group.irreps)
    )


def _save_figures(run: Run, found: list[Found]) -> None:
    from interp.plots.groups import representation_bars, two_readings

    for one in found:
        reading, shares = one.reading, one.reading.shares
        run.save_figure(
            f"representations-{one.name}",
            representation_bars(
                {
                    "logits": shares.similarity[1:].square().numpy(),
                    "read from a": shares.W_a[1:].numpy(),
                    "written to c": shares.W_U[1:].numpy(),
                },
                names=reading.group.names[1:],
                chance=shares.chance[1:].numpy(),
                keys=reading.keys or (),
                title=f"{reading.group.name}: key representations in bold",
            ),
        )
        if one.cosets is not None:
            run.save_figure(
                f"cosets-{one.name}",
                two_readings(
                    one.cosets.purity.numpy(),
                    one.cosets.concentration.numpy(),
                    null_purity=float(one.cosets.null_purity[:, 1].mean()),
                    null_concentration=one.cosets.null_level,
                    title=f"{reading.group.name}: two readings of each neuron",
                ),
            )


def _numbers(one: Found) -> dict[str, Any]:
    reading, losses, cosets = one.reading, one.reading.losses, one.cosets
    verdicts: dict[str, dict[str, str]] = {}
    for row in one.table or ():
        verdicts.setdefault(row.subject, {})[row.control_family] = row.verdict
    return {
        "order": reading.group.order,
        "learnt": reading.learnt,
        "reason": reading.reason,
        "steps": one.steps,
        "steps_to_99_percent": one.learnt_at,
        "train_accuracy": reading.accuracy.train,
        "test_accuracy": reading.accuracy.test,
        "unseen_accuracy": reading.accuracy.unseen,
        "key_representations": None if reading.keys is None else list(reading.keys),
        "logit_fve": reading.shares.logit_fve,
        "largest_similarity_relabelled": float(reading.shares.relabelled.max()),
        **dict(zip((name.replace(" ", "_") for name in _MEASURES), _ours(reading), strict=True)),
        "restricted_test": None if losses is None else losses.restricted.test,
        "coset_concentration": None if cosets is None else cosets.mean,
        "coset_null": None if cosets is None else cosets.null_level,
        "coset_share_above_null": None if cosets is None else cosets.share_above_null,
        "coset_p": None if cosets is None else cosets.p_concentration,
        "purity_p": None if cosets is None else cosets.p_purity,
        "purity": None if cosets is None else float(cosets.purity.mean()),
        "verdicts": verdicts,
    }


def _headline(one: Found) -> str:
    reading = one.reading
    if reading.keys is None:
        return f"{reading.group.name}: {reading.reason}"
    n = len(reading.group.irreps) - 1
    return f"{reading.group.name}: {len(reading.keys)} of {n} representations key"


def _conclusion(config: Config, one: Found) -> str:
    reading, name = one.reading, one.reading.group.name
    said = f"{name}: {reading.reason}."
    if reading.keys is None or reading.losses is None:
        return f"{said} So no representation is called key, and there is nothing to remove."
    losses = reading.losses
    told = ", ".join(reading.keys[:6]) + (" and others" if len(reading.keys) > 6 else "")
    read, by_chance = reading.share_in_keys("W_a"), _keys(reading)["chance"]
    of_weights = f", with {read:.3g} of what neurons read from a ({by_chance:.2g} by chance)"
    if len(reading.keys) == len(reading.group.irreps) - 1:
        of_weights = ", all there are, so shares of the weights say nothing"
    said += (
        f" Signature: characters are a share of {reading.shares.logit_fve:.2g} of the logits' "
        f"variance; {len(reading.keys)} of {len(reading.group.irreps) - 1} representations are key "
        f"({told}){of_weights}. With these and the mean logits alone the held-out loss is "
        f"{losses.restricted.test:.2g} nats (the model's own {losses.full.test:.2g}); with these "
        f"and nothing else, on all pairs, the published form, {losses.restricted_bare.all:.2g} "
        f"(own {losses.full.all:.2g}); without them, {losses.excluded.train:.3g} on training pairs."
    )
    together = [row for row in one.table or () if row.subject not in reading.keys]
    for row in together:
        said += f" Removed together they cost {row.effect:.3g} nats on held-out pairs, "
        said += f"{row.verdict} beside {_FAMILIES[row.control_family]} "
        said += f"({row.effect - row.excess:.3g} nats on average, p = {row.p_value:.2g}"
        said += ")." if row.p_holm is None else f", {row.p_holm:.2g} by Holm)."
    for family, what in _FAMILIES.items():
        rows = [
            row
            for row in one.table or ()
            if row.control_family == family and row.subject in reading.keys
        ]
        if rows:
            verdicts = [row.verdict for row in rows]
            bearing = [row.subject for row in rows if row.verdict == "load-bearing"]
            which = f" ({', '.join(bearing)})" if bearing else ""
            short = verdicts.count("underpowered")
            blunt = f", {short} underpowered," if short else ""
            said += f" Alone, {len(bearing)} of {len(rows)} are load-bearing{which}{blunt} "
            said += f"beside {what}."
    return said + _said_of_cosets(config, one)


def _said_of_cosets(config: Config, one: Found) -> str:
    cosets = one.cosets
    if cosets is None:
        return " It has no subgroups, so cosets tell nothing." if config.cosets else ""
    above, pure = cosets.share_above_null, cosets.share_of_pure
    tested = {"coset": cosets.p_concentration, "representation": cosets.p_purity}
    readings = [name for name, p in tested.items() if p <= config.alpha]
    verdict = {
        2: "consistent with both readings, which do not exclude each other",
        1: f"consistent with the {''.join(readings)} reading of single neurons only",
        0: "neither reading is shown of single neurons",
    }[len(readings)]
    if 1 / (len(cosets.null) + 1) > config.alpha:
        verdict = f"no verdict, since {len(cosets.null)} renamings cannot give p ≤ {config.alpha:g}"
    return (
        f" Neurons by themselves: {pure:.0%} are purer in one representation "
        f"(p = {cosets.p_purity:.2g}), and {above:.0%} more constant on cosets of a subgroup "
        f"(p = {cosets.p_concentration:.2g}), than 95 % are with elements renamed (mean purity "
        f"{float(cosets.purity.mean()):.2f}, mean concentration {cosets.mean:.2f}): {verdict}."
    )
