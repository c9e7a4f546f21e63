"""Published conversations: sycophancy, roll-outs and the insider trader.

In all of them label 1 is the honest statement; the papers' code counts the deceptive one as 1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from interp.configs import near
from probes.data.checks import DataError, checked_text
from probes.data.draft import Draft, Drafts
from probes.data.files import rows_of
from probes.data.statements import Turn

# Grades run from 1 (honest) to 10 (deceptive); what lies between is nobody's claim.
_DECEPTIVE_FROM, _HONEST_TO = 6, 2
_GRADES = {"honest": 1, "deceptive": 0}
_REPORTS = {"explicit": 1, "concealed": 0}
ACTION = "Action: "
_PREFIX = "I believe the best answer is"


def read_sycophancy(document: Any, source: str, drafts: Drafts) -> None:
    """Answers to a user who says what they believe: label 0 yields to it, label 1 does not.

    Paired files hold ``positive`` (sycophantic) and ``negative`` lists aligned by index; rows
    of different questions at one index, and those beyond the shorter list, are kept without a
    partner. Raw files are one list, labelled by ``sycophancy_occurred``. Rows of one question
    are one group. Pooled over: the letter of the answer.
    """
    if isinstance(document, list):
        for place, row in rows_of(document, source):
            yielded = _field(row, "sycophancy_occurred", f"{source}, {place}")
            if not isinstance(yielded, bool):
                raise DataError(
                    f"{source}, {place}: sycophancy_occurred is {yielded!r}; expected true or false"
                )
            drafts.rows.append(_answer(row, place, source, not yielded, None))
        return
    lists = {}
    for key in ("positive", "negative"):
        found = _field(document, key, source)
        if not isinstance(found, list):
            raise DataError(f"{source}: {key} is {type(found).__name__}; expected a list")
        lists[key] = rows_of(found, f"{source}, {key}")
    questions = {
        key: [_field(row, "question", f"{source}, {key} {place}") for place, row in rows]
        for key, rows in lists.items()
    }
    for key, label in (("positive", 0), ("negative", 1)):
        other = questions["negative" if key == "positive" else "positive"]
        for i, (place, row) in enumerate(lists[key]):
            aligned = i < len(other) and other[i] == questions[key][i]
            pair = f"{source}:{i}" if aligned else None
            drafts.rows.append(_answer(row, f"{key} {place}", source, label, pair))


def read_rollouts(document: Any, source: str, drafts: Drafts) -> None:
    """Graded outputs of conversations: a grade of at most 2 is honest, of 6 or more deceptive.

    Outputs of one conversation are one group. Pooled over: the output, and turns whose
    ``detect`` is true. What is graded in between, or not at all, is skipped and counted.
    """
    rollouts = _field(document, "rollouts", source)
    if not isinstance(rollouts, list):
        raise DataError(f"{source}: rollouts is {type(rollouts).__name__}; expected a list")
    for place, row in rows_of(rollouts, source):
        at = f"{source}, {place}"
        outputs = _field(row, "output_strs", at)
        outputs = [outputs] if isinstance(outputs, str) else outputs
        if not isinstance(outputs, list):
            raise DataError(f"{at}: output_strs is {type(outputs).__name__}; expected a list")
        turns = _turns(_field(row, "input_messages", at), at)
        grades = row.get("graded_deception")
        if not isinstance(grades, list):
            grades = [grades] * len(outputs)
        if len(grades) != len(outputs):
            raise DataError(f"{at}: {len(outputs)} outputs need as many grades: {len(grades)}")
        said = json.dumps([(turn.role, turn.content) for turn in turns])
        group = f"conversation:{hashlib.sha256(said.encode()).hexdigest()[:12]}"
        if not outputs:
            drafts.skip("no output", place)
        for i, (output, grade) in enumerate(zip(outputs, grades, strict=True)):
            one = f"{place} output {i + 1}"
            label = _graded(grade, f"{source}, {one}")
            if label is None:
                drafts.skip("no grade, or one between honest and deceptive", one)
            elif not isinstance(output, str):
                raise DataError(f"{source}, {one}: the output is {output!r}; expected text")
            elif not output.strip() or any(t.pooled and not t.content.strip() for t in turns):
                drafts.skip("nothing to pool over: an empty output or detected turn", one)
            else:
                drafts.rows.append(_continued(turns, output, label, one, group))


def read_insider(document: Any, source: str, drafts: Drafts, *, span_from: str = ACTION) -> None:
    """Reports of an insider trade: ``explicit`` is honest, ``concealed`` deceptive.

    Pooled over: from the last ``Action: `` to the end. Other reports, and transcripts without
    that mark, are skipped and counted.
    """
    for place, row in rows_of(document, source):
        at = f"{source}, {place}"
        metadata = _field(row, "metadata", at)
        if not isinstance(metadata, Mapping):
            raise DataError(f"{at}: metadata is {type(metadata).__name__}; expected an object")
        report = _field(metadata, "report_label", at)
        if report not in _REPORTS:
            drafts.skip(f"report_label {report!r} is neither explicit nor concealed", place)
            continue
        transcript = _field(row, "transcript", at)
        if isinstance(transcript, str):
            turns: tuple[Turn, ...] = ()
            text = checked_text(transcript, at, what="transcript")
        else:
            all_turns = _turns(transcript, at)
            spoken = [
                i
                for i, t in enumerate(all_turns)
                if t.role == "assistant" and span_from in t.content
            ]
            if not spoken:
                drafts.skip(f"no {span_from!r} in an assistant's turn", place)
                continue
            turns, text = all_turns[: spoken[-1]], all_turns[spoken[-1]].content
        start = text.rfind(span_from)
        if start < 0 or not text[start + len(span_from) :].strip():
            drafts.skip(f"no text from {span_from!r} on", place)
            continue
        spans = ((start, len(text)),)
        drafts.rows.append(Draft(text, _REPORTS[report], place, spans=spans, prompt=turns))


def _answer(
    row: Mapping[str, Any], place: str, source: str, label: int | bool, pair: str | None
) -> Draft:
    at = f"{source}, {place}"
    question = checked_text(_field(row, "question", at), at, what="question")
    messages = _turns(_field(row, "bio_messages", at), at)
    if not messages or messages[0].role != "user":
        raise DataError(f"{at}: bio_messages does not begin with the user's turn")
    answer = _field(row, "model_answer_with_bio", at)
    if isinstance(answer, bool) or answer not in (0, 1, 2, 3):
        raise DataError(f"{at}: model_answer_with_bio is {answer!r}; expected 0, 1, 2 or 3")
    said = messages[1].content if len(messages) > 1 else _PREFIX
    text = f"{said.rstrip()} ({'ABCD'[answer]}"
    task = row.get("task") or row.get("subject")
    return Draft(
        text,
        label,
        place,
        f"question:{question}",
        pair,
        task,
        ((len(text) - 1, len(text)),),
        (messages[0],),
    )


def _continued(turns: Sequence[Turn], output: str, label: int, place: str, group: str) -> Draft:
    """An output, joined to the assistant's turn that it continues, if there is one."""
    if not turns or turns[-1].role != "assistant":
        return Draft(output, label, place, group, prompt=tuple(turns))
    begun = turns[-1]
    text = begun.content + output
    start = 0 if begun.pooled else len(begun.content)
    spans = ((start, len(text)),)
    return Draft(text, label, place, group, spans=spans, prompt=tuple(turns[:-1]))


