"""Many changes at one site in one job: a clean pass once, and then only what comes after it.

The same numbers as one session for each change:

1. A clean pass over a few examples keeps the activation at the site, and its latents once.
2. Each change gives the activation another value, at the chosen tokens only.
3. The changed activations run together as rows of one batch, from the site on
   (``interp.hooks.suffix``): 99 control draws cost 99 suffixes and one prefix.

Where the site is no residual stream, or the model cannot be begun in the middle, the rows run
through the whole model instead, still many at a time.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.evidence import Metric, damage
from interp.hooks import Intervention, Site, session, set_to
from interp.hooks.progress import progress
from interp.hooks.suffix import Entry, Prefix, Start, run_prefix, run_suffix
from interp.hooks.suffix_check import has_hooks, suffix_problem
from interp.models import Examples, Model
from interp.models.memory import in_batches
from interp.sae.dictionary import SaeError
from interp.sae.splicing import Splice, vectors_of, with_vectors

log = logging.getLogger(__name__)

# As in sweeps of heads: a CPU gains nothing from more.
TOKENS_PER_FORWARD = 1024

Measure = Metric | Callable[[Float[Tensor, "example pos vocab"]], Metric]
"""A metric, or what makes one from the clean logits of a batch, such as ``kl_from``."""


@dataclass(frozen=True, eq=False)
class Changes:
    """Metrics of every example, with the model as it is and under each change.

    Attributes:
        metrics: What was measured.
        clean: Of the unmodified model.
        changed: In the order of the changes.
        groups: The examples' group labels, for intervals.
    """

    metrics: tuple[Metric, ...]
    clean: Float[Tensor, "metric example"]
    changed: Float[Tensor, "metric change example"]
    groups: tuple[str, ...]

    def index(self, name: str) -> int:
        """Which metric has this name.

        Raises:
            SaeError: none has.
        """
        names = [metric.name for metric in self.metrics]
        if name not in names:
            raise SaeError(f"{name!r} was not measured; there are {', '.join(names)}")
        return names.index(name)

    def harm(self, name: str) -> Float[Tensor, "change example"]:
        """How much worse each example got under each change; positive is worse."""
        i = self.index(name)
        return damage(self.metrics[i], self.clean[i], self.changed[i])


@torch.no_grad()
def sweep_changes(
    model: Model,
    examples: Examples,
    changes: Sequence[Intervention],
    metrics: Sequence[Measure] | Measure,
    *,
    at: Bool[Tensor, "example pos"] | None = None,
    tokens_per_forward: int = TOKENS_PER_FORWARD,
) -> Changes:
    """Measure metrics under each of many changes at one site; exactly, and fast.

    Equal to running each change in a session of its own, to float rounding. Changes that are
    splices share the encoding; others, such as ``project_out``, may stand among them.

    Args:
        model: The model.
        examples: What the metrics are measured on. May be padded.
        changes: All at one site. None may go by row or position of the examples.
        metrics: What is measured. A function instead of a metric is given the clean logits of
            each batch and makes one (``kl_from``).
        at: Which tokens are touched by any of them; the real ones where None.
        tokens_per_forward: Size of a forward pass.

    Raises:
        SaeError: changes at several sites or at chosen rows, tokens that do not fit or are
            padding, or nothing to measure.
    """
    given = [metrics] if isinstance(metrics, Metric) or callable(metrics) else list(metrics)
    if not given:
        raise SaeError("nothing to measure; give at least one metric")
    touched = tokens_touched(examples, at)
    site = _site(model, changes)
    n, length = examples.tokens.shape
    start = _start(model, site)
    values: list[tuple[Tensor, Tensor]] = []
    names: list[Metric] = []
    size = max(1, min(n, tokens_per_forward // (length * min(4, max(1, len(changes))))))
    together = max(1, tokens_per_forward // (length * size))

    with progress("sweeping latents", total=n) as advance:

        def work(rows: slice) -> None:
            batch = examples.select(range(rows.start, rows.stop))
            job = _Batch(model, batch, site, start, touched[rows])
            made = [m if isinstance(m, Metric) else m(job.prefix.logits) for m in given]
            clean = torch.stack([_read(m, job.prefix.logits, batch) for m in made])
            changed = clean.new_zeros((len(made), len(changes), len(batch)))

            def some(part: slice) -> None:
                logits = job.run(changes[part])
                for i, metric in enumerate(made):
                    for j, one in enumerate(logits.split(len(batch))):
                        changed[i, part.start + j] = _read(metric, one, batch)

            if changes:
                in_batches(len(changes), together, some)
            values.append((clean, changed))
            names[:] = made
            advance(len(batch))

        in_batches(n, size, work)
    return Changes(
        metrics=tuple(names),
        clean=torch.cat([clean for clean, _ in values], dim=1),
        changed=torch.cat([changed for _, changed in values], dim=2),
        groups=examples.groups,
    )


class _Batch:
    """Some examples, run unchanged once, and then from the site on."""

    def __init__(
        self, model: Model, batch: Examples, site: Site, start: int | None, at: Tensor
    ) -> None:
        self.model, self.batch, self.site, self.start = model, batch, site, start
        self.at = at.to(model.device)
        self.latents: dict[int, Tensor] = {}
        if start is not None:
            self.prefix = run_prefix(model, batch.tokens, batch.mask, [start])
            self.activation = self.prefix.starts[start].resid
        else:
            with session(model, capture=site.whole) as s:
                logits = s.run(batch)
            self.prefix = Prefix(batch.tokens, batch.mask, logits, {}, {}, {})
            self.activation = s.captured[site.whole]

    def run(self, changes: Sequence[Intervention]) -> Float[Tensor, "row pos vocab"]:
        """Logits under each change: all examples under the first, then under the second, …"""
        resid = torch.cat([self._changed(change) for change in changes])
        n = len(changes)
        tokens = self.batch.tokens.repeat(n, 1)
        mask = None if self.batch.mask is None else self.batch.mask.repeat(n, 1)
        if self.start is None:
            with session(self.model, intervene=set_to(self.site.whole, resid)) as s:
                return s.run(tokens, mask)
        # Attention runs again on what is changed, so what it gave before is not looked at.
        before = self.prefix.starts[self.start]
        prefix = dataclasses.replace(
            self.prefix,
            tokens=tokens,
            mask=mask,
            starts={self.start: Start(resid, before.attn_out, before.z)},
        )
        return run_suffix(self.model, prefix, [Entry(self.start, torch.arange(len(tokens)), None)])

    def _changed(self, change: Intervention) -> Tensor:
        if not isinstance(change, Splice):
            at = self.at.reshape(*self.at.shape, *[1] * (self.activation.ndim - 2))
            return torch.where(at, change.apply(self.activation), self.activation)
        dictionary = change.dictionary
        assert dictionary is not None
        vectors = vectors_of(dictionary, self.site, self.activation)[self.at]
        if id(dictionary) not in self.latents:
            self.latents[id(dictionary)] = dictionary.encode(vectors)
        new = change.replacement(vectors, self.latents[id(dictionary)])
        return with_vectors(dictionary, self.site, self.activation, self.at, new)


def _read(metric: Metric, logits: Tensor, batch: Examples) -> Float[Tensor, " example"]:
    return metric.per_example(logits, batch).detach().to("cpu", torch.float64)


def tokens_touched(
    examples: Examples, at: Bool[Tensor, "example pos"] | None
) -> Bool[Tensor, "example pos"]:
    """Return which tokens an edit touches: the real ones, or those chosen among them.

    Raises:
        SaeError: another shape, or padding among them.
    """
    assert examples.mask is not None
    mask = examples.mask.cpu()
    if at is None:
        return mask
    if at.shape != mask.shape or at.dtype != torch.bool:
        raise SaeError(
            f"`at` must be booleans of shape {list(mask.shape)}, got {at.dtype} of {list(at.shape)}"
        )
    if bool((at.cpu() & ~mask).any()):
        raise SaeError("`at` reaches into the padding; expected real tokens only")
    return at.cpu()


def _site(model: Model, changes: Sequence[Intervention]) -> Site:
    sites = {change.site for change in changes}
    if len(sites) != 1:
        shown = ", ".join(map(str, sorted(sites))) or "none"
        raise SaeError(f"expected changes at one site, got {shown}")
    for change in changes:
        fixed = change.at if isinstance(change, Splice) else change.source
        if fixed is not None or change.site.position is not None:
            raise SaeError(
                f"{change} goes by row or position; say which tokens are touched with at=…"
            )
        if isinstance(change, Splice) and change.dictionary is not None:
            change.dictionary.require_fit(model)
    site = sites.pop()
    site.require_editable(model)
    return site


def _start(model: Model, site: Site) -> int | None:
    """The layer at which a change at this site can be begun; None where the whole model runs."""
    layer = None
    if site.kind == "resid_pre":
        layer = site.layer
    elif site.kind == "resid_post" and site.layer is not None:
        layer = site.layer + 1
    if layer is None or layer >= model.n_layers:
        return None
    problem = "there are hooks on it" if has_hooks(model) else suffix_problem(model)
    if problem:
        log.info("%s runs whole under each change: %s", model.spec.name, problem)
        return None
    return layer
