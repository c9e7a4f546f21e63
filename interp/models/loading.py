"""Getting a model: from the Hub, a folder, the bundled zoo, a configuration, or memory."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from interp.models import checks, native
from interp.models.memory import is_out_of_memory
from interp.models.model import Model
from interp.models.spec import ModelError, ModelSpec
from interp.models.wrapping import load_transformers, wrap

ZOO_PREFIX = "zoo:"
ZOO_FOLDER = Path(__file__).resolve().parent.parent / "zoo" / "weights"


def zoo_names() -> list[str]:
    """Names of the bundled models, without the ``zoo:`` prefix."""
    if not ZOO_FOLDER.is_dir():
        return []
    return sorted(p.name for p in ZOO_FOLDER.iterdir() if (p / "model.safetensors").is_file())


def resolve(spec: ModelSpec) -> tuple[str, Path | None]:
    """Say where a model is, cheaply and without importing anything heavy.

    Returns:
        (kind, folder): kind is ``native`` (a configuration or a folder holding one), ``folder``
        (a transformers folder) or ``hub``; folder is None for the Hub and for bare
        configurations.

    Raises:
        ModelError: an unknown zoo name, a missing folder, or a folder without a configuration.
    """
    if spec.native is not None:
        return "native", None
    name = spec.name
    if spec.source == "zoo" or (spec.source == "auto" and name.startswith(ZOO_PREFIX)):
        short = name.removeprefix(ZOO_PREFIX)
        if short not in zoo_names():
            near = difflib.get_close_matches(short, zoo_names(), n=3, cutoff=0.4) or zoo_names()
            raise ModelError(
                f"no bundled model {ZOO_PREFIX}{short}; "
                + (
                    f"did you mean {' or '.join(ZOO_PREFIX + n for n in near)}?"
                    if near
                    else "this installation bundles none: make one with `interp train`"
                )
            )
        folder = ZOO_FOLDER / short
    elif spec.source == "hub":
        return "hub", None
    else:
        folder = Path(name).expanduser()
        if not folder.is_dir():
            if spec.source == "auto" and not _looks_like_path(name):
                return "hub", None
            raise ModelError(f"no folder {name}; expected a folder with config.json in it")
    if (folder / native.CONFIG_FILE).is_file():
        return "native", folder
    if (folder / "config.json").is_file():
        return "folder", folder
    if spec.source == "auto" and not _looks_like_path(name):
        return "hub", None  # an unrelated folder that happens to share a Hub id's name
    raise ModelError(
        f"folder {folder} holds neither config.json nor {native.CONFIG_FILE}; save the model "
        "there with save_pretrained, or point at the folder that has it"
    )


def _looks_like_path(name: str) -> bool:
    """A Hub id is ``name`` or ``owner/name``; anything else can only have meant a path."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def load_model(
    name: str | ModelSpec,
    *,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    hf_model: Any | None = None,
    tokenizer: Any | None = None,
) -> Model:
    """Load a model, check it and fingerprint it.

    Args:
        name: A Hugging Face id, a local transformers or native folder, ``zoo:NAME``, or a
            ``ModelSpec``.
        device: A torch device; the spec's, or the CPU, when omitted.
        dtype: float32, bfloat16, float16 or float64; the spec's, or float32, when omitted.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Run Python that comes with the model. Off unless asked for.
        hf_model: A transformers model in memory, used in place of ``name``; it is copied,
            never changed. Needs no network.
        tokenizer: Tokenizer to go with ``hf_model``, or to use in place of a folder's or a Hub
            model's own; copied, never changed.

    Returns:
        The model, on its device, in evaluation mode.

    Raises:
        ModelError: it is not there, cannot be reached, is not supported, does not fit in
            memory, or failed its self-check; the message says which and what to do.
    """
    spec = name if isinstance(name, ModelSpec) else ModelSpec(name)
    changes: dict[str, Any] = {
        key: value
        for key, value in (("device", device), ("dtype", dtype), ("revision", revision))
        if value is not None
    }
    spec = replace(spec, **changes, trust_remote_code=spec.trust_remote_code or trust_remote_code)
    where = require_device(spec.device)
    torch_dtype = getattr(torch, spec.dtype)
    # Building modules draws numbers that are then overwritten: not from the caller's stream.
    with _plain_memory_errors(spec), torch.random.fork_rng(devices=[]):
        if hf_model is not None:
            mine = copy.deepcopy(hf_model).to(device=where, dtype=torch_dtype)
            return wrap(mine, copy.deepcopy(tokenizer), spec)
        kind, folder = resolve(spec)
        if kind == "native":
            if tokenizer is not None:
                raise ModelError(f"{spec.name} is a native model, which takes ids: no tokenizer=")
            return _load_native(spec, folder, where, torch_dtype)
        loaded, found = load_transformers(spec, folder, torch_dtype, tokenizer=tokenizer)
        return wrap(loaded.to(where), found, spec)


def require_device(text: str) -> torch.device:
    """Return the torch device that ``text`` names.

    Raises:
        ModelError: there is no such device, or not here.
    """
    try:
        device = torch.device(text)
    except RuntimeError as error:
        raise ModelError(f"unknown device {text!r}; expected cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not torch.cuda.is_available() or (device.index or 0) >= count:
            raise ModelError(f"device {text} is not available: {count} CUDA devices; use cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError("device mps is not available here; use cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise ModelError(f"device {text!r} is not supported; expected cpu, cuda, cuda:N or mps")
    return device


@contextmanager
def _plain_memory_errors(spec: ModelSpec) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"{spec.name} does not fit on {spec.device} in {spec.dtype}; "
            "try dtype='bfloat16', or another device"
        ) from error


def _load_native(
    spec: ModelSpec, folder: Path | None, device: torch.device, dtype: torch.dtype
) -> Model:
    fields = dict(spec.native or {}) if folder is None else native.read_native_config(folder)
    bridge = native.boot_native(fields, name=spec.name, seed=spec.seed, dtype=dtype, device=device)
    if folder is not None:
        native.load_native_weights(bridge, folder)
    bridge.eval()
    described = {k: v for k, v in fields.items() if k not in native.NOT_ARCHITECTURE}
    return Model(
        bridge=bridge,
        tokenizer=None,
        spec=spec,
        fingerprint=checks.fingerprint(described, native.native_parameters(bridge)),
        bos_id=native.bos_of(fields, name=spec.name, d_vocab=int(bridge.cfg.d_vocab)),
        checks=checks.self_check(bridge, name=spec.name, reference=None, tokenizer=None),
    )
