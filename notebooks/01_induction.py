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
# # Which heads are induction heads, and does the model depend on them?
#
# An *induction head* attends from a token to whatever followed that token's previous occurrence,
# and so predicts that it will follow again (Olsson et al. 2022). That is a **signature**: a pattern
# of attention. Whether the model *depends* on the head is another question, answered by removing
# it and comparing with the removal of other heads that could have mattered as much.
#
# The model is bundled: a small language model of Python source. Change `MODEL` to `gpt2`, or to a
# folder of your own, and run again.

# %%
MODEL = "zoo:code-lm"

# %% [markdown]
# ## Ten lines

# %%
import torch

from interp.heads import head_scores, iid_control, weigh_heads
from interp.models import load_model
from interp.zoo.tasks import repeated_tokens

rng = torch.Generator().manual_seed(0)
model = load_model(MODEL)
prompts = repeated_tokens(model.ordinary_ids, n=64, length=25, bos_id=model.bos_id, generator=rng)
choose, judge = prompts.split(0.5, seed=0)
control = iid_control(choose, model.ordinary_ids, generator=rng)
score = head_scores(model, choose, ["induction"], control=control)["induction"]
model

# %% [markdown]
# ## The signature
#
# Share of attention that goes from a repeated token to what followed it before. A head that attends
# evenly scores what is marked *null* on the colour bar; *control* is the same head's score where the
# tokens do not repeat: the same positions, and nothing there to be found.

# %%
score

# %% [markdown]
# ## The load
#
# On prompts that did not choose them, the heads are removed (each replaced by its mean output), and
# so are matched random sets: as many heads from the same layers, and as many of like output norm.
# The effect is the loss added on the repeat.

# %%
evidence = weigh_heads(model, score, selected_on=choose, judged_on=judge, top=3, n_controls=29)
evidence

# %% [markdown]
# ## What it means
#
# Read the first row: its signature, its effect with an interval, what matched random sets cost, how
# often one of those cost as much (p), and the smallest p that so many controls could give.
# *Load-bearing* needs both a p at or below .05 and an interval above zero. *Underpowered* means
# that the effect beat every control there is, and that there are too few of them to say more.

# %%
print(evidence[0])
print(evidence[0].reason)

# %% [markdown]
# The same, with figures and a folder that replays itself, from the command line:
#
# ```
# interp run induction --model zoo:code-lm
# ```
