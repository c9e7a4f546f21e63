"""Does a language model keep digits, letters or months in their order, and use it?

Signature: the share of a token set's embeddings along their order (a trend) and at each frequency
beyond it, beside shuffled orders. Load: what taking the trend, or the strongest frequency, from
these embeddings costs on held-out text after these tokens, beside shuffled orders' own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.runs import Run

SUMMARY = "Does a language model keep digits, letters or months in their order, and use it?"

MOST = 1000
"""Numbers in a range, at most."""


@dataclass(frozen=True)
class Config:
    """Settings of the study of ordered tokens.

    Attributes:
        model: A language model: a bundled name, a folder, or a Hugging Face id.
        tokens: Ordered sets, of 5 tokens up: digits, numbers, letters, weekdays, months, a range
            such as 1..12, words with commas between them, or a file with a word a line.
        text: A text file to judge removal on, in which the tokens occur; zoo:code-lm has its own.
            Without one there is the signature alone.
        rows: Stretches of that text with a token of the set, at most, for each set.
        length: Tokens in a stretch.
        shuffles: Shuffled orders for the signatures' nulls.
        controls: Shuffled orders that each removal is set beside.
        alpha: Level of the verdicts.
        seed: Draws orders, stretches and bootstrap.
        device: Where the model runs.
    """

    model: str = "zoo:code-lm"
    tokens: tuple[str, ...] = ("digits", "1..12", "letters")
    text: str | None = None
    rows: int = 128
    length: int = 24
    shuffles: int = 999
    controls: int = 99
    alpha: float = 0.05
    seed: int = 0
    device: str = "cpu"


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"tokens": ["digits"], "rows": 24, "shuffles": 199, "controls": 19},
    "default": {},
}


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    least = {"rows": 2, "length": 2, "shuffles": 19, "controls": 19, "seed": 0}
    for name, low in least.items():
        if getattr(config, name) < low:
            raise ValueError(f"{name} is {getattr(config, name)}; expected at least {low}")
    if not 0 < config.alpha < 1:
        raise ValueError(f"alpha is {config.alpha}; expected a level between 0 and 1, such as .05")
    if not config.tokens:
        raise ValueError("tokens is empty; expected some sets, such as digits")
    if len(set(config.tokens)) < len(config.tokens):
        raise ValueError(f"tokens names one twice: {', '.join(config.tokens)}")
    for text in config.tokens:
        members(text)
    if config.text is not None and not Path(config.text).is_file():
        raise ValueError(f"no file {config.text}; text is a text file")


def members(text: str) -> tuple[str, ...]:
    """The words of a set as the command names it, in their order.

    Raises:
        ValueError: it is none of the forms that ``tokens`` takes, has fewer than 5 words or one
            twice, or is a range of more than :data:`MOST`.
    """
    import difflib

    from interp.fourier import TOKEN_SETS

    first, _, last = text.partition("..")
    if text in TOKEN_SETS:
        found = TOKEN_SETS[text]
    elif first.isdecimal() and last.isdecimal():
        if int(last) - int(first) >= MOST:
            raise ValueError(f"{text} is too long a range; expected at most {MOST} numbers")
        found = tuple(str(i) for i in range(int(first), int(last) + 1))
    elif "," in text:
        found = tuple(word.strip() for word in text.split(","))
        if sets := [word for word in found if word in TOKEN_SETS or ".." in word]:
            raise ValueError(
                f"{text} has sets among its words: {', '.join(sets)}; give several sets with "
                "spaces between them"
            )
    elif Path(text).is_file():
        lines = Path(text).read_text(encoding="utf-8").splitlines()
        found = tuple(line.strip() for line in lines if line.strip())
    else:
        near = difflib.get_close_matches(text, TOKEN_SETS, n=1) or list(TOKEN_SETS)
        raise ValueError(
            f"no token set {text!r}: expected {' or '.join(near)}, a range such as 1..12, words "
            "with commas between them, or a file"
        )
    if len(found) < 5:
        raise ValueError(
            f"{text}: {len(found)} words are too few to tell a trend from a period; expected 5 up"
        )
    twice = next((word for i, word in enumerate(found) if word in found[:i]), None)
    if twice is not None:
        raise ValueError(f"{text} has {twice!r} twice; each word has one place in the order")
    return found


def run(config: Config, run: Run) -> None:
    """Read every set, and remove what there is of its order."""
    from experiments.token_spectra_measuring import measure
    from experiments.token_spectra_report import save

    save(config, run, measure(config, run))


def report(run: Run) -> Any:
    """Return what the terminal shows: signatures, and what removal costs."""
    from experiments.token_spectra_report import table_of

    return table_of(run)
