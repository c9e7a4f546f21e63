"""Many changes of the stream at one site, each on every prompt, from one run of what comes before.

Prompts run unchanged up to the site once. Every change (a push along one of hundreds of
directions, say) then enters there, and only what comes after runs, many changes a forward pass
(``interp.hooks.suffix``). Where a model cannot be begun in the middle, or the site is not the
stream between two layers, the same changes are made by hooks on whole passes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.hooks import Site, session
from interp.hooks.progress import progress
from interp.hooks.suffix import Entry, Prefix, Rewrite, Start, run_prefix, run_suffix
from interp.hooks.suffix_check import has_hooks, suffix_problem
from interp.models import Examples, Model
from interp.models.memory import in_batches
from probes.activations import checked_site

log = logging.getLogger(__name__)

# Matrix products gain nothing from more on a CPU; beyond this there is only memory to lose.
TOKENS_PER_FORWARD = 2048


class Asked(Protocol):
    """Prompts, where they may be changed, and what is read off the logits that follow."""

    @property
    def examples(self) -> Examples:
        """The prompts, with ``answer_at``: where logits are read."""
        ...

    @property
    def changed(self) -> Bool[Tensor, "row pos"]:
        """Which tokens are changed."""
        ...

    def read(
        self, logits: Float[Tensor, "run vocab"], rows: Int[Tensor, " run"]
    ) -> Float[Tensor, " run *what"]:
        """Return what is read off logits of these prompts, on the CPU."""
        ...


Prompts = TypeVar("Prompts", bound=Asked)


class Edits(Protocol):
    """Several changes of one vector; row by row it is said which of them, on which prompt."""

    def __len__(self) -> int: ...

    def apply(
        self, x: Float[Tensor, "place d"], which: Int[Tensor, " place"], row: Int[Tensor, " place"]
    ) -> Float[Tensor, "place d"]:
        """Return the changed vectors."""
        ...


@dataclass(frozen=True, eq=False)
class Pushes:
    """Add a vector, times a factor of the prompt's own.

    Attributes:
        vectors: One an edit.
        factors: One a prompt; 1 where None.
    """

    vectors: Float[Tensor, "edit d"]
    factors: Float[Tensor, " row"] | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def apply(self, x: Tensor, which: Tensor, row: Tensor) -> Tensor:
        """Return the pushed vectors."""
        added = self.vectors.to(x)[which.to(x.device)]
        if self.factors is not None:
            added = added * self.factors[row].to(x)[:, None]
        return x + added


@dataclass(frozen=True, eq=False)
class Erasures:
    """x − left · right · (x − centre): a projection, orthogonal or oblique.

    Attributes:
        left: What is taken away, one an edit.
        right: What is read to know how much.
        centre: The vector that stays as it is.
    """

    left: Float[Tensor, "edit d k"]
    right: Float[Tensor, "edit k d"]
    centre: Float[Tensor, " d"]

    @classmethod
    def along(cls, directions: Float[Tensor, "edit d"], centre: Float[Tensor, " d"]) -> Erasures:
        """Set the component along each unit direction to the centre's."""
        return cls(directions[:, :, None], directions[:, None, :], centre)

    def __len__(self) -> int:
        return len(self.left)

    def apply(self, x: Tensor, which: Tensor, row: Tensor) -> Tensor:
        """Return the projected vectors."""
        which = which.to(x.device)
        inside = torch.einsum("pkd,pd->pk", self.right.to(x)[which], x - self.centre.to(x))
        return x - torch.einsum("pdk,pk->pd", self.left.to(x)[which], inside)


