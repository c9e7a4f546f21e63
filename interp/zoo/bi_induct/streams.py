"""Natural streams of tokens to train on: renamed code, or text.

**Renamed code** is Python source reduced to its identifiers, those of every window renamed:
distinct names get distinct random ids of a pool, afresh each time a window is drawn. What a name is
called says nothing then; only where it stood earlier in the same window can predict it.

**Text** is any documents (:mod:`interp.zoo.bi_induct.documents` reads them), with a byte-level BPE
tokenizer trained on them. Nothing is renamed.

Ids below ``n_fixed`` mean the same everywhere: 0 begins a sequence, 1 separates the two parts of a
copy snippet (:mod:`interp.zoo.bi_induct.rewrite`) and never occurs in the natural stream.
"""

from __future__ import annotations

import hashlib
import io
import keyword
import logging
import token
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from interp.zoo.cards import replace_file
from interp.zoo.corpus import read_corpus, train_tokenizer

log = logging.getLogger(__name__)

BOS, SEP = 0, 1
"""Ids of the fixed tokens."""


class StreamError(ValueError):
    """A stream cannot be made as asked; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Stream:
    """Tokens to draw windows from, a part of them held out.

    Attributes:
        name: What it is.
        train: Codes of the training part: an id where ≥ 0, else −1 − (number of a name), names
            being numbered within the whole stream, so that two documents share none.
        held_out: Codes of the part never trained on.
        n_fixed: Ids that are never given to a name.
        vocab_size: Ids in all.
        sha256: Hash of the codes.
        pool: Ids that names are drawn from, the last of the vocabulary; 0 where nothing is renamed.
    """

    name: str
    train: Int[Tensor, " token"]
    held_out: Int[Tensor, " token"]
    n_fixed: int
    vocab_size: int
    sha256: str
    pool: int

    def windows(
        self,
        n: int,
        length: int,
        *,
        part: Literal["train", "held_out"] = "train",
        generator: torch.Generator,
    ) -> Int[Tensor, "n length"]:
        """Draw stretches of the stream, from anywhere, and rename each.

        Args:
            n: How many.
            length: Tokens in each.
            part: Which part to draw from.
            generator: The only source of randomness, on the CPU.

        Raises:
            StreamError: the part is shorter than a window, or a window may hold more names than
                the pool has.
        """
        codes = self.train if part == "train" else self.held_out
        if len(codes) < length:
            raise StreamError(
                f"the {part} part of {self.name} has {len(codes)} tokens, fewer than a window of "
                f"{length}; use more text or a shorter context"
            )
        starts = torch.randint(len(codes) - length + 1, (n, 1), generator=generator)
        return self._rename(codes[starts + torch.arange(length)], generator)

    def consecutive(
        self, n: int, length: int, *, generator: torch.Generator
    ) -> Int[Tensor, "n length"]:
        """The first windows of the held-out part that do not overlap, renamed; n at most."""
        if len(self.held_out) < length:
            raise StreamError(
                f"the held-out part of {self.name} has {len(self.held_out)} tokens, fewer than a "
                f"window of {length}; hold out more, or use a shorter context"
            )
        fit = min(n, len(self.held_out) // length)
        return self._rename(self.held_out[: fit * length].view(fit, length), generator)

    def _rename(self, codes: Tensor, generator: torch.Generator) -> Int[Tensor, "n length"]:
        """Give the distinct names of each row distinct random ids of the pool."""
        codes = codes.long()
        name = codes < 0
        if not bool(name.any()):
            return codes
        n, length = codes.shape
        if length > self.pool:
            raise StreamError(
                f"a window of {length} tokens may hold more names than the {self.pool} ids of the "
                "pool; use a larger vocabulary or a shorter context"
            )
        # A name's number within its row: its rank among the row's distinct codes.
        ordered, order = codes.sort(dim=1)
        first = torch.ones_like(ordered, dtype=torch.bool)
        first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        rank = torch.empty_like(codes).scatter_(1, order, first.cumsum(1) - 1)
        shuffled = torch.rand(n, self.pool, generator=generator).argsort(dim=1)
        renamed = self.n_fixed + shuffled.gather(1, rank.clamp(max=self.pool - 1))
        return torch.where(name, renamed, codes)


def renamed_code(
    root: Path | None = None,
    *,
    pool: int = 384,
    held_out_share: float = 0.03,
    max_bytes: int | None = None,
) -> Stream:
    """Read Python source as a stream of identifiers, to be renamed window by window.

    Keywords, operators, literals and comments are left out.

    Args:
        root: A folder of Python files; the running Python's standard library if None.
        pool: How many ids names are drawn from.
        held_out_share: Share of the bytes to hold out, as whole files.
        max_bytes: Take no more of the corpus than this.

    Raises:
        StreamError: no file can be read as Python, or pool < 2.
    """
    if pool < 2:
        raise StreamError(f"pool is {pool}; expected at least 2 ids to rename with")
    corpus = read_corpus(root, held_out_share=held_out_share, max_bytes=max_bytes)
    next_name = 0
    parts, unread = [], 0
    for texts in (corpus.train_text, corpus.held_out):
        codes: list[int] = []
        for text in texts:
            try:
                document, next_name = _names(text, next_name)
            except (tokenize.TokenError, SyntaxError):
                unread += 1  # files of other Python versions, made to fail on purpose
                continue
            codes += [*document, BOS]
        parts.append(torch.tensor(codes, dtype=torch.int32))
    if unread:
        log.warning("%d files are not Python of this version and were left out", unread)
    if min(len(part) for part in parts) < 2:
        raise StreamError("no file below the folder could be read as Python; pass another root")
    return _stream("renamed code", parts[0], parts[1], n_fixed=2, vocab_size=2 + pool)


def text_stream(
    documents: Sequence[str], held_out: Sequence[str], *, vocab_size: int = 1024
) -> Stream:
    """Text as byte-level BPE tokens, the tokenizer trained on the training part.

    Args:
        documents: To train on.
        held_out: Never trained on.
        vocab_size: Ids in all, the fixed ones included.
    """
    tokenizer = train_tokenizer(documents, vocab_size=vocab_size - 1)
    parts = []
    for texts in (documents, held_out):
        codes: list[int] = []
        for encoding in tokenizer.encode_batch(list(texts)):
            # The tokenizer's 0 ends a text; all others move up to make room for SEP.
            codes += [*(i + 1 if i else BOS for i in encoding.ids), BOS]
        parts.append(torch.tensor(codes, dtype=torch.int32))
    return _stream("text", parts[0], parts[1], n_fixed=2, vocab_size=vocab_size)


def write_stream(stream: Stream, path: Path) -> None:
    """Write a stream as one safetensors file."""
    metadata = {
        "name": stream.name,
        "n_fixed": str(stream.n_fixed),
        "vocab_size": str(stream.vocab_size),
    }
    tensors = {"train": stream.train, "held_out": stream.held_out}
    replace_file(path, save(tensors, metadata=metadata))


def read_stream(path: Path) -> Stream:
    """Read what :func:`write_stream` wrote."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        return _stream(
            metadata["name"],
            file.get_tensor("train"),
            file.get_tensor("held_out"),
            n_fixed=int(metadata["n_fixed"]),
            vocab_size=int(metadata["vocab_size"]),
        )


def _names(text: str, next_name: int) -> tuple[list[int], int]:
    """One document's codes, and the first number no name has yet."""
    numbers: dict[str, int] = {}
    codes: list[int] = []
    for piece in tokenize.generate_tokens(io.StringIO(text).readline):
        if piece.type == token.NAME and not keyword.iskeyword(piece.string):
            number = numbers.setdefault(piece.string, next_name + len(numbers))
            codes.append(-1 - number)
    return codes, next_name + len(numbers)


def _stream(name: str, train: Tensor, held_out: Tensor, *, n_fixed: int, vocab_size: int) -> Stream:
    digest = hashlib.sha256()
    for part in (train, held_out):
        digest.update(np.ascontiguousarray(part.numpy()).tobytes())
    renamed = bool((train < 0).any())
    return Stream(
        name,
        train,
        held_out,
        n_fixed,
        vocab_size,
        digest.hexdigest(),
        pool=vocab_size - n_fixed if renamed else 0,
    )
