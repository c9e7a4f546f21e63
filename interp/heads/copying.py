"""What heads do with what they look at: do they raise the logit of the token attended to?

Three scores, of a head's output-value circuit along the direct path to the logits (no later layer
in between). ``copying_scores`` is measured on examples; the other two are read off the weights,
and take the head's input to be a token embedding, which in later layers is only part of the truth.
Under grouped-query attention each query head is scored with its group's values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.heads.scores import HeadScores, HeadsError
from interp.heads.weights import reading_unembedding, reading_weights
from interp.hooks import Site, session
from interp.hooks.progress import progress
from interp.models import Examples, Model
from interp.models.memory import in_batches

_BLOCK_ELEMENTS = 2**24


@torch.no_grad()
def copying_scores(model: Model, examples: Examples, *, batch_size: int = 32) -> HeadScores:
    """Score by logits whether heads copy what they attend to (Olsson et al. 2022, evaluators).

    At each query, the head's output goes through the final norm's gain and the unembedding; the
    mean over the vocabulary is subtracted and what is below zero dropped. With a the rise of the
    attended token (the one with most attention, all its occurrences together; the mean over them
    where several tie) and s the summed rise of all different tokens of the example, c = a / (a + s)
    lies between 0 (only others rise) and 0.5 (only the attended one does), which is the range that
    the paper gives its ratio. The score is 4c − 1, from −1 to +1, averaged over the queries that
    the examples score (all real positions where they do not say), then over examples. A head that
    raises nothing scores −1.

    A head at rest on BOS attends to BOS and hardly raises it, so use repeated random tokens, whose
    scored queries have something to attend to. The null is a head that raises every token of the
    example alike: 4 / (D + 1) − 1 for D different tokens.

    Args:
        model: The model.
        examples: Where; see above.
        batch_size: Rows at a time; halved on out-of-memory.

    Raises:
        HeadsError: a token without a logit, or an example without a scored position.
        ModelError: the architecture keeps no per-head matrices.
    """
    unembed = reading_unembedding(model)
    if int(examples.tokens.max()) >= unembed.shape[1]:
        raise HeadsError(
            f"token id {int(examples.tokens.max())} has no logit: the model's outputs are "
            f"0…{unembed.shape[1] - 1}, so that nobody can say whether it is copied"
        )
    assert examples.mask is not None
    counted = examples.mask if examples.scored is None else examples.scored
    if not bool(counted.any(1).all()):
        row = int((~counted.any(1)).nonzero()[0])
        raise HeadsError(f"example {row} of {examples.name!r} scores no position; leave it out")
    centre = unembed.mean(1)
    writing = [reading_weights(model, layer).W_O for layer in range(model.n_layers)]
    values = torch.zeros((len(examples), model.n_layers, model.n_heads), dtype=torch.float64)
    nulls = torch.zeros(len(examples), dtype=torch.float64)

    with progress("scoring copying", total=len(examples)) as advance:

        def work(rows: slice) -> None:
            batch = examples.select(range(rows.start, rows.stop))
            assert batch.mask is not None
            queries = [row.nonzero()[:, 0].to(model.device) for row in counted[rows]]
            # The different tokens of each example, and which of them stands at each key.
            samples: list[tuple[Tensor, Tensor, Tensor]] = []
            for tokens, real in zip(batch.tokens, batch.mask, strict=True):
                ids, which = tokens[real].unique(return_inverse=True)
                keys = real.nonzero()[:, 0]
                samples.append(tuple(t.to(model.device) for t in (ids, keys, which)))
            raising = [unembed[:, ids] - centre[:, None] for ids, _, _ in samples]
            nulls[rows] = torch.tensor([4 / (len(ids) + 1) - 1 for ids, _, _ in samples]).double()
            attended: dict[int, list[Tensor]] = {}
            outputs: dict[int, Tensor] = {}

            def finish(layer: int) -> None:
                # Which of a layer's pattern and output comes first depends on the architecture.
                if layer not in attended or layer not in outputs:
                    return
                z = outputs.pop(layer)
                for i, top in enumerate(attended.pop(layer)):
                    to_logits = writing[layer] @ raising[i]
                    found = z[i, queries[i]].to(to_logits.dtype)
                    rise = torch.einsum("qhd,hdt->hqt", found, to_logits).clamp(min=0)
                    a, s = (rise * top).sum(-1), rise.sum(-1)
                    share = torch.where(s > 0, a / (a + s).clamp(min=1e-30), 0.0)
                    values[rows.start + i, layer] = (4 * share - 1).mean(-1).double().cpu()

            def look_at_pattern(layer: int) -> Callable[[Tensor], None]:
                def look(pattern: Tensor) -> None:
                    attended[layer] = [
                        _most_attended(pattern[i][:, queries[i]], *sample)
                        for i, sample in enumerate(samples)
                    ]
                    finish(layer)

                return look

            def look_at_output(layer: int) -> Callable[[Tensor], None]:
                def look(z: Tensor) -> None:
                    outputs[layer] = z
                    finish(layer)

                return look

            watch = {}
            for layer in range(model.n_layers):
                watch[Site(layer, "pattern")] = look_at_pattern(layer)
                watch[Site(layer, "z")] = look_at_output(layer)
            with session(model, watch=watch) as s:
                s.run_until_captured(batch.tokens, batch.mask)
            advance(len(batch))

        in_batches(len(examples), batch_size, work)
    return HeadScores(
        name="copying",
        values=values.mean(0),
        units="share of raised logits, −1 to 1",
        null=float(nulls.mean()),
        description=(
            "4a / (a + s) − 1, where a is how much the head's output raises the logit of the token "
            "it attends to most and s how much it raises those of all tokens of the example. "
            "−1: raises others, or nothing; +1: only the attended one. Olsson et al. (2022)."
        ),
        about_null="a head that raises every token of the example alike",
        per_example=values,
        groups=examples.groups,
    )


@torch.no_grad()
def ov_eigenvalue_scores(model: Model) -> HeadScores:
    """Score by eigenvalues whether W_E W_V W_O W_U maps tokens to themselves.

    Σλ / Σ|λ| over the eigenvalues λ of that vocabulary × vocabulary matrix (Elhage et al. 2021,
    "Summarizing OV/QK matrices"); those that are not zero are the eigenvalues of the d_head ×
    d_head product W_O W_U W_E W_V, and only that is ever computed. From −1 to +1: +1 where every
    combination of tokens raises itself, −1 where it lowers itself. Random weights give about 0,
    which is the null; a head without output scores 0.

    Raises:
        HeadsError: inputs and outputs are not the same tokens.
        ModelError: the architecture keeps no per-head matrices.
    """
    unembed = _same_vocabulary(model)
    through = unembed @ model.W_E.to(unembed.dtype)
    values = torch.zeros((model.n_layers, model.n_heads), dtype=torch.float64)
    for layer in range(model.n_layers):
        weights = reading_weights(model, layer)
        product = (weights.W_O @ through @ weights.W_V).to("cpu", torch.float64)
        eigenvalues = torch.linalg.eigvals(product)
        total, size = eigenvalues.sum(-1).real, eigenvalues.abs().sum(-1)
        values[layer] = torch.where(size > 0, total / size.clamp(min=1e-300), 0.0)
    return HeadScores(
        name="ov-eigenvalues",
        values=values,
        units="Σλ / Σ|λ|",
        null=0.0,
        description=(
            "Sum of the eigenvalues of W_E W_V W_O W_U over the sum of their absolute values. −1 "
            "to 1; 1 copies, −1 suppresses. Elhage et al. (2021)."
        ),
        about_null="random weights, on average",
    )


@torch.no_grad()
def ov_top1_scores(model: Model, *, ids: Sequence[int] | None = None) -> HeadScores:
    """Score how many tokens the head's W_E W_V W_O W_U raises above all others when given them.

    The share of ids i with argmax over j of (W_E W_V W_O W_U)_ij equal to i, from 0 to 1; equal
    largest entries share the credit. Rows are computed a block at a time: the vocabulary ×
    vocabulary matrix is never held. The null is 1 / vocabulary. Used for copying heads in ARENA's
    exercises on induction circuits.

    Args:
        model: The model.
        ids: Input tokens to try, against all outputs; all when omitted, which for a vocabulary of
            50,000 takes minutes.

    Raises:
        HeadsError: inputs and outputs are not the same tokens, or an id outside the vocabulary.
        ModelError: the architecture keeps no per-head matrices.
    """
    unembed = _same_vocabulary(model)
    vocab = unembed.shape[1]
    chosen = torch.arange(vocab) if ids is None else torch.tensor(list(ids), dtype=torch.int64)
    if len(chosen) == 0 or int(chosen.min()) < 0 or int(chosen.max()) >= vocab:
        raise HeadsError(f"ids must be one or more of 0…{vocab - 1}")
    chosen = chosen.to(unembed.device)
    embedded = model.W_E[chosen].to(unembed.dtype)
    block = max(1, _BLOCK_ELEMENTS // vocab)
    values = torch.zeros((model.n_layers, model.n_heads), dtype=torch.float64)
    with progress("trying tokens", total=model.n_layers * model.n_heads) as advance:
        for layer in range(model.n_layers):
            weights = reading_weights(model, layer)
            for head in range(model.n_heads):
                read = embedded @ weights.W_V[head]
                written = weights.W_O[head] @ unembed
                hits = 0.0
                for start in range(0, len(chosen), block):
                    rows = read[start : start + block] @ written
                    top = rows == rows.amax(-1, keepdim=True)
                    hit = top.gather(1, chosen[start : start + block, None])[:, 0]
                    hits += float((hit / top.sum(-1)).sum())
                values[layer, head] = hits / len(chosen)
                advance(1)
    return HeadScores(
        name="ov-top1",
        values=values,
        units="share of tokens",
        null=1 / vocab,
        description=(
            f"Share of {len(chosen)} tokens whose own logit is the one that W_E W_V W_O W_U raises "
            "most when given them. 0 to 1."
        ),
        about_null="a head whose highest output is any token alike",
    )


def _most_attended(
    pattern: Float[Tensor, "head query key"],
    ids: Int[Tensor, " token"],
    keys: Int[Tensor, " real"],
    which: Int[Tensor, " real"],
) -> Float[Tensor, "head query token"]:
    """1 at the token with most attention, all its occurrences together; shared by those that tie.

    ``which`` says, for each real key, which of the ``ids`` stands there.
    """
    shape = (*pattern.shape[:2], len(ids))
    weight = torch.zeros(shape, dtype=torch.float32, device=pattern.device)
    weight.index_add_(-1, which, pattern[..., keys].float())
    top = (weight >= weight.amax(-1, keepdim=True) * (1 - 1e-5)).float()
    return top / top.sum(-1, keepdim=True)


def _same_vocabulary(model: Model) -> Float[Tensor, "d_model vocab"]:
    unembed = reading_unembedding(model)
    if model.W_E.shape[0] != unembed.shape[1]:
        raise HeadsError(
            f"{model.spec.name} reads {model.W_E.shape[0]} tokens and writes {unembed.shape[1]}; "
            "a token's own logit needs both vocabularies to be the same"
        )
    return unembed
