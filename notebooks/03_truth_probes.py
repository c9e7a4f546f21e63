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
# # Does a model have one direction for truth? Train, transfer, compare, erase, steer
#
# A *probe* is a direction in a model's activations along which true and false statements separate.
# That is a **signature**: it can be read off. Whether the model *uses* the direction is another
# question, answered by pushing along it and by erasing it, beside directions fitted to shuffled
# labels.
#
# The model is bundled, and its answer is known. In its world five kinds of statement (*domains*)
# are told truly or falsely by hidden bits: `D0` and `D1` share one, which `ANTI` has inverted; `D3`
# and `D4` share another. So directions *should* carry from D0 to D1, turn round in ANTI, and have
# nothing to do with D3.

# %%
# %matplotlib inline
from interp.models import load_model
from interp.zoo.truth_world.statements import OBJECT_AT
from interp.zoo.truth_world.world import world_of

MODEL, SITE, SEED = "zoo:truth-world", "L0.resid_post", 0
model, world = load_model(MODEL), world_of("truth-world")
model

# %% [markdown]
# ## Train
#
# Statements with labels, grouped by subject: no subject is both trained on and scored. A statement
# set of your own comes from a file (`read_statements("claims.csv")`); here they are token ids, since
# this model has no words.

# %%
from experiments.truth_spectrum_data import world_set
from probes import train

sets = [world_set(world, domain.name, n=360, seed=SEED) for domain in world.domains]
probe = train(
    model, sets[0], site=SITE, position=OBJECT_AT, method="logistic", held_out=0.5, seed=SEED
)
probe

# %% [markdown]
# ## Layer by layer, and transfer
#
# Every domain's own probe is cross-validated at every layer, with true and with shuffled labels.
# The layer is chosen by these alone. Then: train on each domain, on all but one, on all; test on
# each. Below .5 a direction points the other way.

# %%
from probes import compare

sites = [f"L{layer}.resid_post" for layer in range(model.n_layers)]
found = compare(model, sets, sites=sites, position=OBJECT_AT, n_resamples=200, seed=SEED)
found.scan.figure()

# %%
found.matrix

# %%
found.matrix.figure()

# %% [markdown]
# Read the first row. D0's direction separates D1 as if it were its own and ANTI the wrong way round,
# as planted. What it makes of D3 and D4 is not planted: their bit is independent, yet two directions
# may overlap all the same. Keep that in mind for the last section.
#
# ## Compare
#
# Does the likeness of two directions foretell transfer? The plain cosine weighs all axes alike; the
# *Mahalanobis cosine* (the correlation of two probes' scores on the target) weighs them by how much
# activations vary there. The orange curve is what two Gaussians would give.

# %%
found.likeness.figure()

# %%
found.likeness.regressions()[["predictor", "with_combined", "r2", "r2_pair_out", "r2_domain_out"]]

# %% [markdown]
# ## Erase
#
# LEACE takes out of the activations all that a linear probe can read of one domain's label. Probes
# are then trained anew on every domain, and scored on subjects that neither eraser nor probe saw.

# %%
from probes import erasure_matrix, stratified_inlp

domains = found.domains
erasure_matrix(domains, n_resamples=200, seed=SEED).figure()

# %% [markdown]
# Directions that separate *all* domains at once come first (*general*), then what each domain has
# left of its own (*specific*): stratified INLP.

# %%
stratified_inlp(domains, n_general=2, n_specific=1, seed=SEED).figure()

# %% [markdown]
# ## Steer
#
# Now the load. The prompt is a statement of a domain, and then a question about another subject:
# what does the model hold true next? Half of the subjects give the direction, the others the
# prompts. A *push* moves each prompt as far as true and false lie apart, to the other side;
# an *erasure* sets the component along the direction to its mean. Both stand beside directions
# that mean nothing and the *natural gap*: how much the model's log-odds of true against false
# objects differ after true and false statements.

# %%
from experiments.truth_spectrum import Config
from experiments.truth_spectrum_data import world_prompts
from probes.causal.cross_effects import cross_effects
from probes.causal.directions import Direction
from probes.causal.evidence import direction_evidence
from probes.gathering import gather

names = found.gathered.names
known, judged = (
    gather(
        model,
        [world_set(world, name, n=360, seed=SEED, part=part) for name in names],
        sites=[SITE],
        position=OBJECT_AT,
    ).at[found.site]
    for part in ("train", "test")
)
directions = [
    Direction.fit(one, test=other, site=SITE, seed=SEED, model=model)
    for one, other in zip(known, judged, strict=True)
]
config = Config(model=MODEL, prompts=36, seed=SEED)
prompts = {(a, b): world_prompts(config, a, b) for a in names for b in names}
evidence = direction_evidence(model, directions[0], prompts["D0", "D0"], n_random=99, seed=SEED)
evidence.table

# %% [markdown]
# Every direction, on prompts that ask about every domain:

# %%
cross_effects(model, directions, prompts, n_random=19, seed=SEED).figure()

# %% [markdown]
# ## What it means
#
# Pushing along D0's direction moves D0 and D1 by nearly the whole natural gap, and ANTI by as much
# the other way. It moves D3 and D4 by nothing, whatever the transfer matrix said of them: a probe
# may *read* a domain along a direction on which the model does not *act* there. *A signature is not
# a mechanism.*
#
# The same on models with words, with tables and a folder that replays itself:
#
# ```
# probes transfer --model gpt2 --data set:empirical --data set:fictional --data set:ethical
# interp run truth-spectrum --model gpt2
# ```
