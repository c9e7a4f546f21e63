"""Results to matplotlib figures, from plain arrays: the bottom room, which imports no other."""

from interp.plots.arms import by_arm, learning_curves
from interp.plots.heads import Point, head_map, signature_and_effect

__all__ = ["Point", "by_arm", "head_map", "learning_curves", "signature_and_effect"]
