"""Training SAEs: seeded, resumable to the same curve, saved as sae-lens does, memory bounded."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest
import torch

from interp.hooks import SiteError, capture
from interp.models import Examples
from interp.sae import SaeError, SaeSettings, read_trained, train_sae
from interp.sae.checkpoint import save_checkpoint
from interp.sae.files import read_tensors
from interp.sae.stream import ActivationStream
from interp.sae.trainer import checked_options, finish

SMALL = SaeSettings(
    arch="topk", d_sae=24, k=3, samples=3000, batch=60, buffer=500, lr=3e-3, checkpoint_every=20
)


@pytest.fixture(scope="module")
def tiny(load_tiny):
    return load_tiny("native")


@pytest.fixture(scope="module")
def rows(random_ids):
    return Examples(tokens=random_ids(60, 20))


@pytest.fixture(scope="module")
def trained(tiny, rows, tmp_path_factory):
    return train_sae(
        tiny, rows, "L1.resid_post", out=tmp_path_factory.mktemp("saes") / "a", settings=SMALL
    )


def test_sae_lens_loads_what_was_saved(trained, tiny, rows):
    from sae_lens import SAE

    theirs = SAE.load_from_disk(trained.folder)
    x = capture(tiny, rows, "L1.resid_post")["L1.resid_post"]
    assert torch.equal(theirs.encode(x), trained.dictionary.encode(x))
    assert torch.equal(theirs(x), trained.dictionary.decode(trained.dictionary.encode(x)))
    said = theirs.cfg.metadata
    assert said.hook_name == "blocks.1.hook_resid_post"
    assert said.model_fingerprint == tiny.fingerprint
    assert theirs.cfg.normalize_activations == "none"


def test_training_lowers_the_error(trained):
    mse = trained.curve["mse_loss"]
    assert len(mse) == SMALL.n_steps
    assert mse[-10:].mean() < 0.7 * mse[:5].mean()
    assert trained.evaluation.l0 <= 3
    assert (trained.curve["l0"] <= 3).all()
    trained.figure()


@pytest.mark.parametrize(
    "arch",
    [
        "standard",
        "gated",
        "jumprelu",
        "abstopk",
        "batchtopk",
        "matryoshka_batchtopk",
        "matching_pursuit",
    ],
)
def test_every_architecture_trains_and_reloads(arch, tiny, rows, tmp_path):
    settings = replace(SMALL, arch=arch, k=3 if "topk" in arch else None)
    found = train_sae(tiny, rows, "L0.mlp_out", out=tmp_path / arch, settings=settings)
    assert found.curve["mse_loss"][-5:].mean() < found.curve["mse_loss"][:5].mean()
    assert found.dictionary.trained_as == arch
    assert found.dictionary.architecture == ("jumprelu" if "batchtopk" in arch else arch)


def test_batchtopk_is_evaluated_as_reloaded(tiny, rows, tmp_path):
    settings = replace(SMALL, arch="batchtopk", k=3)
    train, held_out = rows.split(0.8, seed=0)
    found = train_sae(
        tiny, train, "L1.resid_post", out=tmp_path, settings=settings, held_out=held_out
    )
    x = capture(tiny, held_out, "L1.resid_post")["L1.resid_post"]
    fired = (found.dictionary.encode(x.flatten(0, 1)) != 0).float()
    assert found.evaluation.l0 == pytest.approx(float(fired.sum(1).mean()))
    assert torch.allclose(found.evaluation.density, fired.mean(0))
    # A threshold, not the three largest: rows differ, as they could not in training's own kind.
    assert len(set(fired.sum(1).tolist())) > 1


@pytest.mark.parametrize(
    ("arch", "kind"),
    [
        ("standard", "expected_average_only_in"),
        ("topk", "expected_average_only_in"),
        ("standard", "covariance_whitening"),
        ("topk", "covariance_whitening"),
        ("gated", "covariance_whitening"),
    ],
)
def test_the_scale_is_folded_in(arch, kind, tiny, rows, tmp_path):
    x = capture(tiny, rows, "L1.resid_post")["L1.resid_post"].flatten(0, 1)
    seen = {}

    def before_folding(trainer, folder):
        scaler = trainer.activation_scaler
        with torch.no_grad():
            seen["z"] = trainer.sae.encode(scaler.scale(x))
            seen["back"] = scaler.unscale(trainer.sae.decode(seen["z"]))
        finish(trainer, folder)

    settings = replace(SMALL, arch=arch, k=3 if arch == "topk" else None, normalize=kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interp.sae.train.finish", before_folding)
        found = train_sae(tiny, rows, "L1.resid_post", out=tmp_path / kind, settings=settings)
    sae = found.dictionary
    assert sae.sae.cfg.normalize_activations == "none"
    z = sae.encode(x)
    same = ((z != 0) == (seen["z"] != 0)).float().mean()
    assert same > 0.999  # rounding may turn a latent at its threshold
    error = (sae.decode(z) - seen["back"]).norm(dim=-1) / x.norm(dim=-1)
    assert error.median() < 1e-4


@pytest.mark.parametrize("arch", ["topk", "batchtopk", "jumprelu"])
def test_an_interrupted_training_gives_the_same_curve(arch, tiny, rows, tmp_path, monkeypatch):
    settings = replace(
        SMALL,
        arch=arch,
        k=None if arch == "jumprelu" else 3,
        normalize="covariance_whitening" if arch == "jumprelu" else "expected_average_only_in",
    )
    whole = train_sae(tiny, rows, "L1.resid_post", out=tmp_path / "whole", settings=settings)

    def killed_at(step):
        def save(path, trainer, **rest):
            if trainer.n_training_steps >= step:
                raise RuntimeError("killed")
            save_checkpoint(path, trainer, **rest)

        return save

    out = tmp_path / "parts"
    with monkeypatch.context() as patch:
        patch.setattr("interp.sae.train.save_checkpoint", killed_at(40))
        with pytest.raises(RuntimeError, match="killed"):
            train_sae(tiny, rows, "L1.resid_post", out=out, settings=settings)
    _, state = read_tensors(out / "checkpoint.safetensors")
    assert state["n_training_steps"] == 20
    parts = train_sae(tiny, rows, "L1.resid_post", out=out, settings=settings)
    for name, curve in whole.curve.items():
        assert torch.equal(curve, parts.curve[name]), name
    for name, weight in whole.dictionary.sae.state_dict().items():
        assert torch.equal(weight, parts.dictionary.sae.state_dict()[name]), name
    assert not (out / "checkpoint.safetensors").exists()


def test_ctrl_c_saves_and_leaves(tiny, rows, tmp_path, monkeypatch):
    drawn = ActivationStream.batches

    def press(self, start=0):
        for i, batch in enumerate(drawn(self, start)):
            if start == 0 and i == 33:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    whole = train_sae(tiny, rows, "L1.resid_post", out=tmp_path / "whole", settings=SMALL)
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(ActivationStream, "batches", press)
    with pytest.raises(KeyboardInterrupt):
        train_sae(tiny, rows, "L1.resid_post", out=tmp_path / "b", settings=SMALL)
    assert signal.getsignal(signal.SIGINT) is before
    _, state = read_tensors(tmp_path / "b" / "checkpoint.safetensors")
    # The press comes with the 34th batch, of which 5 went into the scale.
    assert state["n_training_steps"] == 29 and state["drawn"] == 34
    parts = train_sae(tiny, rows, "L1.resid_post", out=tmp_path / "b", settings=SMALL)
    assert torch.equal(whole.curve["loss"], parts.curve["loss"])


def test_seeds_decide_everything_and_the_callers_state_is_left_alone(tiny, rows, trained, tmp_path):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    again = train_sae(tiny, rows, "L1.resid_post", out=tmp_path / "a", settings=SMALL)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(again.curve["loss"], trained.curve["loss"])
    other = train_sae(
        tiny, rows, "L1.resid_post", out=tmp_path / "b", settings=replace(SMALL, seed=1)
    )
    assert not torch.equal(other.curve["loss"], trained.curve["loss"])


def test_a_finished_training_is_read_and_another_is_refused(trained, tiny, rows, monkeypatch):
    monkeypatch.setattr("interp.sae.train._train", None)
    again = train_sae(tiny, rows, "L1.resid_post", out=trained.folder, settings=SMALL)
    assert again.evaluation.metrics() == trained.evaluation.metrics()
    assert read_trained(trained.folder).settings == SMALL
    with pytest.raises(SaeError, match=r'site \(begun with "L1.resid_post", now "L0.resid_post"\)'):
        train_sae(tiny, rows, "L0.resid_post", out=trained.folder, settings=SMALL)
    with pytest.raises(SaeError, match=r"settings: lr \(begun with 0.003, now 0.01\); choose"):
        train_sae(tiny, rows, "L1.resid_post", out=trained.folder, settings=replace(SMALL, lr=1e-2))


def test_the_card_says_what_it_is(trained, tiny):
    card = json.loads((trained.folder / "card.json").read_text())
    assert card["model_fingerprint"] == tiny.fingerprint
    assert card["site"] == "L1.resid_post" and card["d_sae"] == 24
    assert card["measured"]["l0"] == trained.evaluation.l0
    assert not list(trained.folder.glob("*.pt")) + list(trained.folder.glob("*.pkl"))


def test_heads_side_by_side_and_one_alone(tiny, rows, tmp_path):
    whole = train_sae(tiny, rows, "L1.z", out=tmp_path / "z", settings=SMALL)
    assert whole.dictionary.d_in == tiny.n_heads * tiny.d_head
    one = train_sae(tiny, rows, "L1H2", out=tmp_path / "h", settings=SMALL)
    assert one.dictionary.d_in == tiny.d_head
    assert one.dictionary.metadata["hook_head_index"] == 2
    assert str(one.dictionary.site) == "L1H2"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 25}, "k=25 active latents of d_sae=24"),
        ({"options": {"aux_loss_coeficient": 1.0}}, "aux_loss_coefficient"),
        ({"options": {"architecture": 1.0}}, "no option 'architecture'"),
        ({"options": {"d_sae": 8.0}}, "d_sae is no option"),
        ({"arch": "standard", "k": None, "options": {"l1_warm_up_steps": 1.5}}, "whole number"),
        ({"buffer": 70}, "a batch and a row at least"),
        ({"batch": 1500, "buffer": 9000}, "give more text or a smaller batch"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message, tiny, rows, tmp_path):
    with pytest.raises(ValueError, match=message):
        train_sae(
            tiny, rows, "L1.resid_post", out=tmp_path / "x", settings=replace(SMALL, **changes)
        )
    assert not (tmp_path / "x").exists()


def test_a_site_without_vectors_is_refused(tiny, rows, tmp_path):
    with pytest.raises(SaeError, match="holds no vector at every position"):
        train_sae(tiny, rows, "L1.pattern", out=tmp_path / "x", settings=SMALL)


def test_a_site_that_cannot_be_spliced_is_refused_before_training(tiny, rows, tmp_path):
    with pytest.raises(SiteError, match="cannot be edited"):
        train_sae(tiny, rows, "L1.resid_mid", out=tmp_path / "x", settings=SMALL)
    assert not (tmp_path / "x").exists()


def test_a_loss_that_is_not_finite_stops_the_training(tiny, rows, tmp_path):
    settings = replace(SMALL, arch="standard", k=None, lr=1e30, checkpoint_every=1)
    with pytest.raises(SaeError, match="keeps the last checkpoint before") as said:
        train_sae(tiny, rows, "L1.resid_post", out=tmp_path / "x", settings=settings)
    assert "normalize" not in str(said.value), "it was scaled already"


def test_a_loss_that_was_never_finite_leaves_no_folder(tiny, rows, tmp_path):
    settings = replace(SMALL, arch="standard", k=None, lr=1e30, checkpoint_every=500)
    settings = replace(settings, normalize="none")
    with pytest.raises(SaeError, match=r"there is no checkpoint .* normalize="):
        train_sae(tiny, rows, "L1.resid_post", out=tmp_path / "x", settings=settings)
    assert not (tmp_path / "x").exists()


def test_options_get_the_type_that_sae_lens_gives_them():
    asked = {"use_sparse_activations": 0.0, "aux_loss_coefficient": 2}
    found = checked_options(replace(SMALL, options=asked))
    assert found == asked and [type(v) for v in found.values()] == [bool, float]
    steps = replace(SMALL, arch="standard", k=None, options={"l1_warm_up_steps": 3.0})
    assert type(checked_options(steps)["l1_warm_up_steps"]) is int


def test_a_file_cannot_be_the_folder(tiny, rows, tmp_path):
    (tmp_path / "afile").write_text("x")
    with pytest.raises(SaeError, match="afile is a file"):
        train_sae(tiny, rows, "L1.resid_post", out=tmp_path / "afile", settings=SMALL)


def test_a_folder_with_other_things_is_refused(tiny, rows, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SaeError, match="thesis"):
        train_sae(tiny, rows, "L1.resid_post", out=tmp_path, settings=SMALL)


# -- the stream -----------------------------------------------------------------------------------


def test_an_epoch_gives_every_activation_once(tiny, random_ids, padded):
    tokens, mask = padded(random_ids(12, 20), [20, 3, 7, 11] * 3, "right")
    examples = Examples(tokens=tokens, mask=mask)
    stream = ActivationStream(tiny, examples, "L1.resid_post", batch=1, buffer=40, seed=0)
    n = stream.n_activations
    assert n == 3 * 41
    batches = stream.batches()
    epoch = torch.cat([next(batches) for _ in range(n)])
    whole = capture(tiny, examples, "L1.resid_post")["L1.resid_post"][mask[:, :20]]

    def by_first(x):
        return x[x[:, 0].argsort()]

    assert torch.allclose(by_first(epoch), by_first(whole), atol=1e-5)
    second = torch.cat([next(batches) for _ in range(n)])
    assert torch.allclose(by_first(second), by_first(whole), atol=1e-5)
    assert not torch.equal(epoch, second)


def test_the_stream_begins_anywhere(tiny, rows):
    stream = ActivationStream(tiny, rows, "L1.resid_post", batch=30, buffer=200, seed=3)
    first = stream.batches()
    kept = [next(first) for _ in range(60)]
    for start in (1, 6, 7, 41):
        assert torch.equal(next(stream.batches(start)), kept[start])


def test_no_more_than_the_buffer_is_held(tiny, rows, monkeypatch):
    stream = ActivationStream(tiny, rows, "L1.resid_post", batch=30, buffer=100, seed=3)
    sizes = []
    compute = ActivationStream._activations

    def watched(self, chosen):
        values = compute(self, chosen)
        sizes.append(len(values))
        return values

    monkeypatch.setattr(ActivationStream, "_activations", watched)
    batches = stream.batches()
    for _ in range(50):
        next(batches)
    assert max(sizes) <= 100 and len(sizes) > 10


def test_bos_is_left_out(load_tiny, make_hf, make_tokenizer):
    from interp.models import load_model

    model = load_model("tiny", hf_model=make_hf("gpt2"), tokenizer=make_tokenizer(bos=True))
    examples = model.tokenize(["w2 w3 w4", "w5 w6"])
    for skip, n in ((True, 5), (False, 7)):
        stream = ActivationStream(
            model, examples, "L0.resid_post", batch=1, buffer=9, seed=0, skip_bos=skip
        )
        assert stream.n_activations == n
