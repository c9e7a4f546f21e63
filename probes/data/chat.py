"""Turns and statement as the one text that a model reads, spans moved along."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import date
from typing import Any

from probes.data.checks import DataError
from probes.data.statements import Span, StatementSet, Turn

log = logging.getLogger(__name__)

# Marks from a plane of Unicode that texts do not use: what lies between them is found again.
_OPEN, _CLOSE = "\U000f0001", "\U000f0002"
# Some templates put today's date in; results would depend on the day. Llama's takes this one.
FIXED_DATE = "26 Jul 2024"


def rendered(data: StatementSet, tokenizer: Any) -> StatementSet:
    """Write turns and statement as one text, by the tokenizer's chat template if it has one.

    The statement is the assistant's turn, and the text ends with it: the template's end-of-turn
    mark is left off, so that the last token is the statement's. Consecutive turns of one role are
    made one. A template that refuses a system turn gets its words before the user's. Without a
    template, turns are parted by blank lines.

    Args:
        data: The statements. Without turns before them they are returned as they are.
        tokenizer: Of the model, as transformers gives it.

    Returns:
        The same rows, their texts written out, their spans those of the same characters (of all
        of the statement where none were given), those of pooled turns first.

    Raises:
        DataError: token ids, or the template cannot be used.
    """
    if data.ids is not None:
        raise DataError(f"{data.name}: a set of token ids has no words to put into a template")
    if data.prompts is None:
        return data
    templated = bool(getattr(tokenizer, "chat_template", None))
    texts, spans = [], []
    for row, turns in enumerate(data.prompts):
        at = f"{data.name}, {data.places[row]}"
        own = ((0, len(data.texts[row])),) if data.spans is None else data.spans[row]
        marked = [*turns, Turn("assistant", data.texts[row], pooled=True)]
        if any(_OPEN in t.content or _CLOSE in t.content for t in marked):
            raise DataError(f"{at}: the text holds a character that marks spans (U+F0001)")
        text, found = _written(tokenizer if templated else None, marked, at)
        start = found[-1][0]
        texts.append(text)
        spans.append((*found[:-1], *((start + a, start + b) for a, b in own)))
    if templated and (today := _dated(texts, data)):
        log.warning(
            "%s: the chat template writes today's date (%s), so activations depend on the day",
            data.name,
            today,
        )
    return replace(data, texts=tuple(texts), spans=tuple(spans), prompts=None)


def _written(tokenizer: Any, turns: list[Turn], at: str) -> tuple[str, list[Span]]:
    """The text up to the end of the last turn, and where each pooled turn stands in it."""
    messages: list[dict[str, str]] = []
    for turn in turns:
        said = f"{_OPEN}{turn.content}{_CLOSE}" if turn.pooled else turn.content
        if messages and messages[-1]["role"] == turn.role:
            messages[-1]["content"] += f"\n\n{said}"
        else:
            messages.append({"role": turn.role, "content": said})
    if tokenizer is None:
        text = "\n\n".join(message["content"] for message in messages)
    else:
        text = _templated(tokenizer, messages, at)
        bos = getattr(tokenizer, "bos_token", None)
        # Tokenizing puts the beginning-of-sequence token first by itself.
        text = text.removeprefix(bos) if bos else text
    if text.count(_OPEN) != sum(turn.pooled for turn in turns):
        raise DataError(f"{at}: the chat template leaves a turn out, or says it twice")
    text = text[: text.rindex(_CLOSE) + 1]
    plain, spans, start, length = [], [], 0, 0
    for piece in text.replace(_OPEN, f"{_CLOSE}{_OPEN}").split(_CLOSE):
        words = piece.removeprefix(_OPEN)
        if piece.startswith(_OPEN):
            spans.append((length, length + len(words)))
        plain.append(words)
        length = start = start + len(words)
    return "".join(plain), spans


def _templated(tokenizer: Any, messages: list[dict[str, str]], at: str) -> str:
    import jinja2

    def write(turns: list[dict[str, str]]) -> str:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, date_string=FIXED_DATE))

    try:
        return write(messages)
    except jinja2.TemplateError as error:
        system, *others = messages
        if system["role"] != "system" or not others or others[0]["role"] != "user":
            raise DataError(f"{at}: the chat template refuses the turns: {error}") from None
    user = others[0]
    joined = {"role": "user", "content": f"{system['content']}\n\n{user['content']}"}
    try:
        return write([joined, *others[1:]])
    except jinja2.TemplateError as error:
        raise DataError(f"{at}: the chat template refuses the turns: {error}") from None


def _dated(texts: list[str], data: StatementSet) -> str | None:
    """Today's date, if the template wrote it and no turn did."""
    if not texts:
        return None
    assert data.prompts is not None
    said = data.texts[0] + "".join(turn.content for turn in data.prompts[0])
    today = date.today()
    for style in ("%d %b %Y", "%Y-%m-%d", "%d %B %Y", "%B %d, %Y"):
        shown = today.strftime(style)
        if shown in texts[0] and shown not in said:
            return shown
    return None
