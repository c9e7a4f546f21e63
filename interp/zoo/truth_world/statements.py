"""Statements of a truth world for probes, and prompts that show what a statement's truth does.

Both begin ``BOS`` and two neutral statements, so that nothing has told the reliability bits yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.models import Examples
from interp.zoo.truth_world.world import BOS, OBJECT, WIDTH, World, WorldError

Part = Literal["all", "train", "test"]
N_BEFORE = 2
"""Neutral statements before the one that counts."""
OBJECT_AT = 1 + N_BEFORE * WIDTH + OBJECT
"""Position of the object of the statement that counts."""
STOP_AT = 1 + N_BEFORE * WIDTH + WIDTH - 1
"""Position of its full stop."""


@dataclass(frozen=True, eq=False)
class Statements:
    """Statements of one domain, as many true as false, with what a probe may be asked.

    Attributes:
        examples: Tokens; ``groups`` are subjects (``D0.s3``), so that none straddles a split.
        domain: Name of the domain.
        true: Whether the object is the subject's true one.
        bit: The reliability bit that the statement tells: the same as ``true``, or its opposite
            in an inverted domain ("honesty" labels).
        true_object: Token of the subject's true object.
        false_objects: Tokens of the domain's other objects.
        object_at: Position of the object in every row.
        stop_at: Position of the full stop in every row, the last.
    """

    examples: Examples
    domain: str
    true: Bool[Tensor, " row"]
    bit: Bool[Tensor, " row"]
    true_object: Int[Tensor, " row"]
    false_objects: Int[Tensor, "row wrong"]
    object_at: int = OBJECT_AT
    stop_at: int = STOP_AT

    def __len__(self) -> int:
        return len(self.examples)


@dataclass(frozen=True, eq=False)
class Prompts:
    """A statement of one domain, then one of another up to its object: what does the first do?

    Rows i and i + n / 2 are a pair: all tokens the same but the first statement's object, which
    is true in the first half of the rows and wrong in the second.

    Attributes:
        examples: Tokens; ``answer`` is the true continuation, ``answer_at`` where it is read, and
            ``groups`` are the first statement's subjects.
        source: Domain of the first statement.
        target: Domain of the one to be continued.
        true: Whether the first statement is true.
        false_objects: Tokens of the wrong continuations.
        object_at: Position of the first statement's object: where to steer.
        stop_at: Position of the first statement's full stop.
        sign: 1 where the two domains share a bit, -1 where one of them has it inverted, and 0 where
            their bits are independent: what the first statement should do to the odds.
    """

    examples: Examples
    source: str
    target: str
    true: Bool[Tensor, " row"]
    false_objects: Int[Tensor, "row wrong"]
    sign: int
    object_at: int = OBJECT_AT
    stop_at: int = STOP_AT

    def __len__(self) -> int:
        return len(self.examples)

    def log_odds(self, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
        """Logit of the true continuation less the mean of the false ones', in nats.

        Args:
            logits: At ``examples.answer_at``.
        """
        assert self.examples.answer is not None
        true = logits.gather(1, self.examples.answer[:, None])[:, 0]
        return true - logits.gather(1, self.false_objects).mean(dim=1)

    def gap(self, logits: Float[Tensor, "row vocab"]) -> float:
        """Natural gap: how much higher the log-odds are after a true statement, mean over pairs."""
        odds = self.log_odds(logits)
        return float((odds[: len(self) // 2] - odds[len(self) // 2 :]).mean())


def subjects(
    world: World, domain: str, *, part: Part = "all", seed: int = 0
) -> Int[Tensor, " subject"]:
    """Indices of a domain's subjects in one half, or all; every object is true equally often.

    Args:
        world: The world.
        domain: Name of the domain.
        part: Which; the halves of one ``seed`` share no subject.
        seed: Decides the halves.

    Raises:
        WorldError: no such domain, or no such part.
    """
    if part not in ("all", "train", "test"):
        raise WorldError(f"unknown part {part!r}; expected all, train or test")
    index = world.index(domain)
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for which in range(world.n_objects):
        of_object = (world.facts[index] == which).nonzero()[:, 0]
        of_object = of_object[torch.randperm(len(of_object), generator=generator)]
        half = len(of_object) // 2
        cut = {"all": slice(None), "train": slice(half), "test": slice(half, None)}[part]
        chosen.append(of_object[cut])
    return torch.cat(chosen).sort().values


def statements(
    world: World, domain: str, *, n: int = 360, part: Part = "all", seed: int = 0
) -> Statements:
    """Draw statements of a domain, ``n`` true and ``n`` false, after two neutral ones.

    Subjects and wrong objects take turns. Where ``n`` is a multiple of the number of subjects
    times that of wrong objects (36, or 72 for all subjects, in the bundled world), neither the
    subject alone nor the object alone tells anything about truth.

    Args:
        world: The world.
        domain: Name of the domain.
        n: Rows of each label.
        part: Whose subjects; ``train`` and ``test`` share none.
        seed: Decides the halves and draws the rows.

    Raises:
        WorldError: no such domain or part, or no rows asked for.
    """
    chosen = subjects(world, domain, part=part, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    subject, wrong, neutral = _drawn(world, chosen, n, generator=generator)
    subject, neutral = subject.repeat(2), neutral.repeat(2, 1)
    true = torch.arange(2 * n) < n
    index = torch.full((2 * n,), world.index(domain))
    fact = world.facts[index, subject]
    told = (fact + torch.where(true, 0, wrong.repeat(2))) % world.n_objects
    tokens = torch.cat([neutral, world.statement(index, subject, told)], dim=1)
    order = torch.randperm(2 * n, generator=generator)
    found = Examples(
        tokens=tokens[order],
        groups=tuple(f"{domain}.s{i}" for i in subject[order].tolist()),
        name=f"{domain} {part}",
        seed=seed,
    )
    return Statements(
        examples=found,
        domain=domain,
        true=true[order],
        bit=true[order] ^ world.domains[world.index(domain)].inverted,
        true_object=world.object(index, fact)[order],
        false_objects=_others(world, index, fact)[order],
    )


def prompts(
    world: World, source: str, target: str, *, n: int = 72, part: Part = "all", seed: int = 0
) -> Prompts:
    """Draw prompts ``BOS neutral neutral statement PLAIN subject relation``, in pairs.

    Args:
        world: The world.
        source: Domain of the statement.
        target: Domain of what is to be continued; its subject is never the statement's.
        n: Pairs.
        part: Whose subjects, of both domains.
        seed: Decides the halves and draws the rows.

    Raises:
        WorldError: no such domain or part, or no rows asked for.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = subjects(world, source, part=part, seed=seed)
    subject, wrong, neutral = _drawn(world, chosen, n, generator=generator)
    others = subjects(world, target, part=part, seed=seed)
    asked = others[torch.randint(len(others), (n,), generator=generator)]
    if source == target:  # some other subject, all alike
        place = torch.searchsorted(others, subject)
        step = torch.randint(1, len(others), (n,), generator=generator)
        asked = others[(place + step) % len(others)]
    first, second = torch.full((n,), world.index(source)), torch.full((n,), world.index(target))
    fact, answer = world.facts[first, subject], world.facts[second, asked]
    asking = world.statement(second, asked, answer)[:, :OBJECT]
    halves = [
        torch.cat([neutral, world.statement(first, subject, told % world.n_objects), asking], dim=1)
        for told in (fact, fact + wrong)
    ]
    tokens = torch.cat(halves)
    a, b = world.domains[world.index(source)], world.domains[world.index(target)]
    found = Examples(
        tokens=tokens,
        answer=world.object(second, answer).repeat(2),
        answer_at=torch.full((2 * n,), tokens.shape[1] - 1),
        groups=tuple(f"{source}.s{i}" for i in subject.tolist()) * 2,
        name=f"{source} then {target}",
        seed=seed,
    )
    return Prompts(
        examples=found,
        source=source,
        target=target,
        true=torch.arange(2 * n) < n,
        false_objects=_others(world, second, answer).repeat(2, 1),
        sign=0 if a.bit != b.bit else (-1 if a.inverted != b.inverted else 1),
    )


def _drawn(
    world: World, chosen: Int[Tensor, " subject"], n: int, *, generator: torch.Generator
) -> tuple[Int[Tensor, " row"], Int[Tensor, " row"], Int[Tensor, "row before"]]:
    """Subjects and steps from the true object to a wrong one, taking turns; what stands before."""
    if n < 1:
        raise WorldError(f"n={n}: expected at least 1 row of each label")
    turn = torch.arange(n)
    mixed = chosen[torch.randperm(len(chosen), generator=generator)]
    wrong = 1 + (turn // len(chosen)) % (world.n_objects - 1)
    neutral = world.neutral(n, N_BEFORE, generator=generator).flatten(1)
    return mixed[turn % len(chosen)], wrong, torch.cat([torch.full((n, 1), BOS), neutral], dim=1)


def _others(
    world: World, domain: Int[Tensor, " row"], fact: Int[Tensor, " row"]
) -> Int[Tensor, "row wrong"]:
    steps = torch.arange(1, world.n_objects)
    return world.object(domain[:, None], (fact[:, None] + steps) % world.n_objects)
