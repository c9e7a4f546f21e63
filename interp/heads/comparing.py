"""Head sets by rule and signature, each a subject with its controls, and what removal says of each.

A set that several signatures choose is one test. Its p is corrected with those of all other sets
compared under the same condition with the same family of controls (Holm), and the row is then shown
once for each signature that chose it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from interp.evidence import Evidence, Head
from interp.heads.ablation import Ablations
from interp.heads.conditions import PLAIN, Condition
from interp.heads.dependence import corrected_by_family, weigh_subject
from interp.heads.planning import Subject, joined, matched_families, mean_of, sets_to_remove
from interp.heads.rules import HeadRule, RuleError
from interp.heads.signatures import Signature

_SHOWN = 4  # heads of a set that are named in a table


@dataclass(frozen=True)
class Choice:
    """A set of heads and why it was chosen.

    Attributes:
        signature: By which score.
        rule: By which rule.
        statement: What the rule chose, in a sentence.
        subject: The heads, with their controls.
    """

    signature: str
    rule: str
    statement: str
    subject: Subject


@dataclass(frozen=True)
class Comparison:
    """Everything to be compared under one condition.

    Attributes:
        condition: The condition.
        choices: What was chosen, by each signature and rule in turn.
        untested: Sets or families without controls, and why.
    """

    condition: Condition
    choices: tuple[Choice, ...]
    untested: tuple[str, ...]

    @property
    def sets(self) -> tuple[frozenset[Head], ...]:
        """The subjects' heads and their controls', each once."""
        return sets_to_remove(choice.subject for choice in self.choices)


def choose_and_match(
    signatures: Sequence[Signature],
    rules: Sequence[HeadRule],
    norms: Float[Tensor, "layer head"],
    *,
    condition: Condition = PLAIN,
    n_controls: int = 99,
    seed: int,
) -> Comparison:
    """Choose heads by each signature and rule, and draw their controls.

    Controls are any heads outside the target and the condition's excluded ones. Other carriers of
    the signature may be among them, which makes p larger and never smaller.

    Args:
        signatures: What heads are chosen by. Rules that name heads are applied once.
        rules: Which of them.
        norms: Mean output norm of every head, on the selection split.
        condition: What is left out.
        n_controls: Control sets a family.
        seed: Draws them.

    Raises:
        RuleError: a rule that does not fit the model.
    """
    choices: list[Choice] = []
    untested: dict[str, None] = {}
    named: set[str] = set()
    for signature in signatures:
        for rule in rules:
            if not rule.needs_scores and rule.text in named:
                continue
            named.add(rule.text)
            try:
                sets = rule.choose(signature.above_null, exclude=condition.excluded)
            except RuleError as error:
                if not condition.excluded:
                    raise
                untested[f"{condition.name}: {error}"] = None
                continue
            for found in sets:
                heads = found.heads
                families, missing = matched_families(
                    heads, norms, n=n_controls, seed=seed, exclude=condition.excluded - heads
                )
                untested.update(dict.fromkeys(missing))
                if not families:
                    continue
                name = joined(heads)
                if len(heads) > _SHOWN:
                    name = f"{found.name} by {signature.name}" if rule.needs_scores else found.name
                if condition.name:
                    name += f", {condition.name}"
                subject = Subject(
                    name=name,
                    heads=heads,
                    signature=mean_of(signature.values, heads),
                    null=mean_of(signature.null, heads),
                    has_signature=all(bool(signature.carried[head]) for head in heads),
                    controls=families,
                    signature_name=signature.name,
                )
                choices.append(Choice(signature.name, found.name, found.statement, subject))
    return Comparison(condition, tuple(choices), tuple(untested))


def compare(
    comparison: Comparison,
    ablations: Ablations,
    groups: Sequence[str],
    *,
    alpha: float = 0.05,
    seed: int,
) -> list[Evidence]:
    """Weigh every choice; one row for each family of its controls.

    Args:
        comparison: What was to be compared.
        ablations: What came of removing at least the sets its condition needs.
        groups: Which evaluation examples belong together.
        alpha: Level, after Holm's correction over different sets of heads.
        seed: Seeds the bootstrap.
    """
    seen = comparison.condition.under(ablations, comparison.sets)
    distinct: dict[frozenset[Head], Choice] = {}
    for choice in comparison.choices:
        distinct.setdefault(choice.subject.heads, choice)
    rows: list[Evidence] = []
    place: dict[frozenset[Head], slice] = {}
    for heads, choice in distinct.items():
        found = weigh_subject(choice.subject, seen, groups, alpha=alpha, seed=seed)
        place[heads] = slice(len(rows), len(rows) + len(found))
        rows += found
    rows = corrected_by_family(rows)
    shown = []
    for choice in comparison.choices:
        of = choice.subject
        for row in rows[place[of.heads]]:
            told = {
                "subject": of.name,
                "signature_name": of.signature_name or row.signature_name,
                "signature": of.signature,
                "signature_null": of.null,
                "has_signature": of.has_signature,
                "reason": row.reason.replace(row.subject, of.name),
            }
            shown.append(dataclasses.replace(row, **told))  # type: ignore[arg-type]
    return shown
