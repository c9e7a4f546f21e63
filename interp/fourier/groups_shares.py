"""How much of a network's weights, neurons and logits belongs to each representation of a group.

Signatures, after Chughtai et al. (2023), "A Toy Model of Universality", §5. A network that
multiplies by way of representations has logits Σ_ρ α_ρ·χ_ρ(abc⁻¹). With C the logits centred over c
and then over pairs, and X_ρ the table χ_ρ(abc⁻¹):

* ``similarity``: ⟨X_ρ, C⟩/(‖X_ρ‖‖C‖), in [−1, 1]; the squares add up to at most 1, the share of
  the logits' variance that the characters account for. Over a cyclic group these squares are
  ``cos_fve`` of :mod:`interp.fourier.components`.
* ``W_a``, ``W_b``, ``W_U``: ‖K_ρW‖²/‖W‖² for what neurons read from a, from b, and write to c; the
  trivial representation left out, in [0, 1], adding up to 1.
* ``neurons``: shares of the neurons' variance over pairs that are a function of a, of b, or of ab
  in the image of K_ρ.

Null: an unstructured matrix has rank_ρ/(|G| − 1) at ρ (``chance``). And being right is itself
Σ_ρ d_ρ χ_ρ(abc⁻¹): a lookup table has *every* representation, its square similarity at ρ again
rank_ρ/(|G| − 1). In a small group that is much, so a large similarity alone does not tell a
mechanism from a table.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.fourier.basis import FourierError
from interp.fourier.groups import Group
from interp.fourier.modular import neuron_readout
from interp.fourier.pairs import modulus, pair_tokens
from interp.hooks import session
from interp.models import Model

KEY_SIMILARITY = 0.005
"""Least similarity of a key representation, as in the published code."""


@dataclass(frozen=True, eq=False)
class GroupRun:
    """What a network computes on all pairs, and with which weights.

    Attributes:
        logits: Of the products, ``[a, b, c]``.
        neurons: After the activation function, ``[a, b, neuron]``.
        W_a: What each neuron reads from a, the mean left out.
        W_b: From b.
        W_U: What it writes to each answer, transposed.
        additive: Share of the variance before the activation function that is W_a[a] + W_b[b]: 1
            in a network with one hidden layer, less in a transformer.
    """

    logits: Float[Tensor, "g g g"]
    neurons: Float[Tensor, "g g neuron"]
    W_a: Float[Tensor, "g neuron"]
    W_b: Float[Tensor, "g neuron"]
    W_U: Float[Tensor, "g neuron"]
    additive: float


@dataclass(frozen=True, eq=False)
class Shares:
    """One number for each representation, in the order of ``Group.irreps``; see the module.

    Attributes:
        similarity: Of the logits with χ_ρ(abc⁻¹).
        relabelled: The largest similarity of any representation in each relabelling of the group.
        chance: rank_ρ/(|G| − 1); 0 for the trivial representation.
        W_a: Share of what neurons read from a.
        W_b: From b.
        W_U: Of what they write.
        neurons: Share of the neurons' variance that is a function of a, b or ab, ``[3, irrep]``.
    """

    similarity: Float[Tensor, " irrep"]
    relabelled: Float[Tensor, " relabelling"]
    chance: Float[Tensor, " irrep"]
    W_a: Float[Tensor, " irrep"]
    W_b: Float[Tensor, " irrep"]
    W_U: Float[Tensor, " irrep"]
    neurons: Float[Tensor, "3 irrep"]

    @property
    def logit_fve(self) -> float:
        """Share of the logits' variance along all characters: Σ similarity²."""
        return float(self.similarity.square().sum())


@torch.no_grad()
def run_group(model: Model, group: Group, *, batch_size: int = 2048) -> GroupRun:
    """Run a one-layer model on all pairs of a group's elements.

    Args:
        model: Reads ``a b =``, the elements being tokens 0 … |G| − 1; learnt or not.
        group: Only its order matters here.
        batch_size: Pairs at a time.

    Raises:
        FourierError: the model has another shape, or another number of elements.
    """
    p = modulus(model)
    if p != group.order:
        raise FourierError(f"{model.spec.name} has {p} elements and {group.name} has {group.order}")
    before, neurons, logits = [], [], []
    with session(model, capture=["L0.mlp_pre", "L0.mlp_post"]) as s:
        for tokens in pair_tokens(p).split(batch_size):
            logits.append(s.run(tokens)[:, -1, :p].cpu().double())
            before.append(s["L0.mlp_pre@-1"].cpu().double())
            neurons.append(s["L0.mlp_post@-1"].cpu().double())
    inner = torch.cat(before).unflatten(0, (p, p))
    inner = inner - inner.mean((0, 1))
    W_a, W_b = inner.mean(1), inner.mean(0)
    total = float(inner.square().sum())
    kept = p * float(W_a.square().sum() + W_b.square().sum())
    return GroupRun(
        logits=torch.cat(logits).unflatten(0, (p, p)),
        neurons=torch.cat(neurons).unflatten(0, (p, p)),
        W_a=W_a,
        W_b=W_b,
        W_U=neuron_readout(model).T.cpu().double(),
        additive=kept / total if total > 0 else 1.0,
    )


