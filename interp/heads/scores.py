"""One number a head, with everything needed to read it: units, null, control, intervals."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import Head, bootstrap_interval, head_name
from interp.hooks import Site

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class HeadsError(ValueError):
    """A score of heads cannot be had as asked; the message says what to do."""


@dataclass(frozen=True, eq=False)
class HeadScores:
    """A score of every head of a model.

    Attributes:
        name: What is scored, such as ``induction``.
        values: The score of each head.
        units: What a score of 1 is 1 of.
        null: What a head that does nothing of the kind would score on the same examples, or None
            where that is not known. ``about_null`` says which head, or why it is not known.
        description: Formula, range and source, in a few lines.
        about_null: What the null is, or the reason for None.
        per_example: The same score for each example alone, where there are examples; ``values``
            is its mean over them.
        control: The score of each head on control input, at the same positions, where a control
            was asked for.
        groups: The examples' group labels, for intervals.
        control_per_example: The control for each of the same examples, where it was measured so.
    """

    name: str
    values: Float[Tensor, "layer head"]
    units: str
    null: float | None
    description: str = ""
    about_null: str = ""
    per_example: Float[Tensor, "example layer head"] | None = None
    control: Float[Tensor, "layer head"] | None = None
    groups: tuple[str, ...] = ()
    control_per_example: Float[Tensor, "example layer head"] | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.values.shape)
        if self.values.ndim != 2:
            raise HeadsError(f"{self.name}: values must be [layer, head], got {list(shape)}")
        if self.null is None and not self.about_null:
            raise HeadsError(f"{self.name}: a null of None needs its reason in about_null")
        if self.control is not None and tuple(self.control.shape) != shape:
            raise HeadsError(
                f"{self.name}: the control must be {list(shape)} like the values, "
                f"got {list(self.control.shape)}"
            )
        if self.per_example is not None and tuple(self.per_example.shape[1:]) != shape:
            raise HeadsError(
                f"{self.name}: per_example must be [example, {shape[0]}, {shape[1]}], "
                f"got {list(self.per_example.shape)}"
            )
        for tensor in (self.values, self.control, self.per_example):
            if tensor is not None and not bool(torch.isfinite(tensor).all()):
                raise HeadsError(
                    f"{self.name}: a score is not finite; does the model give finite patterns and "
                    "logits in this dtype? Try float32"
                )

    def __repr__(self) -> str:
        (head, value), *_ = self.top(1)
        n_layers, n_heads = self.values.shape
        null = "unknown" if self.null is None else f"{self.null:.4f}"
        return (
            f"HeadScores({self.name!r}, {n_layers} × {n_heads} heads, "
            f"top {head_name(head)} {value:.4f}, null {null})"
        )

    def at(self, head: Head | str) -> float:
        """Return one head's score; the head is (layer, head) or ``"L3H7"``.

        Raises:
            HeadsError: no such head.
        """
        layer, index = self._find(head)
        return float(self.values[layer, index])

    def top(self, k: int = 5) -> list[tuple[Head, float]]:
        """Return the k highest heads and their scores, highest first, ties by layer and head."""
        n_heads = self.values.shape[1]
        order = torch.argsort(self.values.flatten(), descending=True, stable=True)
        heads = [divmod(i, n_heads) for i in order[:k].tolist()]
        return [((layer, head), float(self.values[layer, head])) for layer, head in heads]

    def interval(
        self, head: Head | str, *, confidence: float = 0.95, seed: int = 0
    ) -> tuple[float, float]:
        """Return the bootstrap interval of one head's score over groups of examples.

        Raises:
            HeadsError: the score is not a mean over examples (it was read off the weights).
        """
        layer, index = self._find(head)
        if self.per_example is None:
            raise HeadsError(f"{self.name} has no interval: it is read off the weights alone")
        return bootstrap_interval(
            self.per_example[:, layer, index].numpy(),
            self.groups or None,
            confidence=confidence,
            seed=seed,
        )

    def table(self) -> pd.DataFrame:
        """Lay the scores out tidily, one row a head.

        Returns:
            Columns ``score`` (this score's name), ``layer``, ``head``, ``name`` (``L3H7``),
            ``value``, ``null`` (nullable) and, where there is one, ``control``.
        """
        import pandas as pd

        n_layers, n_heads = self.values.shape
        heads = [(layer, head) for layer in range(n_layers) for head in range(n_heads)]
        frame = pd.DataFrame(
            {
                "score": pd.Series([self.name] * len(heads), dtype="string"),
                "layer": [layer for layer, _ in heads],
                "head": [head for _, head in heads],
                "name": pd.Series([head_name(head) for head in heads], dtype="string"),
                "value": self.values.flatten().to(torch.float64).numpy(),
                "null": pd.Series([self.null] * len(heads), dtype="Float64"),
            }
        )
        if self.control is not None:
            frame["control"] = self.control.flatten().to(torch.float64).numpy()
        return frame

    def plot(self, *, title: str | None = None, marked: Sequence[Head] = ()) -> Figure:
        """Draw the scores as a map, layers down and heads across, the null on its colour bar.

        Args:
            title: Shown above; the score's name when omitted.
            marked: Heads to frame.
        """
        from interp.plots import head_map

        return head_map(
            self.values.to(torch.float64).numpy(),
            label=self.units,
            title=self.name if title is None else title,
            null=self.null,
            marked=marked,
        )

    def _repr_html_(self) -> str:
        """Show the map, the five highest heads and what the score means; all text is escaped."""
        picture = io.BytesIO()
        self.plot().savefig(picture, format="png")
        image = base64.b64encode(picture.getvalue()).decode("ascii")
        headings = ["head", f"{self.name} ({self.units})"]
        if self.control is not None:
            headings.append("control")
        rows = []
        for (layer, head), value in self.top(5):
            cells = [head_name((layer, head)), f"{value:.4f}"]
            if self.control is not None:
                cells.append(f"{float(self.control[layer, head]):.4f}")
            rows.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
        null = "unknown" if self.null is None else f"{self.null:.4f}"
        about = f" ({self.about_null})" if self.about_null else ""
        return (
            f'<div><img alt="{html.escape(self.name)} by layer and head" '
            f'src="data:image/png;base64,{image}"/><table><thead><tr>'
            + "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
            + "</tr></thead><tbody>"
            + "".join(f"<tr>{row}</tr>" for row in rows)
            + f"</tbody></table><p>{html.escape(f'null: {null}{about}')}</p>"
            + f"<p>{html.escape(self.description)}</p></div>"
        )

    def _find(self, head: Head | str) -> Head:
        if isinstance(head, str):
            site = Site.parse(head)
            if site.layer is None or site.head is None:
                raise HeadsError(f"{head!r} is not a head; write it as L3H7")
            head = (site.layer, site.head)
        n_layers, n_heads = self.values.shape
        if not (0 <= head[0] < n_layers and 0 <= head[1] < n_heads):
            raise HeadsError(
                f"no head {head_name(head)}; there are layers 0…{n_layers - 1} and heads "
                f"0…{n_heads - 1}"
            )
        return head
