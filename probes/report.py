"""What a probe's numbers allow one to say, and what they do not."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.probe import Probe

CAUTION = (
    "A direction that separates two labels is a signature: it shows what can be read off, neither "
    "what the labels mean to the model nor whether the model uses the direction. The causal test, "
    "steering along the direction and erasing it, is not part of this version. Nor is a lexical "
    "baseline: which words the statements use may separate them as well."
)
# Below this many groups with a label, intervals are rough.
_FEW_GROUPS = 10


def conclusion(held_out: Mapping[str, Any], null: Mapping[str, Any] | None = None) -> str:
    """Return one sentence: a signature or no evidence of one, and why.

    A signature needs an AUROC whose interval lies above .5, above the 95th percentile of the
    shuffled-label null (where there is one), and above the AUROC of the statements' length.

    Args:
        held_out: As ``probes.training.measure`` returns it.
        null: The shuffled-label null of a probe's metrics.
    """
    low, high = held_out["auroc_low"], held_out["auroc_high"]
    interval = f"[{low:.3f}, {high:.3f}]"
    if high < 0.5:
        return (
            f"Inverted: the AUROC's interval {interval} lies below .5, so the direction ranks "
            "label 0 above label 1 here. That is no evidence of the signature it was trained for."
        )
    if low <= 0.5:
        return f"No evidence of a signature: the AUROC's interval {interval} covers .5."
    if null is not None and held_out["auroc"] <= null["percentile_95"]:
        return (
            "No evidence of a signature: probes fitted to shuffled labels do as well (95th "
            f"percentile {null['percentile_95']:.3f})."
        )
    if held_out["lead_over_length_low"] <= 0:
        return (
            f"No evidence of a signature beyond length: the interval of its lead over the number "
            f"of tokens, [{held_out['lead_over_length_low']:+.3f}, "
            f"{held_out['lead_over_length_high']:+.3f}], reaches zero."
        )
    return (
        f"A signature: the direction separates label 1 from label 0 with AUROC interval {interval}"
        + (", above shuffled labels and above length." if null is not None else ", above length.")
    )


def probe_lines(probe: Probe) -> list[tuple[str, str]]:
    """Name and value of everything that says what a probe is."""
    train = probe.metrics.get("train", {})
    return [
        ("model", f"{probe.model} (fingerprint {probe.fingerprint[:12]}, {probe.dtype})"),
        ("site", f"{probe.site}, position {probe.position}"),
        ("method", probe.method),
        ("data", f"{probe.data} (hash {probe.data_hash[:12]})"),
        ("seed", str(probe.seed)),
        ("direction", f"{len(probe.direction)} numbers, norm {float(probe.direction.norm()):.4g}"),
        *([("fitted to", _counts(train))] if train else []),
        *([("AUROC in training", f"{train['auroc']:.3f}")] if train else []),
    ]


def measured_lines(
    held_out: Mapping[str, Any], null: Mapping[str, Any] | None = None
) -> list[tuple[str, str]]:
    """Name and value of every number measured on statements the probe was not fitted to."""
    percent = f"{100 * held_out['confidence']:.0f}%"
    lines = [
        ("held out", _counts(held_out)),
        (
            "AUROC",
            f"{held_out['auroc']:.3f}  {percent} interval "
            f"[{held_out['auroc_low']:.3f}, {held_out['auroc_high']:.3f}], by groups",
        ),
        (
            "accuracy",
            f"{held_out['accuracy']:.3f} at the training threshold; always guessing the commoner "
            f"label {held_out['majority']:.3f}",
        ),
    ]
    if null is not None:
        lines.append(
            (
                "shuffled labels",
                f"mean AUROC {null['mean']:.3f}, 95th percentile {null['percentile_95']:.3f} of "
                f"{len(null['aurocs'])} refits; p {null['p_value']:.3g}",
            )
        )
    lines.append(
        (
            "length baseline",
            f"AUROC {held_out['length_auroc']:.3f} by number of tokens; the probe leads by "
            f"[{held_out['lead_over_length_low']:+.3f}, "
            f"{held_out['lead_over_length_high']:+.3f}] ({percent})",
        )
    )
    return lines


def as_text(
    lines: list[tuple[str, str]], *, closing: str | None, notes: list[str], width: int = 100
) -> str:
    """Lay out lines, notes, a conclusion and the caution as plain text."""
    margin = max(len(name) for name, _ in lines) + 2
    out = [
        textwrap.fill(
            value,
            width,
            initial_indent=name.ljust(margin),
            subsequent_indent=" " * margin,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, value in lines
    ]
    said = "\n".join(textwrap.fill(f"Note: {note}.", width) for note in notes)
    paragraphs = [said, *(textwrap.fill(text, width) for text in (closing or "", CAUTION))]
    return "\n\n".join(["\n".join(out), *filter(None, paragraphs)])


def few_groups(held_out: Mapping[str, Any]) -> list[str]:
    """A note where there are too few groups for the interval to be taken at its word."""
    if held_out["n_groups"] >= 2 * _FEW_GROUPS:
        return []
    return [f"only {held_out['n_groups']} groups are held out, so the interval is rough"]


def _counts(part: Mapping[str, Any]) -> str:
    zero = part["n"] - part["n_label_1"]
    return (
        f"{part['n']} statements in {part['n_groups']} groups "
        f"({part['n_label_1']} of label 1, {zero} of label 0)"
    )
