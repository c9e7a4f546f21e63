"""The standard-library corpus and its tokenizer, and the recipe of ``code-lm`` in small."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from interp.zoo import code_lm, code_lm_measures, code_lm_training, corpus
from interp.zoo.code_lm import CodeLMConfig, Stage
from interp.zoo.code_lm_measures import BOS
from interp.zoo.corpus import END_OF_TEXT, read_corpus, stdlib_files, train_tokenizer


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A library of known content: 20 files of 100 bytes, and one of each kind to leave out."""
    root = tmp_path / "lib"
    for folder in ("pkg", "site-packages/other", "__pycache__"):
        (root / folder).mkdir(parents=True)
    for i in range(20):
        (root / "pkg" / f"m{i:02}.py").write_text(f"x = {i:02}\n" + "#" * 92 + "\n")
    (root / "copy.py").write_bytes((root / "pkg" / "m00.py").read_bytes())
    (root / "latin.py").write_bytes("# caf\xe9\n".encode("latin-1"))
    (root / "empty.py").write_text("\n")
    (root / "notes.txt").write_text("not source")
    (root / "_sysconfigdata__linux.py").write_text("prefix = '/somewhere'\n")
    (root / "site-packages" / "other" / "thing.py").write_text("y = 1\n")
    (root / "__pycache__" / "thing.py").write_text("y = 2\n")
    return root


@pytest.fixture(scope="module")
def sample() -> corpus.Corpus:
    return read_corpus(max_bytes=300_000)


def test_files_are_sorted_and_without_other_peoples(library: Path) -> None:
    names = [path.relative_to(library).as_posix() for path in stdlib_files(library)]
    assert names == sorted(names)
    assert names == ["copy.py", "empty.py", "latin.py", *(f"pkg/m{i:02}.py" for i in range(20))]


def test_stdlib_is_found_without_installed_packages() -> None:
    paths = stdlib_files()
    assert {"os.py", "ast.py"} <= {path.name for path in paths}
    assert not any("site-packages" in path.parts[-4:-1] for path in paths)


def test_counts_add_up(library: Path) -> None:
    read = read_corpus(library, held_out_share=0.1)
    assert (read.n_files, read.n_not_utf8, read.n_duplicates, read.n_empty) == (23, 1, 1, 1)
    assert len(read.train_text) + len(read.held_out) == 20
    assert read.train_bytes == sum(len(text.encode()) for text in read.train_text)
    assert read.held_out_bytes == sum(len(text.encode()) for text in read.held_out)
    assert read.counts()["files_train"] == len(read.train_names)


def test_held_out_by_bytes_and_disjoint(library: Path) -> None:
    read = read_corpus(library, held_out_share=0.1)
    assert read.held_out_bytes == 200  # two files of 100 bytes of twenty
    assert not set(read.held_out) & set(read.train_text)
    (library / "long.py").write_text("z = 1\n" * 10_000)
    share = 0.02
    read = read_corpus(library, held_out_share=share)
    total = read.train_bytes + read.held_out_bytes
    assert read.held_out_bytes >= share * total or len(read.train_text) == 1


def test_one_file_is_left_to_train_on(library: Path) -> None:
    assert len(read_corpus(library, held_out_share=0.999).train_text) == 1


def test_split_is_a_function_of_the_content(library: Path) -> None:
    before, again = read_corpus(library), read_corpus(library)
    assert before == again
    (library / "pkg" / "m19.py").write_text("changed = True\n")
    assert read_corpus(library).sha256 != before.sha256


