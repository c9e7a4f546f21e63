"""A text corpus that every reader already has: the Python standard library's source.

Four steps, all deterministic for a given Python release:

1. list the ``.py`` files below the standard library's folder, without third-party packages and
   without files written when Python was built (they carry paths of the machine that built it);
2. drop files that are not UTF-8, that are empty, or whose bytes were seen before;
3. hold out whole files, in the order of their content hash, until a share of the *bytes* is reached
   (a share of the files would be misleading: a few files are a hundred times longer than most);
4. train a byte-level BPE tokenizer on the training files only.
"""

from __future__ import annotations

import hashlib
import logging
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

log = logging.getLogger(__name__)

END_OF_TEXT = "<|endoftext|>"
"""The tokenizer's only special token: begins a sequence, ends a document, pads a batch."""

N_BYTES = 256
"""Size of the byte alphabet; every byte-level vocabulary contains it."""

_OTHER_PEOPLES = {"site-packages", "dist-packages", "__pycache__"}
_MADE_AT_BUILD = ("_sysconfigdata", "_sysconfig_vars")


@dataclass(frozen=True)
class Corpus:
    """Documents to train on, documents held out, and what was left aside.

    Attributes:
        train_text: Training documents, one per file, sorted by relative path.
        held_out: Held-out documents, likewise. None equals a training document; near-duplicates
            (generated code pages, say) are not removed.
        train_names: Relative POSIX path of each training document.
        held_out_names: Relative POSIX path of each held-out document.
        sha256: Hash of all kept files (relative paths and contents), before the split.
        n_files: Files found.
        n_not_utf8: Files skipped because they are not UTF-8.
        n_duplicates: Files skipped because an earlier file has the same bytes.
        n_empty: Files skipped because they hold nothing but white space.
        train_bytes: UTF-8 bytes in ``train_text``.
        held_out_bytes: UTF-8 bytes in ``held_out``.
    """

    train_text: tuple[str, ...]
    held_out: tuple[str, ...]
    train_names: tuple[str, ...]
    held_out_names: tuple[str, ...]
    sha256: str
    n_files: int
    n_not_utf8: int
    n_duplicates: int
    n_empty: int
    train_bytes: int
    held_out_bytes: int

    def counts(self) -> dict[str, int]:
        """Numbers of files and bytes, for a card or a log line."""
        return {
            "files_found": self.n_files,
            "files_not_utf8": self.n_not_utf8,
            "files_duplicate": self.n_duplicates,
            "files_empty": self.n_empty,
            "files_train": len(self.train_text),
            "files_held_out": len(self.held_out),
            "bytes_train": self.train_bytes,
            "bytes_held_out": self.held_out_bytes,
        }


def stdlib_files(root: Path | None = None) -> tuple[Path, ...]:
    """List the source files of the standard library, sorted by relative path.

    Args:
        root: Folder to search; the running Python's standard library if None.

    Returns:
        Paths of ``.py`` files, without installed packages and files made when Python was built.

    Raises:
        ValueError: If the folder is missing or holds no such file.
    """
    root = Path(sysconfig.get_paths()["stdlib"]) if root is None else Path(root)
    if not root.is_dir():
        raise ValueError(
            f"No folder at {root}: expected a folder with Python source files; pass root= a folder "
            "that exists, or leave it out to use the running Python's standard library."
        )
    # Relative parts only: a Python that itself lives below site-packages still has its library.
    relative = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.py"))
    kept = tuple(root / name for name in relative if _is_source(name))
    if not kept:
        raise ValueError(
            f"No .py files below {root} ({len(relative)} before leaving out installed packages): "
            "expected source files; a Python shipped as a zip or bytecode only has none, so pass "
            "root= a folder of source code."
        )
    return kept


