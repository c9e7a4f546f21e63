"""The truth spectrum in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

    from experiments.truth_spectrum_steering import Steered
    from probes.compared import Compared

# A direction reads a domain this far from chance, to either side; a push this small does nothing.
_READS, _NOTHING = 0.35, 0.05
_TOLD = 4
_CAUSAL = {
    "push": "pushes along a domain's own direction",
    "erasure": "erasures of it",
    "leace": "erasures by LEACE",
}


def plain(column: Any) -> list[Any]:
    """Return a nullable column as Python values, None where there is none."""
    import pandas as pd

    return [None if pd.isna(value) else value for value in column]


def erasure_said(numbers: dict[str, Any] | None) -> str:
    """Say what LEACE leaves to be read."""
    if numbers is None:
        return ""
    retrained = numbers["retrained"]
    own = [retrained[name][name] for name in retrained]
    others = [value for a in retrained for b, value in retrained[a].items() if a != b]
    return (
        f"After LEACE of a domain's label, probes fitted anew read that domain with AUROC "
        f"{min(own):.2f} to {max(own):.2f}, the others with {min(others):.2f} to {max(others):.2f}."
    )


def general_said(numbers: dict[str, Any] | None) -> str:
    """Say what one direction for all domains reads."""
    if numbers is None:
        return ""
    first = numbers["auroc"]["general 0"]
    low, high = min(first, key=lambda k: first[k]), max(first, key=lambda k: first[k])
    return (
        f"The first direction fitted to all domains at once reads them with AUROC "
        f"{first[low]:.2f} ({low}) to {first[high]:.2f} ({high})."
        if f"{first[low]:.2f}" != f"{first[high]:.2f}"
        else f"The first direction fitted to all domains at once reads each with AUROC "
        f"{first[low]:.2f}."
    )


def steering_said(steered: Steered) -> str:
    """Say what pushes and erasures do to what the model says."""
    from experiments.truth_spectrum_steering import GENERAL

    general = steered.effects["direction"].str.startswith(GENERAL)
    said = [
        f"{words} {_verdicts(steered.effects[(steered.effects['kind'] == kind) & ~general])}"
        for kind, words in _CAUSAL.items()
        if ((steered.effects["kind"] == kind) & ~general).any()
    ]
    pushed = steered.effects[general & (steered.effects["kind"] == "push")]
    if len(pushed):
        said.append(f"pushes along the general direction {_verdicts(pushed)}")
    if not steered.effects["share"].notna().any():
        said.append(
            "its own log-odds do not differ between true and false statements, so there is no "
            "natural gap to move or erase"
        )
    return f"What the model says next: {'; '.join(said)}." if said else ""


def unmoved_said(compared: Compared, steered: Steered) -> str:
    """Say in which pairs a direction reads another domain and does nothing to it."""
    matrix, read = compared.matrix, compared.read
    reading, unmoved = 0, []
    for row in steered.across.to_dict(orient="records"):
        source, target = row["direction"], row["domain"]
        share = plain([row["share_of_own"]])[0]
        if source == target or share is None or not {source, target} <= set(read):
            continue
        value = matrix[source, target].auroc
        if abs(value - 0.5) >= _READS:
            reading += 1
            if abs(share) <= _NOTHING:
                unmoved.append(
                    f"{source} → {target} (AUROC {value:.2f}, {round(share, 3) + 0.0:.1%})"
                )
    if not reading:
        return ""
    told = ", ".join(unmoved[:_TOLD]) + (", …" if len(unmoved) > _TOLD else "")
    return (
        f"Of {reading} ordered pairs of domains in which one's direction reads the other, pushing "
        f"moves the other by no more than {_NOTHING:.0%} of the gap in {len(unmoved)}"
        + (f": {told}." if unmoved else ".")
    )


def _verdicts(rows: DataFrame) -> str:
    from experiments.truth_spectrum_steering import GENERAL

    names = [
        name.removeprefix(GENERAL)
        for name in rows.loc[rows["verdict"] == "load-bearing", "direction"]
    ]
    shares = [float(share) for share in plain(rows["share"]) if share is not None]
    if not shares:
        return f"are load-bearing for {', '.join(names) or 'no domain'}"
    least, most = (round(share, 2) + 0.0 for share in (min(shares), max(shares)))
    told = f"{least:.0%} to {most:.0%} of the natural gap in log-odds"
    if len(shares) < len(rows):
        told += f", in {len(shares)} of {len(rows)} where there is one"
    return f"are load-bearing for {', '.join(names) or 'no domain'} ({told})"
