"""A trained probe: a frozen direction that knows which model, place and data it comes from."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.configs import build, plain
from interp.hooks import Site
from interp.runfolder.files import read_json, read_tensors, write_json, write_tensors
from probes.activations import Activations, Position, parse_position
from probes.card import CARD_FILE, FORMAT, TENSORS_FILE, Card, ProbeError, require_free
from probes.fit.rule import LinearRule, NetRule

# Methods whose scores are numbers to be predicted rather than sides of a threshold.
NUMERIC = {"ridge"}
OPTIONAL_TENSORS = ("scale", "weights", "biases", "out")


@dataclass(frozen=True, eq=False)
class Probe:
    """A direction on which two labels separate at one place of one model.

    The score is ``(x − centre) · direction + bias``, above zero for label 1; of a network,
    ``out · relu(weights (x − centre) + biases) + bias``; of a regression, the predicted number.
    That it separates makes it a signature; whether the model uses it is another question.

    Attributes:
        direction: In the raw activation space, pointing to label 1. Not of unit length. Of a
            network, its mean slope over the training rows.
        centre: What is subtracted first; of a direction, the activation whose score is ``bias``.
        bias: The score of the centre.
        site: Where in the model.
        position: Which token of each statement, or how its tokens were pooled.
        method: How it was fitted.
        model: The model's name.
        fingerprint: The model's fingerprint; activations of any other are refused.
        data: What it was trained on.
        data_hash: SHA-256 of the whole training file's statements, held-out ones included.
        seed: Of the split, the shuffles and the bootstrap.
        metrics: What training measured, as plain values.
        training_rows: Short hashes of the statements it was fitted to, with their framing and
            without (``probes.seen``), so that they are never counted as held out.
        dtype: The type of the model's weights.
        revision: The model's revision on the Hub, where one was asked for.
        scale: What features were divided by in the fit, zero for those left out; None where they
            were left alone. Directions and weights have it folded in.
        weights: Of a network's hidden layer, acting on raw activations; else None.
        biases: Of a network's hidden layer.
        out: Of a network's second layer.
    """

    direction: Float[Tensor, " d"]
    centre: Float[Tensor, " d"]
    bias: float
    site: Site
    position: Position
    method: str
    model: str
    fingerprint: str
    data: str
    data_hash: str
    seed: int
    metrics: Mapping[str, Any]
    training_rows: tuple[str, ...]
    dtype: str = "float32"
    revision: str | None = None
    scale: Float[Tensor, " d"] | None = None
    weights: Float[Tensor, "hidden d"] | None = None
    biases: Float[Tensor, " hidden"] | None = None
    out: Float[Tensor, " hidden"] | None = None

    def __post_init__(self) -> None:
        held = self._tensors
        for name, value in held.items():
            if value.ndim != 1 + (name == "weights") or not len(value):
                raise ProbeError(f"the probe's {name} has shape {list(value.shape)}")
            if value.dtype != torch.float32:
                raise ProbeError(f"the probe's {name} must be float32, got {value.dtype}")
            if not bool(torch.isfinite(value).all()):
                raise ProbeError(f"the probe's {name} is not finite")
        for name in {"centre", "scale"} & held.keys():
            if self.direction.shape != held[name].shape:
                raise ProbeError(f"the probe's direction and {name} differ in length")
        net = {"weights", "biases", "out"} & held.keys()
        if len(net) not in (0, 3):
            raise ProbeError(f"the probe's network has only {' and '.join(sorted(net))}")
        if self.weights is not None and self.biases is not None and self.out is not None:
            hidden = len(self.weights)
            if {len(self.biases), len(self.out)} != {hidden}:
                raise ProbeError("the probe's hidden layer differs in width between its parts")
            if self.weights.shape[1] != len(self.direction):
                raise ProbeError("the probe's direction and weights differ in length")
        if not bool(self.direction.any()):
            raise ProbeError("the probe's direction is zero")
        if not torch.isfinite(torch.tensor(self.bias)):
            raise ProbeError(f"the probe's bias is {self.bias}; expected a finite number")

    def __repr__(self) -> str:
        return (
            f"Probe({self.method} at {self.site}, position {self.position}, of {self.model!r} "
            f"[{self.fingerprint[:12]}], trained on {self.data!r})"
        )

    @property
    def rule(self) -> LinearRule | NetRule:
        """The score alone, without what guards it."""
        if self.weights is None or self.biases is None or self.out is None:
            return LinearRule(self.direction, self.centre, self.bias, self.scale)
        return NetRule(
            weights=self.weights,
            biases=self.biases,
            out=self.out,
            direction=self.direction,
            centre=self.centre,
            bias=self.bias,
            scale=self.scale,
        )

    @property
    def _tensors(self) -> dict[str, Tensor]:
        names = ("direction", "centre", *OPTIONAL_TENSORS)
        return {n: getattr(self, n) for n in names if getattr(self, n) is not None}

    def check(self, *, fingerprint: str, model: str = "this model") -> None:
        """Refuse another model than the probe's own.

        Raises:
            ProbeError: the fingerprints differ.
        """
        if fingerprint != self.fingerprint:
            raise ProbeError(
                f"this probe belongs to {self.model} (fingerprint {self.fingerprint[:12]}), not "
                f"to {model} ({fingerprint[:12]}): a direction means nothing in another model; "
                "train a probe on it"
            )

    def scores(self, activations: Activations) -> Float[Tensor, " example"]:
        """Score activations of the probe's own model, site and position; above 0 is label 1.

        Raises:
            ProbeError: they come from another model, site or position, or are of another width.
        """
        if not isinstance(activations, Activations):
            raise ProbeError(
                "a probe scores Activations, which know their model and site, not "
                f"{type(activations).__name__}; get them with extract(model, data, site=…)"
            )
        self.check(fingerprint=activations.fingerprint, model=activations.model)
        mine, given = (self.site, self.position), (activations.site, activations.position)
        if mine != given:
            raise ProbeError(
                f"this probe reads {mine[0]} at position {mine[1]}, "
                f"not {given[0]} at position {given[1]}"
            )
        if activations.values.shape[1] != len(self.direction):
            raise ProbeError(
                f"this probe reads {len(self.direction)} numbers a statement, "
                f"got {activations.values.shape[1]}"
            )
        return self.rule.scores(activations.values)

    def predict(self, activations: Activations) -> Bool[Tensor, " example"]:
        """Return whether each score is above zero, that is, label 1 by the training threshold.

        Raises:
            ProbeError: as ``scores``, or the probe predicts numbers.
        """
        if self.method in NUMERIC:
            raise ProbeError(f"a {self.method} probe predicts numbers, not labels; use scores")
        return self.scores(activations) > 0

    def save(self, path: Path | str) -> Path:
        """Write the probe as a new folder, all of it or nothing.

        Raises:
            ProbeError: there is something at ``path`` already.
        """
        target = Path(path)
        require_free(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".{target.name}.tmp-{secrets.token_hex(6)}"
        temporary.mkdir()
        try:
            rows = bytearray(bytes.fromhex("".join(self.training_rows)))
            tensors = write_tensors(
                temporary / TENSORS_FILE,
                {
                    **self._tensors,
                    "training_rows": torch.tensor(rows, dtype=torch.uint8).reshape(-1, 8),
                },
            )
            card = Card(
                format=FORMAT,
                model=self.model,
                revision=self.revision,
                dtype=self.dtype,
                fingerprint=self.fingerprint,
                site=str(self.site),
                position=self.position,
                method=self.method,
                bias=self.bias,
                data=self.data,
                data_hash=self.data_hash,
                seed=self.seed,
                tensors_sha256=hashlib.sha256(tensors.read_bytes()).hexdigest(),
                metrics=dict(self.metrics),
            )
            write_json(temporary / CARD_FILE, plain(card))
            if target.is_dir():
                target.rmdir()  # empty, or it would have been refused
            temporary.replace(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return target

    @classmethod
    def load(cls, path: Path | str) -> Probe:
        """Read a probe that ``save`` wrote.

        Raises:
            ProbeError: there is none, or it is damaged or of another version.
        """
        folder = Path(path)
        missing = [n for n in (CARD_FILE, TENSORS_FILE) if not (folder / n).is_file()]
        if missing:
            raise ProbeError(
                f"{folder} holds no probe (no {missing[0]}); expected a folder written by "
                "probes train --out"
            )
        held = read_json(folder / CARD_FILE)
        if not isinstance(held, dict) or held.get("format") != FORMAT:
            raise ProbeError(
                f"{folder / CARD_FILE} is damaged, or written by another version of the project "
                f"(expected a JSON object of format {FORMAT})"
            )
        try:
            card = build(Card, held, origin=str(folder / CARD_FILE))
            raw = (folder / TENSORS_FILE).read_bytes()
            if hashlib.sha256(raw).hexdigest() != card.tensors_sha256:
                raise ProbeError(f"{folder / TENSORS_FILE} is not the one {CARD_FILE} describes")
            tensors = read_tensors(folder / TENSORS_FILE)
            rows = tensors["training_rows"].reshape(-1, 8).tolist()
            return cls(
                direction=tensors["direction"],
                centre=tensors["centre"],
                bias=card.bias,
                site=Site.parse(card.site),
                position=parse_position(card.position),
                method=card.method,
                model=card.model,
                fingerprint=card.fingerprint,
                data=card.data,
                data_hash=card.data_hash,
                seed=card.seed,
                metrics=card.metrics,
                training_rows=tuple(bytes(row).hex() for row in rows),
                dtype=card.dtype,
                revision=card.revision,
                **{name: tensors.get(name) for name in OPTIONAL_TENSORS},
            )
        except (KeyError, RuntimeError) as error:
            raise ProbeError(f"{folder / TENSORS_FILE} is damaged: {error}") from error
