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
# # Watch a transformer grok, and read its frequencies
#
# A one-layer transformer learns `a + b mod p` from some of the pairs. It first knows these by heart,
# and long after that, within a few dozen steps, the others too: it *groks*. Nanda et al. (2023)
# found how: it turns every residue into a few rotations, adds the angles, and reads the sum off
# cosines. Here one is trained for p = 113, in under a minute, and read beside a twin that only
# memorised.

# %%
# %matplotlib inline
P, STEPS = 113, 500

# %% [markdown]
# ## Training
#
# The trainer runs at the one position that is read; its weights are those of the bridge.

# %%
import torch

from interp.fourier import spectrum
from interp.zoo.modular.making import ModularConfig, new_training

training = new_training(ModularConfig(p=P, train_fraction=0.3, steps=STEPS, seed=3))
network = training.network
logits, gini, squares = {}, [], []


@torch.no_grad()
def keep(look):
    logits[look.step] = network(training.pairs).reshape(P, P, P)
    gini.append(spectrum(network.tok_embed.weight[:P]).gini)
    squares.append(sum(float(weights.square().sum()) for weights in network.parameters()))


training.run(keep)
for look in training.history[::2]:
    print(
        f"step {look.step:3}: {look.train_accuracy:4.0%} of the training pairs right, "
        f"{look.test_accuracy:4.0%} of the others"
    )

# %% [markdown]
# ## Which frequencies?
#
# A *key* frequency k is one whose cosine, cos(2πk(a + b − c)/p), stands out in the logits: above
# what being right alone would give every frequency, and above any in shuffled order.

# %%
from interp.fourier import read_modular
from interp.zoo.modular.bridging import as_model

model = as_model(network, f"a + b mod {P}")
reading = read_modular(model, train=training.train, n_shuffles=39)
reading

# %%
from interp.plots.fourier import frequency_bars

frequency_bars(
    {
        "logits": reading.components.cos_fve,
        "readout": reading.spectra.readout.power,
        "embedding": reading.spectra.embedding.power,
    },
    y_label="share of variance",
    keys=reading.key_frequencies,
    nulls={
        "logits": reading.shuffled_max,
        "readout": float(reading.spectra.readout.null_max.max()),
        "embedding": float(reading.spectra.embedding.null_max.max()),
    },
    null_label="largest in shuffled order",
)

# %% [markdown]
# ## Looking back
#
# *Restricted*: the loss with the key frequencies alone. *Excluded*: the loss on training pairs
# without them. The circuit forms while the test loss still says nothing of it. Where the phases
# meet is known to within the steps between two looks.

# %%
from interp.fourier import phases_of, progress_losses
from interp.plots.fourier import grokking

along = [
    progress_losses(at, reading.key_frequencies, train=training.train, each=False)
    for at in logits.values()
]
losses = {
    "train": [seen.full.train for seen in along],
    "test": [seen.full.test for seen in along],
    "restricted, test": [seen.restricted.test for seen in along],
    "excluded, train": [seen.excluded.train for seen in along],
}
phases = phases_of(
    list(logits),
    test_loss=losses["test"],
    excluded_loss=losses["excluded, train"],
    train_accuracy=[look.train_accuracy for look in training.history],
    n_answers=P,
)
print(phases)
grokking(
    list(logits),
    losses,
    gini={"embedding": gini},
    sum_of_squares=squares,
    phases=(phases.circuit_from, phases.cleanup_from),
    n_answers=P,
    grokked_at=next(look.step for look in training.history if look.test_accuracy >= 0.99),
)

# %% [markdown]
# The same comes from the command line: `interp run grokking`, about a minute.
#
# ## Does the model depend on them?
#
# Power at a frequency is a signature. So each key frequency is projected out of the logits, on
# pairs (a, b) held out with their mirror image (b, a), and so are other frequencies, and random
# planes of functions of the answer.

# %%
from interp.fourier import weigh_frequencies
from interp.zoo.modular.tables import modular_addition

unseen = modular_addition(P).examples(~(training.train | training.train.T))
order = torch.randperm(len(unseen), generator=torch.Generator().manual_seed(0))
weigh_frequencies(model, reading.key_frequencies, unseen.select(order[:128]), n_controls=99)

# %% [markdown]
# A single frequency has few others to be compared with: p // 2 in all, too few for Holm's
# correction over the keys. So the keys are tested together, by rank sums: each passes if it beats
# the others, and so does every set of keys that it is in.
#
# ## Its twin that memorised
#
# The same pairs, the same size; the bundled model had weight decay, its twin none.

# %%
from interp.models import load_model
from interp.zoo.cards import get_card
from interp.zoo.modular.making import training_pairs

for name in ("modular-113", "modular-113-memoriser"):
    train = training_pairs(get_card(name).recipe)
    found = read_modular(load_model(f"zoo:{name}"), train=train)
    print(f"{name}: {found.reason}; key frequencies {found.key_frequencies}")
    print(
        f"  cosines: {found.components.total:.1%} of the logits' variance; "
        f"{found.neurons.share():.0%} of neurons on one frequency; "
        f"Gini of the readout {found.spectra.readout.gini:.2f}"
    )

# %% [markdown]
# ## Ordered tokens of a language model
#
# Any ordered set of tokens has a spectrum, judged against shuffled orders; try `weekdays` or
# `months` on `gpt2`. The bundled model of Python source has digits. Their order shows, but at
# frequency 1 alone, where a line (0 to 9, small to large) has its power too: no sign of a circle.

# %%
from interp.fourier import token_spectrum

digits = token_spectrum(load_model("zoo:code-lm"), "digits")
print(digits)
print("p of each frequency:", [round(float(p), 3) for p in digits.p_values])