def read_corpus(
    root: Path | None = None, *, held_out_share: float = 0.02, max_bytes: int | None = None
) -> Corpus:
    """Read, clean and split the corpus.

    Args:
        root: Folder to read; the running Python's standard library if None.
        held_out_share: Share of the bytes to hold out, as whole files (reached, then exceeded by at
            most part of one file).
        max_bytes: Stop taking files, in order of content hash, once this many bytes are kept; None
            for all. For quick tests: the files are a sample, not the beginning of the alphabet.

    Returns:
        The corpus.

    Raises:
        ValueError: If an argument is out of range, or fewer than two usable files are found.
    """
    if not 0.0 < held_out_share < 1.0:
        raise ValueError(
            f"held_out_share={held_out_share}: expected a share of the bytes strictly between 0 "
            "and 1; use e.g. 0.02 for two per cent."
        )
    if max_bytes is not None and max_bytes <= 0:
        raise ValueError(
            f"max_bytes={max_bytes}: expected a positive number of bytes, or None for all."
        )

    paths = stdlib_files(root)
    base = Path(sysconfig.get_paths()["stdlib"]) if root is None else Path(root)
    documents: dict[str, tuple[str, str]] = {}  # content hash -> (relative name, text)
    n_not_utf8 = n_duplicates = n_empty = 0
    for path in paths:
        raw = path.read_bytes()
        digest = hashlib.sha256(raw).hexdigest()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            n_not_utf8 += 1
            continue
        if not text.strip():
            n_empty += 1
        elif digest in documents:
            n_duplicates += 1
        else:
            documents[digest] = (path.relative_to(base).as_posix(), text)

    by_hash = _take(sorted(documents), documents, max_bytes)
    if len(by_hash) < 2:
        raise ValueError(
            f"{len(by_hash)} usable file(s) below {base}: expected at least two, one to train on "
            "and one to hold out; pass a folder with more source files or a larger max_bytes."
        )
    total = sum(_size(documents[digest][1]) for digest in by_hash)
    # At least one file on each side, whatever the share and the sizes.
    held = _take(by_hash[:-1], documents, total * held_out_share)
    train = by_hash[len(held) :]

    # The split is by hash; the order inside each part is by name, which is easier to look at.
    train_docs = sorted(documents[digest] for digest in train)
    held_docs = sorted(documents[digest] for digest in held)
    identity = hashlib.sha256()
    for digest in sorted(by_hash, key=lambda d: documents[d][0]):
        identity.update(f"{documents[digest][0]}\0{digest}\n".encode())
    corpus = Corpus(
        train_text=tuple(text for _, text in train_docs),
        held_out=tuple(text for _, text in held_docs),
        train_names=tuple(name for name, _ in train_docs),
        held_out_names=tuple(name for name, _ in held_docs),
        sha256=identity.hexdigest(),
        n_files=len(paths),
        n_not_utf8=n_not_utf8,
        n_duplicates=n_duplicates,
        n_empty=n_empty,
        train_bytes=sum(_size(text) for _, text in train_docs),
        held_out_bytes=sum(_size(text) for _, text in held_docs),
    )
    log.info("corpus %s: %s", corpus.sha256[:12], corpus.counts())
    return corpus


def train_tokenizer(texts: Sequence[str], *, vocab_size: int = 1024) -> Tokenizer:
    """Train a byte-level BPE tokenizer with one special token inside the vocabulary.

    No text is unknown to it (all 256 bytes are in the alphabet), and encoding adds nothing: whoever
    wants a sequence to begin with ``<|endoftext|>`` says so.

    Args:
        texts: Training documents.
        vocab_size: Size of the vocabulary, special token and byte alphabet included.

    Returns:
        The tokenizer; ``<|endoftext|>`` has id 0.

    Raises:
        ValueError: If there is no text, the vocabulary is too small to hold the alphabet, or the
            texts are too short to fill it.
    """
    if isinstance(texts, str) or not any(texts):
        raise ValueError(
            "No text to train the tokenizer on: expected a sequence of documents, at least one of "
            "them not empty; pass e.g. read_corpus().train_text."
        )
    if vocab_size <= N_BYTES + 1:
        raise ValueError(
            f"vocab_size={vocab_size}: expected more than {N_BYTES + 1}, since 256 bytes and one "
            "special token come first; use e.g. 512."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer, length=len(texts))
    if tokenizer.get_vocab_size() != vocab_size:
        raise ValueError(
            f"The tokenizer reached {tokenizer.get_vocab_size()} of {vocab_size} tokens: expected "
            "texts with more repeated pairs; pass more text or a smaller vocab_size."
        )
    return tokenizer


def _is_source(name: str) -> bool:
    *folders, file = name.split("/")
    return not _OTHER_PEOPLES.intersection(folders) and not file.startswith(_MADE_AT_BUILD)


def _size(text: str) -> int:
    return len(text.encode("utf-8"))


def _take(
    digests: Sequence[str], documents: dict[str, tuple[str, str]], n_bytes: float | None
) -> list[str]:
    """The first digests whose documents together reach ``n_bytes``; all of them for None."""
    taken: list[str] = []
    total = 0
    for digest in digests:
        if n_bytes is not None and total >= n_bytes:
            break
        taken.append(digest)
        total += _size(documents[digest][1])
    return taken
