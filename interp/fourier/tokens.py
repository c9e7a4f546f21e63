"""Spectra of ordered token sets in language models: digits, numbers, weekdays, months, your own.

A set such as the weekdays has a cyclic order. If a model keeps them on a circle, their embeddings,
in that order, have their power at few frequencies; in shuffled order they do not, which is the
null (:mod:`interp.fourier.spectra`). That is a signature of a cyclic code, and says nothing about
whether the model computes with it. A trend, such as a number line, has power at low frequencies as
well: :mod:`interp.fourier.tokens_order` tells the two apart.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from interp.fourier.basis import FourierError
from interp.fourier.spectra import Spectrum, embedding_spectrum, unembedding_spectrum
from interp.models import Model

TOKEN_SETS: dict[str, tuple[str, ...]] = {
    "digits": tuple("0123456789"),
    "numbers": tuple(str(i) for i in range(100)),
    "letters": tuple("abcdefghijklmnopqrstuvwxyz"),
    "weekdays": (
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ),
    "months": (
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ),
}
"""Ordered sets by name; each is taken to close on itself after its last member."""

# How tokenizers write a word's beginning: GPT-2's bytes, sentencepiece, plain.
_MARKS = {"with a space before": ("Ġ", "▁", " "), "without a space before": ("",)}
_CASES: dict[str, Callable[[str], str]] = {
    "as written": str,
    "lower case": str.lower,
    "upper case": str.upper,
}


_MADE: dict[str, Callable[..., Spectrum]] = {
    "embedding": embedding_spectrum,
    "unembedding": unembedding_spectrum,
}


@dataclass(frozen=True)
class TokenForms:
    """An ordered set as single tokens of one model.

    Attributes:
        name: Of the set.
        members: In their order.
        ids: Their token ids.
        style: In which form, such as ``lower case, with a space before``.
    """

    name: str
    members: tuple[str, ...]
    ids: tuple[int, ...]
    style: str


def find_tokens(model: Model, which: str | Sequence[str], *, name: str = "tokens") -> TokenForms:
    """Find the single-token forms of an ordered set in a model's vocabulary.

    All members are taken in one form (with or without a space before; as written, lower or upper
    case), the first in which none is missing: mixed forms would differ by more than their order.

    Args:
        model: A model with a tokenizer.
        which: A name in :data:`TOKEN_SETS`, or words in their order.
        name: What such words are called.

    Raises:
        FourierError: no tokenizer, no such set, fewer than 3 words, a word twice or an empty one,
            or no form in which every member is one token of its own, with those missing from the
            best.
    """
    if model.tokenizer is None:
        raise FourierError(f"{model.spec.name} has no tokenizer; pass ids to embedding_spectrum")
    if isinstance(which, str):
        if which not in TOKEN_SETS:
            near = difflib.get_close_matches(which, TOKEN_SETS, n=1) or list(TOKEN_SETS)
            raise FourierError(f"no token set {which!r}; did you mean {' or '.join(near)}?")
        members, name = TOKEN_SETS[which], which
    else:
        members = tuple(which)
    if len(members) < 3 or len(set(members)) != len(members):
        raise FourierError(f"{name}: expected at least 3 different words, got {list(members)}")
    if not all(member.strip() for member in members):
        raise FourierError(f"{name}: expected words, got an empty one among {list(members)}")
    best: tuple[list[str], str] | None = None
    for case, change in _CASES.items():
        for place, marks in _MARKS.items():
            found = {member: _single(model, change(member), marks) for member in members}
            ids = tuple(i for i in found.values() if i is not None)
            if len(set(ids)) == len(members):
                return TokenForms(name, members, ids, f"{case}, {place}")
            missing = [member for member, i in found.items() if i is None]
            if best is None or len(missing) < len(best[0]):
                best = missing, f"{case}, {place}"
    assert best is not None
    raise FourierError(
        f"{model.spec.name} has no form in which all {len(members)} {name} are single tokens; "
        f"{best[1]}, {len(best[0])} are missing: {', '.join(best[0][:8])}"
        + (", …" if len(best[0]) > 8 else "")
    )


def token_spectrum(
    model: Model,
    which: str | Sequence[str],
    *,
    matrix: Literal["embedding", "unembedding"] = "embedding",
    name: str = "tokens",
    n_shuffles: int = 999,
    seed: int = 0,
) -> Spectrum:
    """Spectrum of an ordered token set in a language model, with its permutation null.

    >>> token_spectrum(load_model("gpt2"), "weekdays").p_values

    Args:
        model: A model with a tokenizer.
        which: A name in :data:`TOKEN_SETS`, or words in their order.
        matrix: Of the token embeddings, or of the unembedding.
        name: What such words are called.
        n_shuffles: Shuffled orders for the null, at least 1.
        seed: Draws them.

    Raises:
        FourierError: as :func:`find_tokens`, no such matrix, or no shuffles.
    """
    made = _MADE.get(matrix)
    if made is None:
        raise FourierError(f"matrix is {matrix!r}; expected {' or '.join(_MADE)}")
    forms = find_tokens(model, which, name=name)
    label = f"{forms.name} ({matrix}, {forms.style})"
    return made(model, forms.ids, name=label, n_shuffles=n_shuffles, seed=seed)


def _single(model: Model, form: str, marks: Sequence[str]) -> int | None:
    """The id of a token that is this word, or None."""
    vocabulary = _vocabulary(model)
    for mark in marks:
        found = vocabulary.get(mark + form)
        # What a token reads as decides: another tokenizer may use a mark as a letter.
        if (
            found is not None
            and 0 <= found < model.d_vocab
            and model.tokenizer is not None
            and model.tokenizer.decode([found]).strip() == form
        ):
            return found
    return None


def _vocabulary(model: Model) -> dict[str, int]:
    """The tokenizer's vocabulary, asked for once a model."""
    known: dict[str, int] | None = model.__dict__.get("_vocabulary")
    if known is None:
        assert model.tokenizer is not None
        known = model.__dict__["_vocabulary"] = model.tokenizer.get_vocab()
    return known
