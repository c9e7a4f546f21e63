"""Instruments of mechanistic interpretability: what looks like a mechanism, and what is one.

Nothing is imported here, so that the command line answers at once; import the room you want, as in
``from interp.models import load_model`` and ``from interp.heads import head_scores``.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("loadbearing")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
