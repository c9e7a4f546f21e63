"""A sparse autoencoder put into a model: its reconstruction in place of the activation.

An ``Intervention`` like any other, run by a session on the plain model; when the session is over
nothing of it is left. Two ways:

* *Error kept*: x′ = decode(f′) + (x − decode(f)), f = encode(x) and f′ the edited latents. What
  the autoencoder cannot express stays as it was, so that only the edit changes the model, and
  without an edit nothing does (Marks et al. 2024, "Sparse Feature Circuits", §3).
* *Replaced*: x′ = decode(f′). The reconstruction error is part of what is measured.

>>> with session(model, intervene=splice(sae, [zero_latents([3, 7])])) as s:
...     logits = s.run(tokens)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.hooks import KINDS, Intervention, Site, SiteError
from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.edits import LatentEdit


@dataclass(frozen=True, eq=False)
class Splice(Intervention):
    """A dictionary's reconstruction at its site, its latents edited. Built by ``splice``.

    Attributes:
        dictionary: The autoencoder.
        edits: What is done to its latents, one after the other; nothing where empty.
        keep_error: Whether what it does not reconstruct is added back.
        at: Which tokens are touched, in the order of the examples to be run; all where None. The
            others, and what the dictionary would make of them, are never looked at.
    """

    dictionary: Dictionary | None = None
    edits: tuple[LatentEdit, ...] = ()
    keep_error: bool = True
    at: Bool[Tensor, "example pos"] | None = None

    def __str__(self) -> str:
        return f"splice at {self.site} ({', '.join(map(str, self.edits)) or 'no edit'})"

    def apply(
        self, activation: Float[Tensor, "batch pos ..."], rows: slice | None = None
    ) -> Float[Tensor, "batch pos ..."]:
        """Return the activation with the reconstruction in it; the one given is left as it was.

        Args:
            activation: The whole activation at the site, all heads and positions.
            rows: Which examples of the data set these are, where ``at`` is of all of them.

        Raises:
            SiteError: the tokens to touch do not fit those that run.
            SaeError: the activation has another width than the dictionary.
        """
        assert self.dictionary is not None
        at = self._touched(activation, rows)
        found = vectors_of(self.dictionary, self.site, activation)[at]
        new = self.replacement(found, self.dictionary.encode(found))
        return with_vectors(self.dictionary, self.site, activation, at, new)

    def replacement(
        self, vectors: Float[Tensor, "token d_in"], latents: Float[Tensor, "token d_sae"]
    ) -> Float[Tensor, "token d_in"]:
        """What stands in place of some activations, given their latents."""
        assert self.dictionary is not None
        if not self.keep_error:
            for edit in self.edits:
                latents = edit.apply(latents)
            return self.dictionary.decode(latents)
        exact = torch.promote_types(vectors.dtype, torch.float32)
        if len(self.edits) == 1:  # decoding is linear, so only what changes need be decoded
            return vectors.to(exact) + self._step(self.edits[0], latents).to(exact)
        edited = latents
        for edit in self.edits:
            edited = edit.apply(edited)
        if edited is latents:
            return vectors
        return vectors.to(exact) + ((edited - latents) @ self.dictionary.decoder).to(exact)

    def _step(self, edit: LatentEdit, latents: Tensor) -> Tensor:
        assert self.dictionary is not None
        which = torch.tensor(edit.latents, device=latents.device)
        before = latents[..., which]
        return (edit.change(before).to(before) - before) @ self.dictionary.decoder[which]

    def require_fit(self, mask: Bool[Tensor, "batch pos"]) -> None:
        """Refuse to touch padding.

        Raises:
            SiteError: the rows are padded and ``at`` is not given, or reaches into the padding.
        """
        if self.at is None:
            raise SiteError(
                f"{self}: the rows are padded; say which tokens are touched, at=examples.mask"
            )
        if self.at.shape == mask.shape and bool((self.at.cpu() & ~mask.cpu()).any()):
            raise SiteError(f"{self}: `at` reaches into the padding; expected real tokens only")

    def _touched(self, activation: Tensor, rows: slice | None) -> Bool[Tensor, "batch pos"]:
        shape = tuple(activation.shape[:2])
        if self.at is None:
            return torch.ones(shape, dtype=torch.bool, device=activation.device)
        at = self.at if rows is None else self.at[rows]
        if tuple(at.shape) != shape:
            raise SiteError(
                f"{self}: `at` is of {list(at.shape)} tokens, the rows that run are {list(shape)}; "
                "run the same examples, or say which rows these are"
            )
        return at.to(activation.device)


def splice(
    dictionary: Dictionary,
    edits: Sequence[LatentEdit] | LatentEdit = (),
    *,
    keep_error: bool = True,
    at: Bool[Tensor, "example pos"] | None = None,
    site: Site | str | None = None,
) -> Splice:
    """Put an autoencoder into the model, at its own site, with its latents edited.

    Args:
        dictionary: The autoencoder. ``dictionary.require_fit(model)`` says whether it is of this
            model; a session does not ask.
        edits: What is done to its latents; nothing when omitted.
        keep_error: Add back what it does not reconstruct, so that only the edits change anything.
        at: Which tokens of the examples to be run are touched, such as ``examples.mask``; all
            where None, which padded rows do not allow.
        site: Where, for a dictionary that does not say.

    Raises:
        SaeError: no site, another site than the dictionary's, or a latent it does not have.
    """
    edits = (edits,) if isinstance(edits, LatentEdit) else tuple(edits)
    for edit in edits:
        if not isinstance(edit, LatentEdit):
            raise SaeError(f"{edit!r} is no edit of latents; make one, as in zero_latents([0])")
        if max(edit.latents) >= dictionary.d_sae:
            raise SaeError(
                f"{edit}: {dictionary.name} has latents 0…{dictionary.d_sae - 1}, no "
                f"{max(edit.latents)}"
            )
    if at is not None and (at.ndim != 2 or at.dtype != torch.bool):
        raise SaeError(f"`at` must be booleans [example, pos], got {at.dtype} of {list(at.shape)}")
    where = site_of(dictionary, site)
    return Splice(where, "set", dictionary=dictionary, edits=edits, keep_error=keep_error, at=at)


def site_of(dictionary: Dictionary, site: Site | str | None = None) -> Site:
    """Return where a dictionary belongs.

    Raises:
        SaeError: it does not say and no site is given, or it says another one.
    """
    own, given = dictionary.site, None if site is None else Site.parse(site)
    if own is not None and given not in (None, own):
        raise SaeError(f"{dictionary.name} was trained at {own}, not at {given}")
    where = own if own is not None else given
    if where is None:
        raise SaeError(f"{dictionary.name} does not say its site; give site=…")
    if where.position is not None:
        raise SaeError(f"{where}: a dictionary is of all positions; choose tokens with at=…")
    return where


def vectors_of(
    dictionary: Dictionary, site: Site, activation: Float[Tensor, "batch pos ..."]
) -> Float[Tensor, "batch pos d_in"]:
    """The vectors that a dictionary encodes, out of the whole activation at its site."""
    if site.head is not None:
        return activation[:, :, site.head]
    flat = KINDS[site.kind].head_axis is not None
    found = activation.flatten(-2) if flat else activation
    if found.shape[-1] != dictionary.d_in:
        raise SaeError(
            f"{dictionary.name} takes activations of width {dictionary.d_in}, {site} holds "
            f"{found.shape[-1]}"
        )
    return found


def with_vectors(
    dictionary: Dictionary,
    site: Site,
    activation: Float[Tensor, "batch pos ..."],
    at: Bool[Tensor, "batch pos"],
    new: Float[Tensor, "token d_in"],
) -> Float[Tensor, "batch pos ..."]:
    """The activation with other vectors at some tokens; the reverse of ``vectors_of``."""
    result = activation.clone()
    if site.head is not None:
        part = result[:, :, site.head].clone()
        part[at] = new.to(part.dtype)
        result[:, :, site.head] = part
        return result
    result[at] = new.to(result.dtype).reshape(-1, *result.shape[2:])
    return result
