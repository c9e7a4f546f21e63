"""A loaded model: the bridge, its tokenizer, and the facts every instrument asks for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.models import weights
from interp.models.examples import Examples
from interp.models.memory import in_batches
from interp.models.spec import ModelError, ModelSpec
from interp.models.weights import HeadWeights

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Model:
    """A model ready to be measured. Composition around a bridge, never a subclass.

    Attributes:
        bridge: The ``TransformerBridge`` underneath.
        tokenizer: The transformers tokenizer, untouched, or None for a model of bare ids.
        spec: What was asked for.
        fingerprint: SHA-256 of configuration and weights; equal iff it is the same model.
        bos_id: The id put before every sequence, or None where the model has none.
        checks: What the self-check on loading measured (see ``interp.models.checks``).
    """

    bridge: Any
    tokenizer: Any | None
    spec: ModelSpec
    fingerprint: str
    bos_id: int | None = None
    checks: Mapping[str, float] = field(default_factory=dict)

    @property
    def n_layers(self) -> int:
        return int(self.bridge.cfg.n_layers)

    @property
    def n_heads(self) -> int:
        """Query heads a layer."""
        return int(self.bridge.cfg.n_heads)

    @property
    def n_kv_heads(self) -> int:
        """Key/value heads a layer; fewer than ``n_heads`` under grouped-query attention."""
        return int(getattr(self.bridge.cfg, "n_key_value_heads", None) or self.n_heads)

    @property
    def d_model(self) -> int:
        return int(self.bridge.cfg.d_model)

    @property
    def d_head(self) -> int:
        return int(self.bridge.cfg.d_head)

    @property
    def d_vocab(self) -> int:
        """Number of ids the embedding has a row for."""
        return int(self.bridge.cfg.d_vocab)

    @property
    def n_ctx(self) -> int:
        """Longest sequence, in tokens, that the model has positions for."""
        return int(self.bridge.cfg.n_ctx)

    @cached_property
    def device(self) -> torch.device:
        return next(iter(self.bridge.original_model.parameters())).device

    @cached_property
    def dtype(self) -> torch.dtype:
        return next(iter(self.bridge.original_model.parameters())).dtype

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids that are marks rather than text (beginning, end, padding), inside the vocabulary."""
        ids = set() if self.tokenizer is None else set(self.tokenizer.all_special_ids)
        if self.bos_id is not None:
            ids.add(self.bos_id)
        return frozenset(i for i in ids if i is not None and 0 <= i < self.d_vocab)

    @cached_property
    def ordinary_ids(self) -> tuple[int, ...]:
        """Every id that stands for text, ascending: what random tokens are drawn from.

        Rows of the embedding that no token of the tokenizer uses were never trained; they are
        left out.
        """
        rows = set(range(self.d_vocab)) - self.special_ids
        if self.tokenizer is not None:
            rows &= set(self.tokenizer.get_vocab().values())
        return tuple(sorted(rows))

    def check_tokens(self, tokens: Int[Tensor, "batch pos"]) -> None:
        """Refuse ids outside the vocabulary and sequences longer than the context.

        Raises:
            ModelError: naming the offending id or length.
        """
        if not isinstance(tokens, Tensor):
            raise ModelError(
                f"expected token ids as a tensor, got {type(tokens).__name__}; "
                "for text, model.tokenize(text).tokens"
            )
        if tokens.ndim != 2 or tokens.numel() == 0:
            raise ModelError(f"expected token ids of shape [batch, pos], got {list(tokens.shape)}")
        if tokens.is_floating_point() or tokens.dtype == torch.bool:
            # The bridge would take floats for embeddings.
            raise ModelError(f"token ids must be integers, got {tokens.dtype}")
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.d_vocab:
            bad = low if low < 0 else high
            raise ModelError(
                f"token id {bad} is outside the vocabulary of {self.spec.name} "
                f"(0…{self.d_vocab - 1}); tokenise with this model's own tokenizer"
            )
        if tokens.shape[1] > self.n_ctx:
            raise ModelError(
                f"{tokens.shape[1]} tokens are longer than the context of {self.spec.name} "
                f"({self.n_ctx}); shorten the input, or tokenise with on_overflow='truncate'"
            )

    def forward(
        self,
        tokens: Int[Tensor, "batch pos"],
        mask: Bool[Tensor, "batch pos"] | None = None,
    ) -> Float[Tensor, "batch pos vocab"]:
        """Run the model once, gradients as the caller has them; padded rows equal unpadded ones.

        Args:
            tokens: Ids inside the vocabulary.
            mask: True at real tokens. Positions are counted over real tokens only.

        Returns:
            Logits at every position. Those at padding mean nothing.

        Raises:
            ModelError: ids outside the vocabulary, a sequence longer than the context, or a mask
                that does not fit.
        """
        self.check_tokens(tokens)
        options: dict[str, Any] = {}
        if mask is not None and not bool(mask.all()):
            self._check_mask(tokens, mask)
            options["attention_mask"] = mask.to(device=self.device, dtype=torch.int64)
        if hasattr(self.bridge.original_model, "config"):
            options["use_cache"] = False  # one pass: a key/value cache would only take memory
        return self.bridge(tokens.to(self.device), **options)

    @torch.no_grad()
    def logits(
        self,
        tokens: Int[Tensor, "batch pos"],
        mask: Bool[Tensor, "batch pos"] | None = None,
    ) -> Float[Tensor, "batch pos vocab"]:
        """``forward`` without gradients; on out-of-memory, in halves.

        Raises:
            ModelError: as ``forward``, or one row alone does not fit, naming the sizes tried.
        """
        self.check_tokens(tokens)
        parts: list[Tensor] = []

        def work(rows: slice) -> None:
            parts.append(self.forward(tokens[rows], None if mask is None else mask[rows]))

        # Hooks may depend on which rows run together: then not in halves.
        hooked = any(point.fwd_hooks for point in self._hook_points)
        in_batches(len(tokens), len(tokens), work, smallest=len(tokens) if hooked else 1)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @cached_property
    def _hook_points(self) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(self.bridge.hook_dict.values()))

    def _check_mask(
        self, tokens: Int[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"]
    ) -> None:
        if mask.shape != tokens.shape:
            raise ModelError(
                f"the mask has shape {list(mask.shape)}, the tokens {list(tokens.shape)}"
            )
        if not bool(mask.any(dim=1).all()):
            raise ModelError("a row has no real token: its mask is all false")
        if not bool(mask[:, 0].all()) and not self.checks.get("left_padding_agrees", 1.0):
            raise ModelError(
                f"padding on the left changes what {self.spec.name} computes; pad on the right"
            )

    def tokenize(
        self,
        texts: str | Sequence[str],
        *,
        on_overflow: Literal["error", "truncate"] = "error",
        prepend_bos: bool | None = None,
        name: str = "text",
    ) -> Examples:
        """Turn texts into right-padded examples in which every next real token is scored.

        Args:
            texts: One text or several.
            on_overflow: What to do with a text longer than the context: refuse it, or keep its
                beginning and say in the examples' name how many were cut.
            prepend_bos: Put the beginning-of-sequence id first; by default wherever there is one.
            name: What the examples are called.

        Raises:
            ModelError: no tokenizer, an id outside the vocabulary, an empty or too long text.
        """
        if self.tokenizer is None:
            raise ModelError(
                f"{self.spec.name} has no tokenizer; pass token ids as Examples(tokens=…)"
            )
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not texts:
            raise ModelError("no texts given; expected at least one")
        with_bos = self.bos_id is not None if prepend_bos is None else prepend_bos
        if with_bos and self.bos_id is None:
            raise ModelError(f"{self.spec.name} has no beginning-of-sequence token to prepend")
        rows: list[list[int]] = []
        cut = 0
        for i, text in enumerate(texts):
            ids = list(self.tokenizer.encode(text, add_special_tokens=False))
            if not ids:
                raise ModelError(f"text {i} gives no token; expected at least one character")
            ids = [self.bos_id, *ids] if with_bos else ids
            if len(ids) > self.n_ctx:
                if on_overflow == "error":
                    raise ModelError(
                        f"text {i} has {len(ids)} tokens, the context of {self.spec.name} is "
                        f"{self.n_ctx}; shorten it, or pass on_overflow='truncate'"
                    )
                ids, cut = ids[: self.n_ctx], cut + 1
            rows.append(ids)
        if cut:
            log.warning("%d of %d texts cut to %d tokens", cut, len(texts), self.n_ctx)
            name = f"{name} ({cut} of {len(texts)} cut to {self.n_ctx} tokens)"
        width = max(map(len, rows))
        tokens = torch.full((len(rows), width), rows[0][0], dtype=torch.int64)
        mask = torch.zeros((len(rows), width), dtype=torch.bool)
        for i, ids in enumerate(rows):
            tokens[i, : len(ids)] = torch.tensor(ids)
            mask[i, : len(ids)] = True
        self.check_tokens(tokens)
        scored = torch.zeros_like(mask)
        scored[:, :-1] = mask[:, 1:]
        return Examples(tokens=tokens, mask=mask, scored=scored, name=name)

    # -- weights ---------------------------------------------------------------------------

    @property
    def W_E(self) -> Float[Tensor, "vocab d_model"]:
        """Token embedding."""
        return self.bridge.W_E.detach()

    @property
    def W_U(self) -> Float[Tensor, "d_model vocab"]:
        """Unembedding."""
        return self.bridge.W_U.detach()

    def head_weights(self, layer: int, *, fold_norms: bool = False) -> HeadWeights:
        """Return one layer's per-head weights.

        Args:
            layer: Which layer.
            fold_norms: Multiply the gain of the norm before attention into Q, K and V, so that
                circuits through several layers compare like with like.

        Raises:
            ModelError: no such layer, or the architecture keeps no per-head matrices.
        """
        if not 0 <= layer < self.n_layers:
            raise ModelError(f"no layer {layer}; {self.spec.name} has layers 0…{self.n_layers - 1}")
        return weights.head_weights(
            self.bridge, layer, n_heads=self.n_heads, fold_norms=fold_norms, name=self.spec.name
        )

    def folded_unembedding(self) -> Float[Tensor, "d_model vocab"]:
        """The unembedding with the final norm's gain multiplied in."""
        gain = weights.gain_of(self.bridge, getattr(self.bridge, "ln_final", None))
        return self.W_U if gain is None else self.W_U * gain[:, None]

    # -- showing itself --------------------------------------------------------------------

    def __repr__(self) -> str:
        grouped = f" ({self.n_kv_heads} key/value)" if self.n_kv_heads != self.n_heads else ""
        return (
            f"Model({self.spec.name!r}: {self.n_layers} layers × {self.n_heads} heads{grouped}, "
            f"d_model {self.d_model}, vocabulary {self.d_vocab}, context {self.n_ctx}, "
            f"{str(self.dtype).removeprefix('torch.')} on {self.device}, "
            f"fingerprint {self.fingerprint[:12]})"
        )
