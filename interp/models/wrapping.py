"""From a transformers model to one that can be measured: load it, wrap it, compare the two."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from interp.models import checks
from interp.models.hub import TOKENIZER_FILES, explain_hub_error, has_tokenizer, hub_location
from interp.models.memory import is_out_of_memory
from interp.models.model import Model
from interp.models.spec import ModelError, ModelSpec

# Configuration keys that say where, with what or for which task a model was saved, not what it
# computes.
VOLATILE_KEYS = {
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "architectures",
    "attn_implementation",
    "dtype",
    "id2label",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "problem_type",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}


def load_transformers(
    spec: ModelSpec, folder: Path | None, dtype: torch.dtype, *, tokenizer: Any | None = None
) -> tuple[Any, Any | None]:
    """Load a transformers model and its tokenizer, if it has one, from a folder or the Hub.

    Args:
        spec: Which model.
        folder: Where it is, or None for the Hub.
        dtype: Type of the weights.
        tokenizer: A tokenizer to use in place of the model's own, which is then not loaded.

    Raises:
        ModelError: it is not there, is not whole, or cannot be read.
    """
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
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype,
            attn_implementation="eager",
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # safetensors' and others' own errors derive from Exception alone
        if is_out_of_memory(error):
            raise
        cache_only = folder is None and bool(options["local_files_only"])
        raise explain_hub_error(error, spec, cache_only=cache_only) from error
    model, report = loaded
    _require_whole(model, report, spec)
    if tokenizer is not None:
        return model, copy.deepcopy(tokenizer)
    if folder is not None and not any((folder / f).is_file() for f in TOKENIZER_FILES):
        return model, None
    try:
        return model, AutoTokenizer.from_pretrained(source, **options)
    except Exception as error:
        if folder is None and not has_tokenizer(spec, online=not options["local_files_only"]):
            return model, None
        raise ModelError(
            f"the tokenizer of {spec.name} cannot be loaded ({first_line(error)}); "
            "pass tokenizer=, or use a folder without tokenizer files and token ids"
        ) from error


def _require_whole(model: Any, report: dict[str, Any], spec: ModelSpec) -> None:
    """Refuse a checkpoint that leaves weights as they were drawn at random."""
    # Buffers that are computed rather than stored may be absent from old checkpoints.
    parameters = {name for name, _ in model.named_parameters()}
    missing = sorted(set(report.get("missing_keys", ())) & parameters)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelError(
            f"{spec.name}: the weights file lacks {', '.join(missing[:3])}{more}, which "
            "transformers would fill with random numbers; get the whole checkpoint"
        )


def wrap(hf_model: Any, tokenizer: Any | None, spec: ModelSpec) -> Model:
    """Put a bridge around a transformers model, whose own logits are taken first.

    The model given is changed: pass a copy.

    Raises:
        ModelError: not a decoder of text, not supported by transformer-lens, or its self-check
            failed.
    """
    from transformer_lens.model_bridge import TransformerBridge

    name = spec.name
    config = _decoder_config(hf_model, name)
    hf_model.eval()
    if hasattr(hf_model, "set_attn_implementation"):
        hf_model.set_attn_implementation("eager")  # the only one that keeps patterns
    if not config.architectures:  # a model built in memory; the bridge finds its adapter by this
        config.architectures = [type(hf_model).__name__]
    text_config = config.get_text_config()
    n_ctx = getattr(text_config, "max_position_embeddings", None)
    described = {k: v for k, v in config.to_dict().items() if k not in VOLATILE_KEYS}
    print_of_model = checks.fingerprint(described, hf_model.named_parameters())
    tokens = checks.probe_tokens(text_config.vocab_size, n_ctx or 16).to(hf_model.device)
    with torch.no_grad():
        reference = hf_model(tokens).logits
    try:
        bridge = TransformerBridge.boot_transformers(
            name,
            hf_model=hf_model,
            tokenizer=bridge_tokenizer(tokenizer, text_config.vocab_size),
            device=spec.device,
            dtype=getattr(torch, spec.dtype),
            trust_remote_code=spec.trust_remote_code,
        )
    except (ValueError, KeyError, AttributeError, NotImplementedError) as error:
        why = first_line(error).partition(" Available architectures")[0]  # a list of over 100
        raise ModelError(
            f"{name} has the architecture {config.architectures[0]}, which transformer-lens "
            f"{_lens_version()} cannot wrap ({why})"
        ) from error
    measured = checks.self_check(
        bridge, name=name, reference=reference, tokenizer=tokenizer, n_ctx=n_ctx
    )
    return Model(
        bridge=bridge,
        tokenizer=tokenizer,
        spec=spec,
        fingerprint=print_of_model,
        bos_id=_bos_id(tokenizer, text_config),
        checks=measured,
    )


def _decoder_config(hf_model: Any, name: str) -> Any:
    """The model's configuration, if it is of a kind that is wrapped at all."""
    config = getattr(hf_model, "config", None)
    if not hasattr(config, "get_text_config"):
        raise ModelError(
            f"{name}: hf_model must be a transformers model, got {type(hf_model).__name__}"
        )
    assert config is not None
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{name} is an encoder-decoder; only decoder language models are measured")
    for part in ("vision_config", "audio_config"):
        # Refused before the bridge sees it: it would ask the Hub for a processor and, where
        # torchvision is absent, run pip.
        if getattr(config, part, None) is not None:
            raise ModelError(
                f"{name} takes more than text (it has a {part}); pass its language model alone "
                "with hf_model="
            )
    return config


def first_line(error: BaseException) -> str:
    """What an error says, short enough to stand inside another's message."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 160 else f"{line[:160]}…"


def _lens_version() -> str:
    from importlib.metadata import version

    return version("transformer-lens")


def _bos_id(tokenizer: Any | None, config: Any) -> int | None:
    """The beginning-of-sequence id, where there is one inside the vocabulary.

    A tokenizer decides: where it has none, the configuration's is often a class default that
    points at an ordinary word.
    """
    bos = getattr(config if tokenizer is None else tokenizer, "bos_token_id", None)
    return bos if isinstance(bos, int) and 0 <= bos < config.vocab_size else None


def bridge_tokenizer(tokenizer: Any | None, d_vocab: int) -> Any:
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