def test_stdlib_held_out_share(sample: corpus.Corpus) -> None:
    total = sample.train_bytes + sample.held_out_bytes
    assert total >= 300_000
    assert sample.held_out_bytes >= 0.02 * total
    assert not {hashlib.sha256(t.encode()).digest() for t in sample.held_out} & {
        hashlib.sha256(t.encode()).digest() for t in sample.train_text
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"held_out_share": 0.0}, "strictly between 0 and 1"),
        ({"held_out_share": 1.5}, "strictly between 0 and 1"),
        ({"max_bytes": 0}, "positive number of bytes"),
        ({"max_bytes": 50}, "at least two"),
    ],
)
def test_refuses_bad_arguments(library: Path, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_corpus(library, **arguments)  # type: ignore[arg-type]


def test_refuses_folders_without_source(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No folder at"):
        stdlib_files(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"No \.py files"):
        stdlib_files(tmp_path)


def test_tokenizer_round_trip_and_special_token(sample: corpus.Corpus) -> None:
    tokenizer = train_tokenizer(sample.train_text, vocab_size=400)
    assert tokenizer.get_vocab_size() == 400
    assert tokenizer.token_to_id(END_OF_TEXT) == BOS
    for text in (sample.held_out[0], "naïve \u2603 \U0001f40d\t\r\n", " leading"):
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids) == text
        assert BOS not in ids


def test_tokenizer_is_deterministic(sample: corpus.Corpus) -> None:
    first, second = (train_tokenizer(sample.train_text, vocab_size=400).to_str() for _ in range(2))
    assert first == second


def test_tokenizer_refuses() -> None:
    with pytest.raises(ValueError, match="No text"):
        train_tokenizer([], vocab_size=400)
    with pytest.raises(ValueError, match="sequence of documents"):
        train_tokenizer("one document", vocab_size=400)
    with pytest.raises(ValueError, match="256 bytes"):
        train_tokenizer(["text"], vocab_size=200)
    with pytest.raises(ValueError, match="more repeated pairs"):
        train_tokenizer(["text"], vocab_size=1024)


def test_config_refuses() -> None:
    with pytest.raises(ValueError, match="context from 8"):
        CodeLMConfig(stages=(Stage(1, 1, 1024, 0.5),))
    with pytest.raises(ValueError, match="text_share from 0 to 1"):
        CodeLMConfig(stages=(Stage(1, 1, 64, 1.5),))
    for heads in ((), (0, 12), (4, 2, 12), (2, 4)):
        with pytest.raises(ValueError, match="never fall and end at n_heads=12"):
            CodeLMConfig(stages=tuple(Stage(1, 1, 64, 0.5, n) for n in heads))
    with pytest.raises(ValueError, match="an even d_head"):
        CodeLMConfig(d_head=15)
    with pytest.raises(ValueError, match="multiple of n_heads"):
        CodeLMConfig(d_model=128)


def test_schedule() -> None:
    config = CodeLMConfig()
    assert config.lr_at(0) < config.lr_at(config.ramp_steps - 1) == config.lr
    assert 0 < config.lr_at(config.n_steps - 1) < 0.01 * config.lr
    ends = [config.stage_at(config.stages[0].steps - 1), config.stage_at(config.stages[0].steps)]
    assert ends == list(config.stages[:2])
    with pytest.raises(ValueError, match="No such step"):
        config.stage_at(config.n_steps)


def test_repeated_random() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = code_lm_training.repeated_random(3, 20, 7, vocab_size=50, generator=generator)
    assert rows.shape == (3, 20)
    assert (rows[:, 0] == BOS).all() and (rows[:, 1:] != BOS).all()
    assert torch.equal(rows[:, 8:15], rows[:, 1:8])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder from one uninterrupted training, which left the global generator alone."""
    folder = tmp_path_factory.mktemp("whole")
    before = torch.random.get_rng_state()
    card = code_lm.train(CodeLMConfig.smoke(), folder)
    assert torch.equal(torch.random.get_rng_state(), before)
    return folder, card


def test_interrupted_training_equals_uninterrupted(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Bit for bit, stopped at and between checkpoints."""
    config, parts = CodeLMConfig.smoke(), tmp_path
    folder, card = trained
    for step in (3, 11):
        assert code_lm.train(config, parts, stop_after=step) == {"status": "stopped", "step": step}
        assert not (parts / "model.safetensors").exists()
    with pytest.raises(ValueError, match="another recipe or corpus"):
        code_lm.train(CodeLMConfig.smoke(seed=1), parts)
    resumed = code_lm.train(config, parts)

    whole, in_parts = (load_file(p / "model.safetensors") for p in (folder, parts))
    assert whole.keys() == in_parts.keys()
    assert all(torch.equal(whole[name], in_parts[name]) for name in whole)
    assert resumed["measured"] == card["measured"]
    assert sorted(p.name for p in parts.iterdir()) == sorted(p.name for p in folder.iterdir())


def test_heads_are_silent_until_their_stage(tmp_path: Path) -> None:
    config = CodeLMConfig.smoke()
    first = config.stages[0]
    width = config.d_head * first.heads
    for stop, silent in ((first.steps, True), (first.steps + 1, False)):
        code_lm.train(config, tmp_path, stop_after=stop)
        state = load_file(tmp_path / "checkpoint.safetensors")
        for layer in range(config.n_layers):
            weight = state[f"model.model.layers.{layer}.self_attn.o_proj.weight"]
            assert weight[:, :width].any()
            assert bool((weight[:, width:] == 0).all()) is silent


def test_written_folder_opens_in_transformers(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, card = trained
    assert json.loads((folder / "card.json").read_text()) == json.loads(json.dumps(card))
    assert not list(folder.glob(".*")) and not list(folder.glob("*.bin"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    assert (
        special
        == {BOS}
        == {model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id}
    )
    assert len(tokenizer) == model.config.vocab_size
    assert (
        tokenizer.decode(tokenizer("def f(x):\n    return x\n")["input_ids"])
        == "def f(x):\n    return x\n"
    )
    scores = code_lm_measures.attention_scores(model, seed=0, n_sequences=4, length=20)
    assert scores["induction"].shape == (2, 4)
    with pytest.raises(ValueError, match="shorten it"):
        code_lm_measures.attention_scores(model, seed=0, length=100)


BUNDLED = Path(code_lm.__file__).parent / "weights" / "code-lm"


def test_bundled_weights_have_induction_heads() -> None:
    """The card is checked against the weights, on sequences of another seed."""
    card = json.loads((BUNDLED / "card.json").read_text())
    assert (BUNDLED / "model.safetensors").stat().st_size < 4_000_000
    model = AutoModelForCausalLM.from_pretrained(BUNDLED)
    scores = code_lm_measures.attention_scores(model, seed=99, n_sequences=16)
    best = scores["induction"] == scores["induction"].max()
    assert scores["induction"][best].item() >= 0.5
    assert scores["unrepeated"][best].item() < 0.05
    assert scores["nll_repeat"].item() < 1.0
    assert scores["nll_first"].item() > 5.0
    written = torch.tensor(card["measured"]["induction"])
    assert torch.allclose(written, scores["induction"], atol=0.03)
