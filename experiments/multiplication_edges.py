"""The edges of the attention tree, cut one by one: does the model rest on what it looks at?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.multiplication import Config
    from interp.evidence import EvidenceTable
    from interp.fourier import AttentionTree
    from interp.models import Examples, Model

TESTED = 3


def weigh_edges(
    config: Config, model: Model, tree: AttentionTree, predicts: Sequence[int], judged: Examples
) -> EvidenceTable | None:
    """Cut the strongest edges of the last layer to caching positions, beside all its other edges.

    An edge is one head looking from one answer position at one position. There are enough of them
    for a small p, which so small a model does not have in heads. None where the tree has no edge.
    """
    import dataclasses

    import torch

    from interp.evidence import EvidenceTable, correct, layer_matched, loss, weigh
    from interp.heads import knock_out

    layer = model.n_layers - 1
    strongest = [edge for edge in tree.edges if edge.head[0] == layer][:TESTED]
    if not strongest:
        return None
    heads = range(model.n_heads)
    width = judged.tokens.shape[1]
    ablated, effects = [], []
    names: dict[tuple[int, int, int], int] = {}
    for to in predicts:
        for source in range(to + 1):
            pairs = torch.zeros(len(judged), width, width, dtype=torch.bool)
            pairs[:, to, source] = True
            found = knock_out(model, judged, loss, [[(layer, head)] for head in heads], pairs)
            for head in heads:
                names[head, to, source] = len(names)
                ablated.append(found.ablated[head])
                effects.append(found.effects[head])
    of_edges = torch.stack(effects)
    carrying = [names[edge.head[1], edge.to, edge.source] for edge in strongest]
    rows = []
    for edge, target in zip(strongest, carrying, strict=True):
        # Edges are drawn as heads of one layer are, each by its number.
        drawn = layer_matched(
            [(0, target)],
            1,
            len(names),
            n=len(names),
            seed=config.seed,
            exclude=[(0, other) for other in carrying],
        )
        chosen = [number for one in drawn.sets for _, number in one]
        rows.append(
            weigh(
                f"L{layer}H{edge.head[1]} from {edge.to} to {edge.source}",
                signature_name="attention",
                signature=edge.weight,
                signature_null=1 / (edge.to + 1),
                has_signature=True,
                metric=loss,
                clean=found.clean,
                ablated=ablated[target],
                control_effects=of_edges[chosen],
                controls=dataclasses.replace(drawn, family="other-edge"),
                groups=judged.groups,
                alpha=config.alpha,
                seed=config.seed,
            )
        )
    return EvidenceTable(correct(rows))
