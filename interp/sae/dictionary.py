"""A sparse autoencoder as every instrument here sees it: encode, decode, and where it belongs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.hooks import KINDS, Site
from interp.models import Model

# Of a decoder's rows that are tried against what decoding really does.
_TRIED = 4


class SaeError(ValueError):
    """A sparse autoencoder cannot be had or used as asked; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Dictionary:
    """A trained sparse autoencoder (SAE) of one site. Composition around sae-lens' own, frozen.

    ``decode(z)`` is ``z @ decoder + b_dec``: what sae-lens keeps beside its weights (norms of the
    decoder, scaling of the input) is folded in. Gradients flow through both halves to what is put
    in; the weights themselves are fixed.

    >>> z = sae.encode(x)               # x: [..., d_in], z: [..., d_sae]
    >>> error = x - sae.decode(z)

    Attributes:
        sae: The sae-lens SAE underneath, for inference.
        name: What it is called in tables: its folder, or release and id.
        site: Where its activations come from, or None where it does not say.
        fingerprint: Fingerprint of the model that it was trained on, or None where it does not
            say (SAEs trained elsewhere).
        metadata: Everything else it says of itself: model name, context, data hash, …
    """

    sae: Any
    name: str
    site: Site | None = None
    fingerprint: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = self.sae.cfg.normalize_activations
        if kind not in ("none", "expected_average_only_in"):
            # sae-lens keeps the statistics of the latest input for decoding.
            raise SaeError(
                f"{self.name} normalises its input by {kind!r}, so that what it decodes depends on "
                "more than its latents; expected an SAE whose scaling is folded into its weights"
            )
        self.sae.turn_off_forward_pass_hook_z_reshaping()
        self.sae.requires_grad_(False)
        self.sae.eval()
        self._check_decoder()

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return int(self.sae.cfg.d_in)

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return int(self.sae.cfg.d_sae)

    @property
    def architecture(self) -> str:
        """sae-lens' name of what it is *now*: a batchtopk SAE is saved as ``jumprelu``."""
        return str(self.sae.cfg.architecture())

    @property
    def trained_as(self) -> str:
        """sae-lens' name of the architecture that it was trained as, where it says so."""
        return str(self.metadata.get("training_architecture") or self.architecture)

    @property
    def device(self) -> torch.device:
        """Where its weights are; what is put in must be there too."""
        return self.sae.W_dec.device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in; other inputs are converted."""
        return self.sae.W_dec.dtype

    @cached_property
    def decoder(self) -> Float[Tensor, "d_sae d_in"]:
        """The direction that each latent writes, for one unit of its activation."""
        rows = self.sae.W_dec.detach()
        if getattr(self.sae.cfg, "rescale_acts_by_decoder_norm", False):
            rows = rows / rows.norm(dim=-1, keepdim=True)
        return rows

    def encode(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_sae"]:
        """Activations to latents, dense, differentiable in ``x``.

        Raises:
            SaeError: the last axis is not ``d_in`` wide.
        """
        self._check_width(x, self.d_in, "activations", "d_in")
        return self.sae.encode(x.reshape(-1, self.d_in)).reshape(*x.shape[:-1], self.d_sae)

    def decode(self, z: Float[Tensor, "... d_sae"]) -> Float[Tensor, "... d_in"]:
        """Latents to activations, differentiable in ``z``.

        Raises:
            SaeError: the last axis is not ``d_sae`` wide.
        """
        self._check_width(z, self.d_sae, "latents", "d_sae")
        flat = z.to(self.dtype).reshape(-1, self.d_sae)
        return self.sae.decode(flat).reshape(*z.shape[:-1], self.d_in)

    def flatten(self, activation: Tensor) -> Float[Tensor, "... d_in"]:
        """What a session holds at the site, as vectors: all heads side by side where it has them.

        Only a site of all heads at once (``L3.z``) is changed by this.
        """
        return activation.flatten(-2) if self._all_heads else activation

    def unflatten(self, vectors: Float[Tensor, "... d_in"], *, n_heads: int) -> Tensor:
        """The reverse of ``flatten``, for a site with so many heads."""
        return vectors.unflatten(-1, (n_heads, -1)) if self._all_heads else vectors

    @property
    def _all_heads(self) -> bool:
        site = self.site
        return site is not None and site.head is None and KINDS[site.kind].head_axis is not None

    def require_fit(self, model: Model) -> None:
        """Refuse a model that this SAE was not made for.

        Raises:
            SaeError: another fingerprint, or a site of another width or that the model lacks.
        """
        if self.fingerprint is not None and self.fingerprint != model.fingerprint:
            raise SaeError(
                f"{self.name} was trained on another model: its fingerprint is "
                f"{self.fingerprint[:12]}, that of {model.spec.name} is {model.fingerprint[:12]}; "
                "load the model it was trained on, or train one on this model"
            )
        if self.site is None:
            return
        self.site.point(model)
        width = site_width(model, self.site)
        if width != self.d_in:
            raise SaeError(
                f"{self.name} takes activations of width {self.d_in}, {self.site} of "
                f"{model.spec.name} is {width} wide; load the model it was trained on"
            )

    def to(self, device: torch.device | str) -> Dictionary:
        """The same on another device; this one is left where it is."""
        import copy
        import dataclasses

        if torch.device(device) == self.device:
            return self
        return dataclasses.replace(self, sae=copy.deepcopy(self.sae).to(device=device))

    def __repr__(self) -> str:
        kind = self.trained_as
        return f"Dictionary({self.name!r}: {kind}, {self.d_in} → {self.d_sae}, at {self.site})"

    def _check_width(self, given: Tensor, width: int, what: str, axis: str) -> None:
        if given.ndim < 1 or given.shape[-1] != width:
            raise SaeError(
                f"{self.name} expects {what} of shape [..., {axis}={width}], "
                f"got {list(given.shape)}"
            )

    @torch.no_grad()
    def _check_decoder(self) -> None:
        """Try that decoding is linear, with the rows that ``decoder`` says."""
        chosen = torch.linspace(0, self.d_sae - 1, min(_TRIED, self.d_sae)).long()
        probe = torch.zeros(len(chosen) + 1, self.d_sae, dtype=self.dtype, device=self.device)
        probe[torch.arange(len(chosen)) + 1, chosen.to(self.device)] = 1.0
        out = self.sae.decode(probe)
        rows = self.decoder[chosen.to(self.device)]
        if not torch.allclose(out[1:] - out[:1], rows, rtol=1e-2, atol=1e-3):
            raise SaeError(
                f"{self.name} ({self.architecture}) does not decode by adding up directions; "
                "expected an SAE with a linear decoder"
            )


def site_width(model: Model, site: Site) -> int:
    """Width of the vectors at a site: heads side by side where it names none of them.

    Raises:
        SaeError: the site has no vector for each position (patterns, scores), names a position, or
            the model's MLP does not say how wide it is.
    """
    last = site.axes[-1]
    if site.position is not None or last == "key":
        raise SaeError(
            f"{site} holds no vector at every position; expected such as L0.resid_post, "
            "L0.mlp_out or L0H1"
        )
    if last == "d_model":
        return model.d_model
    if last == "vocab":
        return model.d_vocab
    if last == "neuron":
        return int(model.bridge.cfg.d_mlp)
    heads = model.n_kv_heads if "kv_head" in site.axes else model.n_heads
    return model.d_head if site.head is not None else heads * model.d_head
