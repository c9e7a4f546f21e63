"""Trained SAEs from a folder, or by release name from the Hub."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from interp.hooks import KINDS, Site
from interp.models import Model
from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.files import CONFIG, WEIGHTS, read_json
from interp.sae.offline import hub_or_cache

log = logging.getLogger(__name__)


def load_sae(
    source: str | Path,
    *,
    model: Model | None = None,
    sae_id: str | None = None,
    site: Site | str | None = None,
) -> Dictionary:
    """Load a trained SAE.

    >>> load_sae("runs/my-sae", model=model)
    >>> load_sae("gpt2-small-res-jb", sae_id="blocks.8.hook_resid_pre", model=gpt2)  # needs the Hub

    Args:
        source: A folder with ``sae_weights.safetensors`` and ``cfg.json``, as ``train_sae`` and
            sae-lens write them; or, with ``sae_id``, the name of a sae-lens release.
        model: The model it is for; it is refused if it does not fit, and else loaded on the
            model's device.
        sae_id: Which SAE of a release.
        site: Where it belongs; needed only where it does not say so itself.

    Raises:
        SaeError: no such folder or release, no connection to the Hub, an SAE that cannot be used,
            or one that does not fit the model.
    """
    device = "cpu" if model is None else str(model.device)
    if sae_id is None:
        folder = Path(source)
        sae, name = _from_folder(folder, device), folder.name or str(folder)
    else:
        sae, name = _from_hub(str(source), sae_id, device), f"{source}/{sae_id}"
    metadata = {k: v for k, v in sae.cfg.metadata.to_dict().items() if v is not None}
    said = site_of(metadata)
    given = None if site is None else Site.parse(site)
    if given is not None and said is not None and given != said:
        raise SaeError(f"{name} was trained at {said}, not at {given}; leave site= out")
    found = Dictionary(
        sae=sae,
        name=name,
        site=given or said,
        fingerprint=metadata.get("model_fingerprint"),
        metadata=metadata,
    )
    if model is not None:
        found.require_fit(model)
        if found.fingerprint is None:
            log.warning(
                "%s does not say which weights it was trained on (model name: %s): only its width "
                "was compared with %s",
                name,
                metadata.get("model_name", "none"),
                model.spec.name,
            )
    return found


def _from_folder(folder: Path, device: str) -> Any:
    if not folder.is_dir():
        raise SaeError(
            f"no folder {folder}; expected one that train_sae or sae-lens wrote, or the name of a "
            "sae-lens release together with sae_id="
        )
    config = read_json(folder / CONFIG)
    if not (folder / WEIGHTS).is_file():
        raise SaeError(f"{folder} has no {WEIGHTS}; expected a saved SAE there")
    from sae_lens import SAE

    # Not sae-lens' own check: a training SAE's folder loads under names of its own.
    if not isinstance(config.get("architecture"), str):
        raise SaeError(f"{folder / CONFIG} names no architecture; expected one that sae-lens wrote")
    try:
        return SAE.load_from_disk(folder, device=device)
    except Exception as error:
        raise SaeError(f"{folder} cannot be loaded by sae-lens: {_first_line(error)}") from error


def _from_hub(release: str, sae_id: str, device: str) -> Any:
    from sae_lens import SAE
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    known = get_pretrained_saes_directory()
    if release not in known and "/" not in release:
        raise SaeError(f"no sae-lens release {release!r}: {_near(release, known)}")
    if release in known and sae_id not in known[release].saes_map:
        raise SaeError(
            f"release {release} has no SAE {sae_id!r}: {_near(sae_id, known[release].saes_map)}"
        )
    with hub_or_cache() as online:
        try:
            return SAE.from_pretrained(release, sae_id, device=device)
        except Exception as error:
            why = _first_line(error) if online else "no network to it, and not in the local cache"
            raise SaeError(
                f"{release}/{sae_id} cannot be had from the Hub: {why}; it needs a connection "
                "once, or load_sae(FOLDER) with a copy on disk"
            ) from error


def _near(name: str, known: Mapping[str, Any]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)[:3]
    return f"near: {', '.join(close)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def site_of(metadata: Mapping[str, Any]) -> Site | None:
    """The site that an SAE's metadata names by its hook, or None where it names none we know."""
    if isinstance(written := metadata.get("site"), str):
        return Site.parse(written)
    hook = metadata.get("hook_name")
    if not isinstance(hook, str):
        return None
    head = metadata.get("hook_head_index")
    for kind, what in KINDS.items():
        pattern = re.escape(what.hook).replace(re.escape("{layer}"), r"(?P<layer>\d+)")
        if found := re.fullmatch(pattern, hook):
            layer = found.groupdict().get("layer")
            site = Site(None if layer is None else int(layer), kind)
            return site if head is None else replace(site, head=int(head))
    return None
