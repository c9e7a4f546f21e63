"""Capturing a few positions without computing the rest: where the last block needed can be cut.

The residual stream behind a block, at one position, takes keys and values from all positions and
nothing else: queries, the output projection and the MLP are run where something is kept, and the
blocks behind not at all. Tried on a probe, once for each layer, before it is relied on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor

from interp.hooks.borrowing import gather, modules_of, replaced
from interp.hooks.joining import Join, read_only
from interp.hooks.quick import quickly
from interp.hooks.session import Session, Watcher, session
from interp.hooks.sites import Site
from interp.hooks.suffix import Rewrite, then_read
from interp.hooks.suffix_check import TOLERANCE, has_hooks
from interp.models import Model
from interp.models.checks import probe_tokens
from interp.models.memory import is_out_of_memory

log = logging.getLogger(__name__)

# Kinds that no cheaper equal of a module hides.
_SEEN = frozenset({"embed", "resid_pre", "resid_post", "q", "k", "v", "z"})


def layer_to_cut(model: Model, sites: Sequence[Site]) -> int | None:
    """Say which block is the last needed and can be cut, or None where that cannot be done.

    It can where its residual stream behind it is all that is wanted of it, everything else is
    seen before, and the probe agrees.
    """
    if {site.kind for site in sites} - _SEEN:
        return None
    layers = [site.layer for site in sites if site.layer is not None]
    layer = max(layers, default=None)
    if layer is None or any(s.kind != "resid_post" for s in sites if s.layer == layer):
        return None
    if has_hooks(model):
        return None
    known: dict[int, bool] = model.__dict__.setdefault("_cut", {})
    if layer not in known:
        try:
            known[layer] = _agrees(model, layer)
        except Exception as error:  # another architecture's code may fail in any way
            if is_out_of_memory(error):
                raise
            log.debug("layer %d of %s cannot be cut: %s", layer, model.spec.name, error)
            known[layer] = False
    return layer if known[layer] else None


@contextmanager
def cut(
    model: Model, layer: int, at: Int[Tensor, "row k"], watch: dict[Site, Watcher]
) -> Iterator[Session]:
    """Open a session whose runs go no further than ``layer``, and through it only at ``at``.

    The watcher of its ``resid_post`` is given [row k d_model].
    """
    at = at.to(model.device)
    block = modules_of(model, layer)[0]
    read = Rewrite(Site(layer, "z"), "set", function=then_read(None, at))
    with ExitStack() as stack:
        stack.enter_context(quickly(model))
        n = len(at)
        stack.enter_context(replaced(block, read_only(model, Join(layer, n, n), at)))
        yield stack.enter_context(session(model, intervene=read, watch=watch))


@torch.no_grad()
def _agrees(model: Model, layer: int) -> bool:
    """Whether a cut run of a few padded tokens holds what a whole one does."""
    tokens = probe_tokens(model.d_vocab, model.n_ctx)[:, :8].repeat(2, 1)[:2]
    width = tokens.shape[1]
    if width < 3:
        return False
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, width - 1 :] = False
    at = torch.tensor([[width - 1, 0], [width - 2, 1]])
    sites = [Site(i, "resid_post") for i in range(layer + 1)]
    with session(model, capture=sites) as s:
        s.run_until_captured(tokens, mask)
        whole = dict(s.captured)
    found: dict[Site, Tensor] = {}

    def keep(site: Site, values: Tensor) -> None:
        found[site] = values.clone()  # later layers may write over it

    with cut(model, layer, at, {site: partial(keep, site) for site in sites}) as s:
        s.run_until_captured(tokens, mask)
    last = sites[-1]
    if found[last].shape[:2] != at.shape:
        return False
    for site in sites:
        mine = found[site] if site == last else gather(found[site], at.to(model.device))
        wanted = gather(whole[site], at.to(model.device))
        scale = max(1.0, float(wanted.float().abs().max()))
        error = float((mine.float() - wanted.float()).abs().max())
        if not error <= TOLERANCE.get(mine.dtype, 1e-1) * scale:
            return False
    return True
