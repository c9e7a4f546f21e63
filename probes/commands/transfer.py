"""``probes transfer``: does a direction found on one kind of statement separate another?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from interp.configs import near, overlay
from interp.flags import UsageError, parse_fields
from interp.terminal import sentence
from probes.commands.arguments import load_named
from probes.settings import TrainSettings

# Named here too, so that the help needs nothing heavy; a test holds it against the methods.
DIRECTION_METHODS = ("mass-mean", "mass-mean-whitened", "logistic", "lda", "pca")


@dataclass(frozen=True)
class TransferSettings:
    """Settings of ``probes transfer``.

    Attributes:
        model: A Hugging Face id, a local folder, or zoo:NAME.
        data: Labelled statements, as for probes train: each source is a domain. A single source
            is cut into the domains that its own column names.
        out: A new folder for tables, figures and metrics.json; nothing is written if omitted.
        method: mass-mean, mass-mean-whitened, logistic, lda or pca.
        site: What to read, such as resid_post, or in full, such as L2.resid_post.
        layers: all, a layer, or several, such as 2-5 or 1,3. Of several, the one at which the
            domains' own cross-validated probes do best is compared.
        pooling: last (of the statement's span), mean, or char:N.
        position: last, or a token's index, negative from the end; in place of --pooling.
        format: The format of the data, if it is not found by itself (see probes data).
        group: The column that binds statements together, if it is not called group.
        folds: Of the cross-validation, where training and tested rows share groups.
        shuffles: Refits of the domains' own probes to shuffled labels.
        resamples: Of the bootstrap over groups.
        seed: Of the folds, the shuffles and the bootstrap.
        batch_size: Statements at a time, halved on out-of-memory; a budget of tokens if omitted.
        device: A torch device.
        dtype: Type of the weights.
        revision: Branch, tag or commit on the Hub.
        cache: Folder in which activations are kept between commands.
        cache_gib: Its limit in GiB; 0 keeps nothing.
    """

    model: str
    data: tuple[str, ...]
    out: Path | None = None
    method: str = "logistic"
    site: str = "resid_post"
    layers: str | None = None
    pooling: str | None = None
    position: str = "last"
    format: str | None = None
    group: str | None = None
    folds: int = 5
    shuffles: int = 20
    resamples: int = 2000
    seed: int = 0
    batch_size: int | None = None
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    revision: str | None = None
    cache: Path | None = None
    cache_gib: float | None = None

    def __post_init__(self) -> None:
        self.reading()  # refuses what probes train would
        if "," in self.method:
            raise UsageError(f"--method is {self.method!r}; transfer is by one method at a time")
        if self.method not in DIRECTION_METHODS:
            raise UsageError(
                f"--method is {self.method!r}; transfer compares directions fitted to labels: "
                f"{near(self.method, DIRECTION_METHODS)}"
            )
        if self.pooling == "every":
            raise UsageError("--pooling every: transfer counts a statement once; give last or mean")
        for name, least in (("folds", 2), ("resamples", 100)):
            if getattr(self, name) < least:
                raise UsageError(f"--{name} is {getattr(self, name)}; expected at least {least}")

    def reading(self) -> TrainSettings:
        """Return what is asked of the reading, in the words of ``probes train``."""
        return TrainSettings(
            model=self.model,
            data=self.data,
            out=self.out or Path(),
            site=self.site,
            layers=self.layers,
            method=self.method,
            pooling=self.pooling,
            position=self.position,
            shuffles=self.shuffles,
            seed=self.seed,
            batch_size=self.batch_size,
        )


def transfer(args: Sequence[str]) -> int:
    """``probes transfer``: measure transfer between domains, show it, and save it if asked."""
    asked: TransferSettings = parse_fields(
        TransferSettings,
        overlay(TransferSettings),
        _gathered(args),
        options=(),
        prog="probes transfer",
        description="Train on each domain, on all but one and on all; test on each; beside how "
        "alike their directions are.",
    )
    from interp import terminal

    with terminal.logging_shown():
        from probes.data import read_statements
        from probes.gathering import named_domains

        sets = named_domains(
            [read_statements(s, format=asked.format, group=asked.group) for s in asked.data]
        )
        from interp.hooks.sites import GLOBAL_KINDS
        from probes import transfer_files, transfer_report
        from probes.activations import parse_position
        from probes.cache import activation_cache
        from probes.card import require_free
        from probes.compared import compare

        if asked.out is not None:
            require_free(asked.out)
        cache = activation_cache(asked.cache, limit_gib=asked.cache_gib)
        position = parse_position(asked.pooling or asked.position)
        model = load_named(asked.model, asked.device, asked.dtype, asked.revision)
        found = compare(
            model,
            sets,
            sites=asked.reading().sites(model.n_layers, layerless=GLOBAL_KINDS),
            method=asked.method,  # type: ignore[arg-type]
            position=position,
            n_folds=asked.folds,
            n_shuffles=asked.shuffles,
            n_resamples=asked.resamples,
            seed=asked.seed,
            batch_size=asked.batch_size,
            cache=cache,
        )
    transfer_report.show(found)
    if asked.out is not None:
        try:
            transfer_files.save(found, asked.out)
        except OSError as error:
            terminal.say(f"the results could not be saved: {sentence(error)}", prog="probes")
            return 1
        terminal.show(f"\nresult folder: {asked.out}")
    return 0


def _gathered(args: Sequence[str]) -> list[str]:
    """The arguments with every --data's sources behind the first: one option given twice is two."""
    kept: list[str] = []
    sources: list[str] = []
    taking = False
    for arg in args:
        if arg == "--data" or arg.startswith("--data="):
            taking = arg == "--data"
            sources += [] if taking else [arg.removeprefix("--data=")]
        elif taking and not arg.startswith("-"):
            sources.append(arg)
        else:
            taking = False
            kept.append(arg)
    given = any(arg == "--data" or arg.startswith("--data=") for arg in args)
    return [*kept, *(["--data", *sources] if given else [])]
