"""Results to matplotlib figures, from plain arrays: the bottom room, which imports no other."""

from interp.plots.heads import Point, head_map, signature_and_effect

__all__ = ["Point", "head_map", "signature_and_effect"]
