# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From prompts of your own to evidence: a scripted ablation study
#
# Which attention heads does a model need for a task that *you* bring? Four steps: write prompts,
# let a signature choose heads on one half of them, remove those heads on the other half, and remove
# matched random heads beside them. Change `MODEL` to `gpt2`, or to a folder of your own, and the
# prompts to yours.

# %%
MODEL = "zoo:code-lm"

# %% [markdown]
# ## Prompts
#
# One JSON object a line: `clean` and `answer`, and if you like `wrong`, `corrupt` and `group`. Here
# two calls are made and the first is begun again; the argument that it had is the answer, and the
# other call's is the wrong one.

# %%
import json
import random
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
words = ["name", "file", "line", "text", "data", "key", "value", "path", "list", "type", "time"]
rng = random.Random(0)
rows = []
for _ in range(80):
    f, g, right, wrong = rng.sample(words, 4)
    clean = f"    {f}({right})\n    {g}({wrong})\n    {f}("
    rows.append({"clean": clean, "answer": right, "wrong": wrong})
(folder / "calls.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
print(rows[0])

# %% [markdown]
# ## The study
#
# `logit_difference` is how far the right argument is ahead of the wrong one. Heads are chosen by two
# signatures: attention to what followed a token's earlier occurrence on repeated random tokens
# (`induction`), and a gradient estimate of what each head is worth on these very prompts
# (`attribution`). Neither decides; removal on the other half of the prompts does.

# %%
from interp.studies import run_study

run = run_study(
    "heads",
    model=MODEL,
    prompts=str(folder / "calls.jsonl"),
    first_token=True,
    signature="induction,attribution",
    sets="top:2",
    controls=49,
    out=folder / "run",
)

# %% [markdown]
# ## Evidence
#
# Each row: what was removed, its signature, what that cost with an interval, what matched random
# sets cost, how often one of those cost as much (p, and the smallest p that so many sets could
# give; after Holm's correction), and a verdict.

# %%
from interp.evidence import EvidenceTable, read_evidence

name = "evidence" if run.metrics["able"] else "effects"
EvidenceTable(read_evidence(run.table(name))) if run.metrics["able"] else run.table(name)

# %% [markdown]
# The same in other metrics, beside the layer-matched controls; and which items were lost and won.

# %%
side = run.table("side_by_side").query("control_family == 'layer-matched'")
side[["set", "metric", "clean", "effect", "effect_low", "effect_high", "controls_mean"]].round(3)

# %%
for name, told in run.metrics["items"].items():
    print(f"{name}: {told}")

# %% [markdown]
# ## Signature against effect
#
# Every head alone, its signature across and its effect up. At the right the chosen heads removed
# together, and the matched random sets.

# %%
from IPython.display import Image

Image(run.path / "figures" / "signature_and_effect.png", width=560)

# %% [markdown]
# ## In words

# %%
import textwrap

print(textwrap.fill(run.metrics["conclusion"], 100))

# %% [markdown]
# The same from the command line, with a folder that replays itself:
#
# ```
# interp run heads --model zoo:code-lm --prompts calls.jsonl --first-token \
#     --signature induction,attribution --sets top:2
# ```
