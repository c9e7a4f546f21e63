"""A set of statements as a tidy table, and each row's input in one text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from probes.data.checks import same_text

if TYPE_CHECKING:
    import pandas as pd

    from probes.data.statements import StatementSet


def statement_frame(data: StatementSet) -> pd.DataFrame:
    """Return one row a statement: text, label, group, domain, pair, place and, if any, more."""
    import pandas as pd

    columns: dict[str, Any] = {
        "text": data.texts,
        "label": [int(label) for label in data.labels],
        "group": data.groups,
        "domain": data.domains,
        "pair": data.pairs,
        "place": data.places,
    }
    if data.spans is not None:
        columns["pooled"] = [
            " … ".join(text[start:end] for start, end in spans)
            for text, spans in zip(data.texts, data.spans, strict=True)
        ]
    if data.prompts is not None:
        columns["prompt"] = ["\n\n".join(t.content for t in turns) for turns in data.prompts]
    kept = {name: list(values) for name, values in columns.items() if values is not None}
    return pd.DataFrame(kept)


def written_inputs(data: StatementSet) -> list[str]:
    """Return each row's input, turns before it included, alike where only spaces differ."""
    inputs = [same_text(text) for text in data.texts]
    if data.prompts is not None:
        turns = [[[t.role, same_text(t.content)] for t in turns] for turns in data.prompts]
        inputs = [
            json.dumps([*before, text]) if before else text
            for before, text in zip(turns, inputs, strict=True)
        ]
    return inputs
