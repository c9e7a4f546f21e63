"""The Hugging Face Hub: is it there, is the model cached, and what its errors mean."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Literal

from interp.models.spec import ModelError, ModelSpec

log = logging.getLogger(__name__)

REACH_SECONDS = 3.0

OFFLINE_WAYS = (
    "work offline with a local folder (save_pretrained, then its path), with "
    "load_model(name, hf_model=model, tokenizer=tokenizer) from memory, or with zoo:code-lm"
)


def hub_reachable() -> bool:
    """Whether the Hub answers within three seconds, by the proxies the user has set."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE or os.environ.get("TRANSFORMERS_OFFLINE") in ("1", "true"):
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS)
    except Exception as error:  # any transport failure means the same: no Hub
        log.debug("the Hub does not answer: %s", error)
        return False
    return True


def is_cached(spec: ModelSpec) -> bool:
    """Whether the model's configuration is in the local Hub cache."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(spec.name, "config.json", revision=spec.revision)
    return isinstance(found, str)


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
        f"(nor is there a model folder of that name); {OFFLINE_WAYS}"
    )


def explain_hub_error(error: BaseException, spec: ModelSpec) -> ModelError:
    """Turn what transformers or the Hub client raised into one line of what to do."""
    from huggingface_hub import errors

    name = spec.name
    for cause in _causes(error):
        if isinstance(cause, errors.GatedRepoError):
            return ModelError(
                f"{name} is gated: accept its licence on its Hub page, then log in with "
                "`hf auth login` or set HF_TOKEN"
            )
        if isinstance(cause, errors.RevisionNotFoundError):
            return ModelError(f"{name} has no revision {spec.revision!r} on the Hub")
        if isinstance(cause, errors.RepositoryNotFoundError):
            return ModelError(
                f"{name} is neither a local folder nor a model on the Hub that you may read; "
                "check the spelling, or log in with `hf auth login` if it is private"
            )
        if isinstance(cause, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
            return ModelError(f"{name} is not wholly in the local cache; {OFFLINE_WAYS}")
    text = " ".join(str(error).split())
    if "trust_remote_code" in text:
        return ModelError(
            f"{name} comes with Python code of its own, which is not run unless asked for; "
            "read it, then pass trust_remote_code=True"
        )
    if "model type" in text or "Unrecognized" in text:
        return ModelError(
            f"{name}: transformers does not know this architecture as a causal language model "
            f"({text[:200]})"
        )
    return ModelError(f"{name} cannot be loaded: {text[:300]}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