class EditedRuns(Generic[Prompts]):
    """Prompts run once up to a site, to be run on from there with any changes.

    Attributes:
        clean: What is read off the unmodified model: log-odds in nats, of ``Continuations``.
        activations: What the site holds at the changed places, a row a place.
    """

    clean: Float[Tensor, " row *what"]
    activations: Float[Tensor, "place d"]

    @torch.no_grad()
    def __init__(
        self,
        model: Model,
        prompts: Prompts,
        site: Site | str,
        *,
        tokens_per_forward: int = TOKENS_PER_FORWARD,
    ) -> None:
        """Run the prompts unchanged.

        Args:
            model: The model.
            prompts: The prompts.
            site: Where changes are to be made.
            tokens_per_forward: Size of a forward pass; halved on out-of-memory.

        Raises:
            SiteError: the model has no such site, or it cannot be edited.
            ModelError: tokens outside the vocabulary, or prompts too long.
        """
        self.model, self.prompts = model, prompts
        self.site = checked_site(model, site)
        self.site.require_editable(model)
        model.check_tokens(prompts.examples.tokens)
        self._rows = max(1, tokens_per_forward // prompts.examples.tokens.shape[1])
        self._layer = _entry_layer(model, self.site)
        self._prefix: Prefix | None = None
        if self._layer is not None:
            problem = "there are hooks on it" if has_hooks(model) else suffix_problem(model)
            if problem is None:
                self._run_prefix()
            else:
                log.warning("%s runs whole for every change: %s", model.spec.name, problem)
        if self._prefix is None:
            self._run_whole()

    @property
    def d(self) -> int:
        """Width of the site."""
        return int(self.activations.shape[1])

    @torch.no_grad()
    def read(self, edits: Edits) -> Float[Tensor, "edit row *what"]:
        """Read every prompt under every edit.

        Raises:
            ContinuationsError: what is read is not finite.
        """
        n = len(self.prompts.examples)
        found = self.clean.new_zeros((len(edits), n, *self.clean.shape[1:]))
        flat = found.flatten(0, 1)
        run = self._changed_whole if self._prefix is None else self._changed
        with progress("steering", total=len(flat)) as advance:

            def work(part: slice) -> None:
                index = torch.arange(part.start, part.stop)
                which, rows = index // n, index % n
                flat[part] = self.prompts.read(run(edits, which, rows), rows)
                advance(len(index))

            in_batches(len(flat), self._rows, work)
        return found

    def _run_prefix(self) -> None:
        layer, examples = self._layer, self.prompts.examples
        assert layer is not None and examples.mask is not None and examples.answer_at is not None
        parts: list[Prefix] = []

        def work(part: slice) -> None:
            assert examples.mask is not None and examples.answer_at is not None
            found = run_prefix(
                self.model,
                examples.tokens[part],
                examples.mask[part],
                [layer],
                reads=examples.answer_at[part, None],
            )
            # The rest of what it keeps is for heads.
            start = found.starts[layer]
            kept = Start(start.resid, start.attn_out[:0], start.z[:0])
            parts.append(replace(found, starts={layer: kept}))

        in_batches(len(examples), self._rows, work)
        resid = torch.cat([part.starts[layer].resid for part in parts])
        logits = torch.cat([part.logits[:, 0] for part in parts])
        self._prefix = replace(
            parts[0],
            tokens=examples.tokens,
            mask=examples.mask,
            logits=logits[:0],
            starts={layer: replace(parts[0].starts[layer], resid=resid)},
        )
        self.clean = self.prompts.read(logits, torch.arange(len(examples)))
        row, at = self.prompts.changed.nonzero(as_tuple=True)
        self.activations = resid[row.to(resid.device), at.to(resid.device)].cpu().double()

    def _changed(self, edits: Edits, which: Tensor, rows: Tensor) -> Float[Tensor, "run vocab"]:
        prefix, layer, examples = self._prefix, self._layer, self.prompts.examples
        assert prefix is not None and layer is not None and examples.answer_at is not None
        assert prefix.mask is not None
        start = prefix.starts[layer]
        resid = self._edited(start.resid[rows.to(start.resid.device)], edits, which, rows)
        begun = replace(
            prefix,
            tokens=prefix.tokens[rows],
            mask=prefix.mask[rows],
            starts={layer: replace(start, resid=resid)},
        )
        entry = Entry(layer, torch.arange(len(rows)), None)
        reads = examples.answer_at[rows, None]
        return run_suffix(self.model, begun, [entry], reads=reads)[:, 0]

    def _run_whole(self) -> None:
        kept: list[Tensor] = []
        held: list[Tensor] = []
        examples = self.prompts.examples

        def work(part: slice) -> None:
            rows = torch.arange(part.start, part.stop)
            assert examples.mask is not None
            with session(self.model, capture=self.site.whole) as s:
                logits = self._read(s.run(examples.tokens[part], examples.mask[part]), rows)
                whole = s[self.site.whole]
            own = whole if self.site.head is None else whole[:, :, self.site.head]
            row, at = self.prompts.changed[part].nonzero(as_tuple=True)
            values = own[row.to(own.device), at.to(own.device)].cpu().double()
            kept.append(self.prompts.read(logits, rows))
            held.append(values)

        in_batches(len(examples), self._rows, work)
        self.clean, self.activations = torch.cat(kept), torch.cat(held)

    def _changed_whole(self, edits: Edits, which: Tensor, rows: Tensor) -> Tensor:
        head, examples = self.site.head, self.prompts.examples

        def change(activation: Tensor) -> Tensor:
            result = activation.clone()
            own = result if head is None else result[:, :, head]
            own.copy_(self._edited(own.clone(), edits, which, rows))
            return result

        rewrite = Rewrite(self.site.whole, "set", function=change)
        assert examples.mask is not None
        with session(self.model, intervene=rewrite) as s:
            return self._read(s.run(examples.tokens[rows], examples.mask[rows]), rows)

    def _edited(self, x: Tensor, edits: Edits, which: Tensor, rows: Tensor) -> Tensor:
        """Change a copy of the stream at the prompts' own places."""
        run, at = self.prompts.changed[rows].nonzero(as_tuple=True)
        here = (run.to(x.device), at.to(x.device))
        # Halves lose what is added or removed to rounding.
        part = x[here].to(torch.promote_types(x.dtype, torch.float32))
        x[here] = edits.apply(part, which[run], rows[run]).to(x.dtype)
        return x

    def _read(self, logits: Tensor, rows: Tensor) -> Float[Tensor, "run vocab"]:
        at = self.prompts.examples.answer_at
        assert at is not None
        device = logits.device
        return logits[torch.arange(len(rows), device=device), at[rows].to(device)]


def _entry_layer(model: Model, site: Site) -> int | None:
    """The layer that the stream at a site goes into, or None where it goes into none."""
    if site.layer is None or site.kind not in ("resid_pre", "resid_post"):
        return None
    layer = site.layer + (site.kind == "resid_post")
    return layer if layer < model.n_layers else None
