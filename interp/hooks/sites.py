"""Places in a model: the only owner of hook names.

A site is written as people in the field write it: ``L3H7`` (the output of head 7 of layer 3
before W_O), ``L3.resid_post``, ``L3H7.pattern``, ``embed``, ``L3.mlp_post@-1`` (last position).
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from interp.hooks.survey import edit_reaches, edit_stays_in_stream, live_points
from interp.models import Model


class SiteError(ValueError):
    """No such place in this model, or it cannot be edited; the message names near ones."""


@dataclass(frozen=True)
class Kind:
    """One kind of activation.

    Attributes:
        hook: Name of the hook point, with ``{layer}`` where it has one.
        axes: Names of the activation's axes, batch first.
        about: What it is, in a few words.
        silent: Transformer-lens may ignore edits here on some architectures, wholly or in part,
            so editing is tried on a probe before it is allowed.
    """

    hook: str
    axes: tuple[str, ...]
    about: str
    silent: bool = False

    @property
    def head_axis(self) -> int | None:
        """Which axis counts heads, or None."""
        for name in ("head", "kv_head"):
            if name in self.axes:
                return self.axes.index(name)
        return None


_RESID = ("batch", "pos", "d_model")
_HEAD = ("batch", "pos", "head", "d_head")
_KV = ("batch", "pos", "kv_head", "d_head")
_PATTERN = ("batch", "head", "query", "key")
_NEURON = ("batch", "pos", "neuron")
_B = "blocks.{layer}."

KINDS: dict[str, Kind] = {
    "embed": Kind("hook_embed", _RESID, "token embedding"),
    "pos_embed": Kind("hook_pos_embed", _RESID, "position embedding"),
    "resid_pre": Kind(_B + "hook_resid_pre", _RESID, "residual stream into the layer"),
    "resid_mid": Kind(
        _B + "hook_resid_mid", _RESID, "residual stream after attention", silent=True
    ),
    "resid_post": Kind(_B + "hook_resid_post", _RESID, "residual stream out of the layer"),
    "attn_out": Kind(_B + "hook_attn_out", _RESID, "what attention adds to the stream"),
    "mlp_out": Kind(_B + "hook_mlp_out", _RESID, "what the MLP adds to the stream"),
    "mlp_pre": Kind(_B + "mlp.hook_pre", _NEURON, "neurons before the activation function"),
    "mlp_post": Kind(_B + "mlp.hook_post", _NEURON, "neurons after the activation function"),
    "q": Kind(_B + "attn.hook_q", _HEAD, "queries, before any rotation", silent=True),
    "k": Kind(_B + "attn.hook_k", _KV, "keys, before any rotation", silent=True),
    "v": Kind(_B + "attn.hook_v", _KV, "values", silent=True),
    "z": Kind(_B + "attn.hook_z", _HEAD, "head output before W_O"),
    "scores": Kind(_B + "attn.hook_attn_scores", _PATTERN, "attention scores", silent=True),
    "pattern": Kind(_B + "attn.hook_pattern", _PATTERN, "attention after softmax", silent=True),
    "final_norm": Kind("ln_final.hook_out", _RESID, "residual stream after the final norm"),
    "logits": Kind("unembed.hook_out", ("batch", "pos", "vocab"), "logits, before any soft cap"),
}
_AFTER_MID = ("mlp_out", "resid_post")
GLOBAL_KINDS = frozenset(name for name, kind in KINDS.items() if "{layer}" not in kind.hook)

_WRITTEN = re.compile(
    r"(?:L(?P<layer>\d+)(?:H(?P<head>\d+))?)?(?:\.?(?P<kind>[a-z_]+))?(?:@(?P<position>-?\d+))?"
)


@dataclass(frozen=True)
class Site:
    """One place in a model.

    Attributes:
        layer: Layer index, or None for ``embed``, ``pos_embed``, ``final_norm`` and ``logits``.
        kind: A key of ``KINDS``.
        head: A head index, or None for all heads. Query heads for q, z, scores and pattern;
            key/value heads for k and v.
        position: A sequence position, counted from the end of the row where negative, or None
            for all.
    """

    layer: int | None
    kind: str = "z"
    head: int | None = None
    position: int | None = None

    @classmethod
    def parse(cls, text: str | Site) -> Site:
        """Read a site as it is written, such as ``L3H7``, ``L3.resid_post`` or ``embed``.

        Raises:
            SiteError: it cannot be read, with near matches.
        """
        if isinstance(text, Site):
            return text
        found = _WRITTEN.fullmatch(text.strip())
        if not found or not text.strip():
            raise SiteError(_unreadable(text))
        layer, head, kind, position = found.group("layer", "head", "kind", "position")
        if kind is None and head is None:
            raise SiteError(f"{text!r} names a layer but no place in it; e.g. {text}.resid_post")
        if kind is not None and kind not in KINDS:
            raise SiteError(_unreadable(text, kind))
        site = cls(
            None if layer is None else int(layer),
            kind or "z",
            None if head is None else int(head),
            None if position is None else int(position),
        )
        if (site.layer is None) != (site.kind in GLOBAL_KINDS):
            raise SiteError(
                f"{text!r}: {site.kind} "
                + ("has no layer" if layer else f"needs a layer, e.g. L0.{site.kind}")
            )
        if site.head is not None and KINDS[site.kind].head_axis is None:
            raise SiteError(f"{text!r}: {site.kind} has no heads; e.g. L{layer}.{site.kind}")
        return site

    @classmethod
    def parse_all(cls, sites: str | Site | Iterable[str | Site]) -> list[Site]:
        """Read several, or one alone; each once, in the order given."""
        given = [sites] if isinstance(sites, str | Site) else sites
        return list(dict.fromkeys(cls.parse(site) for site in given))

    def __lt__(self, other: Site) -> bool:
        return self._order < other._order

    @property
    def _order(self) -> tuple[int, str, int, int]:
        gone = -sys.maxsize
        fields = (self.layer, self.head, self.position)
        layer, head, position = (gone if field is None else field for field in fields)
        return layer, self.kind, head, position

    def __str__(self) -> str:
        where = "" if self.layer is None else f"L{self.layer}"
        if self.head is not None:
            where += f"H{self.head}"
        if self.kind != "z" or self.head is None:
            where += f"{'.' if where else ''}{self.kind}"
        return where + ("" if self.position is None else f"@{self.position}")

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of the whole activation here, heads included."""
        return KINDS[self.kind].axes

    @property
    def whole(self) -> Site:
        """The same place for all heads and positions: what one hook sees."""
        return replace(self, head=None, position=None)

    def position_in(self, length: int) -> int:
        """Return the position as an index into a row of ``length``.

        Raises:
            SiteError: the row is too short.
        """
        assert self.position is not None
        found = self.position + length if self.position < 0 else self.position
        if not 0 <= found < length:
            raise SiteError(f"{self}: no position {self.position} in rows of {length}")
        return found

    def point(self, model: Model) -> Any:
        """Return the hook point of this site in ``model``.

        Raises:
            SiteError: the model has no such place, with the near ones it has.
        """
        if self.kind not in KINDS:
            raise SiteError(_unreadable(self.kind))
        if self.layer is not None and not 0 <= self.layer < model.n_layers:
            raise SiteError(
                f"no layer {self.layer} for {self}; "
                f"{model.spec.name} has layers 0…{model.n_layers - 1}"
            )
        if self.head is not None:
            self._require_head(model)
        points = _points(model)
        if (self.layer, self.kind) not in points:
            here = available_kinds(model, self.layer)
            near = difflib.get_close_matches(self.kind, here, n=3, cutoff=0.3) or here
            raise SiteError(
                f"{model.spec.name} has no {self.kind} (asked for as {self}); "
                f"near: {', '.join(near)}"
            )
        return points[self.layer, self.kind]

    def _require_head(self, model: Model) -> None:
        assert self.head is not None
        if KINDS[self.kind].head_axis is None:
            raise SiteError(f"{self}: {self.kind} has no heads; e.g. {replace(self, head=None)}")
        grouped = "kv_head" in self.axes
        n = model.n_kv_heads if grouped else model.n_heads
        if not 0 <= self.head < n:
            what = "key/value heads" if grouped else "heads"
            raise SiteError(
                f"no head {self.head} for {self}; {model.spec.name} has {what} 0…{n - 1}"
            )

    def require_editable(self, model: Model) -> None:
        """Refuse a place where transformer-lens would silently ignore an edit, or part of it.

        Raises:
            SiteError: an edit here would not do in this architecture what it says.
        """
        self.point(model)
        if not KINDS[self.kind].silent or _edit_takes_hold(model, self):
            return
        if self.kind == "resid_mid":
            raise SiteError(
                f"{self} cannot be edited in {model.spec.name}: only the MLP would see the change, "
                f"the residual stream goes on without it; edit L{self.layer}.attn_out instead"
            )
        raise SiteError(
            f"{self} cannot be edited in {model.spec.name}: transformer-lens ignores changes "
            f"there on this architecture; edit the head's output instead, "
            f"e.g. L{self.layer}H{self.head or 0}"
        )


