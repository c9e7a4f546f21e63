"""``probes show``: what a probe is and what training measured."""

from __future__ import annotations

from collections.abc import Sequence

from interp.flags import LineParser


def show_probe(args: Sequence[str]) -> int:
    """``probes show PROBE``: what a probe is and what training measured."""
    parser = LineParser(prog="probes show", description="Show a probe and its measurements.")
    parser.add_argument("probe", metavar="PROBE", help="a folder written by probes train")
    folder = parser.parse_args(args).probe
    from probes.selection import Trained
    from probes.showing import show_trained

    show_trained(Trained.load(folder))
    return 0
