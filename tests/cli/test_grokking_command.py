"""``interp run grokking`` as a user types it: trained here, read from elsewhere, and refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from interp.cli import main
from interp.models import load_model
from interp.runs import Run

QUICK = [
    *("--preset", "smoke", "--p", "31", "--train-fraction", "0.7", "--look-every", "50"),
    *("--judged", "64", "--controls", "39", "--shuffles", "19"),
]
FILES = [
    "config.yaml",
    "metrics.json",
    "evidence.parquet",
    "frequencies.parquet",
    "history.parquet",
    "tensors.safetensors",
    "model/native.json",
    "model/model.safetensors",
    "figures/grokking.png",
    "figures/grokking.svg",
    "figures/frequencies.png",
]
ASKED = ("test_accuracy", "key_frequencies", "restricted_loss", "excluded_loss", "cos_fve")


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(["run", "grokking", *QUICK, "--out", str(out)]) == 0
    return out


def test_it_groks_and_says_on_what(finished):
    assert [name for name in FILES if not (finished / name).is_file()] == []
    found = metrics_of(finished)
    assert found["grokked"] is True
    assert found["test_accuracy"] >= 0.99
    assert 1 <= len(found["key_frequencies"]) <= 7
    assert found["restricted_loss"] < 0.1
    assert found["excluded_loss"] > 1
    assert found["cos_fve"] > 0.6
    # Looked at every 50 steps: at the turn, step 0, nothing was learnt.
    assert found["circuit_formation_from"] is found["cleanup_from"] is None
    assert "training pairs are right" in found["no_phases"]
    assert "No phases are told apart" in found["conclusion"]
    assert (found["unseen_pairs"], found["unseen_accuracy"]) == (83, 1.0)
    assert found["keys_suffice"] is True
    assert "load-bearing" in json.dumps(found["verdicts"])
    history = Run.open(finished).table("history")
    assert history["step"].tolist() == [0, 50, 100, 150, 200, 250]
    assert history["test_accuracy"].iloc[-1] == pytest.approx(found["test_accuracy"])
    assert len(Run.open(finished).table("frequencies")) == 15
    assert not (finished / "checkpoints").exists()
    assert not (finished / "checkpoint.safetensors").exists()


def test_replayed_it_gives_the_same_numbers_and_keeps_checkpoints_if_asked(finished, tmp_path):
    again, config = tmp_path / "again", str(finished / "config.yaml")
    arguments = ["--config", config, "--keep-checkpoints", "--out", str(again)]
    assert main(["run", "grokking", *arguments]) == 0
    assert metrics_of(again) == metrics_of(finished)
    assert len(list((again / "checkpoints").glob("step-*.safetensors"))) == 6


def test_an_interrupted_training_is_taken_up(finished, tmp_path, monkeypatch):
    from interp.zoo.modular.training import Training

    out, advance = tmp_path / "interrupted", Training.advance

    def broken(self):
        if self.step == 120:
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(Training, "advance", broken)
    assert main(["run", "grokking", *QUICK, "--out", str(out)]) != 0
    monkeypatch.setattr(Training, "advance", advance)
    assert main(["run", "grokking", "--resume", "--out", str(out)]) == 0
    assert metrics_of(out) == metrics_of(finished)


def published(folder, file):
    """A run's model in the layout of the published code."""
    w = load_file(folder / "model" / "model.safetensors")
    heads = load_model(str(folder / "model")).n_heads
    tensors = {
        "embed.W_E": w["tok_embed.weight"].T,
        "pos_embed.W_pos": w["pos.weight"],
        "unembed.W_U": w["head.weight"].T,
        "blocks.0.attn.W_O": w["layers.0.attn.o.weight"],
        "blocks.0.mlp.W_in": w["layers.0.mlp.fc_in.weight"],
        "blocks.0.mlp.W_out": w["layers.0.mlp.fc_out.weight"],
    }
    for name in "QKV":
        split = w[f"layers.0.attn.{name.lower()}.weight"].unflatten(0, (heads, -1))
        tensors[f"blocks.0.attn.W_{name}"] = split
    save_file({name: t.contiguous().clone() for name, t in tensors.items()}, file)


def test_a_checkpoint_from_elsewhere_is_read(finished, tmp_path):
    published(finished, tmp_path / "theirs.safetensors")
    out = tmp_path / "run"
    arguments = ["--weights", str(tmp_path / "theirs.safetensors"), "--judged", "64"]
    arguments += ["--controls", "39", "--shuffles", "19"]
    assert main(["run", "grokking", *arguments, "--out", str(out)]) == 0
    found, own = metrics_of(out), metrics_of(finished)
    assert found["p"] == 31
    assert found["grokked"] is True
    assert found["key_frequencies"] == own["key_frequencies"]
    assert found["cos_fve"] == pytest.approx(own["cos_fve"])
    assert found["test_accuracy"] is None, "which pairs it was trained on is not known"
    assert "not known" in found["conclusion"]
    assert not (out / "history.parquet").exists()


