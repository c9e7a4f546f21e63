"""A network that multiplies in a group, read in one go: on which representations does it rest?

1. Run the model on all pairs, once.
2. Accuracy on held-out pairs decides whether it has learnt to multiply; where ab = ba, on those
   whose mirror image is held out too, since one that has memorised (b, a) may well answer (a, b).
   If it has not learnt, or there are too few pairs to tell, no representation is called key.
3. Shares of logits, weights and neurons by representation (:mod:`interp.fourier.groups_shares`).
4. Restricted and excluded loss at the key representations. With L the logits and L̄[g] their mean
   over the pairs with ab = g, L_ρ[a, b] = (K_ρL̄)[ab]. Restricted: the loss of Σ_key L_ρ, the mean
   over pairs of the rest added back, as in :mod:`interp.fourier.progress`; ``restricted_bare``, the
   published measure, adds nothing. Excluded: that of L − Σ_key L_ρ on training pairs.

In a network with one hidden layer logits are linear in the neurons, so this is the same as taking
ρ(ab) out of the neurons (Chughtai et al. 2023, §5.2).
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from interp.fourier.basis import FourierError
from interp.fourier.groups import Group
from interp.fourier.groups_shares import (
    KEY_SIMILARITY,
    GroupRun,
    Shares,
    mean_by_product,
    run_group,
    shares_of,
)
from interp.fourier.modular import GROKKED, LEAST_UNSEEN, Accuracies
from interp.fourier.pairs import unseen_pairs
from interp.fourier.progress import Losses, check_mask
from interp.models import Model


@dataclass(frozen=True)
class GroupLosses:
    """The losses of a model, with the key representations alone, and without them.

    Attributes:
        keys: Their names.
        full: Of the logits as they are.
        restricted: Of the key representations alone, the mean over pairs of the rest added back.
        restricted_bare: Of the key representations and nothing else. Published over all pairs.
        excluded: Without them. The published measure is on training pairs.
        excluded_each: Without one of them, by name.
    """

    keys: tuple[str, ...]
    full: Losses
    restricted: Losses
    restricted_bare: Losses
    excluded: Losses
    excluded_each: dict[str, Losses]


@dataclass(frozen=True, eq=False)
class GroupReading:
    """What :func:`read_group` found.

    Attributes:
        group: The group.
        accuracy: Of the model.
        learnt: Whether it answers 99 % of the held-out pairs, in a commutative group of those whose
            mirror image is held out too (of all pairs, where it is not known which were trained
            on); None where a commutative group leaves fewer than
            :data:`~interp.fourier.modular.LEAST_UNSEEN` of these.
        reason: Why it is said to have learnt or not, and why there are no key representations.
        keys: Key representations, strongest first; None where it has not learnt, or none is key.
        shares: By representation.
        losses: At the key representations; None without.
        additive: Share of what neurons read that is W_a[a] + W_b[b].
    """

    group: Group
    accuracy: Accuracies
    learnt: bool | None
    reason: str
    keys: tuple[str, ...] | None
    shares: Shares
    losses: GroupLosses | None
    additive: float

    def __repr__(self) -> str:
        keys = "none" if self.keys is None else ", ".join(self.keys)
        return f"GroupReading({self.group.name}, key representations {keys}: {self.reason})"

    def share_in_keys(self, of: str) -> float | None:
        """Share of ``W_a``, ``W_b``, ``W_U`` or ``neurons`` in key representations; None without.

        Of neurons, that in functions of a, of b and of ab together.

        Raises:
            FourierError: none of these.
        """
        if of not in ("W_a", "W_b", "W_U", "neurons"):
            raise FourierError(f"no shares of {of!r}; expected W_a, W_b, W_U or neurons")
        if self.keys is None:
            return None
        chosen = [self.group.names.index(name) for name in self.keys]
        values: Tensor = getattr(self.shares, of)
        return float(values[..., chosen].sum())

    @property
    def lines(self) -> dict[str, str]:
        """The findings as plain text by name, for tables."""
        found = {
            "product in": f"{self.group.name}, of order {self.group.order}",
            "learnt": {True: "yes: ", False: "no: ", None: ""}[self.learnt] + self.reason,
            "key representations": ", ".join(self.keys or ()) or "none",
            "characters' share of the logits": f"{self.shares.logit_fve:.3f}",
        }
        if self.keys is not None:
            for of in ("W_a", "W_b", "W_U", "neurons"):
                found[f"share of {of} in these"] = f"{self.share_in_keys(of):.3f}"
        if self.losses is not None:
            for name in ("full", "restricted", "excluded"):
                loss: Losses = getattr(self.losses, name)
                parts = {"train": loss.train, "test": loss.test, "all": loss.all}
                told = [f"{which} {x:.3g}" for which, x in parts.items() if x is not None]
                found[f"{name} loss (nats)"] = ", ".join(told)
        return found

    def _repr_html_(self) -> str:
        """Show the findings in Jupyter; all text is escaped."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in self.lines.items()
        )
        return f"<table>{rows}</table>"


