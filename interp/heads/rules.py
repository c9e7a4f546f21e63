"""Which heads to remove, said as a rule: ``top:5``, ``top-per-layer:2%``, ``L3H7+L5H1``, ``all``.

==================== =====================================================================
``top:5``            the five highest heads of the model, as one set
``top:2%``           the highest 2 % of the model's heads, as one set
``top-per-layer:1``  the highest head of every layer, as one set
``top-per-layer:2%`` the highest 2 % of every layer's heads, as one set
``layer:3``          every head of layer 3, as one set
``L3H7+L5H1``        these heads, as one set; a comma does as well as the plus
``all``              every head of the model, each a set of its own
==================== =====================================================================

A share is rounded up to whole heads, so that it is never none: 2 % of 12 heads is 0.24 of a head,
and one is taken, which is 8.3 %. What became of a rule is said in the sets' ``statement``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import Head, head_name

_FORMS = "top:5, top:2%, top-per-layer:1, top-per-layer:2%, layer:3, L3H7+L5H1, all"
_WORDS = ("top", "top-per-layer", "layer", "all")
_HEAD = re.compile(r"L(\d+)H(\d+)", re.IGNORECASE)
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


class RuleError(ValueError):
    """A rule for choosing heads cannot be read, or does not fit the model."""


@dataclass(frozen=True)
class HeadSet:
    """Heads to be removed together.

    Attributes:
        name: Short, for tables: the rule, or the head where a rule makes a set of each.
        heads: The heads.
        statement: One sentence: what was chosen, out of how many, and how a share was rounded.
    """

    name: str
    heads: frozenset[Head]
    statement: str

    def __str__(self) -> str:
        return f"{self.name}: {self.statement}"


@dataclass(frozen=True)
class HeadRule:
    """A rule for choosing heads; make one with :meth:`parse`.

    Attributes:
        text: The rule in its shortest form, which parses to the same rule.
        word: ``top``, ``top-per-layer``, ``layer``, ``all`` or ``named``.
        count: How many heads, of the model or of each layer, where the rule gives a number.
        share: Or which share of them, 0 to 1.
        layer: Which layer, under ``layer``.
        heads: Which heads, under ``named``.
    """

    text: str
    word: str = field(repr=False)
    count: int | None = field(default=None, repr=False)
    share: Fraction | None = field(default=None, repr=False)
    layer: int | None = field(default=None, repr=False)
    heads: frozenset[Head] = field(default=frozenset(), repr=False)

    @classmethod
    def parse(cls, text: str) -> HeadRule:
        """Read a rule as written on the command line.

        Raises:
            RuleError: none of the forms, or a number out of range.
        """
        plain = text.strip()
        if _HEAD.match(plain):
            return _named(plain)
        word, colon, amount = (part.strip() for part in plain.partition(":"))
        word = word.lower()
        if word not in _WORDS:
            raise RuleError(f"unknown rule {text!r}; expected one of {_FORMS}{_hint(plain)}")
        if (word == "all") == bool(colon):
            wanted = "all, with nothing after it" if word == "all" else f"a number: {word}:1"
            raise RuleError(f"the rule {text!r} is not complete or too long; expected {wanted}")
        if word == "all":
            return cls("all", "all")
        if word == "layer":
            if not amount.isdecimal():
                raise RuleError(f"{text!r} names no layer; expected a number, such as layer:3")
            return cls(f"layer:{int(amount)}", "layer", layer=int(amount))
        if found := _SHARE.fullmatch(amount):
            share = Fraction(found[1]) / 100
            if not 0 < share <= 1:
                raise RuleError(f"{text!r}: a share must be above 0 % and at most 100 %")
            return cls(f"{word}:{_percent(share)}%", word, share=share)
        if not amount.isdecimal() or int(amount) < 1:
            raise RuleError(
                f"{text!r}: {amount!r} is neither a number of heads, 1 or more, nor a share such "
                f"as 2%; expected {word}:5 or {word}:2%"
            )
        return cls(f"{word}:{int(amount)}", word, count=int(amount))

    @property
    def needs_scores(self) -> bool:
        """Whether the rule chooses by a score, and not by name."""
        return self.word.startswith("top")

    def choose(
        self,
        scores: Float[Tensor, "layer head"] | None = None,
        *,
        shape: tuple[int, int] | None = None,
        exclude: Collection[Head] = (),
    ) -> tuple[HeadSet, ...]:
        """Apply the rule to a model.

        The highest scores win, signed. Equal ones go by place, earlier layer first and then lower
        head, and the statement says so where that decided. Excluded heads are passed over: the
        next ones take their place, so that the count stays that of the whole model or layer.

        Args:
            scores: One score a head, measured on other examples than those that judge. Not
                needed, and not looked at but for its shape, by ``layer``, ``all`` and named heads.
            shape: (layers, heads a layer), where there are no scores.
            exclude: Heads that may not be chosen, such as function-vector heads.

        Returns:
            One set, or under ``all`` one a head.

        Raises:
            RuleError: no scores where they are needed, a head or layer the model does not have, a
                named head that is excluded, or fewer heads than asked for.
        """
        n_layers, n_heads = self._shape(scores, shape)
        left_out = {(int(layer), int(head)) for layer, head in exclude}
        _check_heads([*sorted(left_out), *sorted(self.heads)], n_layers, n_heads)
        every = [(i, j) for i in range(n_layers) for j in range(n_heads)]
        free = [head for head in every if head not in left_out]
        if self.word == "all":
            return tuple(HeadSet(head_name(h), frozenset([h]), f"{head_name(h)}.") for h in free)
        if self.needs_scores:
            assert scores is not None
            return (self._top(scores, free),)
        if both := sorted(self.heads & left_out):
            raise RuleError(f"{self.text} names {head_name(both[0])}, which is excluded")
        chosen = self.heads
        if self.word == "layer":
            if self.layer is None or self.layer >= n_layers:
                raise RuleError(f"{self.text}: the model's layers are 0 to {n_layers - 1}")
            chosen = frozenset(head for head in free if head[0] == self.layer)
            if not chosen:
                raise RuleError(f"{self.text}: every head of the layer is excluded")
        said = f"{self.text} = {_of(len(chosen), len(every))}"
        passed_over = n_heads - len(chosen) if self.word == "layer" else 0
        return (HeadSet(self.text, chosen, f"{said}{_passed_over(passed_over)}."),)

    def _shape(self, scores: Tensor | None, shape: tuple[int, int] | None) -> tuple[int, int]:
        if scores is None:
            if self.needs_scores:
                raise RuleError(
                    f"{self.text} chooses by a score; give scores, or name heads, such as L3H7"
                )
            if shape is None:
                raise RuleError("give scores [layer, head], or shape=(layers, heads a layer)")
            return shape
        if scores.ndim != 2 or not scores.numel():
            raise RuleError(f"scores must be [layer, head], got shape {list(scores.shape)}")
        if shape is not None and tuple(scores.shape) != tuple(shape):
            raise RuleError(f"scores are {list(scores.shape)}, but shape says {list(shape)}")
        if self.needs_scores and not bool(torch.isfinite(scores).all()):
            raise RuleError("a score is not finite, so heads cannot be put in order")
        return int(scores.shape[0]), int(scores.shape[1])

    def _top(self, scores: Tensor, free: list[Head]) -> HeadSet:
        n_layers, n_heads = scores.shape
        total = n_layers * n_heads
        by_layer = self.word == "top-per-layer"
        among = n_heads if by_layer else total
        count = self.count if self.share is None else math.ceil(self.share * among)
        assert count is not None
        pools = [[h for h in free if h[0] == i] for i in range(n_layers)] if by_layer else [free]
        values = scores.tolist()
        chosen: list[Head] = []
        tied = 0
        for layer, pool in enumerate(pools):
            if count > len(pool):
                where = f"layer {layer}" if by_layer else "the model"
                kept = len(pool) != among
                raise RuleError(
                    f"{self.text} takes {count} heads, but {where} has {len(pool)}"
                    + (" that are not excluded" if kept else "")
                )
            ranked = sorted(pool, key=lambda head: (-values[head[0]][head[1]], head))
            chosen += ranked[:count]
            last = [values[i][j] for i, j in ranked[count - 1 : count + 1]]
            tied += len(last) == 2 and last[0] == last[1]
        what = f"top {self.amount}{' a layer' if by_layer else ''}"
        if by_layer:
            said = f"{what} = {count} of {n_heads} heads in each of {n_layers} layers: "
            said += _of(len(chosen), total)
        else:
            said = f"{what} = {_of(count, total)}"
        if self.share is not None and (exact := self.share * among) != count:
            said += f", {float(exact):.3g} rounded up"
        said += _passed_over(total - len(free))
        if tied:
            said += "; equal scores at the cut, taken in the order of layer and head"
        return HeadSet(self.text, frozenset(chosen), f"{said}.")

    @property
    def amount(self) -> str:
        """The number or share as said in a sentence, ``5`` or ``2 %``."""
        return f"{_percent(self.share)} %" if self.share is not None else str(self.count)

    def __str__(self) -> str:
        return self.text


def choose_heads(
    rule: str,
    scores: Float[Tensor, "layer head"] | None = None,
    *,
    shape: tuple[int, int] | None = None,
    exclude: Collection[Head] = (),
) -> tuple[HeadSet, ...]:
    """Read a rule and apply it: ``HeadRule.parse(rule).choose(…)``, where it is described."""
    return HeadRule.parse(rule).choose(scores, shape=shape, exclude=exclude)


def _named(text: str) -> HeadRule:
    heads: list[Head] = []
    for part in re.split(r"[+,]", text):
        found = _HEAD.fullmatch(part.strip())
        if found is None:
            raise RuleError(f"{text!r}: {part.strip()!r} is no head; expected one such as L3H7")
        heads.append((int(found[1]), int(found[2])))
    twice = sorted({head for head in heads if heads.count(head) > 1})
    if twice:
        raise RuleError(f"{text!r} names {head_name(twice[0])} twice")
    name = "+".join(head_name(head) for head in sorted(heads))
    return HeadRule(name, "named", heads=frozenset(heads))


def _hint(text: str) -> str:
    spaced = re.fullmatch(r"(top|top-per-layer|layer)[\s=]*(\d[\d.]*\s*%?)", text.lower())
    if spaced:
        return f"; did you mean {spaced[1]}:{spaced[2].replace(' ', '')}?"
    word, colon, amount = text.lower().partition(":")
    near = difflib.get_close_matches(word.strip().replace("_", "-"), _WORDS, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}{colon}{amount}?" if near else ""


def _check_heads(heads: list[Head], n_layers: int, n_heads: int) -> None:
    for layer, head in heads:
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise RuleError(
                f"L{layer}H{head} is not in the model: layers are 0 to {n_layers - 1}, heads 0 to "
                f"{n_heads - 1}"
            )


def _percent(share: Fraction) -> str:
    """Write a share as the decimal it was read from; never as 1e-05, which is not read."""
    percent = share * 100
    digits = 0
    while (percent * 10**digits).denominator > 1:
        digits += 1
    return f"{Decimal(int(percent * 10**digits)).scaleb(-digits):f}"


def _of(count: int, total: int) -> str:
    return f"{count} of {total} heads ({100 * count / total:.1f} %)"


def _passed_over(count: int) -> str:
    return f"; {count} excluded {'head' if count == 1 else 'heads'} passed over" if count else ""
