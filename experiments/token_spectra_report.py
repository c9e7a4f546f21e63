"""What the study of ordered tokens leaves behind: tables, figures, numbers, and plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.token_spectra import Config
    from experiments.token_spectra_measuring import Found
    from interp.fourier import OrderReading
    from interp.runs import Run


def save(config: Config, run: Run, found: list[Found]) -> None:
    """Save tables, figures and metrics."""
    import pandas as pd

    from interp.evidence import evidence_frame
    from interp.plots.tokens import order_bars

    readings = [(one, reading) for one in found for reading in _readings(one)]
    run.save_table("orders", pd.DataFrame([_row(one, reading) for one, reading in readings]))
    run.save_table(
        "spectra", pd.DataFrame([row for one, reading in readings for row in _rows(one, reading)])
    )
    rows = [row for one in found for row in one.table or ()]
    run.save_table("evidence", evidence_frame(rows))
    for i, (one, reading) in enumerate(readings):
        run.save_figure(
            f"order-{i}-{reading.matrix}",
            order_bars(
                reading.spectrum.power.numpy(),
                reading.detrended.power.numpy(),
                null=_level(reading.spectrum.null_max, config.alpha),
                detrended_null=_level(reading.detrended.null_max, config.alpha),
                trend=reading.trend,
                title=f"{config.model}: {one.name}, {reading.matrix}",
            ),
        )
    run.save_metrics(
        {
            "sets": {
                one.name: {reading.matrix: _numbers(reading) for reading in _readings(one)}
                | {
                    "judged": one.judged,
                    "verdicts": {row.subject: row.verdict for row in one.table or ()},
                    "effects": {row.subject: row.effect for row in one.table or ()},
                }
                for one in found
            },
            "headline": "; ".join(_headline(config, one) for one in found),
            "conclusion": " ".join(_said(config, one) for one in found),
        }
    )


def table_of(run: Run) -> Any:
    """Signatures, and beneath them what removal costs."""
    from rich.console import Group

    from interp import terminal
    from interp.evidence import read_evidence, rich_table

    frame = run.table("orders")
    cells = [
        [f"{x:.3g}" if isinstance(x, float) else str(x) for x in row] for row in frame.to_numpy()
    ]
    signatures = terminal.table(list(frame.columns), cells)
    rows = read_evidence(run.table("evidence"))
    return Group(signatures, rich_table(rows)) if rows else signatures


def _readings(one: Found) -> list[OrderReading]:
    return [one.embedding] if one.unembedding is None else [one.embedding, one.unembedding]


def _row(one: Found, reading: OrderReading) -> dict[str, Any]:
    strongest, share = reading.detrended.top(1)[0]
    return {
        "tokens": one.name,
        "matrix": reading.matrix,
        "members": len(reading.forms.ids),
        "trend": reading.trend,
        "trend p": reading.trend_p,
        "strongest frequency beyond it": strongest,
        "share of the rest": share,
        "its p": float(reading.detrended.p_values[strongest - 1]),
        "last to first, steps": reading.gap,
    }


def _rows(one: Found, reading: OrderReading) -> list[dict[str, Any]]:
    both = zip(reading.spectrum.power.tolist(), reading.detrended.power.tolist(), strict=True)
    return [
        {
            "tokens": one.name,
            "matrix": reading.matrix,
            "frequency": k,
            "power": power,
            "p": float(reading.spectrum.p_values[k - 1]),
            "power detrended": rest,
            "p detrended": float(reading.detrended.p_values[k - 1]),
        }
        for k, (power, rest) in enumerate(both, start=1)
    ]


def _numbers(reading: OrderReading) -> dict[str, Any]:
    return {
        "members": len(reading.forms.ids),
        "form": reading.forms.style,
        "trend": reading.trend,
        "trend_p": reading.trend_p,
        "frequencies": list(reading.detrended.keys()),
        "frequencies_with_the_trend": list(reading.spectrum.keys()),
        "power": reading.spectrum.power.tolist(),
        "power_detrended": reading.detrended.power.tolist(),
        "gap": reading.gap,
    }


def _level(null: Any, alpha: float) -> float:
    """What the largest frequency of a shuffled order passes in a share ``alpha`` of them."""
    return float(null.quantile(1 - alpha))


def _headline(config: Config, one: Found) -> str:
    return f"{one.name}: {one.embedding.said(alpha=config.alpha)}"


def _said(config: Config, one: Found) -> str:
    said = f"{one.name} in {config.model}, token embeddings: "
    said += one.embedding.said(alpha=config.alpha)
    if one.unembedding is not None:
        said += f"; unembedding: {one.unembedding.said(alpha=config.alpha)}"
    whole = one.embedding.spectrum.keys(alpha=config.alpha)
    gone = [k for k in whole if k not in one.embedding.detrended.keys(alpha=config.alpha)]
    if gone:
        said += (
            f". Without the trend taken out frequency {', '.join(map(str, gone))} would have "
            "passed for periodic"
        )
    if one.table is None:
        return f"{said}. No text to judge removal on (--text), so nothing is said of use."
    told = [
        f"{row.subject.rpartition(': ')[2]} {row.effect:+.3g} nats "
        f"[{row.interval[0]:.3g}, {row.interval[1]:.3g}], {row.effect - row.excess:.3g} with "
        f"shuffled orders' own, p = {row.p_value:.2g}"
        + ("" if row.p_holm is None else f" ({row.p_holm:.2g} by Holm)")
        + f", {row.verdict}"
        for row in one.table
    ]
    return f"{said}. Removed, after {one.name} in {one.judged} stretches: {'; '.join(told)}."
