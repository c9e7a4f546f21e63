"""Two-layer attention-only models written down by hand, so that every right answer is known.

The residual stream is a direct sum of subspaces, and every matrix is zero outside those it uses:

    token  one-hot of the current token           previous  one-hot of the token before
    place  two clocks: cos, sin of the position   output    all that the unembedding reads
    one    constant 1                             junk      read by nothing

1. The embedding writes *token* and *one*, the positional embedding writes *place*.
2. Layer 0, one head: the query turns *place* back by one position (a rotation), so that position q
   attends to q - 1, whose token it writes into *previous*.
3. Layer 1, one head: the query is *token*, the key *previous*: position q attends to whatever
   followed earlier occurrences of its token and copies it to *output*, ``beta`` logits strong. A
   weaker key at BOS takes the attention where nothing matches; BOS is copied nowhere.
4. All other heads have no query and key, so that they attend uniformly, and write *junk*, at
   norms around the real heads'; removing any of them changes no logit by even one bit.

``induction-decoy`` adds to layer 1 a second head with the same query, key and output norm that
copies to *junk*. By its pattern it is a perfect induction head, yet the model does not use it: a
signature is not a mechanism. The circuit is that of Elhage et al. (2021), "A Mathematical Framework
for Transformer Circuits", with the K-composition made exact.

Sequences must begin with BOS (id 0): without it position 0 attends to itself and becomes a false
match. The matrices are plain torch in TransformerLens's native layout; nothing here imports it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

BOS = 0
Weights = dict[str, Float[Tensor, "head row column"]]
"""q, k and v as [head, d_model, d_head], o as [head, d_head, d_model]: x @ q, …, z @ o."""


@dataclass(frozen=True)
class ExactConfig:
    """All that decides the weights; the defaults made ``zoo:induction-exact``.

    Attributes:
        n_vocab: Tokens, BOS included; also the number of outputs.
        n_ctx: Longest sequence; the slow clock goes round once in it.
        n_heads: Heads a layer. With twenty, one head has 19 layer-matched controls: p can be .05.
        previous_head: Index in layer 0 of the previous-token head.
        induction_head: Index in layer 1 of the induction head.
        decoy_head: Index in layer 1 of a head with the same pattern and no effect, or None.
        beta: Logits added to the copied token.
        match: Attention score, in nats, of a match; BOS gets half of it, everything else 0.
        clock: Radius squared of each clock, in nats: the score of the position looked for is twice
            this, and the nearest other scores at least 30 less.
        n_junk: Dimensions of the junk subspace.
        seed: Decides what the junk heads write.
    """

    n_vocab: int = 28
    n_ctx: int = 128
    n_heads: int = 20
    previous_head: int = 3
    induction_head: int = 7
    decoy_head: int | None = None
    beta: float = 20.0
    match: float = 60.0
    clock: float = 512.0
    n_junk: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_vocab < 3 or self.n_ctx < 2 or self.n_junk < 1:
            raise ValueError(
                f"n_vocab={self.n_vocab}, n_ctx={self.n_ctx}, n_junk={self.n_junk}: expected at "
                "least 3 tokens, 2 positions and 1 junk dimension"
            )
        special = [self.previous_head, self.induction_head, self.decoy_head]
        if any(head is not None and not 0 <= head < self.n_heads for head in special):
            raise ValueError(f"heads {special} must lie in 0…{self.n_heads - 1} (n_heads)")
        if self.decoy_head == self.induction_head:
            raise ValueError(
                f"decoy_head and induction_head are both {self.decoy_head}; choose two heads"
            )
        if not (self.beta > 0 and 40 <= self.match <= 1000):
            raise ValueError(
                f"beta={self.beta}, match={self.match}: expected a positive beta and 40 <= match "
                "<= 1000, so that attention is one to float32 precision"
            )
        if place_margin(self) < 30:
            raise ValueError(
                f"neighbouring positions are only {place_margin(self):.1f} nats apart, expected "
                "at least 30; raise clock or lower n_ctx"
            )

    @property
    def name(self) -> str:
        """The bundled model's name that this configuration is a variant of."""
        return "induction-exact" if self.decoy_head is None else "induction-decoy"

    @property
    def n_content(self) -> int:
        """Tokens other than BOS: what can be copied."""
        return self.n_vocab - 1

    @property
    def d_head(self) -> int:
        """One dimension a content token, one for BOS as the sink."""
        return max(self.n_content + 1, 4)

    @property
    def spaces(self) -> dict[str, slice]:
        """The residual stream's subspaces, by name."""
        sizes = {"token": self.n_vocab, "previous": self.n_content, "place": 4, "one": 1}
        sizes |= {"output": self.n_content, "junk": self.n_junk}
        spaces, start = {}, 0
        for name, size in sizes.items():
            spaces[name] = slice(start, start + size)
            start += size
        return spaces

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.spaces["junk"].stop)


