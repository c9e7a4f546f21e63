"""Modular addition read in one go: has it grokked, on which frequencies, and what do they carry?

1. Run the model on all p² pairs, once.
2. Accuracy on held-out pairs (a, b) of which (b, a) is held out too decides whether it has grokked.
   If not, or if there are too few to tell, no frequency is called key.
3. Project the logits onto cos(w_k(a + b − c)): few frequencies stand out, or none.
4. Read restricted and excluded loss at these; spectra of the weights; clusters of neurons.

After Nanda et al. (2023), "Progress measures for grokking via mechanistic interpretability". All of
this is signature, but for the two losses; :func:`interp.fourier.weigh_frequencies` weighs each
frequency by removing it.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.fourier.components import (
    TrigComponents,
    key_frequencies,
    shuffled_components,
    trig_components,
)
from interp.fourier.neurons import NeuronClusters, neuron_clusters
from interp.fourier.pairs import check_logits, modulus, run_pairs, sums, unseen_pairs
from interp.fourier.progress import Losses, Progress, check_mask, progress_losses
from interp.fourier.spectra import Spectrum, check_shuffles, spectrum, unit_spectra
from interp.models import Model, weights

GROKKED = 0.99
"""Least accuracy on unseen pairs at which a model is said to have grokked."""

LEAST_UNSEEN = 50
"""Fewest unseen pairs on which that is judged."""


@dataclass(frozen=True)
class Accuracies:
    """Share of pairs answered rightly.

    Attributes:
        train: On pairs trained on; None where it is not known which.
        test: On held-out pairs; None likewise.
        all: On all.
        unseen: On held-out pairs whose mirror image is held out too; None likewise, or where there
            are none.
        n_unseen: How many these are; None where it is not known.
    """

    train: float | None
    test: float | None
    all: float
    unseen: float | None = None
    n_unseen: int | None = None


@dataclass(frozen=True, eq=False)
class WeightSpectra:
    """Spectra of a model's weights over residues.

    Attributes:
        embedding: Of the operands' embeddings.
        readout: Of what neurons write to the logits, W_out W_U, over answers.
        heads: Of each head's attention score from ``=`` to an operand, ``[head, frequency]``.
    """

    embedding: Spectrum
    readout: Spectrum
    heads: Float[Tensor, "head frequency"]


@dataclass(frozen=True, eq=False)
class ModularReading:
    """What :func:`read_modular` found.

    Attributes:
        p: The modulus.
        accuracy: Of the model.
        grokked: Whether it answers at least :data:`GROKKED` of the held-out pairs whose mirror
            image is held out too; None where these are fewer than :data:`LEAST_UNSEEN`. Where it is
            not known which were trained on: of all pairs; one that does without key frequencies
            that suffice alone may have memorised them, and has None.
        reason: Why it is said to have grokked or not, why there are no key frequencies where there
            are none, and whether those that stand out suffice alone.
        key_frequencies: Strongest first; None where it is not known to have grokked, or none
            stands out.
        components: The logits by trigonometric component.
        shuffled_max: The largest ``cos_fve`` of any frequency in any shuffled order.
        progress: Restricted and excluded losses; None without key frequencies.
        neurons: Clusters; None when read from logits alone.
        spectra: Of the weights; None when read from logits alone.
        sum_of_squares: Of all weights; None when read from logits alone.
    """

    p: int
    accuracy: Accuracies
    grokked: bool | None
    reason: str
    key_frequencies: tuple[int, ...] | None
    components: TrigComponents
    shuffled_max: float
    progress: Progress | None
    neurons: NeuronClusters | None = None
    spectra: WeightSpectra | None = None
    sum_of_squares: float | None = None

    def __repr__(self) -> str:
        keys = "none" if self.key_frequencies is None else list(self.key_frequencies)
        return f"ModularReading(p={self.p}, key frequencies {keys}: {self.reason})"

    @property
    def lines(self) -> dict[str, str]:
        """The findings as plain text by name, for tables; what was not measured is left out."""
        answer = {True: "yes: ", False: "no: ", None: ""}[self.grokked]
        found = {
            "addition mod": str(self.p),
            "grokked": answer + self.reason,
            "key frequencies": ", ".join(map(str, self.key_frequencies or ())) or "none",
            "cosines' share of the logits": f"{self.components.total:.3f}",
            "largest in shuffled order": f"{self.shuffled_max:.1g}",
        }
        if self.progress is not None:
            for name in ("full", "restricted", "excluded"):
                loss: Losses = getattr(self.progress, name)
                parts = {"train": loss.train, "test": loss.test, "all": loss.all}
                told = [f"{which} {x:.3g}" for which, x in parts.items() if x is not None]
                found[f"{name} loss (nats)"] = ", ".join(told)
        if self.spectra is not None and self.neurons is not None:
            found["Gini of W_E, of W_out W_U"] = (
                f"{self.spectra.embedding.gini:.2f}, {self.spectra.readout.gini:.2f}"
            )
            found["neurons over .85 on one frequency"] = f"{self.neurons.share():.0%}"
        return found

    def _repr_html_(self) -> str:
        """Show the findings in Jupyter; all text is escaped."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in self.lines.items()
        )
        return f"<table>{rows}</table>"


