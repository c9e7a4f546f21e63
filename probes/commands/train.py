"""``probes train``: fit probes to labelled statements, and measure them on others."""

from __future__ import annotations

from collections.abc import Sequence

from interp.configs import overlay
from interp.flags import parse_fields
from interp.terminal import sentence
from probes.commands.arguments import load_named, read_all
from probes.settings import TrainSettings


def train_probe(args: Sequence[str]) -> int:
    """``probes train``: fit probes, measure them, save them."""
    asked: TrainSettings = parse_fields(
        TrainSettings,
        overlay(TrainSettings),
        args,
        options=(),
        prog="probes train",
        description="Fit probes to labelled statements, and measure them on others.",
    )
    from interp import terminal

    with terminal.logging_shown():
        data = read_all(asked.data, format=asked.format, group=asked.group)
        if asked.framing is not None:
            from probes.data import framed

            data = framed(data, asked.framing, seed=asked.seed)
        from interp.hooks.sites import GLOBAL_KINDS
        from probes.activations import parse_position
        from probes.cache import activation_cache
        from probes.probe import require_free
        from probes.selection import train_many

        require_free(asked.out)
        cache = activation_cache(asked.cache, limit_gib=asked.cache_gib)
        position = parse_position(asked.pooling or asked.position)
        model = load_named(asked.model, asked.device, asked.dtype, asked.revision)
        trained = train_many(
            model,
            data,
            sites=asked.sites(model.n_layers, layerless=GLOBAL_KINDS),
            methods=asked.methods,
            position=position,
            held_out=asked.held_out,
            n_shuffles=asked.shuffles,
            seed=asked.seed,
            batch_size=asked.batch_size,
            cache=cache,
        )
    from probes.showing import show_trained

    show_trained(trained)
    try:
        trained.save(asked.out)
    except OSError as error:
        terminal.say(f"the probe could not be saved: {sentence(error)}", prog="probes")
        return 1
    terminal.show(f"\nprobe folder: {asked.out}")
    return 0