@dataclass(frozen=True)
class DecoyConfig(ExactConfig):
    """The defaults made ``zoo:induction-decoy``; the decoy's index comes before the real head's.

    Ties in a ranking by attention are usually broken by index, so that a reader of patterns alone
    crowns the decoy.
    """

    decoy_head: int | None = 2


def clocks(config: ExactConfig) -> tuple[float, float]:
    """Radians a position: of the hand that tells neighbours apart, and of the slow one."""
    return 2 * math.pi / 16, 2 * math.pi / config.n_ctx


def place_margin(config: ExactConfig) -> float:
    """Least score, in nats, by which position q - 1 beats any other position the head may see."""
    fast, slow = clocks(config)
    return min(
        config.clock * (2 - math.cos(fast * d) - math.cos(slow * d)) for d in range(1, config.n_ctx)
    )


def native_config(config: ExactConfig) -> dict[str, Any]:
    """The contents of ``native.json``: TransformerBridgeConfig fields, and our ``bos_token_id``."""
    return {
        "n_layers": 2,
        "d_model": config.d_model,
        "d_head": config.d_head,
        "n_heads": config.n_heads,
        "n_ctx": config.n_ctx,
        "d_vocab": config.n_vocab,
        "d_vocab_out": config.n_vocab,
        "attn_only": True,
        "normalization_type": None,
        "positional_embedding_type": "standard",
        "act_fn": "relu",
        "bos_token_id": BOS,
    }


def state_dict(config: ExactConfig) -> dict[str, Tensor]:
    """The weights, float32, under the names of TransformerLens's ``NativeModel.state_dict()``."""
    at, content = config.spaces, torch.eye(config.n_content)
    embed = torch.zeros(config.n_vocab, config.d_model)
    embed[:, at["token"]] = torch.eye(config.n_vocab)
    embed[:, at["one"]] = 1.0
    place = torch.zeros(config.n_ctx, config.d_model)
    for k in range(config.n_ctx):
        hands = [turn(w * k) for w in clocks(config) for turn in (math.cos, math.sin)]
        place[k, at["place"]] = torch.tensor(hands)
    unembed = torch.zeros(config.n_vocab, config.d_model)
    unembed[1:, at["output"]] = content

    state = {"tok_embed.weight": embed, "pos.weight": place, "head.weight": unembed}
    generator = torch.Generator().manual_seed(config.seed)
    for layer in range(2):
        heads = _junk_heads(config, size=1.0 if layer == 0 else config.beta / 2, seed=generator)
        if layer == 0:
            _set_previous_token(heads, config)
        else:
            _set_induction(heads, config, config.induction_head, decoy=False)
            if config.decoy_head is not None:
                _set_induction(heads, config, config.decoy_head, decoy=True)
        # nn.Linear keeps [out, in]: heads are consecutive rows of q, k, v, and columns of o.
        for name in "qkv":
            prefix = f"layers.{layer}.attn.{name}"
            state[f"{prefix}.weight"] = heads[name].transpose(1, 2).flatten(0, 1)
            state[f"{prefix}.bias"] = torch.zeros(config.n_heads * config.d_head)
        state[f"layers.{layer}.attn.o.weight"] = heads["o"].flatten(0, 1).T
        state[f"layers.{layer}.attn.o.bias"] = torch.zeros(config.d_model)
    return {name: weight.contiguous() for name, weight in sorted(state.items())}


