"""What an SAE keeps of its activations, and of what the model does with them.

Measured on the SAE as it is loaded, since some architectures are saved as another: what was
measured in training is not what is used afterwards.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from interp.evidence import bootstrap_interval
from interp.hooks import Site, session, set_to
from interp.hooks.capture import TOKENS_PER_FORWARD
from interp.hooks.packing import in_packs, pack
from interp.hooks.progress import progress
from interp.models import Examples, Model
from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.evaluation import Evaluation
from interp.sae.stream import kept_positions

#: Nats a token. Where zero ablation costs less, a share of that cost says nothing.
SMALLEST_COST = 0.01


@torch.no_grad()
def evaluate_sae(
    model: Model,
    sae: Dictionary,
    examples: Examples,
    *,
    site: Site | str | None = None,
    skip_bos: bool = True,
    tokens_per_forward: int = TOKENS_PER_FORWARD,
    seed: int = 0,
) -> Evaluation:
    """Measure reconstruction, sparsity and what splicing costs, in one pass over the data.

    Args:
        model: The model that the SAE is for.
        sae: The SAE.
        examples: Rows that it was not trained on. Every next real token is predicted, unless they
            say themselves which are scored.
        site: Where, if the SAE does not say.
        skip_bos: Leave beginning-of-sequence marks out: neither encoded nor replaced.
        tokens_per_forward: Tokens at a time; reduced on out-of-memory.
        seed: Of the bootstrap.

    Raises:
        SaeError: the SAE does not fit the model, or nothing is left to encode or to predict.
    """
    sae.require_fit(model)
    if site is None and sae.site is None:
        raise SaeError(f"{sae.name} does not say where it belongs; pass site=, as in L0.resid_post")
    where = sae.site if site is None else Site.parse(site)
    assert where is not None and examples.mask is not None
    sums = _Sums(sae)
    order = torch.argsort(examples.lengths.cpu(), stable=True)
    rows: dict[int, dict[str, float]] = {}

    with progress("evaluating the SAE", total=len(order)) as advance:

        def work(part: slice) -> None:
            chosen = order[part]
            tokens, mask = pack(examples, chosen)
            keep = kept_positions(model, tokens, mask, skip_bos=skip_bos)
            scored = _scored(examples, chosen, mask)
            with session(model, capture=where) as s:
                logits = s.run(tokens, mask)
                x = s[where].clone()
            flat = x.flatten(2)
            kept = flat[keep.to(flat.device)].to(sae.device)
            z = sae.encode(kept)
            back = sae.decode(z)
            costs = {"clean": logits}
            for name, value in (("spliced", back), ("zero", torch.zeros_like(back))):
                put = flat.clone()
                put[keep.to(flat.device)] = value.to(flat)
                with session(model, intervene=set_to(where, put.reshape(x.shape))) as s:
                    costs[name] = s.run(tokens, mask)
            found = _per_row(costs, tokens, scored)
            # Only when all is there: after an out-of-memory these rows are run again.
            sums.add(kept, back, z)
            rows.update(zip(chosen.tolist(), found, strict=True))
            advance(len(chosen))

        in_packs(examples.lengths.cpu()[order].tolist(), tokens_per_forward, work)
    return _result(sae, examples, sums, rows, seed=seed)


class _Sums:
    """Sums over activations, in float64."""

    def __init__(self, sae: Dictionary) -> None:
        self.n = 0
        self.x = torch.zeros(sae.d_in, dtype=torch.float64)
        self.fired = torch.zeros(sae.d_sae, dtype=torch.int64)
        self.square = self.error = self.cosine = 0.0

    def add(self, x: Tensor, back: Tensor, z: Tensor) -> None:
        """Count some activations in."""
        wide, near = x.to(torch.float64), back.to(torch.float64)
        self.n += len(x)
        self.x += wide.sum(0).cpu()
        self.square += float(wide.square().sum())
        self.error += float((wide - near).square().sum())
        self.cosine += float(functional.cosine_similarity(wide, near, dim=-1).sum())
        self.fired += (z != 0).sum(0).cpu()


def _scored(
    examples: Examples, chosen: Int[Tensor, " row"], mask: Bool[Tensor, "row pos"]
) -> Bool[Tensor, "row pos"]:
    """Positions whose next token is predicted, in packed rows."""
    scored = torch.zeros_like(mask)
    if examples.scored is None:
        scored[:, :-1] = mask[:, 1:]
    else:
        assert examples.mask is not None
        scored[mask] = examples.scored.cpu()[chosen][examples.mask.cpu()[chosen]]
    return scored


def _per_row(
    logits: dict[str, Float[Tensor, "row pos vocab"]],
    tokens: Int[Tensor, "row pos"],
    scored: Bool[Tensor, "row pos"],
) -> list[dict[str, float]]:
    """Each row's summed cross-entropies and divergences, and how many predictions they are of."""
    row, at = scored.nonzero(as_tuple=True)
    target = tokens[row, (at + 1).clamp(max=tokens.shape[1] - 1)]
    device = logits["clean"].device
    picked = {
        k: v[row.to(device), at.to(device)].float().log_softmax(-1) for k, v in logits.items()
    }
    clean = picked["clean"]
    values = {f"ce_{k}": -v.gather(1, target.to(device)[:, None])[:, 0] for k, v in picked.items()}
    for k in ("spliced", "zero"):
        values[f"kl_{k}"] = (clean.exp() * (clean - picked[k])).sum(-1)
    sums = {
        k: torch.zeros(len(tokens), dtype=torch.float64).index_add(0, row, v.cpu().double())
        for k, v in values.items()
    }
    n = scored.sum(1)
    return [{**{k: float(v[i]) for k, v in sums.items()}, "n": int(n[i])} for i in range(len(n))]


