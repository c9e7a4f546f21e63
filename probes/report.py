"""What a probe's numbers allow one to say, and what they do not."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.probe import Probe

CAUTION = (
    "A direction that separates two labels is a signature: it shows what can be read off, neither "
    "what the labels mean to the model nor whether the model uses the direction. To see whether "
    "the model depends on it: probes steer, which pushes along the direction and erases it."
)
# Below this many groups with a label, intervals are rough.
_FEW_GROUPS = 10


def conclusion(
    held_out: Mapping[str, Any],
    null: Mapping[str, Any] | None = None,
    baselines: Mapping[str, Any] | None = None,
) -> str:
    """Return one sentence: a signature or no evidence of one, and why.

    A signature needs an AUROC whose interval lies above .5, above the 95th percentile of the
    shuffled-label null (where there is one), and a lead over the strongest baseline (length and,
    where they were measured, words and characters) whose interval lies above zero.

    Args:
        held_out: As ``probes.training.measure`` returns it.
        null: The shuffled-label null of a probe's metrics.
        baselines: As ``probes.comparison.Yardsticks.against`` returns them.
    """
    interval = f"[{held_out['auroc_low']:.3f}, {held_out['auroc_high']:.3f}]"
    found = f"AUROC {held_out['auroc']:.3f}, interval {interval}"
    if held_out["auroc_high"] < 0.5:
        return (
            f"Inverted: the AUROC's interval {interval} lies below .5, so the direction ranks "
            "label 0 above label 1 here. That is no evidence of the signature it was trained for."
        )
    if held_out["auroc_low"] <= 0.5:
        return f"No evidence of a signature: {_covers(held_out, interval)}."
    if null is not None and held_out["auroc"] <= null["percentile_95"]:
        return (
            "No evidence of a signature: probes fitted to shuffled labels do as well (95th "
            f"percentile {null['percentile_95']:.3f}; {found})."
        )
    beaten = baselines is not None and baselines["lead_low"] <= 0
    if held_out["lead_over_length_low"] <= 0 and not beaten:
        return (
            f"No evidence of a signature beyond length: the interval of its lead over the number "
            f"of tokens, [{held_out['lead_over_length_low']:+.3f}, "
            f"{held_out['lead_over_length_high']:+.3f}], reaches zero ({found})."
        )
    if baselines is not None and beaten:
        return (
            f"No evidence of a signature beyond the strongest baseline: {baselines['strongest']} "
            f"alone reach AUROC {_strongest(baselines)['auroc']:.3f}, and the interval of the "
            f"probe's lead over them, [{baselines['lead_low']:+.3f}, "
            f"{baselines['lead_high']:+.3f}], reaches zero ({found})."
        )
    above = ["shuffled labels"] if null is not None else []
    above.append("length" if baselines is None else "length and words")
    return (
        f"A signature: the direction separates label 1 from label 0 with AUROC interval {interval}"
        f", {' and '.join('above ' + one for one in above)}."
    )


def _covers(held_out: Mapping[str, Any], interval: str) -> str:
    if held_out["auroc"] < 1:
        return f"the AUROC's interval {interval} covers .5"
    return (
        f"all {held_out['n']} held-out statements are ranked rightly, but their "
        f"{held_out['n_groups']} groups are too few for an interval that keeps away from .5, "
        f"{interval}; six groups with each label are the least"
    )


def verdict(metrics: Mapping[str, Any]) -> str:
    """Return the conclusion in a word or two, for a table.

    Args:
        metrics: Of a probe.
    """
    said = conclusion(metrics["held_out"], metrics.get("null"), metrics.get("baselines"))
    if said.startswith("A signature"):
        return "signature"
    return "inverted" if said.startswith("Inverted") else "no evidence"


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


def reading_lines(metrics: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[str]]:
    """Lines and notes on what reading the statements left out or found odd.

    Args:
        metrics: Of a probe.
    """
    held = metrics.get("data") or {}
    read = held.get("read")
    lines = []
    if read is not None:
        lines.append(
            (
                "read",
                f"{read['n_kept']} of {read['n_read']} statements ({read['format']}), "
                f"{read['n_label_1']} of label 1"
                + (f", {read['n_groups']} groups" if read["grouped"] else "")
                + (f", {read['n_pairs']} pairs" if read["n_pairs"] else ""),
            )
        )
    # Repeats are among a probe's own notes.
    said = [note for note in held.get("remarks", ()) if "repeated statement" not in note]
    return lines, said + skipped_notes(held.get("skipped", {}))


def skipped_notes(skipped: Mapping[str, Sequence[str]]) -> list[str]:
    """One note for each reason for which statements could not be read by the model."""
    return [
        f"{len(places)} statements skipped ({', '.join(list(places)[:3])}"
        f"{', …' if len(places) > 3 else ''}): {reason}"
        for reason, places in skipped.items()
    ]


def baseline_lines(baselines: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of the baselines that need no model."""
    percent = f"{100 * baselines['confidence']:.0f}%"
    lines = [
        (
            row["name"],
            f"AUROC {row['auroc']:.3f}  {percent} interval [{row['low']:.3f}, {row['high']:.3f}]",
        )
        for row in baselines["rows"]
    ]
    lead = f"[{baselines['lead_low']:+.3f}, {baselines['lead_high']:+.3f}] ({percent})"
    return [*lines, ("strongest baseline", f"{baselines['strongest']}; the probe leads by {lead}")]


def _strongest(baselines: Mapping[str, Any]) -> Mapping[str, Any]:
    (found,) = [row for row in baselines["rows"] if row["name"] == baselines["strongest"]]
    return dict(found)


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
    lines: list[tuple[str, str]],
    *,
    closing: str | None,
    notes: list[str],
    width: int = 100,
    caution: bool = True,
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
    paragraphs = [
        said,
        *(textwrap.fill(text, width) for text in (closing or "", CAUTION * caution)),
    ]
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
