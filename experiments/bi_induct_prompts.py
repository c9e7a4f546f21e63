"""What every arm of the Bi-Induct study is asked: the same prompts for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.bi_induct import Config
    from interp.heads import IclScore
    from interp.models import Examples
    from interp.zoo.bi_induct.streams import Stream
    from interp.zoo.icl_prompts import IclPrompts

COPY, TEXT = "copy", "held-out stream"


def ids_of(stream: Stream) -> range:
    """The ordinary ids."""
    return range(stream.n_fixed, stream.vocab_size)


def repeated(config: Config, stream: Stream) -> Examples:
    """Repeated random tokens, half of which will choose the heads."""
    import torch

    from interp.zoo.bi_induct.streams import BOS
    from interp.zoo.tasks import repeated_tokens

    return repeated_tokens(
        ids_of(stream),
        n=2 * config.n,
        length=config.length,
        bos_id=BOS,
        generator=torch.Generator().manual_seed(config.seed),
    )


def text_windows(config: Config, stream: Stream, *, choosing: bool = False) -> Examples:
    """Windows of the held-out stream, each its own group; or training windows, for means."""
    import torch
    from torch.nn.functional import pad

    from interp.models import Examples
    from interp.zoo.bi_induct.streams import BOS

    generator = torch.Generator().manual_seed(config.seed + choosing)
    width = config.context - 1
    if choosing:
        windows = stream.windows(config.n, width, generator=generator)
    else:
        windows = stream.consecutive(config.n, width, generator=generator)
    tokens = pad(windows, (1, 0), value=BOS)
    scored = torch.ones_like(tokens, dtype=torch.bool)
    scored[:, -1] = False
    return Examples(tokens=tokens, scored=scored, name=TEXT, seed=config.seed)


def icl_tasks(config: Config, stream: Stream) -> list[IclPrompts]:
    """Recall and list tasks in ids, with few and many shots, and with permuted labels.

    The marks between a list and its answer are two ordinary ids, which mean nothing elsewhere.
    """
    import torch

    from interp.zoo.bi_induct.streams import BOS
    from interp.zoo.icl_ids import key_value_recall, list_position

    ids = ids_of(stream)
    sep, end = ids[-1], ids[-2]
    made: list[IclPrompts] = []
    for permute in (False, True):

        def common(permute: bool = permute) -> dict[str, Any]:
            generator = torch.Generator().manual_seed(config.seed)
            return {
                "n": config.n,
                "bos_id": BOS,
                "permute_labels": permute,
                "generator": generator,
            }

        made += [key_value_recall(ids, keys=8, repeats=r, **common()) for r in (1, 3)]
        for place in ("first", "last"):
            made += [
                list_position(ids, shots=shots, position=place, sep_id=sep, end_id=end, **common())
                for shots in ((2, 10) if permute else (1, 2, 10))
            ]
    return made


def named(task: IclPrompts | IclScore) -> str:
    """A task with its shots: ``list-position-first-of-3, 10 shots``."""
    return f"{task.task}, {task.shots} shots"