def _result(
    sae: Dictionary,
    examples: Examples,
    sums: _Sums,
    rows: dict[int, dict[str, float]],
    *,
    seed: int,
) -> Evaluation:
    predicted = [i for i in sorted(rows) if rows[i]["n"] > 0]
    n = int(sum(rows[i]["n"] for i in predicted))
    if not sums.n or not n:
        raise SaeError(
            f"{examples.name} gives {sums.n} activations and {n} predictions; expected some of each"
        )
    total = {k: sum(rows[i][k] for i in predicted) / n for k in rows[predicted[0]] if k != "n"}
    groups = [examples.groups[i] for i in predicted]

    def interval(name: str) -> tuple[float, float] | None:
        """Of the mean extra cost a token; a row counts by its number of predictions."""
        if len(set(groups)) < 2:
            return None
        per_row = n / len(predicted)
        costs = [(rows[i][f"ce_{name}"] - rows[i]["ce_clean"]) / per_row for i in predicted]
        return bootstrap_interval(costs, groups, n_resamples=1999, seed=seed)

    gap, of_gap = total["ce_zero"] - total["ce_clean"], interval("zero")
    undefined = _why_undefined(gap, of_gap)
    variance = sums.square / sums.n - float((sums.x / sums.n).square().sum())
    error = sums.error / sums.n
    varies = variance > 1e-9 * sums.square / sums.n
    return Evaluation(
        name=sae.name,
        data=examples.name,
        n_activations=sums.n,
        n_predictions=n,
        l0=float(sums.fired.sum()) / sums.n,
        explained_variance=1 - error / variance if varies else None,
        mse=error,
        cosine=sums.cosine / sums.n,
        ce=total["ce_clean"],
        ce_spliced=total["ce_spliced"],
        ce_zero=total["ce_zero"],
        ce_cost=total["ce_spliced"] - total["ce_clean"],
        ce_cost_interval=interval("spliced"),
        ce_recovered=None if undefined else (total["ce_zero"] - total["ce_spliced"]) / gap,
        undefined=undefined,
        kl=total["kl_spliced"],
        kl_zero=total["kl_zero"],
        n_dead=int((sums.fired == 0).sum()),
        density=(sums.fired.double() / sums.n).float(),
    )


def _why_undefined(gap: float, interval: tuple[float, float] | None) -> str | None:
    """Why the share of the loss recovered says nothing, or None where it does."""
    if gap < SMALLEST_COST:
        return (
            f"zero ablation costs {gap:.4f} nats a token, less than {SMALLEST_COST}: there is "
            "nothing to recover"
        )
    if interval is not None and interval[0] <= 0:
        return (
            f"the cost of zero ablation, {gap:.4f} nats a token, is not told from none "
            f"(95% interval {interval[0]:.4f} to {interval[1]:.4f})"
        )
    return None
