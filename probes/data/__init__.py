"""Statement sets: reading, checking, splitting, framing, and what words and length alone tell.

from probes.data import baselines, read_statements, split, statement_set

data = read_statements("claims.csv")      # or statement_set("empirical")
data.report                               # what was left out, and why
baselines(data)                           # what length and words alone tell
train, test = split(data, held_out=0.3, seed=0)
"""

from probes.data.baselines import Baseline, Baselines, baselines
from probes.data.chat import rendered
from probes.data.checks import LABELS, DataError, same_text
from probes.data.formats import FORMATS, read_statements
from probes.data.framing import FRAMINGS, Framing, framed
from probes.data.joining import joined
from probes.data.own import OWN_SETS, set_table, statement_set
from probes.data.report import ReadReport
from probes.data.split import check_split, group_folds, group_split, shuffled_labels, split
from probes.data.statements import StatementSet, Turn
from probes.data.tokens import Encoded, encoded

__all__ = [
    "FORMATS",
    "FRAMINGS",
    "LABELS",
    "OWN_SETS",
    "Baseline",
    "Baselines",
    "DataError",
    "Encoded",
    "Framing",
    "ReadReport",
    "StatementSet",
    "Turn",
    "baselines",
    "check_split",
    "encoded",
    "framed",
    "group_folds",
    "group_split",
    "joined",
    "read_statements",
    "rendered",
    "same_text",
    "set_table",
    "shuffled_labels",
    "split",
    "statement_set",
]