def test_a_model_that_has_not_grokked_is_reported_as_such(tmp_path, capfd):
    out = tmp_path / "run"
    arguments = ["--weights", "zoo:modular-113-memoriser", "--shuffles", "19"]
    assert main(["run", "grokking", *arguments, "--out", str(out)]) == 0
    found = metrics_of(out)
    assert found["grokked"] is False
    assert found["test_accuracy"] < 0.15
    assert [found[name] for name in ("key_frequencies", "restricted_loss")] == [None, None]
    assert "has not grokked: 0.0% of held-out pairs without a mirror" in found["headline"]
    assert "no frequency is called key" in capfd.readouterr().out


def test_where_all_mirror_images_were_trained_on_it_cannot_be_told(tmp_path):
    out = tmp_path / "run"
    arguments = ["--p", "31", "--train-fraction", ".97", "--weight-decay", "0", "--steps", "100"]
    assert main(["run", "grokking", *arguments, "--shuffles", "19", "--out", str(out)]) == 0
    found = metrics_of(out)
    assert found["grokked"] is found["key_frequencies"] is found["circuit_formation_from"] is None
    assert "cannot be told whether it has grokked: there are 1 held-out" in found["headline"]
    assert found["verdicts"] == {}


def test_presets_go_with_weights_and_a_file_has_the_same_largest_p(tmp_path):
    from experiments.grokking import PRESETS, Config, check
    from interp.zoo.modular.bridging import write_folder
    from interp.zoo.modular.network import Network

    check(Config(weights="zoo:modular-113", **PRESETS["smoke"]))
    large = Network(n=257, n_answers=257, d_model=8, n_heads=2, d_mlp=8, seed=0)
    weights = {name: p.detach() for name, p in large.named_parameters()}
    write_folder(tmp_path / "large", large.native_config(), weights)
    with pytest.raises(ValueError, match="has p = 257; expected at most 251"):
        check(Config(weights=str(tmp_path / "large")))


def test_the_paper_preset_is_a_config():
    from experiments.grokking import PRESETS, Config, check

    check(Config(**PRESETS["paper"]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--weights", "full_run.pth"], "safetensors.torch.save_file"),
        (["--weights", "none.safetensors"], "no file none.safetensors"),
        (["--weights", "zoo:modular-13"], "zoo:modular-113"),
        (["--weights", "zoo:code-lm"], "no one-layer model of modular addition"),
        (["--weights", "gpt2"], "no one-layer model of modular addition"),
        (["--weights", "zoo:s5"], "is of another task"),
        (["--weights", "zoo:modular-113", "--p", "31"], "--p: only for a training"),
        (["--weights", "zoo:modular-113", "--train-fraction", ".5"], "--train-fraction: only"),
        (["--mapping", "names.json"], "--weights FILE"),
        (["--p", "4"], "at least 11"),
        (["--p", "1009"], "at most 251"),
        (["--train-fraction", "1"], "between 0 and 1"),
        (["--d-model", "30"], "multiple"),
        (["--alpha", "2"], "between 0 and 1"),
        (["--weight-decay", "-1"], "at least 0"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(arguments, said, tmp_path, capfd):
    out = tmp_path / "run"
    assert main(["run", "grokking", *arguments, "--out", str(out)]) == 2
    printed = capfd.readouterr().err.strip()
    assert said in printed
    assert len(printed.splitlines()) <= 2, printed
    assert "Traceback" not in printed
    assert not out.exists()


def test_another_models_weights_are_refused(tmp_path, capfd):
    save_file({"transformer.wte.weight": torch.ones(9, 4)}, tmp_path / "gpt.safetensors")
    out = tmp_path / "run"
    weights = str(tmp_path / "gpt.safetensors")
    assert main(["run", "grokking", "--weights", weights, "--out", str(out)]) == 2
    assert "no one-layer modular-addition model: it has no W_E" in capfd.readouterr().err
    assert not out.exists()


def test_a_bundled_model_of_another_shape_is_refused(tmp_path, capfd):
    out = tmp_path / "run"
    assert main(["run", "grokking", "--weights", "zoo:truth-world", "--out", str(out)]) == 2
    assert "is no one-layer model of modular addition: it has 3 layers" in capfd.readouterr().err
    assert not out.exists()
