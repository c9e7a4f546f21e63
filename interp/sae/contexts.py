"""What a latent looks like: where it fires most, and which tokens it speaks for.

Neither says that the model depends on it. *Contexts* are the tokens of a data set with the largest
values, one for each example at most, so that one text does not fill the card.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.models import Examples, Model
from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.features import stream_latents
from interp.sae.features_logits import effects_html, logit_effects, token_html, token_text

if TYPE_CHECKING:
    import pandas as pd

# Latents' values of one window are read again from the model, so windows are short.
WINDOW = (12, 6)


@dataclass(frozen=True)
class Context:
    """A token at which a latent fires, and what stands around it.

    Attributes:
        example: Which example.
        position: Which token of it.
        value: The latent's value there.
        tokens: The window's tokens as text.
        values: The latent's value at each of them.
        at: Which of them it is.
        gap: What stands between tokens: nothing, or a space where they are names and no text.
    """

    example: int
    position: int
    value: float
    tokens: tuple[str, ...]
    values: tuple[float, ...]
    at: int
    gap: str = ""


@dataclass(frozen=True)
class FeatureCard:
    """One latent at a glance.

    Attributes:
        latent: Which.
        name: Of its dictionary.
        rate: Share of tokens at which it fires.
        mean_active: Its mean where it does, 0 where it never does.
        largest: Its largest value.
        n_tokens: Tokens that were looked at.
        contexts: Where it is largest, at most one an example.
        promoted: Tokens whose logits it raises most, with the change for one unit.
        suppressed: Those it lowers most.
    """

    latent: int
    name: str
    rate: float
    mean_active: float
    largest: float
    n_tokens: int
    contexts: tuple[Context, ...]
    promoted: tuple[tuple[str, float], ...]
    suppressed: tuple[tuple[str, float], ...]

    def _repr_html_(self) -> str:
        """Show the card in Jupyter; all text from model and data is escaped."""
        lines = [
            f"<h4>latent {self.latent} of {html.escape(self.name)}</h4>",
            f"<p>fires at {self.rate:.3%} of {self.n_tokens:,} tokens; where it does, "
            f"{self.mean_active:.3g} on average, {self.largest:.3g} at most</p>",
        ]
        for what, tokens in (("raises", self.promoted), ("lowers", self.suppressed)):
            lines.append(f"<p>{what}: {effects_html(tokens)}</p>")
        for context in self.contexts:
            lines.append(f"<p><small>{context.value:.3g}</small> {_coloured(context)}</p>")
        if not self.contexts:
            lines.append("<p>it never fires here</p>")
        return f"<div style='font-family:sans-serif'>{''.join(lines)}</div>"


def feature_cards(
    model: Model,
    examples: Examples,
    dictionary: Dictionary,
    latents: Sequence[int],
    *,
    n_contexts: int = 8,
    n_tokens: int = 8,
    at: Bool[Tensor, "example pos"] | None = None,
    window: tuple[int, int] = WINDOW,
    words: Sequence[str] | None = None,
) -> list[FeatureCard]:
    """Make a card for each of some latents, in one pass over the data and a short one after it.

    Args:
        model: The model.
        examples: The data; streamed, and only the largest values kept.
        dictionary: The autoencoder.
        latents: Which.
        n_contexts: Contexts of each.
        n_tokens: Tokens raised and lowered of each.
        at: Which tokens count; the real ones where None.
        window: Tokens shown before and after.
        words: What each token is called, for a model without a tokenizer; its number where None.

    Raises:
        SaeError: a latent that there is not, or named twice; not as many words as tokens.
    """
    which = torch.tensor([int(i) for i in latents], dtype=torch.int64)
    if not len(which) or len(set(which.tolist())) < len(which):
        raise SaeError("name at least one latent, and each once")
    if int(which.min()) < 0 or int(which.max()) >= dictionary.d_sae:
        raise SaeError(f"{dictionary.name} has latents 0…{dictionary.d_sae - 1}")
    if words is not None and len(words) != model.d_vocab:
        raise SaeError(f"{len(words)} words for {model.d_vocab} tokens; expected one each")
    best = _Largest(len(which), n_contexts)
    fired = torch.zeros(len(which), dtype=torch.float64)
    total = torch.zeros(len(which), dtype=torch.float64)
    n = 0
    for seen in stream_latents(model, examples, dictionary, at=at):
        some = seen.latents[:, which].float()
        best.add(some, seen.row, seen.position)
        fired += (some != 0).sum(0)
        total += some.sum(0, dtype=torch.float64)
        n += len(some)
    windows = _windows(model, examples, dictionary, which, best, window=window, words=words)
    effects = logit_effects(model, dictionary, which.tolist(), k=n_tokens, words=words)
    return [
        FeatureCard(
            latent=int(latent),
            name=dictionary.name,
            rate=float(fired[i] / n),
            mean_active=float(total[i] / fired[i]) if fired[i] else 0.0,
            largest=max((context.value for context in windows[i]), default=0.0),
            n_tokens=n,
            contexts=tuple(windows[i]),
            promoted=effects[i][0],
            suppressed=effects[i][1],
        )
        for i, latent in enumerate(which.tolist())
    ]


LEGEND = (
    "Each line is from another text, the latent's largest value there in front and its token in "
    "bold; the stronger the colour, the larger the value. Raises and lowers: what the latent's "
    "direction writes straight into the logits, past all later layers."
)


def cards_page(cards: Sequence[FeatureCard], *, title: str, about: str = "") -> str:
    """One HTML page of cards, nothing of it fetched from elsewhere; all text is escaped.

    ``about`` is said below the title: which latents these are.
    """
    body = "<hr>".join(card._repr_html_() for card in cards)
    said = html.escape(f"{about} {LEGEND}".strip())
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>{html.escape(title)}</title></head>"
        "<body style='font-family:sans-serif;max-width:60em;margin:2em auto;line-height:1.5'>"
        f"<h2>{html.escape(title)}</h2><p>{said}</p>{body}</body></html>"
    )


def cards_frame(cards: Sequence[FeatureCard]) -> pd.DataFrame:
    """Lay cards out, one row each; contexts as text, the firing token between guillemets."""
    import pandas as pd

    def text(context: Context) -> str:
        marked = [
            f"«{token}»" if i == context.at else token for i, token in enumerate(context.tokens)
        ]
        return context.gap.join(marked)

    return pd.DataFrame(
        {
            "latent": [card.latent for card in cards],
            "rate": [card.rate for card in cards],
            "mean_active": [card.mean_active for card in cards],
            "largest": [card.largest for card in cards],
            "promoted": [" ".join(token for token, _ in card.promoted) for card in cards],
            "suppressed": [" ".join(token for token, _ in card.suppressed) for card in cards],
            "contexts": ["\n".join(map(text, card.contexts)) for card in cards],
        }
    )


class _Largest:
    """The largest values of each latent so far, at most one an example."""

    def __init__(self, n_latents: int, k: int) -> None:
        self.k = k
        self.values = torch.zeros((0, n_latents))
        self.rows = torch.zeros((0, n_latents), dtype=torch.int64)
        self.positions = torch.zeros((0, n_latents), dtype=torch.int64)

    def add(
        self,
        values: Float[Tensor, "token latent"],
        row: Int[Tensor, " token"],
        position: Int[Tensor, " token"],
    ) -> None:
        """Take in a batch of whole examples."""
        examples, owner = row.unique(return_inverse=True)
        shape = (len(examples), values.shape[1])
        index = owner[:, None].expand_as(values)
        top = torch.full(shape, -torch.inf).scatter_reduce(0, index, values, "amax")
        # The first token with that value.
        where = torch.where(values == top[owner], position[:, None].expand_as(values), 2**62)
        at = torch.full(shape, 2**62).scatter_reduce(0, index, where, "amin")
        values_ = torch.cat([self.values, top])
        rows = torch.cat([self.rows, examples[:, None].expand(shape)])
        positions = torch.cat([self.positions, at])
        order = values_.argsort(dim=0, descending=True, stable=True)[: self.k]
        self.values = values_.gather(0, order)
        self.rows, self.positions = rows.gather(0, order), positions.gather(0, order)


def _windows(
    model: Model,
    examples: Examples,
    dictionary: Dictionary,
    which: Tensor,
    best: _Largest,
    *,
    window: tuple[int, int],
    words: Sequence[str] | None,
) -> list[list[Context]]:
    """Run the chosen examples again, for the values around."""
    needed = best.rows[best.values > 0].unique()
    values: dict[int, Tensor] = {}
    if len(needed):
        chosen = examples.select(needed)
        width = examples.tokens.shape[1]
        for seen in stream_latents(model, chosen, dictionary):
            for i in seen.row.unique().tolist():
                mine = seen.row == i
                whole = torch.zeros((width, len(which)))
                whole[seen.position[mine]] = seen.latents[mine][:, which].float()
                values[int(needed[i])] = whole
    assert examples.mask is not None
    found: list[list[Context]] = []
    for j in range(len(which)):
        mine = []
        for value, row, position in zip(
            best.values[:, j].tolist(),
            best.rows[:, j].tolist(),
            best.positions[:, j].tolist(),
            strict=True,
        ):
            if value <= 0:
                continue
            real = examples.mask[row].nonzero()[:, 0]
            low = max(int(real[0]), position - window[0])
            high = min(int(real[-1]) + 1, position + window[1] + 1)
            tokens = examples.tokens[row, low:high].tolist()
            mine.append(
                Context(
                    example=row,
                    position=position,
                    value=value,
                    tokens=tuple(token_text(model, token, words) for token in tokens),
                    values=tuple(values[row][low:high, j].tolist()),
                    at=position - low,
                    gap=" " if model.tokenizer is None else "",
                )
            )
        found.append(mine)
    return found


def _coloured(context: Context) -> str:
    """The window with each token's background as strong as the latent's value there."""
    parts = []
    for i, (token, value) in enumerate(zip(context.tokens, context.values, strict=True)):
        share = min(1.0, max(0.0, value / context.value))
        style = f"background:rgba(230,159,0,{share:.2f})"
        if i == context.at:
            style += ";font-weight:bold"
        parts.append(f"<span style='{style};white-space:pre-wrap'>{token_html(token)}</span>")
    return context.gap.join(parts)
