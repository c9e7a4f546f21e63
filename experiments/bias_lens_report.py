"""What the bias lens leaves behind: tables, figures, headline numbers.

Tables hold all triples, one column saying which; figures are made for each.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from experiments.bias_lens_numbers import numbers_of
from experiments.bias_lens_words import conclusion, headline

if TYPE_CHECKING:
    from pandas import DataFrame

    from experiments.bias_lens import Config
    from experiments.bias_lens_measuring import Found
    from experiments.bias_lens_stages import Measured
    from interp.evidence import Evidence
    from interp.runs import Run


def save(config: Config, run: Run, found: Found) -> None:
    """Save tables, axes, figures and metrics."""
    import pandas as pd

    from interp.evidence import EvidenceTable

    rows = [row for one in found.measured for row in evidence_of(one, len(found.measured) > 1)]
    run.save_table("evidence", EvidenceTable(rows).frame())
    run.save_table("saes", found.saes)
    for name, parts in {
        "behaviour": [one.behaviour for one in found.measured],
        "targets": [one.bias.table() for one in found.measured],
        "intervals": [one.bias.intervals() for one in found.measured],
        "bias": [one.bias.summary() for one in found.measured],
        "over_layers": [over_layers(one) for one in found.measured],
        "vectors": [pd.DataFrame(map(vars, one.bias.accuracies)) for one in found.measured],
        "sensitivity": [one.tcav.table() for one in found.measured],
        "latents": [_edits(one) for one in found.measured],
        "random": [_draws(one) for one in found.measured],
    }.items():
        told = [
            part.assign(triple=one.subject.name)
            for one, part in zip(found.measured, parts, strict=True)
            if len(part)
        ]
        if told:
            run.save_table(name, pd.concat(told, ignore_index=True))
    for name, test in found.published.items():
        run.save_table(name, test.table())
    run.save_tensors(
        {
            f"{one.subject.name} {site}": axis
            for one in found.measured
            for site, axis in one.bias.axes.items()
        },
        "axes",
    )
    for one in found.measured:
        _figures(config, run, one, f"-{one.subject.name}" if len(found.measured) > 1 else "")
    run.save_metrics(_metrics(config, found))


def evidence_of(one: Measured, several: bool) -> list[Evidence]:
    """Rows of axis and latents, told apart where there are several triples or SAEs."""
    axis = list(one.axis)
    latents = [
        replace(
            held.carrying.evidence, subject=f"SAE {held.name}, {held.carrying.evidence.subject}"
        )
        for held in one.latents
        if held.carrying is not None
    ]
    rows = [*axis, *latents]
    if not several:
        return rows
    return [replace(row, subject=f"{one.subject.name}: {row.subject}") for row in rows]


def over_layers(one: Measured) -> DataFrame:
    """Each method's bias averaged over sites, and its rank correlation with each yardstick."""
    import pandas as pd

    frame = one.bias.intervals()
    n_sites = frame.groupby("method")["site"].nunique()
    rows = []
    for method in n_sites.index[n_sites > 1]:
        mean = frame[frame["method"] == method].groupby("target", sort=False)["bias"].mean()
        for name, scores in one.bias.yardsticks.items():
            laid = pd.Series(scores).loc[mean.index]
            rows.append(
                {
                    "method": method,
                    "yardstick": name,
                    "rho": float(mean.corr(laid, method="spearman")),
                    "size": float(mean.abs().mean()),
                    "n_sites": int(n_sites[method]),
                }
            )
    return pd.DataFrame(rows)


def _edits(one: Measured) -> DataFrame:
    import pandas as pd

    parts = [h.carrying.table().assign(sae=h.name) for h in one.latents if h.carrying is not None]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _draws(one: Measured) -> DataFrame:
    import pandas as pd

    rows = [
        {"sae": held.name, "drawn": kind, "slope": float(gone)}
        for held in one.latents
        if held.carrying is not None
        for kind, draws in (
            ("latents", held.carrying.random_latents),
            ("directions", held.carrying.random_directions),
        )
        for gone in draws
    ]
    return pd.DataFrame(rows)


def _figures(config: Config, run: Run, one: Measured, suffix: str) -> None:
    from interp.plots.bias import agreement_by_site, bias_and_behaviour
    from interp.plots.concepts import bias_by_layer

    bias, title = one.bias, f"{config.model}: {one.bias.first} against {one.bias.second}"

    def column(method: str, field: str) -> list[float]:
        held = {row.site: getattr(row, field) for row in bias.amplitudes if row.method == method}
        return [held.get(site, float("nan")) for site in bias.sites]

    run.save_figure(
        f"bias_by_layer{suffix}",
        bias_by_layer(
            bias.sites,
            {method: column(method, "size") for method in bias.methods},
            {method: column(method, "null_high") for method in bias.methods},
            label="mean |bias| over targets",
            title=title,
        ),
    )
    yardstick = one.subject.yardstick
    run.save_figure(
        f"agreement{suffix}",
        agreement_by_site(
            bias.sites,
            {
                method: {
                    a.site: (a.rho, a.low, a.high)
                    for a in bias.agreements
                    if (a.method, a.yardstick) == (method, yardstick)
                }
                for method in bias.methods
            },
            label=f"ρ with {'the model’s behaviour' if yardstick == 'behaviour' else yardstick}",
            title=title,
        ),
    )
    site = _sae_site(one)
    wide = bias.table()
    wide = wide[wide["site"] == site]
    run.save_figure(
        f"bias_and_behaviour{suffix}",
        bias_and_behaviour(
            wide["behaviour"],
            {method: wide[method] for method in bias.methods},
            planted=wide.get("planted"),
            title=f"{title}, {site}",
        ),
    )
    run.save_figure(f"sensitivity{suffix}", one.tcav.figure())
    for held in one.latents:
        if held.carrying is not None:
            run.save_figure(
                f"reduction{suffix}-{held.name}",
                held.carrying.figure(title=f"{title}, SAE {held.name} at {site}"),
            )


def _sae_site(one: Measured) -> str:
    return next(row.site for row in one.bias.amplitudes if row.method.startswith("sae "))


def _metrics(config: Config, found: Found) -> dict[str, Any]:
    told = {one.subject.name: numbers_of(config, one, found.site) for one in found.measured}
    return {
        "site": found.site,
        "triples": told,
        "untested": list(found.untested),
        "published": {name: [t.title, *t.remarks] for name, t in found.published.items()},
        "headline": headline(found, told),
        "conclusion": conclusion(found, told),
    }
