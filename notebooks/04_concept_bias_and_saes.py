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
# # From concept sentences to biased latents, and what editing them costs
#
# Does a model lean, for a target such as *nurse*, to one reference concept or another? It can be
# asked three ways: in **behaviour** (which reference does it speak of next?), in **concept space**
# (to which reference's vector does the target's lie nearer?) and under **intervention** (what is
# left of the bias when something is taken away?). The first is what matters, the second is a
# *signature*, the third says what the bias rests on.
#
# The model is bundled, and its answer is known. In its world twenty targets go with reference `r1`
# or `r2` by planted log-odds from −3 to 3.

# %%
# %matplotlib inline
from experiments.bias_lens import Config
from experiments.bias_lens_world import world_for, world_subject
from interp.models import load_model

SEED, SITE = 0, "L2.resid_post"
model, world = load_model("zoo:bias-world"), world_for("zoo:bias-world")
subject = world_subject(Config(sentences=150, prompts=6, seed=SEED), world)
for examples in (subject.targets[0], subject.first, subject.test.biased):
    print(f"{examples.name}: {world.text(examples.tokens[0])}")

# %% [markdown]
# ## Behaviour
#
# Log-odds of `r1`'s words against `r2`'s after a sentence about the target, averaged over prompts.

# %%
import pandas as pd

from probes.concept_bias import target_means

asked = subject.asked
behaviour = target_means(
    subject.behaviour.per_example(model.logits(asked.tokens), asked), asked.groups
)
frame = pd.DataFrame({"planted": subject.planted, "behaviour": behaviour}).sort_values("planted")
print(f"rank correlation {frame.corr(method='spearman').iloc[0, 1]:.2f}")
frame.iloc[[0, 5, 10, 15, 19]].round(2)

# %% [markdown]
# ## Sensitivity: which concepts would move it?
#
# A concept activation vector is the direction that tells a concept's sentences from random ones;
# TCAV asks how the metric changes along it, beside vectors of *random* concepts. `nothing` is a
# draw of neutral sentences: it must not pass.

# %%
from probes.cav import tcav

tested = tcav(
    model,
    {"prompts": subject.sensitive},
    [subject.first, subject.second, subject.nothing],
    random=subject.random,
    sites=[SITE],
    metric=subject.behaviour,
    n_random=99,
    n_partners=2,
    seed=SEED,
)
tested.table()[["concept", "magnitude", "fraction", "p_holm", "accuracy", "verdict"]].round(3)

# %% [markdown]
# ## Bias in concept space
#
# How much nearer a target's vector lies to `r1` than to `r2`, layer by layer, three ways. Dotted:
# the same with the references' labels shuffled. Targets lean at random by chance alone, so a size
# says nothing without it.

# %%
from probes.concept_bias import concept_bias

yardsticks = {"planted": subject.planted, "behaviour": behaviour}


def measure(sites, **given):
    return concept_bias(
        model,
        subject.targets,
        subject.first,
        subject.second,
        neutral=subject.neutral,
        sites=sites,
        yardsticks=yardsticks,
        n_shuffles=100,
        n_resamples=0,
        seed=SEED,
        **given,
    )


bias = measure(["L0.resid_post", "L1.resid_post", SITE])
bias.figure()

# %%
shown = ["site", "method", "size", "null_high", "rho planted", "rho low planted", "slope z planted"]
bias.summary()[shown].round(2)

# %% [markdown]
# ## Does behaviour rest on the axis between the references?
#
# Agreement, however close, is correlation. So the direction that tells `r1` from `r2` is taken out,
# on prompts that it was not fitted to, beside random directions that lie where activations vary.
# The effect is how much of the bias *slope* (behaviour against planted, over targets) is gone.

# %%
from interp.evidence import EvidenceTable
from probes.concept_bias import axis_evidence

axis = axis_evidence(
    model,
    bias,
    subject.test.biased,
    subject.behaviour,
    site=SITE,
    yardstick="planted",
    where="answer",
    n_random=99,
    seed=SEED,
)
EvidenceTable([axis])

# %% [markdown]
# More than 100 % is overshoot: the targets now lean the other way. That a model uses a direction
# does not make removing it a remedy.
#
# ## A sparse autoencoder
#
# It is trained here in seconds, on the world's documents, and evaluated as it is loaded again.

# %%
from tempfile import TemporaryDirectory

from interp.sae import SaeSettings, train_sae
from interp.zoo.bias_world.sentences import corpus

settings = SaeSettings(arch="topk", d_sae=128, k=8, samples=200_000, lr=2e-3, seed=SEED)
with TemporaryDirectory() as folder:
    trained = train_sae(
        model, corpus(world, n=8000, seed=9), SITE, out=f"{folder}/sae", settings=settings
    )
sae = trained.dictionary
evaluation = trained.evaluation
print(
    f"{sae.d_sae} latents, {evaluation.l0:.1f} active at a time, explained variance "
    f"{evaluation.explained_variance:.3f}, added loss {evaluation.ce_cost:+.3f} nats a token, "
    f"{evaluation.n_dead} dead"
)

# %% [markdown]
# Does looking through the SAE measure bias better? Neutral activations are steered to each concept,
# encoded, and the *changes of the latents* are compared in place of the vectors. Beside it stand
# the raw vectors, as in every table here.

# %%
through = measure([SITE], saes={SITE: {"sae": sae}})
through.summary()[["method", "rho planted", "rho low planted", "rho high planted"]].round(2)

# %%
from interp.plots.bias import bias_and_behaviour

table = through.table()
bias_and_behaviour(
    table["behaviour"],
    {method: table[method] for method in through.methods},
    planted=table["planted"],
    title=f"twenty targets at {SITE}",
)

# %% [markdown]
# On this world the raw vectors rank the targets as well as the SAE's latents do, or better. What
# the SAE adds is parts small enough to be edited.
#
# ## Do the latents carry it, and what does editing them cost?
#
# Latents are ranked on one split, the edit is chosen on a second and judged on a third: how much of
# the slope is gone, what neutral text loses, whether a reference that is *named* is still
# recognised. Beside it: random latents that fire about as often, the reconstruction without an edit, and
# the axis taken out.

# %%
from interp.sae import carrying

found = carrying(
    model,
    sae,
    subject.behaviour,
    select=subject.select,
    tune=subject.tune,
    test=subject.test,
    scores=subject.planted,
    recognised=subject.recognised,
    direction=bias.axes[SITE],
    tokens=subject.tokens,
    counts=(1, 2, 5, 10),
    n_random=99,
    seed=SEED,
)
print(found)
found.table()[["name", "slope", "slope_low", "slope_high", "ce", "kl", "recognition"]].round(3)

# %%
found.figure(title="reduction against cost")

# %%
EvidenceTable([axis, found.evidence])

# %% [markdown]
# A few latents take most of the bias away, at next to no cost on neutral text and with a named
# reference still recognised; as many random latents that fire about as often do not. That is what "the
# latents carry it" means here. Taking the axis out takes more than the bias: of two references the
# named one is then recognised half of the time, which is chance. The SAE's reconstruction in place of
# the activations changes the slope by itself, which is why edits keep its error. On a model with
# words the answer may be another: the edit may cost too much, or take the concept away together with
# the bias, and the tables say so.
#
# The same for other models, with tables and a folder that replays itself; triples of your own are
# files:
#
# ```
# interp run bias-lens
# interp run bias-lens --preset small-hub
# interp run bias-lens --model gpt2 --triples gender,mine.json --crows-pairs crows_pairs.csv
# ```
