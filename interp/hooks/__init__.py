"""How a model is looked at and touched: sites, sessions, capture and interventions."""

from interp.hooks.capture import capture, reference_mean
from interp.hooks.interventions import (
    Intervention,
    ablate_heads,
    add,
    derangement,
    mean,
    project_out,
    resample,
    set_to,
    zero,
)
from interp.hooks.session import HookError, Session, session
from interp.hooks.sites import KINDS, Site, SiteError, available_kinds

__all__ = [
    "KINDS",
    "HookError",
    "Intervention",
    "Session",
    "Site",
    "SiteError",
    "ablate_heads",
    "add",
    "available_kinds",
    "capture",
    "derangement",
    "mean",
    "project_out",
    "reference_mean",
    "resample",
    "session",
    "set_to",
    "zero",
]
