"""Strict hooks: every name checked, every hook fired, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.hooks.interventions import Intervention
from interp.hooks.sites import Site, SiteError
from interp.models import Examples, Model

Watcher = Callable[[Tensor], None]


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
        self._wanted: set[str] = set()
        self._seen: set[str] = set()
        self._fired: dict[str, bool] = {}
        self._handles: list[tuple[Any, Any]] = []
        self._interventions: list[Intervention] = []
        self._closed = False
        self._module_handles: list[Any] = []

    def __getitem__(self, site: Site | str) -> Tensor:
        """What the latest run held at ``site``, detached; one head's part if it names a head."""
        site = Site.parse(site)
        site.point(self.model)
        if site.whole not in self.captured:
            have = ", ".join(map(str, self.captured)) or "nothing yet: run the model first"
            raise HookError(f"{site} was not captured; captured: {have}")
        tensor = self.captured[site.whole]
        axes = site.axes
        if site.position is not None:
            axis = axes.index("query" if "query" in axes else "pos")
            tensor = tensor.select(axis, site.position_in(tensor.shape[axis]))
            axes = axes[:axis] + axes[axis + 1 :]
        if site.head is not None:
            tensor = tensor.select(
                next(i for i, a in enumerate(axes) if a in ("head", "kv_head")), site.head
            )
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

        Raises:
            HookError: the session is over: its interventions would silently not be made.
            SiteError: an intervention that goes by position, on rows whose positions differ.
        """
        if self._closed:
            raise HookError(
                "this session is over and its hooks are gone: run inside its with block, or use "
                "model.logits for the model as it is"
            )
        ids, mask = (tokens.tokens, tokens.mask) if isinstance(tokens, Examples) else (tokens, mask)
        if mask is not None and not bool(mask.all()):
            for intervention in self._interventions:
                intervention.require_fit(mask)
        self.captured = {}
        self._seen = set()
        self._rows = rows
        try:
            with torch.set_grad_enabled(grad):
                return self.model.forward(ids, mask)
        finally:
            self._rows = None  # a forward pass by another way says nothing about rows

    def run_until_captured(
        self, tokens: Int[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"] | None = None
    ) -> None:
        """Run no further than the last captured or watched site; what comes after is saved.

        Raises:
            HookError: there is no such site. On leaving the session: interventions past that
                site have not run.
        """
        if not self._wanted:
            raise HookError("nothing is captured or watched, so there is no site to stop at")
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
        self._interventions.append(intervention)

    def _add_capture(self, site: Site, *, keep_graph: bool) -> None:
        def keep(tensor: Tensor) -> None:
            # Cloned: later layers may write into the very same memory.
            self.captured[site] = tensor if keep_graph else tensor.detach().clone()

        self._add_look(f"capture {site}", site, keep)

    def _add_look(self, label: str, site: Site, look: Watcher) -> None:
        self._wanted.add(label)

        def call(tensor: Tensor, hook: Any) -> None:
            self._fired[label] = True
            look(tensor)
            self._seen.add(label)
            if self._stop_when_captured and self._seen >= self._wanted:
                raise _AllCaptured

        self._add(site.point(self.model), label, call)

    def _let_patterns_go(self) -> None:
        """Stop transformer-lens 3.9 from keeping each layer's last pattern where nobody reads it.

        On joint-QKV architectures (GPT-2, NeoX) it does, so that all layers' patterns would be in
        memory at once, and stay there.
        """

        def forget(module: Any, *_: Any) -> None:
            module._pattern = None

        for block in self.model.bridge.blocks:
            attention: Any = getattr(block, "attn", None)
            if hasattr(attention, "_pattern"):
                self._module_handles.append(attention.register_forward_hook(forget))

    def _remove_hooks(self) -> None:
        self._closed = True
        for module_handle in self._module_handles:
            module_handle.remove()
        self._module_handles.clear()
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
    capture: Sequence[Site | str] | Site | str = (),
    intervene: Sequence[Intervention] | Intervention = (),
    watch: Mapping[Site, Watcher] | Mapping[str, Watcher] | None = None,
    keep_graph: bool = False,
) -> Iterator[Session]:
    """Open a session: hooks on, and off again whatever happens.

    Every site is resolved before the first hook is added, so a misspelt one changes nothing.
    Sessions nest; an inner one removes only its own hooks. Interventions run in the order given
    and captures and watchers see what they leave.

    Args:
        model: The model.
        capture: Sites whose activations are kept from each run.
        intervene: Changes to make in each run.
        watch: For each site, a function called with the whole activation there (all heads and
            positions, batch first) in each run, and then let go: reduce it on the spot. What the
            function returns is ignored, and it must not write into what it is given.
        keep_graph: Keep captured tensors in the autograd graph.

    Yields:
        The session; ``session.run(tokens)`` gives logits, ``session["L3.resid_post"]`` what
        was captured.

    Raises:
        SiteError: a site the model does not have, or that cannot be edited.
        HookError: on leaving, a hook that never fired.
    """
    sites = Site.parse_all(capture)
    for site in sites:
        site.point(model)
    watched = {Site.parse(s): look for s, look in (watch or {}).items()}
    for site in watched:
        if site != site.whole:
            raise SiteError(f"{site}: a watcher sees the whole activation; watch {site.whole}")
        site.point(model)
    intervene = [intervene] if isinstance(intervene, Intervention) else list(intervene)
    for intervention in intervene:
        if not isinstance(intervention, Intervention):
            raise SiteError(
                f"{intervention!r} is no intervention; make one, as in zero({str(intervention)!r})"
            )
        intervention.site.require_editable(model)
    opened = Session(model)
    try:
        for intervention in intervene:
            opened._add_intervention(intervention)
        for site in dict.fromkeys(s.whole for s in sites):
            opened._add_capture(site, keep_graph=keep_graph)
        opened._let_patterns_go()
        for site, look in watched.items():
            opened._add_look(f"watch {site}", site, look)
        yield opened
    finally:
        opened._remove_hooks()
    opened._require_fired()
