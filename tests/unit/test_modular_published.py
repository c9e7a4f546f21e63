"""Checkpoints in the published layouts become the same model; everything else is refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from interp.zoo.modular.bridging import weights_of
from interp.zoo.modular.network import Network
from interp.zoo.modular.published import CheckpointError, read_published

HEADS, WIDTH, NEURONS, P = 2, 16, 24, 11


def network() -> Network:
    made = Network(n=P, n_answers=P, d_model=WIDTH, n_heads=HEADS, d_mlp=NEURONS, seed=3)
    generator = torch.Generator().manual_seed(0)
    for name, p in made.named_parameters():
        if name.endswith("fc_in.bias") or name.endswith("fc_out.bias"):
            p.data = torch.randn(p.shape, generator=generator)
    return made


def by_column() -> dict[str, torch.Tensor]:
    """The layout of the paper's code."""
    w = weights_of(network())
    split = {k: w[f"layers.0.attn.{k}.weight"].unflatten(0, (HEADS, -1)) for k in "qkv"}
    return {
        "embed.W_E": w["tok_embed.weight"].T,
        "pos_embed.W_pos": w["pos.weight"],
        "blocks.0.attn.W_Q": split["q"],
        "blocks.0.attn.W_K": split["k"],
        "blocks.0.attn.W_V": split["v"],
        "blocks.0.attn.W_O": w["layers.0.attn.o.weight"],
        "blocks.0.attn.mask": torch.ones(3, 3).tril(),
        "blocks.0.mlp.W_in": w["layers.0.mlp.fc_in.weight"],
        "blocks.0.mlp.b_in": w["layers.0.mlp.fc_in.bias"],
        "blocks.0.mlp.W_out": w["layers.0.mlp.fc_out.weight"],
        "blocks.0.mlp.b_out": w["layers.0.mlp.fc_out.bias"],
        "unembed.W_U": w["head.weight"].T,
    }


def by_row() -> dict[str, torch.Tensor]:
    """The layout of TransformerLens."""
    one = by_column()
    found = {name.removeprefix("blocks."): t for name, t in one.items()}
    found["embed.W_E"] = one["embed.W_E"].T
    for name in ("W_Q", "W_K", "W_V"):
        found[f"0.attn.{name}"] = one[f"blocks.0.attn.{name}"].transpose(1, 2)
    found["0.attn.W_O"] = one["blocks.0.attn.W_O"].T.unflatten(0, (HEADS, -1))
    found["0.mlp.W_in"] = one["blocks.0.mlp.W_in"].T
    found["0.mlp.W_out"] = one["blocks.0.mlp.W_out"].T
    return found | {"unembed.b_U": torch.zeros(P), "0.attn.IGNORE": torch.tensor(-1e5)}


def write(path, tensors):
    save_file({name: t.contiguous().clone() for name, t in tensors.items()}, path)
    return path


@pytest.mark.parametrize("layout", [by_column, by_row])
def test_both_layouts_are_read(layout, tmp_path):
    fields, weights = read_published(write(tmp_path / "a.safetensors", layout()))
    wanted = network()
    assert fields == wanted.native_config()
    for name, tensor in weights_of(wanted).items():
        assert torch.equal(weights[name], tensor), name
    assert set(weights) == set(weights_of(wanted))


def test_an_output_for_the_sign_is_allowed(tmp_path):
    tensors = by_column()
    tensors["unembed.W_U"] = torch.cat([tensors["unembed.W_U"], torch.zeros(WIDTH, 1)], 1)
    fields, _ = read_published(write(tmp_path / "a.safetensors", tensors))
    assert fields["d_vocab_out"] == P + 1


def test_other_names_are_mapped(tmp_path):
    tensors = by_column()
    tensors["table"] = tensors.pop("embed.W_E")
    file = write(tmp_path / "a.safetensors", tensors)
    with pytest.raises(CheckpointError, match=r"it has no W_E .* map names"):
        read_published(file)
    mapping = tmp_path / "names.json"
    mapping.write_text(json.dumps({"W_E": "table"}))
    assert read_published(file, mapping=mapping)[0]["d_vocab"] == P + 1
    for names, said in (
        ({"W_E": "tabel"}, "has no 'tabel' for W_E; there are table"),
        ({"W_Ex": "table"}, "did you mean W_E"),
        (["W_E"], "JSON object"),
    ):
        mapping.write_text(json.dumps(names))
        with pytest.raises(CheckpointError, match=said):
            read_published(file, mapping=mapping)


def test_a_pickle_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(CheckpointError, match=r"pickle.*safetensors\.torch\.save_file.*full_run"):
        read_published(tmp_path / "full_run.pth")


def changed(**changes):
    tensors = by_column()
    for name, tensor in changes.items():
        key = next(k for k in tensors if k.endswith(name))
        tensors[key] = tensor
    return tensors


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({}, "no tensors"),
        (weights_of(network()), "belongs to a native folder"),
        ({"lm_head.weight": torch.ones(3, 3)}, "it has no W_E, W_pos, W_Q"),
        (by_column() | {"blocks.1.attn.W_Q": torch.ones(2, 8, 16)}, "2 tensors called W_Q"),
        (by_column() | {"ln_final.w": torch.ones(WIDTH)}, "ln_final.w, which a one-layer"),
        (by_row() | {"unembed.b_U": torch.ones(P)}, "bias on its unembedding"),
        (changed(W_pos=torch.ones(5, WIDTH)), r"W_pos is \[5, 16\] where \[3, 16\]"),
        (changed(W_U=torch.ones(WIDTH, 7)), "12 tokens and 7 outputs"),
        (changed(W_in=torch.ones(NEURONS, 7)), r"W_in is"),
        (changed(W_E=torch.full((WIDTH, P + 1), torch.nan)), "W_E is not finite"),
        (changed(W_Q=torch.ones(WIDTH, WIDTH)), "keeps its heads in one matrix"),
        (changed(W_O=torch.ones(WIDTH)), "no known layout"),
        (changed(W_E=torch.ones(WIDTH, P + 1).to(torch.complex64)), r"W_E is torch.complex64 of"),
        (changed(W_U=torch.ones(WIDTH, P).long()), r"W_U is torch.int64 of shape \[16, 11\]"),
        (changed(W_E=torch.ones(2, WIDTH, P + 1)), r"W_E is of shape \[2, 16, 12\]; expected 2"),
        (changed(W_U=torch.tensor(1.0)), r"W_U is of shape \[\]; expected 2"),
        (changed(W_K=torch.ones(WIDTH, WIDTH)), r"W_K is of shape \[16, 16\]; expected 3"),
        (changed(b_in=torch.ones(3, 8)), r"b_in is of shape \[3, 8\]; expected 1"),
    ],
)
def test_what_is_no_one_layer_model_is_refused(tensors, said, tmp_path):
    with pytest.raises(CheckpointError, match=said):
        read_published(write(tmp_path / "a.safetensors", tensors))


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no file"):
        read_published(tmp_path / "none.safetensors")
    (tmp_path / "a.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_published(tmp_path / "a.safetensors")