def available_kinds(model: Model, layer: int | None) -> list[str]:
    """Names of the kinds that ``model`` has in ``layer``, or outside layers for None."""
    return [kind for at, kind in _points(model) if at == layer]


def _points(model: Model) -> dict[tuple[int | None, str], Any]:
    """The model's hook points by (layer, kind), surveyed once."""
    known: dict[tuple[int | None, str], Any] | None = model.__dict__.get("_points")
    if known is None:
        candidates: dict[tuple[int | None, str], str] = {
            (layer, name): kind.hook.format(layer=layer)
            for name, kind in KINDS.items()
            for layer in ([None] if name in GLOBAL_KINDS else range(model.n_layers))
        }
        ranks = {name: len(kind.axes) for name, kind in KINDS.items()}
        known = model.__dict__["_points"] = live_points(model, candidates, ranks)
    return known


def _edit_takes_hold(model: Model, site: Site) -> bool:
    """Whether an edit at a doubtful place does what it says; tried once a place."""
    verdicts: dict[tuple[int | None, str], bool] = model.__dict__.setdefault("_editable", {})
    key = (site.layer, site.kind)
    if key not in verdicts:
        if site.kind == "resid_mid":
            after = [replace(site.whole, kind=kind).point(model) for kind in _AFTER_MID]
            verdicts[key] = edit_stays_in_stream(model, site.point(model), *after)
        else:
            z = replace(site.whole, kind="z").point(model)
            verdicts[key] = edit_reaches(
                model, site.point(model), z, is_pattern=site.kind == "pattern"
            )
    return verdicts[key]


def _unreadable(text: str, kind: str | None = None) -> str:
    wrong = kind or text.rpartition(".")[2]
    near = difflib.get_close_matches(wrong, KINDS, n=3, cutoff=0.5) or ["resid_post", "z"]
    return (
        f"cannot read the site {text!r}; did you mean {' or '.join(near)}? "
        "Sites are written L3H7, L3.resid_post, L3H7.pattern or embed"
    )
