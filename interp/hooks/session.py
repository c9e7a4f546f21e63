"""Strict hooks: every name checked, every hook fired, nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.hooks.interventions import Intervention
from interp.hooks.sites import Site
from interp.models import Examples, Model


class HookError(RuntimeError):
    """A hook that was asked for did not run, so what it should have measured is unknown."""


class _AllCaptured(Exception):
    """Raised inside a forward pass once everything asked for has been seen."""


class Session:
    """What ``session`` yields: run the model, read what was captured.

    Attributes:
        captured: What the latest run held at each captured site, by site.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.captured: dict[Site, Tensor] = {}
        self._rows: slice | None = None
        self._stop_when_captured = False
        self._wanted: set[Site] = set()
        self._fired: dict[str, bool] = {}
        self._handles: list[tuple[Any, Any]] = []

    def __getitem__(self, site: Site | str) -> Tensor:
        """What the latest run held at ``site``, detached; one head's part if it names a head."""
        site = Site.parse(site)
        if site.whole not in self.captured:
            have = ", ".join(map(str, self.captured)) or "nothing yet: run the model first"
            raise HookError(f"{site} was not captured; captured: {have}")
        tensor = self.captured[site.whole]
        axes = site.axes
        if site.position is not None:
            axis = axes.index("query" if "query" in axes else "pos")
            tensor = tensor.select(axis, site.position)
            axes = axes[:axis] + axes[axis + 1 :]
        if site.head is not None:
            tensor = tensor.select(next(i for i, a in enumerate(axes) if a in ("head", "kv_head")), site.head)
        return tensor

    def run(
        self,
        tokens: Examples | Int[Tensor, "batch pos"],
        mask: Bool[Tensor, "batch pos"] | None = None,
        *,
        rows: slice | None = None,
        grad: bool = False,
    ) -> Float[Tensor, "batch pos vocab"]:
        """Run the model with this session's hooks and return its logits.

        Args:
            tokens: Examples, or ids.
            mask: True at real tokens, where ids are given.
            rows: Which rows of a larger set these are; resampling needs it when batched.
            grad: Keep gradients.
        """
        ids, mask = (tokens.tokens, tokens.mask) if isinstance(tokens, Examples) else (tokens, mask)
        self.captured = {}
        self._rows = rows
        with torch.set_grad_enabled(grad):
            return self.model.forward(ids, mask)

    def run_until_captured(
        self, tokens: Int[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"] | None = None
    ) -> None:
        """Run no further than the last captured site: later layers and the unembedding are saved.

        Raises:
            HookError: interventions past the last captured site would not have run.
        """
        self._stop_when_captured = True
        try:
            self.run(tokens, mask)
        except _AllCaptured:
            pass
        finally:
            self._stop_when_captured = False

    # -- hooks -----------------------------------------------------------------------------

    def _add(self, point: Any, label: str, function: Any) -> None:
        self._fired[label] = False
        point.add_hook(function)
        self._handles.append((point, point.fwd_hooks[-1]))

    def _add_intervention(self, intervention: Intervention) -> None:
        label = f"{intervention} (intervention {len(self._fired)})"

        def change(tensor: Tensor, hook: Any) -> Tensor:
            self._fired[label] = True
            return intervention.apply(tensor, self._rows)

        self._add(intervention.site.point(self.model), label, change)

    def _add_capture(self, site: Site, *, keep_graph: bool) -> None:
        label = f"capture {site}"
        self._wanted.add(site)

        def keep(tensor: Tensor, hook: Any) -> None:
            self._fired[label] = True
            # Cloned: later layers may write into the very same memory.
            self.captured[site] = tensor if keep_graph else tensor.detach().clone()
            if self._stop_when_captured and len(self.captured) == len(self._wanted):
                raise _AllCaptured

        self._add(site.point(self.model), label, keep)

    def _remove_hooks(self) -> None:
        for point, handle in reversed(self._handles):
            handle.hook.remove()
            # By identity: another session's handle may compare equal.
            point.fwd_hooks[:] = [h for h in point.fwd_hooks if h is not handle]
        self._handles.clear()

    def _require_fired(self) -> None:
        silent = [label for label, fired in self._fired.items() if not fired]
        if silent:
            raise HookError(
                f"never ran: {', '.join(silent)}; the session ended without a forward pass that "
                "reaches it, so nothing was measured or changed there"
            )


@contextmanager
def session(
    model: Model,
    *,
    capture: Sequence[Site | str] = (),
    intervene: Sequence[Intervention] = (),
    keep_graph: bool = False,
) -> Iterator[Session]:
    """Open a session: hooks on, and off again whatever happens.

    Every site is resolved before the first hook is added, so a misspelt one changes nothing.
    Sessions nest; an inner one removes only its own hooks. Interventions run in the order given
    and captures see what they leave.

    Args:
        model: The model.
        capture: Sites whose activations are kept from each run.
        intervene: Changes to make in each run.
        keep_graph: Keep captured tensors in the autograd graph.

    Yields:
        The session; ``session.run(tokens)`` gives logits, ``session["L3.resid_post"]`` what
        was captured.

    Raises:
        SiteError: a site the model does not have, or that cannot be edited.
        HookError: on leaving, a hook that never fired.
    """
    sites = list(dict.fromkeys(Site.parse(s) for s in capture))
    for site in sites:
        site.point(model)
    for intervention in intervene:
        intervention.site.require_editable(model)
    opened = Session(model)
    try:
        for intervention in intervene:
            opened._add_intervention(intervention)
        for site in dict.fromkeys(s.whole for s in sites):
            opened._add_capture(site, keep_graph=keep_graph)
        yield opened
    finally:
        opened._remove_hooks()
    opened._require_fired()