def read_group(
    model: Model | GroupRun,
    group: Group,
    *,
    train: Bool[Tensor, "g g"] | None = None,
    n_relabellings: int = 99,
    seed: int = 0,
) -> GroupReading:
    """Read a one-layer model that multiplies in a group.

    >>> read_group(load_model("zoo:s4"), symmetric_group(4), train=train)

    A representation is key if its similarity is above .005 (the published threshold) and above that
    of any representation in any random renaming of the elements. A lookup table that is always
    right has all of them for keys: see :mod:`interp.fourier.groups_shares`.

    Args:
        model: A one-layer model, or what :func:`run_group` gave of it.
        group: The group whose elements its tokens are.
        train: True at the pairs it was trained on; None where that is not known: then accuracy and
            losses are over all pairs.
        n_relabellings: Random renamings for the null.
        seed: Draws them.

    Raises:
        FourierError: the model has another shape, its logits do not vary, or the mask does not fit.
    """
    if train is not None:
        check_mask(train, group.order)
    ran = run_group(model, group) if isinstance(model, Model) else model
    shares = shares_of(ran, group, n_relabellings=n_relabellings, seed=seed)
    accuracy = _accuracies(ran.logits, group, train)
    learnt, reason = _gate(accuracy, commutes=group.commutative)
    keys = (key_representations(shares, group) or None) if learnt else None
    if learnt and keys is None:
        reason += ", and no representation stands out"
    losses = None if keys is None else group_losses(ran.logits, group, keys, train=train)
    return GroupReading(group, accuracy, learnt, reason, keys, shares, losses, ran.additive)


def key_representations(shares: Shares, group: Group) -> tuple[str, ...]:
    """Names of those whose similarity is above .005 and any relabelling's, strongest first."""
    null = float(shares.relabelled.max()) if shares.relabelled.numel() else 0.0
    least = max(KEY_SIMILARITY, null)
    order = shares.similarity.argsort(descending=True).tolist()
    return tuple(group.names[i] for i in order if float(shares.similarity[i]) > least)


def group_losses(
    logits: Float[Tensor, "g g g"],
    group: Group,
    names: Sequence[str],
    *,
    train: Bool[Tensor, "g g"] | None = None,
) -> GroupLosses:
    """Restricted and excluded loss at given representations; see the module.

    Args:
        logits: On all pairs.
        group: The group.
        names: Of the representations.
        train: True at the pairs trained on; None where that is not known.

    Raises:
        FourierError: no such representation, or a mask of another shape or without held-out pairs.
    """
    if train is not None:
        check_mask(train, group.order)
    wide = logits.detach().cpu().double()
    by_product, answers = mean_by_product(wide, group), group.table.flatten()
    parts = {name: group.projection(group.irrep(name)) @ by_product for name in names}
    every = torch.stack(list(parts.values())).sum(0)
    flat = wide.flatten(0, 1)
    rest = flat.mean(0) - every.mean(0)

    def judged(values: Tensor) -> Losses:
        nll = F.cross_entropy(values, answers, reduction="none")
        if train is None:
            return Losses(None, None, float(nll.mean()))
        of = train.flatten()
        return Losses(float(nll[of].mean()), float(nll[~of].mean()), float(nll.mean()))

    return GroupLosses(
        keys=tuple(names),
        full=judged(flat),
        restricted=judged((every + rest)[answers]),
        restricted_bare=judged(every[answers]),
        excluded=judged(flat - every[answers]),
        excluded_each={name: judged(flat - part[answers]) for name, part in parts.items()},
    )


def _accuracies(logits: Tensor, group: Group, train: Tensor | None) -> Accuracies:
    flat = logits.detach().cpu().flatten(0, 1)
    right = (flat.argmax(1) == group.table.flatten()).double()
    # Uniform logits would be right wherever the answer is 0: that is no knowledge.
    right[(flat == flat.amax(1, keepdim=True)).sum(1) > 1] = 0.0
    if train is None:
        return Accuracies(None, None, float(right.mean()))
    # Where ab and ba differ, to know one does not help with the other.
    apart = unseen_pairs(train) if group.commutative else ~train
    chosen, unseen = train.flatten(), apart.flatten()
    n_unseen = int(unseen.sum())
    return Accuracies(
        train=float(right[chosen].mean()),
        test=float(right[~chosen].mean()),
        all=float(right.mean()),
        unseen=float(right[unseen].mean()) if n_unseen else None,
        n_unseen=n_unseen,
    )


def _gate(accuracy: Accuracies, *, commutes: bool) -> tuple[bool | None, str]:
    """Whether a network has learnt to multiply, and why."""
    judged, which = accuracy.unseen, "held-out pairs"
    if commutes:
        which += " without a mirror image in training"
    if accuracy.n_unseen is None:
        judged, which = accuracy.all, "all pairs"
    elif judged is None or (commutes and accuracy.n_unseen < LEAST_UNSEEN):
        return None, (
            f"it cannot be told whether it has learnt: there are {accuracy.n_unseen} {which}, "
            f"expected at least {LEAST_UNSEEN}; train on a smaller share"
        )
    if judged < GROKKED:
        return False, f"{judged:.1%} of {which} right, expected {GROKKED:.0%}: not learnt"
    return True, f"{judged:.1%} of {which} right"
