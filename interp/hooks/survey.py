"""What a model's hook points really do: found out on a probe rather than believed.

Transformer-lens lists hook points that never run, gives one tensor under two names, and ignores
some edits. One small forward pass a model finds the first two out; two more, for each place that
is to be edited and is known to be doubtful, the third. All of it runs with every other hook
switched off, so that nothing of the caller's is seen or disturbed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from interp.models import Model
from interp.models.checks import probe_tokens

Look = Callable[[Tensor], Tensor | None]


class _Enough(Exception):
    """Raised inside a probe's forward pass once the last place of interest has been seen."""


@contextmanager
def _alone(model: Model, hooks: Sequence[tuple[Any, Look]]) -> Iterator[None]:
    """Put hooks on, all others off; afterwards the other way round, in the order they had."""
    points = list(dict.fromkeys(model.bridge.hook_dict.values()))
    # Torch's own table, emptied and refilled in place: the handles others hold stay good.
    others = [(point, list(point._forward_hooks.items())) for point in points]
    for point, _ in others:
        point._forward_hooks.clear()
    added = []
    try:
        for point, look in hooks:
            point.add_hook(lambda tensor, hook, look=look: look(tensor))
            added.append((point, point.fwd_hooks[-1]))
        yield
    finally:
        for point, handle in added:
            handle.hook.remove()
            point.fwd_hooks[:] = [h for h in point.fwd_hooks if h is not handle]
        for point, items in others:
            point._forward_hooks.update(items)


@torch.no_grad()
def probe(model: Model, hooks: Sequence[tuple[Any, Look]]) -> None:
    """Run a fixed small batch with these hooks and no others."""
    with _alone(model, hooks), suppress(_Enough):
        model.forward(probe_tokens(model.d_vocab, model.n_ctx))


def live_points(
    model: Model, candidates: Mapping[tuple[int | None, str], str], ranks: Mapping[str, int]
) -> dict[tuple[int | None, str], Any]:
    """Return the hook points that run, with as many axes as they should have.

    Args:
        model: The model.
        candidates: For each (layer, kind), the name of its hook point.
        ranks: For each kind, how many axes its activation has.
    """
    points = model.bridge.hook_dict
    found: dict[tuple[int | None, str], Any] = {}
    waiting: dict[int | None, Tensor] = {}

    def look(key: tuple[int | None, str], point: Any) -> Look:
        layer, kind = key

        def seen(tensor: Tensor) -> None:
            if tensor.ndim != ranks[kind]:
                return
            found[key] = point
            if kind not in ("scores", "pattern"):
                return
            # Where attention runs inside the model's own code, only its pattern comes out, and
            # the bridge hands that out a second time as the scores.
            other = waiting.pop(layer, None)
            if other is None:
                waiting[layer] = tensor.clone()
            elif torch.equal(other, tensor):
                found.pop((layer, "scores"), None)

        return seen

    hooks = []
    for key, name in candidates.items():
        # Rotary models alias their table of angles as a position embedding; nothing is added.
        if name in points and not str(points[name].name).startswith("rotary"):
            hooks.append((points[name], look(key, points[name])))
    probe(model, hooks)
    return {key: found[key] for key in candidates if key in found}


def edit_reaches(model: Model, edited: Any, downstream: Any, *, is_pattern: bool) -> bool:
    """Whether replacing what is at one hook point changes what is at a later one."""
    outputs: list[Tensor] = []

    def scramble(tensor: Tensor) -> Tensor:
        noise = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(1))
        if is_pattern:
            noise = noise.tril() / noise.tril().sum(-1, keepdim=True)
        return noise.to(tensor)

    def keep(tensor: Tensor) -> None:
        outputs.append(tensor.clone())
        raise _Enough

    probe(model, [(downstream, keep)])
    probe(model, [(edited, scramble), (downstream, keep)])
    return not torch.equal(outputs[0], outputs[1])


def edit_stays_in_stream(model: Model, mid: Any, mlp_out: Any, post: Any) -> bool:
    """Whether an edit between attention and MLP is carried on past the MLP.

    Where the bridge hooks only what the MLP reads, the residual stream goes on without the edit.
    """
    seen: dict[str, Tensor] = {}

    def shift(tensor: Tensor) -> Tensor:
        noise = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(1)).to(tensor)
        seen["mid"] = tensor + (1 + tensor.abs().max()) * noise
        return seen["mid"]

    def keep(name: str) -> Look:
        def look(tensor: Tensor) -> None:
            seen[name] = tensor.clone()

        return look

    probe(model, [(mid, shift), (mlp_out, keep("mlp")), (post, keep("post"))])
    lost = (seen["mid"] + seen["mlp"] - seen["post"]).abs().max()
    return bool(lost <= 0.05 * seen["post"].abs().max())
