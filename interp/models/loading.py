"""Getting a model: from the Hub, a folder, the bundled zoo, a configuration, or memory."""

from __future__ import annotations

import copy
import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from interp.models import checks, native
from interp.models.hub import explain_hub_error, hub_location
from interp.models.model import Model
from interp.models.spec import ModelError, ModelSpec

log = logging.getLogger(__name__)

ZOO_PREFIX = "zoo:"
ZOO_FOLDER = Path(__file__).resolve().parent.parent / "zoo" / "weights"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)
# Configuration keys that say where or with what a model was saved, not what it computes.
VOLATILE_KEYS = {
    "_name_or_path",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "use_cache",
    "output_attentions",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "attn_implementation",
    "architectures",
}


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
                f"no bundled model {ZOO_PREFIX}{short}; did you mean "
                f"{', '.join(ZOO_PREFIX + n for n in near)}?"
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
        tokenizer: Tokenizer to go with ``hf_model``; copied, never changed.

    Returns:
        The model, on its device, in evaluation mode.

    Raises:
        ModelError: it is not there, cannot be reached, is not supported, does not fit in
            memory, or failed its self-check; the message says which and what to do.
    """
    spec = name if isinstance(name, ModelSpec) else ModelSpec(name)
    changes = {
        key: value
        for key, value in (("device", device), ("dtype", dtype), ("revision", revision))
        if value is not None
    }
    spec = replace(spec, **changes, trust_remote_code=spec.trust_remote_code or trust_remote_code)
    where = _device(spec.device)
    torch_dtype = getattr(torch, spec.dtype)
    with _plain_memory_errors(spec):
        if hf_model is not None:
            hf_model = copy.deepcopy(hf_model).to(device=where, dtype=torch_dtype)
            return _wrap(hf_model, copy.deepcopy(tokenizer), spec, spec.name)
        kind, folder = resolve(spec)
        if kind == "native":
            return _load_native(spec, folder, where, torch_dtype)
        hf_model, found = _load_transformers(spec, folder, torch_dtype)
        return _wrap(hf_model.to(where), found if tokenizer is None else tokenizer, spec, spec.name)


def _device(text: str) -> torch.device:
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
    return device


@contextmanager
def _plain_memory_errors(spec: ModelSpec) -> Iterator[None]:
    from interp.models.memory import is_out_of_memory

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
    bos = fields.get("bos_token_id")
    described = {k: v for k, v in fields.items() if k not in ("bos_token_id", "model_name")}
    return Model(
        bridge=bridge,
        tokenizer=None,
        spec=spec,
        fingerprint=checks.fingerprint(described, native.native_parameters(bridge)),
        bos_id=None if bos is None else int(bos),
        checks=checks.self_check(bridge, name=spec.name, reference=None, tokenizer=None),
    )


def _load_transformers(
    spec: ModelSpec, folder: Path | None, dtype: torch.dtype
) -> tuple[Any, Any | None]:
    """Load a transformers model and its tokenizer, if it has one, from a folder or the Hub."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    options: dict[str, Any] = {"trust_remote_code": spec.trust_remote_code}
    if folder is None:
        options |= {"local_files_only": hub_location(spec) == "cache", "revision": spec.revision}
    else:
        options["local_files_only"] = True
    source = spec.name if folder is None else str(folder)
    # Transformers draws its own progress bar and reports on standard error; errors still raise.
    transformers_logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, attn_implementation="eager", **options
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise explain_hub_error(error, spec) from error
    if folder is not None and not any((folder / f).is_file() for f in TOKENIZER_FILES):
        return model, None
    try:
        return model, AutoTokenizer.from_pretrained(source, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"the tokenizer of {spec.name} cannot be loaded ({_first_line(error)}); "
            "remove its files to use token ids, or pass tokenizer="
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _wrap(hf_model: Any, tokenizer: Any | None, spec: ModelSpec, name: str) -> Model:
    """Put a bridge around a transformers model, whose own logits are taken first."""
    from transformer_lens.model_bridge import TransformerBridge

    hf_model.eval()
    if hasattr(hf_model, "set_attn_implementation"):
        hf_model.set_attn_implementation("eager")  # the only one that keeps patterns
    config = hf_model.config
    text_config = config.get_text_config()
    n_ctx = getattr(text_config, "max_position_embeddings", None) or 16
    described = {k: v for k, v in config.to_dict().items() if k not in VOLATILE_KEYS}
    print_of_model = checks.fingerprint(described, hf_model.named_parameters())
    tokens = checks.probe_tokens(text_config.vocab_size, n_ctx).to(hf_model.device)
    with torch.no_grad():
        reference = hf_model(tokens).logits
    try:
        bridge = TransformerBridge.boot_transformers(
            name,
            hf_model=hf_model,
            tokenizer=_bridge_tokenizer(tokenizer, text_config.vocab_size),
            device=spec.device,
            dtype=getattr(torch, spec.dtype),
            trust_remote_code=spec.trust_remote_code,
        )
    except (ValueError, KeyError, AttributeError, NotImplementedError) as error:
        architecture = (config.architectures or [type(hf_model).__name__])[0]
        raise ModelError(
            f"{name} has the architecture {architecture}, which transformer-lens "
            f"{_lens_version()} cannot wrap ({_first_line(error)})"
        ) from error
    measured = checks.self_check(bridge, name=name, reference=reference, tokenizer=tokenizer)
    return Model(
        bridge=bridge,
        tokenizer=tokenizer,
        spec=spec,
        fingerprint=print_of_model,
        bos_id=_bos_id(tokenizer, text_config),
        checks=measured,
    )


def _lens_version() -> str:
    from importlib.metadata import version

    return version("transformer-lens")


def _bos_id(tokenizer: Any | None, config: Any) -> int | None:
    """The beginning-of-sequence id, where there is one inside the vocabulary."""
    for owner in (tokenizer, config):
        bos = getattr(owner, "bos_token_id", None)
        if isinstance(bos, int) and 0 <= bos < config.vocab_size:
            return bos
    return None


def _bridge_tokenizer(tokenizer: Any | None, d_vocab: int) -> Any:
    """A copy for the bridge to keep, arranged so that it changes nothing and asks nobody.

    Left alone, the bridge adds a missing end-of-text token at an id past the embedding and
    reloads by name a tokenizer that does not put a beginning token itself. Text is tokenised
    by ``Model.tokenize``, so its copy only has to satisfy it.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    if tokenizer is None:
        bare = Tokenizer(WordLevel({"a": 0}, unk_token="a"))
        mine = PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="a")
    else:
        mine = copy.deepcopy(tokenizer)
    if mine.eos_token is None:
        inside = {i: token for token, i in mine.get_vocab().items() if i < d_vocab}
        mine.eos_token = mine.bos_token or inside[min(inside)]
    mine.init_kwargs.setdefault("name_or_path", "in-memory")
    mine.init_kwargs["add_bos_token"] = True
    return mine
