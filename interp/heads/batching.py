"""How a sweep is cut into forward passes: decided by shapes alone, so that a resumed one agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from interp.heads.ablation import AblationError
from interp.models import Model

# Matrix products gain nothing from more than some 512 tokens, the unembedding of one position a
# row a little; beyond this there is only memory to lose.
TOKENS_PER_FORWARD = 1024


@dataclass(frozen=True)
class Batching:
    """Sizes of what runs together.

    Attributes:
        examples: Examples a clean pass.
        rows: Rows (a set on an example) a forward pass from the middle on.
    """

    examples: int
    rows: int


def batching(
    model: Model,
    *,
    n: int,
    length: int,
    sets_a_layer: Sequence[int],
    reads: int,
    keeps_patterns: bool,
    tokens_per_forward: int,
    memory_mb: float | None,
) -> Batching:
    """Choose sizes.

    Args:
        model: The model.
        n: Number of examples.
        length: Positions of each.
        sets_a_layer: For each layer at which sets begin, how many do.
        reads: Positions at which logits are read.
        keeps_patterns: Whether clean patterns and values of all layers are kept.
        tokens_per_forward: Wanted size.
        memory_mb: Limit in 10⁶ bytes on what is held beside the model, by estimate.

    Raises:
        AblationError: one example alone does not fit.
    """
    if tokens_per_forward < 1:
        raise AblationError(f"tokens_per_forward is {tokens_per_forward}; expected at least 1")
    n_sets = max(1, sum(sets_a_layer))
    # Several sets share a forward pass, so that few examples' clean passes are held.
    examples = max(1, min(n, tokens_per_forward // (length * min(4, n_sets))))
    rows = max(1, min(tokens_per_forward // length, n_sets * examples))
    if memory_mb is None:
        return Batching(examples, rows)
    held, clean, row = _bytes(model, length, len(sets_a_layer), reads, keeps_patterns)
    limit = memory_mb * 1e6

    def needed(examples: int, rows: int) -> float:
        return examples * held + max(examples * clean, rows * row)

    if needed(1, 1) > limit:
        raise AblationError(
            f"one example of {length} tokens needs about {needed(1, 1) / 1e6:.0f} MB beside the "
            f"model, the limit is {memory_mb:g}; raise it or shorten the examples"
        )
    while needed(examples, rows) > limit:
        if rows > examples or examples == 1:
            rows = max(1, rows // 2)
        else:
            examples = max(1, examples // 2)
    return Batching(examples, rows)


def _bytes(
    model: Model, length: int, n_starts: int, reads: int, keeps_patterns: bool
) -> tuple[int, int, int]:
    """Estimate for one example: held from its clean pass, passing in it; passing for one row."""
    size = max(model.dtype.itemsize, 2)
    cfg = model.bridge.cfg
    d_mlp = getattr(cfg, "d_mlp", None) or 4 * model.d_model
    d_z = model.n_heads * model.d_head
    held = n_starts * (2 * model.d_model + d_z)
    if keeps_patterns:
        held += model.n_layers * (model.n_heads * length + d_z)
    stream = 6 * model.d_model + 4 * d_z + 3 * d_mlp + 3 * model.n_heads * length
    # Logits are read as float32, and some metrics take a softmax of them.
    clean = length * max(stream, 2 * model.d_vocab) * size
    row = length * stream * size + reads * model.d_vocab * (size + 8)
    return length * held * size, clean, row