def _junk_heads(config: ExactConfig, *, size: float, seed: torch.Generator) -> Weights:
    """Uniform attention, output in *junk*: sized ``size``/2 to ``size``*2, and a little per token.

    Entries are small whole numbers times one factor a head: the same bits on every machine.
    """
    shape = (config.n_heads, config.d_model, config.d_head)
    heads = {name: torch.zeros(shape) for name in "qkv"} | {"o": torch.zeros(shape).mT.clone()}
    at = config.spaces
    for h in range(config.n_heads):
        one = torch.randint(1, 5, (config.d_head,), generator=seed).float()
        token = torch.randint(-2, 3, (config.n_content, config.d_head), generator=seed).float()
        out = torch.randint(-4, 5, (config.d_head, config.n_junk), generator=seed).float()
        out[:, 0] += 8 * (out.sum(0)[0] >= 0) - 4  # so that `one` is never written as nothing
        scale = size * 2.0 ** (2 * h / max(config.n_heads - 1, 1) - 1)
        heads["v"][h, at["one"]] = one
        heads["v"][h, at["token"]][1:] = token / 4
        heads["o"][h, :, at["junk"]] = out * (scale / float((one @ out).double().norm()))
    return heads


def _set_previous_token(heads: Weights, config: ExactConfig) -> None:
    h, at = config.previous_head, config.spaces
    for name in "qkvo":
        heads[name][h] = 0.0
    # Attention divides scores by sqrt(d_head); the query makes up for it.
    gain = config.clock * math.sqrt(config.d_head)
    for i, w in enumerate(clocks(config)):
        cos, sin = math.cos(w), math.sin(w)
        back = gain * torch.tensor(
            [[cos, -sin], [sin, cos]]
        )  # row vector (cos wq, sin wq) -> q - 1
        row, column = at["place"].start + 2 * i, 2 * i
        heads["q"][h, row : row + 2, column : column + 2] = back
    heads["k"][h, at["place"], :4] = torch.eye(4)
    _copy(heads, config, h, torch.eye(config.n_content), to="previous")


def _set_induction(heads: Weights, config: ExactConfig, h: int, *, decoy: bool) -> None:
    at, n = config.spaces, config.n_content
    for name in "qkvo":
        heads[name][h] = 0.0
    gain = config.match * math.sqrt(config.d_head)
    heads["q"][h, at["token"]][1:, :n] = gain * torch.eye(n)
    heads["k"][h, at["previous"], :n] = torch.eye(n)
    heads["q"][h, at["one"], n] = gain / 2
    heads["k"][h, at["token"].start + BOS, n] = 1.0
    if not decoy:
        _copy(heads, config, h, config.beta * torch.eye(n), to="output")
        return
    # Token i becomes the signs of i + 1's bits, over as many dimensions: differs for each token.
    bits = torch.arange(1, n + 1)[:, None] >> torch.arange(config.n_junk)[None] & 1
    signs = (1 - 2 * bits) * (config.beta / math.sqrt(config.n_junk))
    _copy(heads, config, h, signs.float(), to="junk")


def _copy(
    heads: Weights, config: ExactConfig, h: int, map: Float[Tensor, "content out"], *, to: str
) -> None:
    """Let head ``h`` write the row of ``map`` of the token that it attends to; of BOS, nothing."""
    at, n = config.spaces, config.n_content
    heads["v"][h, at["token"]][1:, :n] = torch.eye(n)
    heads["o"][h, :n, at[to]] = map
