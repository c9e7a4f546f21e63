"""Data for a training: text files, a folder of them, a `datasets` name, ids, or a model's own text.

Texts are put one after the other, a beginning-of-sequence mark between them where the model has
one, and cut into rows of one length, each of which begins with that mark. Texts are read until
there is enough; only token ids are kept.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from interp.models import Examples, Model
from interp.models.sampling import own_text
from interp.sae.dictionary import SaeError
from interp.sae.offline import hub_or_cache
from interp.sae.overlap import apart

log = logging.getLogger(__name__)

# Longer texts are tokenised in pieces, cut at line ends.
_PIECE = 100_000
_OWN = re.compile(r"own(?::(\d+))?")
# As names of the Hub are: a path with a suffix or more slashes is none.
_DATA_SET = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def read_data(
    model: Model,
    source: str | Path,
    *,
    context: int = 128,
    n_train: int,
    n_held_out: int,
    seed: int = 0,
) -> tuple[Examples, Examples]:
    """Read rows to train on and rows to evaluate on, from different texts where there are several.

    Args:
        model: Its tokenizer reads texts.
        source: A text file; a ``.jsonl`` file of objects with ``text``; an ``.npy`` file of token
            ids ``[row, position]``, which needs no tokenizer; a folder of text files; ``own``, for
            text drawn from the model itself (``own:50000`` for so many tokens, which takes less
            time than drawing all that is wanted); else the name of a data set for the ``datasets``
            library, as ``NAME`` or ``NAME:SPLIT`` (its column ``text``), from the Hub or its cache.
        context: Tokens a row; the model's own limit where that is less.
        n_train: Tokens wanted to train on. Where there are fewer, the training repeats them.
        n_held_out: Tokens wanted to evaluate on, from 1 on; rows that are also trained on are left
            out of them, so that there may be fewer.
        seed: Of the split of ids and of the model's own text.

    Raises:
        SaeError: no such file or data set, no text in it, too little for two rows, or no row to
            evaluate on that is not also trained on.
    """
    if n_held_out < 1:
        raise SaeError(f"{n_held_out} held-out tokens to evaluate on; expected at least 1")
    context = min(context, model.n_ctx)
    rows_wanted = (-(-n_train // context), max(1, -(-n_held_out // context)))
    path = Path(source)
    if own := _own_tokens(source, n_train):
        wanted = -(-own // context)
        made = _own(model, wanted + rows_wanted[1], context, seed=seed)
        first = rows_wanted[1]
        parts = made.select(range(first, len(made))), made.select(range(first))
    elif path.suffix == ".npy":
        examples = _from_ids(model, path, seed=seed)
        share = min(0.5, n_held_out / examples.tokens.numel())
        parts = examples.split(1 - share, seed=seed)
    else:
        texts, name = _open(model, source), path.name or str(source)
        parts = _packed(model, texts, context, rows_wanted, name=name)
    return apart(*parts, marks=model.bos_id is not None)


def read_rows(
    model: Model, source: str | Path, *, context: int = 128, n: int, seed: int = 0
) -> Examples:
    """Read rows of so many tokens in all, or of as many as there are, none of them held out.

    Args:
        model: Its tokenizer reads texts.
        source: As in ``read_data``.
        context: Tokens a row; the model's own limit where that is less.
        n: Tokens wanted.
        seed: Of the model's own text, and of which rows of ids are taken.

    Raises:
        SaeError: no such file or data set, or no row in it.
    """
    context = min(context, model.n_ctx)
    path = Path(source)
    if own := _own_tokens(source, n):
        return _own(model, -(-own // context), context, seed=seed)
    if path.suffix == ".npy":
        examples = _from_ids(model, path, seed=seed)
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
        return examples.select(order[: -(-n // examples.tokens.shape[1])])
    packer, wanted, name = _Packer(model, context), -(-n // context), path.name or str(source)
    for text in _open(model, source):
        packer.add(text, enough=wanted)
        if len(packer.rows) >= wanted:
            break
    return packer.examples(name)


def _own_tokens(source: str | Path, wanted: int) -> int | None:
    """How many tokens of its own text a model is asked for; None where the source is another."""
    found = _OWN.fullmatch(str(source))
    return None if found is None else max(1, min(wanted, int(found.group(1) or wanted)))


def _own(model: Model, n: int, context: int, *, seed: int) -> Examples:
    return own_text(
        model,
        n=n,
        length=context - (model.bos_id is not None),
        generator=torch.Generator().manual_seed(seed),
    )


def _open(model: Model, source: str | Path) -> Iterator[str]:
    if model.tokenizer is None:
        raise SaeError(
            f"{model.spec.name} has no tokenizer to read {source} with; give token ids as an .npy "
            "file, or 'own'"
        )
    path = Path(source)
    return _texts(path) if path.exists() else _from_hub(str(source))


def _from_ids(model: Model, path: Path, *, seed: int) -> Examples:
    try:
        ids = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SaeError(f"{path} cannot be read as an array of token ids: {error}") from error
    if ids.ndim != 2 or ids.dtype.kind not in "iu" or len(ids) < 2:
        raise SaeError(
            f"{path} holds {ids.dtype} of shape {list(ids.shape)}; expected whole numbers of shape "
            "[row, position], two rows at least"
        )
    tokens = torch.from_numpy(ids.astype(np.int64))
    model.check_tokens(tokens)
    return Examples(tokens=tokens, name=path.name, seed=seed)


def _packed(
    model: Model,
    texts: Iterator[str],
    context: int,
    rows_wanted: tuple[int, int],
    *,
    name: str,
) -> tuple[Examples, Examples]:
    """Whole texts to one side or the other; a single text is cut in two."""
    packers = (_Packer(model, context), _Packer(model, context))
    every = max(2, round(sum(rows_wanted) / rows_wanted[1]))
    # Were there one text only, both sides must come out of it.
    enough = (sum(rows_wanted), rows_wanted[1])
    for i, text in enumerate(texts):
        held = i % every == 1  # the second, so that a single text is trained on
        # Where there is enough of one side, the other takes everything.
        held ^= len(packers[held].rows) >= rows_wanted[held]
        packers[held].add(text, enough=enough[held])
        if all(len(p.rows) >= n for p, n in zip(packers, rows_wanted, strict=True)):
            break
    train, held_out = packers
    if not held_out.rows and len(train.rows) >= 2:
        n = len(train.rows) - rows_wanted[0]
        if n < rows_wanted[1]:  # not enough for both
            n = min(rows_wanted[1], max(1, len(train.rows) // 10))
        held_out.rows = train.rows[-n:]
        del train.rows[-n:]
    del train.rows[rows_wanted[0] :]
    if not train.rows or not held_out.rows:
        raise SaeError(
            f"{name} gives {len(train.rows)} rows of {context} tokens; expected two at least: give "
            "more text, or a smaller context"
        )
    return train.examples(name), held_out.examples(name)


class _Packer:
    """Texts into rows of one length."""

    def __init__(self, model: Model, context: int) -> None:
        assert model.tokenizer is not None
        self._model = model
        self._encode: Callable[..., Any] = model.tokenizer.encode
        self._bos = [] if model.bos_id is None else [model.bos_id]
        self._room = context - len(self._bos)
        self._left: list[int] = []
        self.rows: list[np.ndarray] = []

    def add(self, text: str, *, enough: int) -> None:
        """Put a text in, until there are enough rows."""
        for piece in _pieces(text):
            self._left += self._encode(piece, add_special_tokens=False)
            while len(self._left) >= self._room:
                row, self._left = self._left[: self._room], self._left[self._room :]
                self.rows.append(np.array([*self._bos, *row], dtype=np.int32))
                if len(self.rows) >= enough:
                    return
        self._left += self._bos

    def examples(self, name: str) -> Examples:
        """The rows.

        Raises:
            SaeError: there are none.
        """
        if not self.rows:
            wide = self._room + len(self._bos)
            raise SaeError(f"{name} gives 0 rows of {wide} tokens; give more text")
        tokens = torch.from_numpy(np.stack(self.rows).astype(np.int64))
        self._model.check_tokens(tokens)
        return Examples(tokens=tokens, name=name)


def _pieces(text: str) -> Iterator[str]:
    """A text in pieces of bounded length, cut at line ends where there are any."""
    start = 0
    while start < len(text):
        stop = min(start + _PIECE, len(text))
        if stop < len(text):
            stop = text.rfind("\n", start, stop) + 1 or stop
        yield text[start:stop]
        start = stop


def _texts(path: Path) -> Iterator[str]:
    """Texts of a file, or of all files of a folder in the order of their names."""
    if path.is_file():
        yield from _file(path)
        return
    files = sorted(
        p
        for p in path.rglob("*")
        if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts)
    )
    skipped = 0
    for file in files:
        try:
            yield from _file(file)
        except SaeError:
            skipped += 1
    if skipped:
        log.warning("%d of %d files in %s are no text and were left out", skipped, len(files), path)


def _file(path: Path) -> Iterator[str]:
    if path.suffix != ".jsonl":
        try:
            yield path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SaeError(f"{path} is no UTF-8 text: {error}") from error
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                text = json.loads(line)["text"]
            except (ValueError, KeyError, TypeError) as error:
                raise SaeError(
                    f'{path}, line {number}: expected a JSON object with "text": {error}'
                ) from error
            yield str(text)


def _from_hub(source: str) -> Iterator[str]:
    """Texts of a data set, streamed; the first is fetched at once, so that failure is too."""
    name, _, split = source.partition(":")
    expected = "expected a path, 'own', or NAME:SPLIT for the datasets library"
    if not _DATA_SET.fullmatch(name):
        raise SaeError(f"no file or folder {source!r}; {expected}")
    import datasets

    with hub_or_cache() as online:
        try:
            rows = datasets.load_dataset(name, split=split or "train", streaming=online)
            found = (row["text"] for row in rows)
            return chain([next(found)], found)
        except Exception as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            where = "on the Hub" if online else "in the local cache, and no network to the Hub"
            raise SaeError(
                f"no file or folder {source!r}, nor a data set of that name with a column text "
                f"{where} ({first}); {expected}"
            ) from error
