"""Loading: every source gives the same model, and what cannot be loaded says why."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from interp.models import ModelError, ModelSpec, load_model, resolve, zoo_names
from interp.models import loading as loading_module

NATIVE = {
    "n_layers": 2,
    "d_model": 12,
    "d_head": 5,
    "n_heads": 3,
    "n_ctx": 9,
    "d_vocab": 11,
    "act_fn": "relu",
    "normalization_type": "LN",
}


def native_folder(path, spec=None, **changes):
    """Save a native model the way the bundled ones are saved."""
    from interp.models.native import native_parameters

    fields = NATIVE | changes
    made = load_model(spec or ModelSpec("made", native=fields))
    weights = {
        name: parameter.detach().clone()
        for name, parameter in native_parameters(made.bridge)
        if name != "head.bias"  # the bridge's own addition; NativeModel has none
    }
    path.mkdir()
    save_file(weights, path / "model.safetensors")
    (path / "native.json").write_text(json.dumps(fields))
    return made


# -- transformers folders and models in memory ---------------------------------------------------


def test_folder_and_memory_give_the_same_model(hf_name, make_hf, tiny_folder, random_ids):
    from_folder = load_model(str(tiny_folder(hf_name)))
    in_memory = load_model("mine", hf_model=make_hf(hf_name))
    assert from_folder.fingerprint == in_memory.fingerprint
    ids = random_ids(3, 7)
    assert torch.equal(from_folder.logits(ids), in_memory.logits(ids))
    assert from_folder.tokenizer is not None
    assert in_memory.tokenizer is None


def test_logits_are_transformers_own(hf_name, make_hf, load_tiny, random_ids):
    ids = random_ids(3, 7)
    theirs = make_hf(hf_name)
    with torch.no_grad():
        expected = theirs(ids).logits
    torch.testing.assert_close(load_tiny(hf_name).logits(ids), expected, atol=1e-5, rtol=1e-5)


def test_shape_facts(hf_name, load_tiny):
    model = load_tiny(hf_name)
    assert (model.n_layers, model.n_heads, model.n_ctx, model.d_vocab) == (3, 4, 24, 29)
    assert model.n_kv_heads == (2 if hf_name in ("llama", "gemma2") else 4)
    assert model.d_head == {"gpt2": 5, "llama": 6, "neox": 6, "gemma2": 6}[hf_name]
    assert not model.bridge.training
    assert hf_name in repr(model)


def test_a_model_in_memory_is_never_touched(hf_name, make_hf, make_tokenizer):
    theirs, tokenizer = make_hf(hf_name), make_tokenizer()
    before = copy.deepcopy(theirs.state_dict())
    classes = [(name, type(module)) for name, module in theirs.named_modules()]
    config = theirs.config.to_dict()
    attention = theirs.config._attn_implementation
    vocabulary, special = tokenizer.get_vocab(), dict(tokenizer.special_tokens_map)
    init = dict(tokenizer.init_kwargs)
    theirs.train()
    model = load_model("mine", hf_model=theirs, tokenizer=tokenizer)
    model.bridge.original_model.get_input_embeddings().weight.data.zero_()
    after = theirs.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert classes == [(name, type(module)) for name, module in theirs.named_modules()]
    assert theirs.config.to_dict() == config
    assert theirs.config._attn_implementation == attention
    assert theirs.training
    assert not any(module._forward_hooks for module in theirs.modules())
    assert tokenizer.get_vocab() == vocabulary
    assert dict(tokenizer.special_tokens_map) == special
    assert dict(tokenizer.init_kwargs) == init
    assert model.tokenizer is not tokenizer


def test_loading_leaves_the_global_generator_alone(make_hf, tiny_folder):
    theirs = make_hf("gpt2")
    before = torch.get_rng_state()
    load_model("mine", hf_model=theirs)
    load_model(str(tiny_folder("gpt2")))
    load_model(ModelSpec("native", native=NATIVE))
    assert torch.equal(before, torch.get_rng_state())


def test_a_model_in_memory_needs_no_architecture_in_its_config(make_hf):
    theirs = make_hf("llama")
    assert theirs.config.architectures is None
    assert load_model("mine", hf_model=theirs).n_layers == 3
    assert theirs.config.architectures is None


def test_old_checkpoint_format_loads(make_hf, tmp_path):
    # What roneneldan/TinyStories-1M and other old models are saved as.
    theirs = make_hf("gpt2")
    theirs.config.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    again = load_model(str(tmp_path))
    assert again.fingerprint == load_model("mine", hf_model=theirs).fingerprint


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_precisions(hf_name, dtype, tiny_folder, load_tiny, random_ids):
    model = load_model(str(tiny_folder(hf_name)), dtype=dtype)
    assert model.dtype == getattr(torch, dtype)
    assert model.spec.dtype == dtype
    ids = random_ids(2, 7)
    expected = load_tiny(hf_name).logits(ids)
    tolerance = {"bfloat16": 0.2, "float16": 0.03, "float64": 1e-4}[dtype]
    torch.testing.assert_close(model.logits(ids).float(), expected, atol=tolerance, rtol=0)


def test_a_tokenizer_in_place_of_the_folders_own(tiny_folder, make_tokenizer, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_folder("gpt2"), folder)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer of .* cannot be loaded"):
        load_model(str(folder))
    mine = make_tokenizer(bos=True)
    model = load_model(str(folder), tokenizer=mine)
    assert model.bos_id == 1
    assert model.tokenizer is not mine


def test_a_folder_without_tokenizer_takes_ids(make_hf, tmp_path, random_ids):
    make_hf("gpt2").save_pretrained(tmp_path / "bare")
    model = load_model(str(tmp_path / "bare"))
    assert model.tokenizer is None
    assert model.logits(random_ids(2, 5)).shape == (2, 5, 29)
    with pytest.raises(ModelError, match="no tokenizer; pass token ids"):
        model.tokenize("w1 w2")


# -- native models ------------------------------------------------------------------------------


def test_native_spec_is_seeded_and_named_by_what_it_computes():
    first = load_model(ModelSpec("a", native=NATIVE))
    again = load_model(ModelSpec("b", native=NATIVE))
    other = load_model(ModelSpec("a", native=NATIVE, seed=1))
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint
    assert first.tokenizer is None


def test_native_folder_round_trip(tmp_path):
    made = native_folder(tmp_path / "n", bos_token_id=3)
    again = load_model(str(tmp_path / "n"))
    assert again.fingerprint == made.fingerprint
    assert again.bos_id == 3
    ids = torch.arange(9)[None]
    assert torch.equal(again.logits(ids), made.logits(ids))


def test_native_precision_is_the_callers(tmp_path):
    native_folder(tmp_path / "n", dtype="float32", device="cuda")
    assert load_model(str(tmp_path / "n"), dtype="bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 3}, "no field 'n_layer'; did you mean n_layers"),
        ({"n_layers": None}, "n_layers"),
        ({"n_layers": "2"}, "n_layers must be a positive whole number"),
        ({"d_vocab": 0}, "d_vocab must be a positive whole number"),
        ({"normalization_type": "Layer"}, "unknown normalization_type 'Layer'"),
        ({"act_fn": "swash"}, "swash"),
        ({"positional_embedding_type": "alibi"}, "alibi"),
        ({"n_key_value_heads": 2}, "divisible"),
        ({"bos_token_id": 11}, "bos_token_id 11 is outside"),
        ({"attention_dir": "bidirectional"}, "attends to later positions"),
    ],
)
def test_impossible_native_configurations(change, message):
    fields = {k: v for k, v in (NATIVE | change).items() if v is not None}
    with pytest.raises(ModelError, match=message):
        load_model(ModelSpec("bad", native=fields))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: w.pop("layers.1.attn.q.bias"), r"missing \['layers.1.attn.q.bias'\]"),
        (lambda w: w.update(extra=torch.zeros(1)), r"surplus \['extra'\]"),
        (lambda w: w.update({"pos.weight": torch.zeros(4, 12)}), r"pos.weight has shape \[4, 12\]"),
    ],
)
def test_native_weights_must_fit(tmp_path, spoil, message):
    native_folder(tmp_path / "n")
    weights = load_file(tmp_path / "n" / "model.safetensors")
    spoil(weights)
    save_file(weights, tmp_path / "n" / "model.safetensors")
    with pytest.raises(ModelError, match=message):
        load_model(str(tmp_path / "n"))


def test_broken_native_folders(tmp_path):
    native_folder(tmp_path / "n")
    (tmp_path / "n" / "model.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        load_model(str(tmp_path / "n"))
    (tmp_path / "n" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        load_model(str(tmp_path / "n"))
    (tmp_path / "n" / "native.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        load_model(str(tmp_path / "n"))


def test_a_native_model_takes_no_tokenizer(make_tokenizer):
    with pytest.raises(ModelError, match="takes ids"):
        load_model(ModelSpec("n", native=NATIVE), tokenizer=make_tokenizer())


# -- the zoo ------------------------------------------------------------------------------------


def test_unknown_zoo_name_gives_near_ones(monkeypatch, tmp_path):
    for name in ("code-lm", "induction-exact"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").touch()
    monkeypatch.setattr(loading_module, "ZOO_FOLDER", tmp_path)
    assert zoo_names() == ["code-lm", "induction-exact"]
    with pytest.raises(ModelError, match=r"zoo:code-ml; did you mean zoo:code-lm\?"):
        load_model("zoo:code-ml")
    with pytest.raises(ModelError, match="zoo:code-lm or zoo:induction-exact"):
        load_model("zoo:zzz")


@pytest.mark.parametrize("present", [True, False])
def test_an_empty_zoo_says_so(monkeypatch, tmp_path, present):
    monkeypatch.setattr(loading_module, "ZOO_FOLDER", tmp_path if present else tmp_path / "none")
    assert zoo_names() == []
    with pytest.raises(ModelError, match="bundles none"):
        load_model("zoo:code-lm")


def test_every_bundled_model_loads():
    for name in zoo_names():
        model = load_model(f"zoo:{name}")
        assert model.spec.name == f"zoo:{name}"
        assert model.checks["layers_with_patterns"] == model.n_layers


# -- what cannot be loaded ----------------------------------------------------------------------


def test_a_folder_without_configuration(tmp_path):
    with pytest.raises(ModelError, match=r"neither config\.json nor native\.json"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "~/nowhere-at-all", "a/b/c"])
def test_a_missing_folder(name):
    with pytest.raises(ModelError, match=f"no folder {name}"):
        load_model(name)


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name(name):
    with pytest.raises(ModelError, match="empty"):
        load_model(name)


def test_spec_is_checked():
    with pytest.raises(ModelError, match="unknown dtype 'float31'"):
        ModelSpec("gpt2", dtype="float31")
    with pytest.raises(ModelError, match="unknown source"):
        ModelSpec("gpt2", source="hubb")
    with pytest.raises(ModelError, match="needs native="):
        ModelSpec("gpt2", source="native")
    assert ModelSpec("n", native=NATIVE).to_dict()["native"] == NATIVE


def test_resolve_prefers_a_folder_and_falls_back_to_the_hub(tmp_path, monkeypatch, tiny_folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt2").mkdir()  # unrelated, and it happens to share a Hub id's name
    assert resolve(ModelSpec("gpt2")) == ("hub", None)
    assert resolve(ModelSpec(str(tiny_folder("gpt2"))))[0] == "folder"
    assert resolve(ModelSpec("gpt2", source="hub")) == ("hub", None)
    with pytest.raises(ModelError, match="neither"):
        resolve(ModelSpec("gpt2", source="folder"))


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:99", "cuda:99 is not available"),
        ("mps", "mps is not available"),
        ("gpu", "unknown device 'gpu'"),
        ("meta", "not supported"),
    ],
)
def test_devices_that_are_not_there(device, message):
    with pytest.raises(ModelError, match=message):
        load_model("gpt2", device=device)


def test_unsupported_architectures(make_hf):
    import transformers

    sizes = {"vocab_size": 29, "n_embd": 16, "n_layer": 1, "n_head": 2}
    unknown = transformers.CTRLLMHeadModel(transformers.CTRLConfig(dff=20, n_positions=24, **sizes))
    with pytest.raises(
        ModelError, match=r"CTRLLMHeadModel, which transformer-lens \S+ cannot wrap"
    ):
        load_model("ctrl", hf_model=unknown)
    both = transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=29, d_model=16, d_kv=4, d_ff=20, num_layers=1, num_heads=2)
    )
    with pytest.raises(ModelError, match="encoder-decoder"):
        load_model("t5", hf_model=both)
    with pytest.raises(ModelError, match="must be a transformers model, got Linear"):
        load_model("linear", hf_model=torch.nn.Linear(2, 2))
    pictures = make_hf("gpt2")
    pictures.config.vision_config = {"hidden_size": 4}
    with pytest.raises(ModelError, match="takes more than text"):
        load_model("pictures", hf_model=pictures)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{bad", "not a valid JSON"),
        ("{}", "does not know"),
        ('{"model_type": "nothing-known"}', "does not know"),
        ('{"model_type": "t5"}', "does not know"),
    ],
)
def test_broken_configurations(tmp_path, config, message):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match=message):
        load_model(str(tmp_path))


def test_incomplete_and_foreign_weights(make_hf, tmp_path):
    make_hf("gpt2").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    name = "transformer.h.1.mlp.c_fc.weight"

    def save(weights):
        save_file(weights, file, metadata={"format": "pt"})

    save({k: v for k, v in whole.items() if k != name})
    with pytest.raises(ModelError, match=f"lacks {name}.*random"):
        load_model(str(tmp_path))
    save(whole | {name: torch.zeros(3, 4)})
    with pytest.raises(ModelError, match="other shapes"):
        load_model(str(tmp_path))
    file.write_bytes(b"no tensors here")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(tmp_path))
    file.unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("known_type", [True, False])
def test_code_that_comes_with_a_model_is_not_run(make_hf, tmp_path, known_type):
    folder = tmp_path / "model"
    make_hf("gpt2").save_pretrained(folder)
    mark = tmp_path / "ran"
    (folder / "planted.py").write_text(
        f"open({str(mark)!r}, 'w').close()\n"
        "from transformers import GPT2Config as Config, GPT2LMHeadModel as Model\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "planted.Config",
        "AutoModelForCausalLM": "planted.Model",
        "AutoTokenizer": ["planted.Config", None],
    }
    if not known_type:
        config["model_type"] = "planted"
    (folder / "config.json").write_text(json.dumps(config))
    if known_type:  # then transformers' own class serves
        assert load_model(str(folder)).n_layers == 3
    else:
        with pytest.raises(ModelError, match="trust_remote_code=True"):
            load_model(str(folder))
    assert not mark.exists()


def test_out_of_memory_while_loading_says_what_to_try(make_hf, monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    theirs = make_hf("gpt2")
    monkeypatch.setattr(type(theirs), "to", full)
    with pytest.raises(ModelError, match="does not fit on cpu in float32; try dtype='bfloat16'"):
        load_model("mine", hf_model=theirs)


# -- real models --------------------------------------------------------------------------------


def test_real_grouped_query_model(shared_models):
    model = load_model(str(shared_models / "stories260k"))
    assert (model.n_layers, model.n_heads, model.n_kv_heads) == (5, 8, 4)
    examples = model.tokenize("Once upon a time, there was a little girl named Lily.")
    assert examples.tokens[0, 0] == model.bos_id
    losses = torch.nn.functional.cross_entropy(
        model.logits(examples.tokens)[0, :-1], examples.tokens[0, 1:]
    )
    assert losses < 2.5  # a trained model: ln 512 is 6.2


def test_real_model_whose_tokenizer_has_no_end_of_text(shared_models):
    model = load_model(str(shared_models / "nano-gpt-sort"))
    assert model.tokenizer.eos_token is None
    assert model.bos_id is None
    assert max(model.tokenizer.get_vocab().values()) < model.d_vocab == 3
    examples = model.tokenize(["CBA", "AB"])
    assert examples.tokens.max() < 3
    assert model.logits(examples.tokens, examples.mask).shape == (2, 3, 3)