def shares_of(run: GroupRun, group: Group, *, n_relabellings: int = 99, seed: int = 0) -> Shares:
    """All shares of a network, and the null of relabelled elements.

    Args:
        run: From :func:`run_group`.
        group: What its elements are.
        n_relabellings: Random renamings of the elements, operands and answers alike.
        seed: Draws them.

    Raises:
        FourierError: logits of another shape, not finite, or the same for all pairs.
    """
    centred = _centred(run.logits, group)
    chance = torch.tensor([r.rank / (group.order - 1) for r in group.irreps], dtype=torch.float64)
    chance[0] = 0.0
    return Shares(
        similarity=_similarity(centred, group, torch.arange(group.order)),
        relabelled=relabelled_similarity(run.logits, group, n=n_relabellings, seed=seed).amax(1),
        chance=chance,
        W_a=weight_shares(run.W_a, group),
        W_b=weight_shares(run.W_b, group),
        W_U=weight_shares(run.W_U, group),
        neurons=neuron_shares(run.neurons, group),
    )


def logit_similarity(logits: Float[Tensor, "g g g"], group: Group) -> Float[Tensor, " irrep"]:
    """Cosine of the centred logits with χ_ρ(abc⁻¹), for every representation; 0 for the trivial.

    Raises:
        FourierError: logits of another shape, not finite, or the same for all pairs.
    """
    return _similarity(_centred(logits, group), group, torch.arange(group.order))


def relabelled_similarity(
    logits: Float[Tensor, "g g g"], group: Group, *, n: int, seed: int
) -> Float[Tensor, "relabelling irrep"]:
    """:func:`logit_similarity` under random renamings of the elements, operands and answers alike.

    Raises:
        FourierError: as :func:`logit_similarity`.
    """
    centred = _centred(logits, group)
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros((n, len(group.irreps)), dtype=torch.float64)
    for row in found:
        row[:] = _similarity(centred, group, torch.randperm(group.order, generator=generator))
    return found


def weight_shares(
    weights: Float[Tensor, "g unit"], group: Group, *, each: bool = False
) -> Float[Tensor, "*unit irrep"]:
    """‖K_ρW‖²/‖W‖² over the group, the trivial representation left out.

    Args:
        weights: One row an element.
        group: The group.
        each: A row of shares for each column by itself, rather than one for all together.

    Returns:
        In the order of ``group.irreps``, 0 first; a column that is the same everywhere has zeros.

    Raises:
        FourierError: another number of rows, or not finite.
    """
    if len(weights) != group.order or not bool(torch.isfinite(weights).all()):
        raise FourierError(
            f"weights over {group.name} must be {group.order} finite rows, got {len(weights)}"
        )
    wide = weights.detach().cpu().double()
    centred = wide - wide.mean(0)
    energy = torch.stack([(group.projection(r) @ centred).square().sum(0) for r in group.irreps])
    energy[0] = 0.0
    energy = energy.T if each else energy.sum(1)
    total = energy.sum(-1, keepdim=True)
    return torch.where(total > 0, energy / total.clamp(min=torch.finfo(total.dtype).tiny), 0.0)


def neuron_shares(neurons: Float[Tensor, "g g neuron"], group: Group) -> Float[Tensor, "3 irrep"]:
    """Shares of the neurons' variance over pairs in functions of a, of b and of ab, by ρ.

    The three kinds are orthogonal to each other, since for a given a every ab is as frequent; what
    is missing from 1 is interaction of no such form.
    """
    wide = neurons.detach().cpu().double()
    centred = wide - wide.mean((0, 1))
    total = float(centred.square().sum())
    if not total > 0:
        return torch.zeros((3, len(group.irreps)), dtype=torch.float64)
    means = (centred.mean(1), centred.mean(0), mean_by_product(centred, group))
    energy = [
        [float((group.projection(r) @ mean).square().sum()) for r in group.irreps] for mean in means
    ]
    return group.order * torch.tensor(energy, dtype=torch.float64) / total


def mean_by_product(values: Float[Tensor, "g g c"], group: Group) -> Float[Tensor, "g c"]:
    """Mean over the |G| pairs of each product, in float64."""
    found = torch.zeros((group.order, values.shape[2]), dtype=torch.float64)
    return found.index_add_(0, group.table.flatten(), values.double().flatten(0, 1)) / group.order


def _centred(logits: Tensor, group: Group) -> Float[Tensor, "g g g"]:
    if tuple(logits.shape) != (group.order,) * 3 or not bool(torch.isfinite(logits).all()):
        raise FourierError(
            f"logits on all pairs of {group.name} must be finite, of shape {[group.order] * 3}, "
            f"got {list(logits.shape)}"
        )
    wide = logits.detach().cpu().double()
    wide = wide - wide.mean(2, keepdim=True)
    centred = wide - wide.mean((0, 1))
    if not float(centred.square().sum()) > 1e-20 * float(logits.double().square().sum()):
        raise FourierError("the logits are the same for all pairs: nothing varies")
    return centred


def _similarity(centred: Tensor, group: Group, order: Tensor) -> Float[Tensor, " irrep"]:
    """The cosines, with the i-th row standing for the element ``order[i]``."""
    # Only abc⁻¹ matters, so |G|³ terms become |G| sums.
    of = group.quotients[:, order][group.table[order][:, order]]
    added = torch.bincount(of.flatten(), weights=centred.flatten(), minlength=group.order)
    characters = torch.stack([irrep.character for irrep in group.irreps])
    norms = group.order * characters.square().sum(1).sqrt()
    found = characters @ added / (norms * centred.square().sum().sqrt())
    found[0] = 0.0  # centred logits have nothing there but rounding
    return found
