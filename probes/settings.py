"""What the commands can be told: one dataclass a command, from which its options are made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from interp.configs import near
from interp.flags import UsageError

# Named here too, so that the help needs nothing heavy; a test holds it against the methods.
METHOD_NAMES = ("mass-mean", "mass-mean-whitened", "logistic", "lda", "pca", "ccs", "mlp")
_LAYERS = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")


@dataclass(frozen=True)
class TrainSettings:
    """Settings of ``probes train``.

    Attributes:
        model: A Hugging Face id, a local folder, or zoo:NAME.
        data: Labelled statements: a .csv, .jsonl, .json or .parquet file with columns statement
            (or text) and label (0, 1, false, true), a folder of files, set:NAME (see probes
            data), or hf:NAME of the Hub. Several are put together.
        out: The probe's folder; must be new. Of several probes, a folder each inside it.
        site: What to read, such as resid_post or H3 with --layers, or in full, such as
            L2.resid_post.
        layers: all, a layer, or several, such as 2-5 or 1,3. All when neither this nor --site
            says otherwise.
        method: mass-mean, mass-mean-whitened, logistic, lda, pca, ccs (of pairs, without their
            labels) or mlp; several with commas.
        pooling: last (of the statement's span), mean or every token of it, or char:N for the
            token of its character N, which may count from the end.
        position: last, or a token's index, negative from the end; in place of --pooling.
        format: The format of the data, if it is not found by itself (see probes data).
        group: The column that binds statements together, if it is not called group. No group
            is both trained on and held out.
        framing: What comes before each statement: plain (an open request), expectation-inverted
            (a request for dishonesty) or sycophantic (a user with a belief; needs pairs).
        held_out: Share of the statements to measure on.
        shuffles: Refits on shuffled labels.
        seed: Of the split, the shuffles and the bootstrap.
        batch_size: Statements at a time, halved on out-of-memory; a budget of tokens if omitted.
        device: A torch device.
        dtype: Type of the weights.
        revision: Branch, tag or commit on the Hub.
        cache: Folder in which activations are kept between commands; LOADBEARING_CACHE, or the
            user's cache directory, if omitted.
        cache_gib: Its limit in GiB, 4 if neither this nor LOADBEARING_CACHE_GIB says otherwise;
            0 keeps nothing.
    """

    model: str
    data: tuple[str, ...]
    out: Path
    site: str = "resid_post"
    layers: str | None = None
    method: str = "mass-mean"
    pooling: str | None = None
    position: str = "last"
    format: str | None = None
    group: str | None = None
    framing: str | None = None
    held_out: float = 0.3
    shuffles: int = 20
    seed: int = 0
    batch_size: int | None = None
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    revision: str | None = None
    cache: Path | None = None
    cache_gib: float | None = None

    def __post_init__(self) -> None:
        if not self.data:
            raise UsageError("--data names nothing; expected a file, a folder, set:NAME or hf:NAME")
        if not 0 < self.held_out < 1:
            raise UsageError(f"--held-out is {self.held_out}; expected a share between 0 and 1")
        if self.shuffles < 19:
            raise UsageError(f"--shuffles is {self.shuffles}; expected at least 19")
        for method in self.methods:
            if method not in METHOD_NAMES:
                raise UsageError(f"--method is {method!r}; {near(method, METHOD_NAMES)}")
        layers = self.layers
        if layers is not None:
            if layers != "all" and not _LAYERS.fullmatch(layers):
                raise UsageError(
                    f"--layers is {layers!r}; expected all, a layer such as 3, or several, such "
                    "as 2-5 or 1,3"
                )
            if re.match(r"L\d", self.site):
                kind = self.site.partition(".")[2] or self.site.lstrip("L0123456789")
                raise UsageError(
                    f"--site {self.site} names a layer already; give --site {kind} with --layers"
                )
        if self.pooling is not None:
            if self.position != "last":
                raise UsageError("--pooling and --position say the same; give one of them")
            if not re.fullmatch(r"last|mean|every|char:-?\d+", self.pooling):
                raise UsageError(
                    f"--pooling is {self.pooling!r}; expected last, mean, every, or char:N"
                )
        _check_common(self.seed, self.batch_size)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, each once."""
        return tuple(dict.fromkeys(part.strip() for part in self.method.split(",")))

    def sites(self, n_layers: int, *, layerless: frozenset[str] = frozenset()) -> list[str]:
        """Return the sites to read in a model.

        Args:
            n_layers: Of the model.
            layerless: Kinds of site that stand in no layer.

        Raises:
            UsageError: a layer that the model does not have, or layers of a site without any.
        """
        if re.match(r"L\d", self.site) or "@" in self.site:
            return [self.site]
        if self.site in layerless:
            if self.layers is not None:
                raise UsageError(f"--site {self.site} stands in no layer; leave --layers out")
            return [self.site]
        wanted: list[int] = []
        for part in (self.layers or "all").split(","):
            first, _, last = (f"0-{n_layers - 1}" if part == "all" else part).partition("-")
            chosen = range(int(first), int(last or first) + 1)
            if not chosen:
                raise UsageError(f"--layers is {self.layers!r}; {part} runs backwards")
            if chosen[-1] >= n_layers:
                raise UsageError(
                    f"--layers is {self.layers!r}; the model has layers 0 to {n_layers - 1}"
                )
            wanted += chosen
        dot = "" if re.match(r"H\d", self.site) else "."
        return [f"L{layer}{dot}{self.site}" for layer in dict.fromkeys(wanted)]


@dataclass(frozen=True)
class EvalSettings:
    """Settings of ``probes eval``.

    Attributes:
        data: Labelled statements, as for probes train.
        model: The model, if it is no longer to be found under the name it was trained with.
        format: The format of the data, if it is not found by itself.
        group: The column that binds statements together, if it is not called group.
        framing: As for probes train; the statements as they are if omitted.
        seed: Of the bootstrap.
        batch_size: Statements at a time, halved on out-of-memory; a budget of tokens if omitted.
        device: A torch device.
        cache: Folder in which activations are kept between commands.
        cache_gib: Its limit in GiB; 0 keeps nothing.
    """

    data: tuple[str, ...]
    model: str | None = None
    format: str | None = None
    group: str | None = None
    framing: str | None = None
    seed: int = 0
    batch_size: int | None = None
    device: str = "cpu"
    cache: Path | None = None
    cache_gib: float | None = None

    def __post_init__(self) -> None:
        if not self.data:
            raise UsageError("--data names nothing; expected a file, a folder, set:NAME or hf:NAME")
        _check_common(self.seed, self.batch_size)


def _check_common(seed: int, batch_size: int | None) -> None:
    if seed < 0:
        raise UsageError(f"--seed is {seed}; expected 0 or more")
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"--batch-size is {batch_size}; expected at least 1")
