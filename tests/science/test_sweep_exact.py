"""The sweep on models whose answer is known, and killed half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from interp.evidence import loss
from interp.heads import sweep
from interp.models import load_model
from interp.zoo.induction_exact import BOS, DecoyConfig, ExactConfig, closed_form
from interp.zoo.tasks import repeated_tokens


@pytest.mark.parametrize("config", [ExactConfig(), DecoyConfig()], ids=lambda c: c.name)
@pytest.mark.parametrize("tokens_per_forward", [64, 2048])
def test_effects_equal_the_closed_form(config, tokens_per_forward):
    model = load_model(f"zoo:{config.name}")
    examples = repeated_tokens(
        config.n_vocab, n=6, length=25, bos_id=BOS, generator=torch.Generator().manual_seed(11)
    )
    answers = closed_form(config)
    heads = [(layer, head) for layer in range(2) for head in range(model.n_heads)]
    sets = [frozenset(), *([h] for h in heads), list(answers["indices"].values()), heads]
    found = sweep(model, examples, loss, sets, kind="zero", tokens_per_forward=tokens_per_forward)
    effects = found.effects.double().mean(1).tolist()
    assert float(found.clean.double().mean()) == pytest.approx(answers["clean_nll"], abs=1e-4)
    assert effects[0] == 0.0
    for (layer, head), effect in zip(heads, effects[1:-2], strict=True):
        wanted = answers["effect"].get(f"L{layer}H{head}", answers["effect"]["uniform"])
        assert effect == pytest.approx(wanted, abs=1e-4), f"L{layer}H{head}"
    # Without its circuit, and without any head, the model knows nothing: all logits are zero.
    for effect in effects[-2:]:
        assert effect == pytest.approx(max(answers["effect"].values()), abs=1e-4)


SCRIPT = """
import sys, time, torch
from dataclasses import dataclass
from pathlib import Path
from interp.evidence import loss
from interp.heads import sweep
from interp.models import load_model
from interp.runs import Run
from interp.zoo.induction_exact import BOS
from interp.zoo.tasks import repeated_tokens

@dataclass(frozen=True)
class Config:
    seed: int = 0

def slowly(run):
    def keep(name, compute):
        found = run.cached(name, compute)
        time.sleep(float(sys.argv[2]))
        return found
    return keep

torch.set_num_threads(1)
with Run.create(experiment="sweep", config=Config(), out=Path(sys.argv[1]), resume=True) as run:
    model = load_model("zoo:induction-exact")
    generator = torch.Generator().manual_seed(1)
    examples = repeated_tokens(model.d_vocab, n=24, length=20, bos_id=BOS, generator=generator)
    sets = [[(l, h), (1, (h + 3) % 20)] for l in range(2) for h in range(20)] * 2
    sets += [[(0, h), (0, (h + 1) % 20), (1, h)] for h in range(20)]
    print("begins", flush=True)
    found = sweep(model, examples, loss, sets, kind="resample", tokens_per_forward=256,
                  keep=slowly(run))
    run.save_tensors({"clean": found.clean, "ablated": found.ablated})
"""


def start(folder: Path, pause: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(pause)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_killed_and_resumed_it_gives_the_same_table(tmp_path):
    whole = start(tmp_path / "whole", 0)
    killed = start(tmp_path / "killed", 0.25)
    assert killed.stdout is not None and killed.stdout.readline() == "begins\n"
    parts = tmp_path / "killed"
    deadline = time.monotonic() + 60
    while len(list(parts.rglob("*.tensors"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    done = {p: p.stat().st_mtime_ns for p in parts.rglob("*.tensors")}
    assert len(done) >= 2 and not (parts / "tensors.safetensors").exists()
    assert start(parts, 0).wait() == 0 and whole.wait() == 0
    assert all(p.stat().st_mtime_ns == at for p, at in done.items()), "pieces were done again"
    assert len(list(parts.rglob("*.tensors"))) > len(done)
    name = "tensors.safetensors"
    assert (parts / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
