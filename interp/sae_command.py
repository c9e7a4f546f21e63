"""The command ``interp train-sae``: an SAE on any site of any model, from text to its card."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from interp import terminal
from interp.configs import REQUIRED, overlay
from interp.flags import Option, UsageError, parse_fields, split_options
from interp.runfolder.files import names_in, write_figure, write_text
from interp.runfolder.reader import TRACEBACK, one_line
from interp.sae.settings import SaeSettings

log = logging.getLogger(__name__)

_PROG = "interp train-sae"
_POOR = 0.7  # of the variance explained: below it the reader is warned
_ABOUT = (
    "Train a sparse autoencoder on what a model holds at a site, save it as sae-lens does, and "
    "evaluate it as reloaded, on text that it was not trained on."
)
_OPTIONS = (
    Option("out", "Folder to write.", "DIR"),
    Option("resume", "Go on with the training that was begun in the folder of --out."),
)


@dataclass(frozen=True, kw_only=True)
class Asked(SaeSettings):
    """What is trained on what.

    Attributes:
        model: A Hugging Face id, a folder, or zoo:NAME.
        site: Where in the model, such as L3.resid_post, L3.mlp_out or L3H7.
        data: Text file, folder, .jsonl file with "text", .npy file of token ids, a name for the
            datasets library, or own:N (N tokens of text drawn from the model itself).
        held_out: Tokens to evaluate on, which are not trained on; taken in whole rows.
        device: A torch device, such as cpu or cuda.
        dtype: What the model computes in.
    """

    model: str
    site: str
    data: str
    held_out: int = 20_000
    device: str = "cpu"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.held_out < 1:
            raise ValueError(
                f"held_out={self.held_out}: expected at least 1, the number of tokens to evaluate "
                "on that are not trained on"
            )


def train_sae(args: Sequence[str]) -> int:
    """``interp train-sae --model M --site S --data D --out DIR [options]``."""
    asked, flags = split_options(_OPTIONS, args, prog=_PROG)
    values = {**dict.fromkeys(("model", "site", "data"), REQUIRED), **_defaults()}
    config: Asked = parse_fields(
        Asked, values, flags, options=_OPTIONS, prog=_PROG, description=_ABOUT
    )
    if asked["out"] is None:
        raise UsageError(f"--out DIR is needed, a folder to write (see {_PROG} --help)")
    out = Path(asked["out"])
    if found := next((p for p in (out, *out.parents) if p.exists() and not p.is_dir()), None):
        raise UsageError(f"{found} is a file: give --out a folder to write")
    if out.is_dir() and names_in(out) and not asked["resume"]:
        raise UsageError(f"{out} is not empty: give another folder, or --resume to go on in it")
    with terminal.logging_shown():
        return _work(config, out)


def _defaults() -> dict[str, object]:
    return {k: v for k, v in overlay(Asked).items() if v is not REQUIRED}


def _work(config: Asked, out: Path) -> int:
    """Load, read, train, show. What the user got wrong raises before the folder is made."""
    from interp.hooks import Site
    from interp.models import ModelSpec, load_model, require_device
    from interp.sae.dictionary import site_width
    from interp.sae.texts import read_data
    from interp.sae.train import train_sae as train
    from interp.sae.trainer import checked_options

    names = {f.name for f in fields(SaeSettings)}
    settings = SaeSettings(**{k: v for k, v in asdict(config).items() if k in names})
    checked_options(settings)
    site = Site.parse(config.site)
    require_device(config.device)
    model = load_model(ModelSpec(config.model, device=config.device, dtype=config.dtype))
    settings.sae_fields(site_width(model, site))
    site.require_editable(model)
    rows, held_out = read_data(
        model,
        config.data,
        context=config.context,
        n_train=config.samples,
        n_held_out=config.held_out,
        seed=config.seed,
    )
    (out / TRACEBACK).unlink(missing_ok=True)
    try:
        trained = train(model, rows, site, out=out, settings=settings, held_out=held_out)
    except KeyboardInterrupt:
        again = f"{_PROG} --resume --out {out} and the same options"
        terminal.say(f"interrupted; to go on: {again}")
        return 130
    except ValueError:
        raise
    except Exception as error:
        out.mkdir(parents=True, exist_ok=True)
        path = write_text(out / TRACEBACK, traceback.format_exc())
        terminal.say(f"training failed: {one_line(error)} (traceback: {path})")
        return 1
    write_figure(out / "training.png", trained.figure())
    write_figure(out / "density.png", trained.evaluation.figure())
    terminal.console().print(_table(trained.evaluation.metrics()))
    if trained.evaluation.ce_cost_interval is None:
        terminal.show(
            "ce_cost has no interval: there is one held-out row; give a larger --held-out"
        )
    if trained.evaluation.undefined:
        terminal.show(f"ce_recovered is undefined: {trained.evaluation.undefined}")
    explained = trained.evaluation.explained_variance
    if explained is not None and explained < _POOR:
        terminal.show(
            f"it explains {explained:.0%} of the variance: its latents miss much of what is "
            "there. Give more --samples; training.png shows whether the loss still falls"
        )
    terminal.show(
        f"SAE folder: {out}\n"
        f"to look into it: interp run sae-features --model {config.model} --sae {out}\n"
        f"in Python: from interp.sae import load_sae; load_sae({str(out)!r}, model=model)"
    )
    return 0


def _table(measured: dict[str, object]) -> object:
    rows = [(name, _cell(value)) for name, value in measured.items() if name != "undefined"]
    return terminal.table(("measured", "value"), rows)


def _cell(value: object) -> object:
    if isinstance(value, list):
        return " to ".join(f"{end:.4g}" for end in value)
    return f"{value:.4g}" if isinstance(value, float) else value
