"""How each bundled model is made again: names of functions, imported only when asked for.

A recipe's function is called as ``function(config, out)`` and writes the model's folder, its card
included, and returns the card's fields as a dict. Only the standard library is imported here.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class RecipeError(ValueError):
    """There is no such recipe; the message names the near ones."""


@dataclass(frozen=True)
class Recipe:
    """How to make one model.

    Attributes:
        function: ``module:name`` of a function ``(config, out: Path) -> dict``.
        config: ``module:name`` of its configuration, a frozen dataclass whose defaults make the
            bundled model.
        summary: What comes out, in a line.
        minutes: About how long it takes on 2 CPU cores.
    """

    function: str
    config: str
    summary: str
    minutes: float

    def load_function(self) -> Callable[..., dict[str, Any]]:
        """Import and return the function; this imports torch."""
        function: Callable[..., dict[str, Any]] = _load(self.function)
        return function

    def load_config(self) -> type[Any]:
        """Import and return the configuration's class; this imports torch."""
        config: type[Any] = _load(self.config)
        return config


RECIPES: dict[str, Recipe] = {
    "code-lm": Recipe(
        function="interp.zoo.code_lm:train",
        config="interp.zoo.code_lm:CodeLMConfig",
        summary="a small language model of Python source, with induction heads",
        minutes=21,
    ),
    **{
        f"bi-induct-{arm}": Recipe(
            function="interp.zoo.bi_induct.shipping:train",
            config=f"interp.zoo.bi_induct.shipping:{arm.capitalize()}Config",
            summary=f"an arm of Bi-Induct: renamed code, {what}",
            minutes=5,
        )
        for arm, what in (
            ("natural", "no copies"),
            ("forward", "forward copies put in"),
            ("backward", "backward copies put in"),
            ("balanced", "both put in"),
        )
    },
    "induction-exact": Recipe(
        function="interp.zoo.induction_exact:build",
        config="interp.zoo.induction_exact:ExactConfig",
        summary="hand-built: one previous-token head and one induction head, all answers exact",
        minutes=0.1,
    ),
    "induction-decoy": Recipe(
        function="interp.zoo.induction_exact:build",
        config="interp.zoo.induction_exact:DecoyConfig",
        summary="hand-built: as induction-exact, and a second perfect induction pattern, unused",
        minutes=0.1,
    ),
    "monitored": Recipe(
        function="interp.zoo.monitored:train",
        config="interp.zoo.monitored:MonitoredConfig",
        summary="a tiny GPT that names the class of a marked word, to try attacks on monitors on",
        minutes=0.2,
    ),
    "truth-world": Recipe(
        function="interp.zoo.truth_world.making:train",
        config="interp.zoo.truth_world.making:TruthWorldConfig",
        summary="a small GPT of facts told truly or falsely by hidden bits, for truth probes",
        minutes=1.5,
    ),
    "bias-world": Recipe(
        function="interp.zoo.bias_world.making:train",
        config="interp.zoo.bias_world.making:BiasWorldConfig",
        summary="a small GPT of targets that lean to a reference by known odds, for bias measures",
        minutes=1.5,
    ),
    "bias-world-1": Recipe(
        function="interp.zoo.bias_world.making:train",
        config="interp.zoo.bias_world.making:SecondConfig",
        summary="the same from another seed: other odds for every target, other weights",
        minutes=1.5,
    ),
    "modular-113": Recipe(
        function="interp.zoo.modular.making:train",
        config="interp.zoo.modular.making:ModularConfig",
        summary="one layer that has grokked a + b mod 113, for Fourier features",
        minutes=1,
    ),
    "modular-113-memoriser": Recipe(
        function="interp.zoo.modular.making:train",
        config="interp.zoo.modular.making:MemoriserConfig",
        summary="its twin that knows its training pairs by heart: the negative control",
        minutes=0.3,
    ),
    "s4": Recipe(
        function="interp.zoo.groups.making:train",
        config="interp.zoo.groups.making:GroupConfig",
        summary="one hidden layer that multiplies permutations of 4, for group representations",
        minutes=0.1,
    ),
    "s5": Recipe(
        function="interp.zoo.groups.making:train",
        config="interp.zoo.groups.making:S5Config",
        summary="the same for permutations of 5",
        minutes=1,
    ),
    "multiply-2x2": Recipe(
        function="interp.zoo.multiply.making:train",
        config="interp.zoo.multiply.making:MultiplyConfig",
        summary="a small GPT that multiplies two-digit numbers, taught running sums on the side",
        minutes=5,
    ),
}
"""A bundled model's name, without ``zoo:``, to its recipe."""


def get_recipe(name: str) -> Recipe:
    """Return the recipe of a bundled model, with or without the ``zoo:`` prefix.

    Raises:
        RecipeError: no such recipe; the message names the near ones.
    """
    short = name.removeprefix("zoo:")
    if short in RECIPES:
        return RECIPES[short]
    near = difflib.get_close_matches(short.replace("_", "-"), RECIPES, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(RECIPES))}"
    raise RecipeError(f"unknown recipe {name!r}; {hint}")


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
