"""Bias in what a causal model says: log-probability gaps on minimal pairs and published tests.

    from interp.models import load_model
    from probes.behaviour import crows_pairs, read_crows_pairs

    crows_pairs(load_model("gpt2"), read_crows_pairs("crows_pairs_anonymized.csv"), seed=0)

Every text is scored by one forward pass; ties, differences in the number of tokens and rows left
out are counted and reported; intervals are over groups of items that belong together. A model that
is likelier to say a thing is measured here, not why: what carries it is for interventions to say.
"""

from probes.behaviour.bbq import BBQ, bbq
from probes.behaviour.bbq_files import read_bbq
from probes.behaviour.crows_pairs import crows_pairs, read_crows_pairs
from probes.behaviour.estimates import Estimate
from probes.behaviour.gaps import PairGaps, pair_gaps
from probes.behaviour.items import BehaviourError, Pair, PairSet, Skipped
from probes.behaviour.stereoset import StereoSet, stereoset
from probes.behaviour.stereoset_files import read_stereoset
from probes.behaviour.templates import read_pairs
from probes.behaviour.winobias import WinoBias, winobias
from probes.behaviour.winobias_files import read_winobias

__all__ = [
    "BBQ",
    "BehaviourError",
    "Estimate",
    "Pair",
    "PairGaps",
    "PairSet",
    "Skipped",
    "StereoSet",
    "WinoBias",
    "bbq",
    "crows_pairs",
    "pair_gaps",
    "read_bbq",
    "read_crows_pairs",
    "read_pairs",
    "read_stereoset",
    "read_winobias",
    "stereoset",
    "winobias",
]
