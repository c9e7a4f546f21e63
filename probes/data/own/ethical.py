"""Ethical statements on which hardly anybody disagrees: verdicts on kind and on cruel acts."""

from __future__ import annotations

import csv
from importlib import resources

from probes.data.own.facts import Sentence

_VERDICTS = (("right", "wrong"), ("good", "bad"))


def ethical_sentences() -> list[Sentence]:
    """Return every statement, negations included.

    A good act and a bad one like it are a group; each is called right once and wrong once, so
    neither the act nor the verdict alone tells what is true. One act's two verdicts are a pair.
    """
    file = resources.files("probes.data.own").joinpath("ethical.csv")
    made = []
    for number, row in enumerate(csv.DictReader(file.read_text(encoding="utf-8").splitlines())):
        praise, blame = _VERDICTS[number % len(_VERDICTS)]
        for kind in ("good", "bad"):
            act = row[kind]
            for negation, polarity in (("", True), ("not ", False)):
                pair = act if polarity else f"{act}, negated"
                for verdict, fits in ((praise, kind == "good"), (blame, kind == "bad")):
                    text = f"It is {negation}{verdict} to {act}."
                    made.append(
                        Sentence(text, fits == polarity, f"{praise} or {blame}", row["good"], pair)
                    )
    return made
