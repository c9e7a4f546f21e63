"""The Hugging Face Hub: is it there, is the model cached, and what its errors mean."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from interp.models.spec import ModelError, ModelSpec

log = logging.getLogger(__name__)

REACH_SECONDS = 5.0
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)

OFFLINE_WAYS = (
    "work offline with a local folder (save_pretrained, then its path), with "
    "load_model(name, hf_model=model, tokenizer=tokenizer) from memory, or with zoo:code-lm"
)
NOT_WHOLE = f"is not wholly in the local cache, and there is no network; {OFFLINE_WAYS}"


def hub_reachable() -> bool:
    """Whether the Hub answers within five seconds, by the proxies the user has set."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE or os.environ.get("TRANSFORMERS_OFFLINE") in ("1", "true"):
        return False
    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS)
        except Exception as error:  # any transport failure means the same: no Hub
            log.debug("the Hub does not answer: %s", error)
        else:
            answered.set()

    # In a thread, since looking up the name knows no time limit: a silent name server holds the
    # client for half a minute and more.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(REACH_SECONDS)
    return answered.is_set()


def is_cached(spec: ModelSpec) -> bool:
    """Whether the model's configuration is in the local Hub cache."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(spec.name, "config.json", revision=spec.revision)
    return isinstance(found, str)


def has_tokenizer(spec: ModelSpec, *, online: bool) -> bool:
    """Whether a Hub model comes with a tokenizer: by its cache, or by its list of files."""
    from huggingface_hub import list_repo_files, try_to_load_from_cache

    if online:
        try:
            names = list_repo_files(spec.name, revision=spec.revision)
        except Exception as error:  # cannot tell: then the loading error stands
            log.debug("the files of %s cannot be listed: %s", spec.name, error)
            return True
        return any(name in TOKENIZER_FILES for name in names)
    found = (try_to_load_from_cache(spec.name, f, revision=spec.revision) for f in TOKENIZER_FILES)
    return any(isinstance(path, str) for path in found)


def hub_location(spec: ModelSpec) -> Literal["hub", "cache"]:
    """Decide once, quickly, whether to ask the Hub or only its cache.

    Without this the client retries for minutes before it admits that there is no network.

    Raises:
        ModelError: the id is malformed, or neither network nor cache has the model.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(spec.name)
    except HFValidationError as error:
        raise ModelError(
            f"{spec.name!r} is neither a folder nor a possible Hugging Face id"
        ) from error
    if hub_reachable():
        return "hub"
    if is_cached(spec):
        return "cache"
    revision = f" at revision {spec.revision}" if spec.revision else ""
    raise ModelError(
        f"{spec.name}{revision}: no network to the Hugging Face Hub, and it is not in the cache "
        f"({_folder_note(spec.name)}); {OFFLINE_WAYS}"
    )


def _folder_note(name: str) -> str:
    if Path(name).is_dir():
        return "the folder of that name holds no config.json"
    return "nor is there a model folder of that name"


def explain_hub_error(
    error: BaseException, spec: ModelSpec, *, cache_only: bool = False
) -> ModelError:
    """Turn what transformers or the Hub client raised into one line of what to do.

    Args:
        error: What was raised.
        spec: The model asked for.
        cache_only: Whether the Hub could not be asked, only its cache.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    why = _said_by_the_hub(error, spec) or _said_by_transformers(text)
    if why is None and cache_only and "does not appear to have" in text:
        why = NOT_WHOLE
    return ModelError(f"{spec.name} {why or f'cannot be loaded: {text[:300]}'}")


def _said_by_the_hub(error: BaseException, spec: ModelSpec) -> str | None:
    from huggingface_hub import errors

    for cause in _causes(error):
        if isinstance(cause, errors.GatedRepoError):
            return (
                "is gated: accept its licence on its Hub page, then log in with "
                "`hf auth login` or set HF_TOKEN"
            )
        if isinstance(cause, errors.RevisionNotFoundError):
            return f"has no revision {spec.revision!r} on the Hub"
        if isinstance(cause, errors.RepositoryNotFoundError):
            return (
                "is neither a local folder nor a model on the Hub that you may read; "
                "check the spelling, or log in with `hf auth login` if it is private"
            )
        if isinstance(cause, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
            return NOT_WHOLE
    return None


def _said_by_transformers(text: str) -> str | None:
    if "trust_remote_code" in text:
        return (
            "comes with Python code of its own, which is not run unless asked for; "
            "read it, then pass trust_remote_code=True"
        )
    if "model type" in text or "Unrecognized" in text:
        return (
            "has an architecture that transformers does not know as a causal language model "
            f"({text[:200]})"
        )
    if "ignore_mismatched_sizes" in text:
        return "has weights of other shapes than its config.json says: not of the same model"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
