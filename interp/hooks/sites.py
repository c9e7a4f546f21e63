"""Places in a model: the only owner of hook names.

A site is written as people in the field write it: ``L3H7`` (the output of head 7 of layer 3
before W_O), ``L3.resid_post``, ``L3H7.pattern``, ``embed``, ``L3.mlp_post@-1`` (last position).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import Any

import torch

from interp.models import Model
from interp.models.checks import probe_tokens


class SiteError(ValueError):
    """No such place in this model, or it cannot be edited; the message names near ones."""


@dataclass(frozen=True)
class Kind:
    """One kind of activation.

    Attributes:
        hook: Name of the hook point, with ``{layer}`` where it has one.
        axes: Names of the activation's axes, batch first.
        about: What it is, in a few words.
        silent: Transformer-lens may ignore edits here on some architectures, so editing is
            tried on a probe before it is allowed.
    """

    hook: str
    axes: tuple[str, ...]
    about: str
    silent: bool = False

    @property
    def head_axis(self) -> int | None:
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
    "resid_mid": Kind(_B + "hook_resid_mid", _RESID, "residual stream after attention"),
    "resid_post": Kind(_B + "hook_resid_post", _RESID, "residual stream out of the layer"),
    "attn_out": Kind(_B + "hook_attn_out", _RESID, "output of all heads together"),
    "mlp_out": Kind(_B + "hook_mlp_out", _RESID, "output of the MLP"),
    "mlp_pre": Kind(_B + "mlp.hook_pre", _NEURON, "neurons before the activation function"),
    "mlp_post": Kind(_B + "mlp.hook_post", _NEURON, "neurons after the activation function"),
    "q": Kind(_B + "attn.hook_q", _HEAD, "queries, before any rotation", silent=True),
    "k": Kind(_B + "attn.hook_k", _KV, "keys, before any rotation", silent=True),
    "v": Kind(_B + "attn.hook_v", _KV, "values", silent=True),
    "z": Kind(_B + "attn.hook_z", _HEAD, "head output before W_O"),
    "scores": Kind(_B + "attn.hook_attn_scores", _PATTERN, "attention scores", silent=True),
    "pattern": Kind(_B + "attn.hook_pattern", _PATTERN, "attention after softmax", silent=True),
    "final_norm": Kind("ln_final.hook_out", _RESID, "residual stream after the final norm"),
    "logits": Kind("unembed.hook_out", ("batch", "pos", "vocab"), "logits"),
}
GLOBAL_KINDS = frozenset(name for name, kind in KINDS.items() if "{layer}" not in kind.hook)

_WRITTEN = re.compile(
    r"(?:L(?P<layer>\d+)(?:H(?P<head>\d+))?)?(?:\.?(?P<kind>[a-z_]+))?(?:@(?P<position>-?\d+))?"
)


@dataclass(frozen=True, order=True)
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
                f"{text!r}: {site.kind} " + ("has no layer" if layer else "needs a layer, "
                f"e.g. L0.{site.kind}")
            )
        if site.head is not None and KINDS[site.kind].head_axis is None:
            raise SiteError(f"{text!r}: {site.kind} has no heads; e.g. L{layer}.{site.kind}")
        return site

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

    def point(self, model: Model) -> Any:
        """Return the hook point of this site in ``model``.

        Raises:
            SiteError: the model has no such place, with the near ones it has.
        """
        if self.layer is not None and not 0 <= self.layer < model.n_layers:
            raise SiteError(
                f"no layer {self.layer} for {self}; "
                f"{model.spec.name} has layers 0…{model.n_layers - 1}"
            )
        if self.head is not None:
            grouped = "kv_head" in self.axes
            n = model.n_kv_heads if grouped else model.n_heads
            if not 0 <= self.head < n:
                what = "key/value heads" if grouped else "heads"
                raise SiteError(
                    f"no head {self.head} for {self}; {model.spec.name} has {what} 0…{n - 1}"
                )
        if self.kind not in available_kinds(model, self.layer):
            here = available_kinds(model, self.layer)
            near = difflib.get_close_matches(self.kind, here, n=3, cutoff=0.3) or here
            raise SiteError(
                f"{model.spec.name} has no {self.kind} (asked for as {self}); "
                f"near: {', '.join(near)}"
            )
        return model.bridge.hook_dict[KINDS[self.kind].hook.format(layer=self.layer)]

    def require_editable(self, model: Model) -> None:
        """Refuse a place where transformer-lens would silently ignore an edit.

        Raises:
            SiteError: edits here change nothing in this architecture.
        """
        self.point(model)
        if KINDS[self.kind].silent and not _edit_takes_hold(model, self):
            raise SiteError(
                f"{self} cannot be edited in {model.spec.name}: transformer-lens ignores changes "
                f"there on this architecture; edit the head's output instead, "
                f"e.g. L{self.layer}H{self.head or 0}"
            )


def available_kinds(model: Model, layer: int | None) -> list[str]:
    """Names of the kinds that ``model`` has in ``layer``, or outside layers for None."""
    points = model.bridge.hook_dict
    found = []
    for name, kind in KINDS.items():
        hook = kind.hook.format(layer=layer)
        if (name in GLOBAL_KINDS) != (layer is None) or hook not in points:
            continue
        # Rotary models alias their table of angles as a position embedding; nothing is added.
        if not str(points[hook].name).startswith("rotary"):
            found.append(name)
    return found


def _unreadable(text: str, kind: str | None = None) -> str:
    wrong = kind or text.rpartition(".")[2]
    near = difflib.get_close_matches(wrong, KINDS, n=3, cutoff=0.5) or ["resid_post", "z"]
    return (
        f"cannot read the site {text!r}; did you mean {' or '.join(near)}? "
        "Sites are written L3H7, L3.resid_post, L3H7.pattern or embed"
    )


@torch.no_grad()
def _edit_takes_hold(model: Model, site: Site) -> bool:
    """Whether an edit at this site reaches the same layer's head outputs, on a probe."""
    verdicts: dict[tuple[int | None, str], bool] = model.__dict__.setdefault("_editable", {})
    key = (site.layer, site.kind)
    if key in verdicts:
        return verdicts[key]
    tokens = probe_tokens(model.d_vocab, model.n_ctx).to(model.device)
    outputs: list[torch.Tensor] = []

    def scramble(tensor: torch.Tensor, hook: Any) -> torch.Tensor:
        noise = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(1))
        if site.kind == "pattern":
            noise = noise.tril() / noise.tril().sum(-1, keepdim=True)
        return noise.to(tensor)

    def keep(tensor: torch.Tensor, hook: Any) -> None:
        outputs.append(tensor.clone())

    z = replace(site, kind="z", head=None, position=None).point(model)
    edited = site.point(model)
    z.add_hook(keep)
    watching = z.fwd_hooks[-1]
    try:
        model.forward(tokens)
        edited.add_hook(scramble)
        editing = edited.fwd_hooks[-1]
        try:
            model.forward(tokens)
        finally:
            editing.hook.remove()
            edited.fwd_hooks.remove(editing)
    finally:
        watching.hook.remove()
        z.fwd_hooks.remove(watching)
    verdicts[key] = not torch.equal(outputs[0], outputs[1])
    return verdicts[key]
