"""The files that the project's own concept sets are made of."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any, Literal


@cache
def own_data(name: Literal["people", "feelings", "neutral"]) -> Any:
    """Read one of them: templates and words of people, pairs of feelings, neutral sentences."""
    file = resources.files("probes.data.concepts").joinpath(f"{name}.json")
    return json.loads(file.read_text(encoding="utf-8"))
