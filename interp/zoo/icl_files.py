"""Reading published in-context tasks: JSON lists of ``{"input": …, "output": …}``.

The form of Todd et al. (2024), whose repository holds some fifty such files. An input or output is
a string, or a list of them, which is written with commas. Nothing is lost silently: what does not
become a pair is counted with its reason in ``IclTask.dropped``.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from interp.zoo.icl import IclError, IclTask, Pair

_BETWEEN = ", "


def load_icl_file(path: Path | str) -> IclTask:
    """Read one task from a file.

    Rows with nothing in the input or output are dropped; so are further copies of a row, and all
    rows of an input that stands with several outputs, since none of them is *the* right answer.
    Where every output is one of the items of its input (written with commas), those items become
    the task's choices.

    Args:
        path: The file; its name without ``.json`` becomes the task's.

    Raises:
        IclError: no such file, or a row that is malformed: file, row and reason are named.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        rows = json.loads(raw.decode("utf-8-sig"))
    except OSError as error:
        raise IclError(f"{path}: {error.strerror or error}; expected a JSON file") from error
    except UnicodeDecodeError as error:
        raise IclError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise IclError(
            f"{path}: not JSON (line {error.lineno}: {error.msg}); expected a list of "
            '{"input": …, "output": …}'
        ) from error
    if not isinstance(rows, list):
        raise IclError(
            f'{path}: holds a {type(rows).__name__}; expected a list of {{"input": …, "output": …}}'
        )
    read = [_pair(path, i, row) for i, row in enumerate(rows)]
    full = [(given, output) for given, output in read if given and output]
    dropped = Counter({"empty input or output": len(read) - len(full)})
    once = list(dict.fromkeys(full))
    dropped["further copy of a row"] = len(full) - len(once)
    times = Counter(given for given, _ in once)
    pairs = tuple(pair for pair in once if times[pair[0]] == 1)
    dropped["input with several outputs"] = len(once) - len(pairs)
    return IclTask(
        path.stem,
        "file",
        pairs,
        choices=_choices(pairs),
        source=f"{path.name}, SHA-256 {hashlib.sha256(raw).hexdigest()}",
        dropped=tuple((reason, count) for reason, count in dropped.items() if count),
    )


def load_icl_folder(path: Path | str) -> tuple[IclTask, ...]:
    """Read every ``.json`` file of a folder as a task, in order of name.

    Raises:
        IclError: no such folder, no file in it, or a malformed one.
    """
    path = Path(path)
    if not path.is_dir():
        raise IclError(f"{path}: no such folder; expected one with .json files in it")
    files = sorted(path.glob("*.json"))
    if not files:
        raise IclError(f"{path}: no .json file in it")
    return tuple(load_icl_file(file) for file in files)


def _pair(path: Path, row: int, value: Any) -> Pair:
    where = f"{path}, row {row}"
    if not isinstance(value, dict):
        raise IclError(f'{where}: a {type(value).__name__}; expected {{"input": …, "output": …}}')
    missing = [key for key in ("input", "output") if key not in value]
    if missing:
        have = ", ".join(map(str, value)) or "nothing"
        raise IclError(f"{where}: no {' and no '.join(missing)}; it has {have}")
    given, output = (_text(where, key, value[key]) for key in ("input", "output"))
    return given, output


def _text(where: str, key: str, value: Any) -> str:
    items = value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, str):
            raise IclError(
                f"{where}: {key} is {json.dumps(item)[:40]}; expected text or a list of texts"
            )
    return _BETWEEN.join(item.strip() for item in items).strip()


def _choices(pairs: tuple[Pair, ...]) -> tuple[tuple[str, ...], ...]:
    """The items of each input, where the answer is always among several of them."""
    items = tuple(tuple(given.split(_BETWEEN)) for given, _ in pairs)
    offered = all(
        len(each) > 1 and output in each for (_, output), each in zip(pairs, items, strict=True)
    )
    return items if offered else ()
