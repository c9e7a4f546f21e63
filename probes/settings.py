"""What the commands can be told: one dataclass a command, from which its options are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from interp.flags import UsageError


@dataclass(frozen=True)
class TrainSettings:
    """Settings of ``probes train``.

    Attributes:
        model: A Hugging Face id, a local folder, or zoo:NAME.
        data: CSV or JSONL file with columns statement (or text) and label (0, 1, false, true);
            optionally group and domain.
        site: Where in the model to read, such as L2.resid_post or L2H3.
        out: The probe's folder; must be new.
        method: Difference of means, or logistic regression.
        position: Which token: last, or its index, negative from the end.
        group: The column that binds statements together, if it is not called group. No group
            is both trained on and held out.
        held_out: Share of the statements to measure on.
        shuffles: Refits on shuffled labels.
        seed: Of the split, the shuffles and the bootstrap.
        batch_size: Rows at a time; halved on out-of-memory.
        device: A torch device.
        dtype: Type of the weights.
        revision: Branch, tag or commit on the Hub.
    """

    model: str
    data: Path
    site: str
    out: Path
    method: Literal["mass-mean", "logistic"] = "mass-mean"
    position: str = "last"
    group: str | None = None
    held_out: float = 0.3
    shuffles: int = 20
    seed: int = 0
    batch_size: int = 32
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    revision: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1:
            raise UsageError(f"--held-out is {self.held_out}; expected a share between 0 and 1")
        if self.shuffles < 19:
            raise UsageError(f"--shuffles is {self.shuffles}; expected at least 19")
        _check_common(self.seed, self.batch_size)


@dataclass(frozen=True)
class EvalSettings:
    """Settings of ``probes eval``.

    Attributes:
        data: CSV or JSONL file, as for probes train.
        model: The model, if it is no longer to be found under the name it was trained with.
        group: The column that binds statements together, if it is not called group.
        seed: Of the bootstrap.
        batch_size: Rows at a time; halved on out-of-memory.
        device: A torch device.
    """

    data: Path
    model: str | None = None
    group: str | None = None
    seed: int = 0
    batch_size: int = 32
    device: str = "cpu"

    def __post_init__(self) -> None:
        _check_common(self.seed, self.batch_size)


def _check_common(seed: int, batch_size: int) -> None:
    if seed < 0:
        raise UsageError(f"--seed is {seed}; expected 0 or more")
    if batch_size < 1:
        raise UsageError(f"--batch-size is {batch_size}; expected at least 1")
