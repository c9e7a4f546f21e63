"""The answer, in one row: does the model depend on it, beside what else could have been removed?

Four steps:

1. A *signature* says that a component looks the part. It decides nothing here.
2. The *effect* is how much worse the model gets, on held-out examples, when it is removed.
3. The *controls* are the same for matched components drawn at random; the *excess* is the effect
   over their mean. The *p-value* is the rank of the effect among sets of the same shape.
4. The *verdict* needs both: rare among components (p) and real over examples (intervals). It is
   reached in :mod:`interp.evidence.verdict`.
"""

from __future__ import annotations

import dataclasses
import difflib
import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Verdict = Literal["load-bearing", "not load-bearing", "underpowered"]
ENDLESS = 10**18
"""Stands for the number of controls of a kind that is drawn from a continuum."""
Interval = tuple[float, float]


class EvidenceError(ValueError):
    """The measurements given do not make evidence; the message says what is missing."""


@dataclass(frozen=True)
class Evidence:
    """One component, its signature, and whether the model depends on it.

    Made by :func:`interp.evidence.weigh`, which explains the three verdicts:

    * **load-bearing**: p ≤ α, and the intervals of effect and excess both lie above zero.
    * **underpowered**: the intervals lie above zero and the effect exceeds that of every null
      set, but these are too few for p ≤ α, or the groups of examples too few for an interval.
    * **not load-bearing**: anything else. It means *not distinguishable from removing matched
      random components*, not that the effect is shown to be zero.

    Attributes:
        subject: What was removed, such as ``L1H6``.
        signature_name: Which score.
        signature: Its value.
        signature_null: The same score where the signature cannot be (i.i.d. input, a control).
        has_signature: Whether the caller's criterion calls it present.
        metric: What the effect was measured on.
        units: Of clean, effect, interval, excess, controls and resolution.
        clean: Mean metric of the unmodified model.
        effect: Mean damage over examples; positive is worse.
        interval: Of the effect, over groups of examples.
        excess: Effect minus the mean control's.
        excess_interval: Of the excess, paired by example.
        controls: The effect of each control set.
        control_family: How the controls are matched.
        null_effects: The effects of sets of the same shape that may share components with the
            subject; the same as ``controls`` for one component.
        p_value: Rank of the effect among ``null_effects`` (one-sided, never 0).
        n_possible: How many control sets exist at all.
        n_null_possible: How many null sets exist.
        control_match: How well the controls match, such as their norms beside the subject's, or
            None where the family matches exactly.
        p_smallest: The smallest p these null sets could have given.
        alpha: Level of the test.
        confidence: Coverage of the intervals.
        n_examples: Examples measured.
        n_groups: Independent groups among them.
        resolution: Differences up to this are rounding, and count as zero.
        share: Effect over the reference gain, such as the model's whole in-context gain.
        share_reason: Why there is no share, where there is none.
        verdict: One of the three above.
        reason: Why, in a sentence.
        p_holm: p adjusted by :func:`interp.evidence.correct`, None until then.
        correction: How that was adjusted: ``Holm``, or ``rank sums`` (closed testing).
    """

    subject: str
    signature_name: str
    signature: float
    signature_null: float
    has_signature: bool
    metric: str
    units: str
    clean: float
    effect: float
    interval: Interval
    excess: float
    excess_interval: Interval
    controls: tuple[float, ...]
    control_family: str
    null_effects: tuple[float, ...]
    p_value: float
    n_possible: int
    n_null_possible: int
    control_match: str | None
    p_smallest: float
    alpha: float
    confidence: float
    n_examples: int
    n_groups: int
    resolution: float
    share: float | None
    share_reason: str | None
    verdict: Verdict
    reason: str
    p_holm: float | None = None
    correction: str = "Holm"

    def __post_init__(self) -> None:
        if not self.controls:
            raise EvidenceError(
                f"{self.subject}: evidence needs controls; measure the same effect for "
                "matched-random components (interp.evidence.layer_matched) and pass them"
            )
        if not self.null_effects:
            raise EvidenceError(f"{self.subject}: evidence needs null sets to take p from")
        if self.n_possible < len(self.controls):
            raise EvidenceError(
                f"{self.subject}: {len(self.controls)} controls cannot come from "
                f"{self.n_possible} possible sets"
            )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            numbers = value if isinstance(value, tuple) else (value,)
            if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
                raise EvidenceError(f"{self.subject}: {field.name} is not finite: {value}")
        if self.verdict not in get_args(Verdict):
            raise EvidenceError(
                f"{self.subject}: unknown verdict {self.verdict!r}; expected one of "
                f"{', '.join(get_args(Verdict))}"
            )
        if (self.share is None) == (self.share_reason is None):
            raise EvidenceError(f"{self.subject}: give either a share or the reason for none")

    @property
    def cells(self) -> dict[str, str]:
        """The row as plain text by column heading, for every kind of table.

        A line break stands between a number and what qualifies it, for narrow terminals.
        """
        n, mean = len(self.controls), math.fsum(self.controls) / len(self.controls)
        absent = "" if self.has_signature else ", absent"
        share = "" if self.share is None else f" ({round(self.share, 2) + 0.0:.0%})"
        match = "" if self.control_match is None else f"\n{self.control_match}"
        adjusted = "" if self.p_holm is None else f"\n{self.correction} {short(self.p_holm, 2)}"
        return {
            "subject": self.subject,
            "signature (control)": f"{short(self.signature)} ({short(self.signature_null, 2)})\n"
            f"{self.signature_name}{absent}",
            "effect (share)": f"{short(self.effect)} {self.units}{share}\n{span(self.interval)}",
            "controls, mean to max": f"{short(mean, 2)} to {short(max(self.controls))}\n"
            f"{of_all(n, self.n_possible)}\n{self.control_family}{match}",
            "p (smallest)": f"{short(self.p_value, 2)} ({short(self.p_smallest, 2)})\n"
            f"{of_all(len(self.null_effects), self.n_null_possible)}{adjusted}",
            "verdict": self.verdict,
        }

    def __str__(self) -> str:
        p = f"p = {short(self.p_value)} among {len(self.null_effects)} sets (smallest attainable "
        p += f"{short(self.p_smallest)})"
        if self.p_holm is not None:
            p += f", {self.correction} {short(self.p_holm)}"
        return (
            f"{self.subject}: {self.signature_name} {short(self.signature)} (control "
            f"{short(self.signature_null)}); removing it costs {short(self.effect)} "
            f"{span(self.interval)} {self.units} of {self.metric}, {short(self.excess)} more "
            f"than the mean of {len(self.controls)} {self.control_family} controls; {p}: "
            f"{self.verdict}"
        )

    def _repr_html_(self) -> str:
        """Show the row in Jupyter, one line a column; all text is escaped."""
        lines = {**self.cells, "metric": self.metric, "reason": self.reason}
        body = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in lines.items()
        )
        return f"<table>{body}</table>"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-safe values; :meth:`from_dict` reads them back exactly."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Evidence:
        """Rebuild a row from :meth:`to_dict`.

        Raises:
            EvidenceError: a field is missing or unknown.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in values:
            if name not in fields:
                near = difflib.get_close_matches(str(name), fields, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise EvidenceError(f"evidence has no field {name!r}{hint}")
        optional = ("p_holm", "correction")
        missing = [name for name in fields if name not in values and name not in optional]
        if missing:
            raise EvidenceError(f"evidence is missing {', '.join(missing)}")
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**plain)


def short(number: float, digits: int = 3) -> str:
    """Write a number with so many significant digits, and thousands in full."""
    if 1e3 <= abs(number) < 1e6:
        return f"{number:.0f}"
    return f"{number + 0.0:.{digits}g}"


def span(interval: Interval) -> str:
    """Write an interval, both ends to the third digit of the larger."""
    largest = max(abs(end) for end in interval)
    if not 1e-4 <= largest < 1e6:
        return f"[{short(interval[0])}, {short(interval[1])}]"
    places = max(0, 2 - math.floor(math.log10(largest)))
    low, high = (round(end, places) + 0.0 for end in interval)
    return f"[{low:.{places}f}, {high:.{places}f}]"


def of_all(n: int, possible: int) -> str:
    """How many were taken of how many there are, where they can be counted."""
    return f"{n:,} drawn" if possible == ENDLESS else f"{n:,} of {count(possible)}"


def count(number: int) -> str:
    """Write a count, to the power of ten where it is astronomical."""
    return f"{number:,}" if number < 10**9 else f"~10^{len(str(number)) - 1}"