def read_modular(
    model: Model,
    *,
    train: Bool[Tensor, "p p"] | None = None,
    n_shuffles: int = 19,
    seed: int = 0,
) -> ModularReading:
    """Read a one-layer model of modular addition.

    >>> read_modular(load_model("zoo:modular-113"), train=table.split(0.3, seed=1))

    Args:
        model: A model of that shape, whether or not it has learnt the task.
        train: True at the pairs it was trained on; None where that is not known: then accuracy and
            losses are over all pairs, and a model that is right is said to have grokked only where
            its key frequencies suffice alone.
        n_shuffles: Shuffled orders for each null, at least 1.
        seed: Draws them.

    Raises:
        FourierError: the model has another shape, the mask does not fit, or no shuffles.
    """
    ran = run_pairs(model)
    found = read_logits(ran.logits, train=train, n_shuffles=n_shuffles, seed=seed)
    parameters = model.bridge.original_model.parameters()
    squares = sum(float(p.detach().double().square().sum()) for p in parameters)
    return ModularReading(
        **{
            **{name: getattr(found, name) for name in found.__dataclass_fields__},
            "neurons": neuron_clusters(ran.neurons),
            "spectra": weight_spectra(model, n_shuffles=n_shuffles, seed=seed),
            "sum_of_squares": squares,
        }
    )


def read_logits(
    logits: Float[Tensor, "p p p"],
    *,
    train: Bool[Tensor, "p p"] | None = None,
    n_shuffles: int = 19,
    seed: int = 0,
) -> ModularReading:
    """Read logits on all pairs, ``[a, b, c]``, of any model of a + b mod p.

    Args:
        logits: From anywhere.
        train: As in :func:`read_modular`.
        n_shuffles: Shuffled orders for the null, at least 1.
        seed: Draws them.

    Raises:
        FourierError: logits of another shape, the mask does not fit, or no shuffles.
    """
    check_shuffles(n_shuffles)
    p = check_logits(logits)
    if train is not None:
        check_mask(train, p)
    accuracy = _accuracies(logits, train)
    components = trig_components(logits)
    shuffled = shuffled_components(logits, n=n_shuffles, seed=seed)
    grokked, reason = _gate(accuracy)
    keys = (key_frequencies(components, shuffled) or None) if grokked else None
    progress = None if keys is None else progress_losses(logits, keys, train=train)
    if grokked and (progress is None or not progress.suffices):
        reason += (
            ", and no frequency stands out"
            if progress is None
            else f"; frequencies {', '.join(map(str, progress.keys))} stand out, but they alone do "
            "not suffice: the restricted loss is above the model's own"
        )
        if train is None:
            reason += "; without knowing which it was trained on, it may have learnt all by heart"
            grokked, keys, progress = None, None, None
    return ModularReading(
        p=p,
        accuracy=accuracy,
        grokked=grokked,
        reason=reason,
        key_frequencies=keys,
        components=components,
        shuffled_max=float(shuffled.max()) if shuffled.numel() else 0.0,
        progress=progress,
    )


def neuron_readout(model: Model) -> Float[Tensor, "neuron p"]:
    """What each neuron writes to the logits of the answers: W_out W_U.

    Raises:
        FourierError: the model has another shape.
    """
    p = modulus(model)
    W_out: Tensor = model.bridge.blocks[0].mlp.W_out.detach()
    return W_out @ model.W_U[:, :p]


def weight_spectra(model: Model, *, n_shuffles: int = 19, seed: int = 0) -> WeightSpectra:
    """Spectra of embedding, neuron readout and attention over residues.

    Raises:
        FourierError: the model has another shape, or a matrix has nothing that varies.
    """
    p = modulus(model)
    how = {"n_shuffles": n_shuffles, "seed": seed}
    operands = model.W_E[:p]
    heads: weights.HeadWeights = model.head_weights(0)
    last = model.W_E[p] + model.bridge.pos_embed.W_pos.detach()[2]
    query = torch.einsum("d,hde->he", last, heads.W_Q) + model.bridge.blocks[0].attn.b_Q.detach()
    scores = torch.einsum("xd,hde,he->xh", operands, heads.W_K, query) / math.sqrt(model.d_head)
    return WeightSpectra(
        embedding=spectrum(operands, name="W_E", **how),
        readout=spectrum(neuron_readout(model).T, name="W_out W_U", **how),
        heads=unit_spectra(scores, name="attention scores"),
    )


def _accuracies(logits: Tensor, train: Tensor | None) -> Accuracies:
    p = len(logits)
    flat = logits.detach().cpu().flatten(0, 1)
    right = (flat.argmax(1) == sums(p)).double()
    # Uniform logits would be right wherever the answer is 0: that is no knowledge.
    right[(flat == flat.amax(1, keepdim=True)).sum(1) > 1] = 0.0
    if train is None:
        return Accuracies(None, None, float(right.mean()))
    chosen, unseen = train.flatten(), unseen_pairs(train).flatten()
    n_unseen = int(unseen.sum())
    return Accuracies(
        train=float(right[chosen].mean()),
        test=float(right[~chosen].mean()),
        all=float(right.mean()),
        unseen=float(right[unseen].mean()) if n_unseen else None,
        n_unseen=n_unseen,
    )


def _gate(accuracy: Accuracies) -> tuple[bool | None, str]:
    """Whether a model has grokked, and why."""
    judged, which = accuracy.unseen, "held-out pairs without a mirror image in training"
    if accuracy.n_unseen is None:
        judged, which = accuracy.all, "all pairs"
    elif accuracy.n_unseen < LEAST_UNSEEN or judged is None:
        return None, (
            f"it cannot be told whether it has grokked: there are {accuracy.n_unseen} {which}, "
            f"expected at least {LEAST_UNSEEN}; train on a smaller share"
        )
    if judged < GROKKED:
        return False, f"has not grokked: {judged:.1%} of {which} right, expected {GROKKED:.0%}"
    return True, f"{judged:.1%} of {which} right"