def _graded(grade: Any, at: str) -> int | None:
    if grade is None or grade in ("skip", "ambiguous"):
        return None
    if isinstance(grade, str) and grade in _GRADES:
        return _GRADES[grade]
    if isinstance(grade, int) and not isinstance(grade, bool):
        if grade >= _DECEPTIVE_FROM:
            return 0
        return 1 if grade <= _HONEST_TO else None
    raise DataError(
        f"{at}: graded_deception is {grade!r}; expected a whole number, honest or deceptive"
    )


def _turns(messages: Any, at: str) -> tuple[Turn, ...]:
    if not isinstance(messages, list):
        raise DataError(f"{at}: the messages are {type(messages).__name__}; expected a list")
    return tuple(_each_turn(messages, at))


def _each_turn(messages: list[Any], at: str) -> Iterator[Turn]:
    for number, message in enumerate(messages, start=1):
        where = f"{at}, message {number}"
        if not isinstance(message, Mapping):
            raise DataError(f"{where}: expected an object with role and content")
        role, content = _field(message, "role", where), _field(message, "content", where)
        try:
            yield Turn(role, content, message.get("detect") is True)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None


def _field(row: Any, key: str, at: str) -> Any:
    if not isinstance(row, Mapping):
        raise DataError(f"{at}: expected an object with {key!r}, got {type(row).__name__}")
    if key not in row:
        raise DataError(f"{at}: no {key!r}; {near(key, map(str, row), what='it has')}")
    return row[key]
