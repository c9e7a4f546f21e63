"""Shared fixtures: tiny models of every architecture the toolkit is held to, made in memory.

Sizes differ from each other (heads, key/value heads, head width, rows, positions), so that an
axis taken for another shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("any-machine", deadline=None)
hypothesis.settings.load_profile("any-machine")

# Tiny models gain nothing from threads and lose much where tests run side by side. Set for
# subprocesses too, so that both sum in the same order.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

REPO = Path(__file__).resolve().parent.parent
D_VOCAB, N_CTX, N_LAYERS, N_HEADS = 29, 24, 3, 4
TRANSFORMERS = ("gpt2", "llama", "neox", "gemma2")
NATIVE: dict[str, dict[str, Any]] = {
    "native": {
        "n_layers": N_LAYERS,
        "d_model": 16,
        "d_head": 6,
        "n_heads": N_HEADS,
        "n_ctx": N_CTX,
        "d_vocab": D_VOCAB,
        "d_mlp": 20,
        "act_fn": "gelu",
        "normalization_type": "LN",
        "positional_embedding_type": "standard",
    },
    "native-gqa": {
        "n_layers": N_LAYERS,
        "d_model": 16,
        "d_head": 6,
        "n_heads": N_HEADS,
        "n_key_value_heads": 2,
        "n_ctx": N_CTX,
        "d_vocab": D_VOCAB,
        "d_mlp": 20,
        "act_fn": "silu",
        "gated_mlp": True,
        "normalization_type": "RMS",
        "positional_embedding_type": "rotary",
    },
    "native-attn-only": {
        "n_layers": N_LAYERS,
        "d_model": 16,
        "d_head": 6,
        "n_heads": N_HEADS,
        "n_ctx": N_CTX,
        "d_vocab": D_VOCAB,
        "attn_only": True,
        "act_fn": "relu",
        "normalization_type": None,
        "positional_embedding_type": "standard",
    },
}
ARCHITECTURES = (*TRANSFORMERS, *NATIVE)


def _transformers_config(name: str) -> Any:
    import transformers

    no_marks = {"bos_token_id": None, "eos_token_id": None}
    sizes = {
        "vocab_size": D_VOCAB,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "intermediate_size": 20,
        "max_position_embeddings": N_CTX,
        **no_marks,
    }
    if name == "gpt2":
        return transformers.GPT2Config(
            vocab_size=D_VOCAB,
            n_positions=N_CTX,
            n_embd=20,
            n_layer=N_LAYERS,
            n_head=N_HEADS,
            **no_marks,
        )
    if name == "gpt_neo":  # the TinyStories models' architecture
        return transformers.GPTNeoConfig(
            vocab_size=D_VOCAB,
            hidden_size=20,
            num_layers=2,
            num_heads=N_HEADS,
            attention_types=[[["global", "local"], 1]],
            window_size=4,
            max_position_embeddings=N_CTX,
            **no_marks,
        )
    if name == "llama":
        return transformers.LlamaConfig(hidden_size=24, num_key_value_heads=2, **sizes)
    if name == "neox":
        return transformers.GPTNeoXConfig(hidden_size=24, rotary_pct=0.5, **sizes)
    assert name == "gemma2"
    return transformers.Gemma2Config(
        hidden_size=16,
        num_key_value_heads=2,
        head_dim=6,
        query_pre_attn_scalar=6,
        sliding_window=8,
        # Caps so low that they bite: a bridge that forgets one fails the self-check.
        attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
        pad_token_id=None,
        **sizes,
    )


def _stir(parameters: Any) -> None:
    """Move every parameter off its initial value: biases of zero and gains of one hide bugs."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


def pytest_runtest_setup() -> None:
    """Give tables one width: what is read off them must not depend on what ran before."""
    os.environ["COLUMNS"] = "200"


@pytest.fixture(autouse=True)
def _own_randomness() -> Any:
    """Begin every test at the same global seed: models with random weights must not depend on
    which tests ran before. The library itself never draws from it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="session")
def make_hf() -> Callable[[str], Any]:
    """Build a fresh tiny transformers model; the same weights every time."""

    def make(name: str) -> Any:
        from transformers import AutoModelForCausalLM

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(_transformers_config(name))
        _stir(model.parameters())
        return model.eval()

    return make


@pytest.fixture(scope="session")
def load_tiny(make_hf: Callable[[str], Any]) -> Callable[[str], Any]:
    """Load a tiny model by architecture, once a session. Leave no hook on it."""
    from interp.models import ModelSpec, load_model

    @cache
    def load(name: str) -> Any:
        if name in TRANSFORMERS:
            return load_model(f"tiny-{name}", hf_model=make_hf(name))
        model = load_model(ModelSpec(name, native=NATIVE[name]))
        _stir(model.bridge.original_model.parameters())
        return model

    return load


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest, load_tiny: Callable[[str], Any]) -> Any:
    """Each tiny model in turn."""
    return load_tiny(request.param)


@pytest.fixture(params=TRANSFORMERS)
def hf_name(request: pytest.FixtureRequest) -> str:
    """Name of each transformers architecture in turn."""
    return request.param


@pytest.fixture
def gpt2(load_tiny: Callable[[str], Any]) -> Any:
    """The tiny GPT-2, where the architecture does not matter."""
    return load_tiny("gpt2")


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    """Build a word tokenizer over ``w0 w1 …``, with or without a beginning-of-sequence token."""

    def make(n_words: int = D_VOCAB, *, bos: bool = False) -> Any:
        from tokenizers import Tokenizer
        from tokenizers.models import WordLevel
        from tokenizers.pre_tokenizers import WhitespaceSplit
        from transformers import PreTrainedTokenizerFast

        words = {f"w{i}": i for i in range(n_words)}
        bare = Tokenizer(WordLevel(words, unk_token="w0"))
        bare.pre_tokenizer = WhitespaceSplit()
        return PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="w1" if bos else None)

    return make


@pytest.fixture(scope="session")
def tiny_folder(
    make_hf: Callable[[str], Any],
    make_tokenizer: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """Save a tiny transformers model with its tokenizer; once a session, so do not write there."""

    @cache
    def save(name: str) -> Path:
        folder = tmp_path_factory.mktemp("models") / name
        make_hf(name).save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def random_ids() -> Callable[..., Any]:
    """Draw token ids of a given shape."""

    def draw(rows: int, width: int, seed: int = 5) -> Any:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, D_VOCAB, (rows, width), generator=generator)

    return draw


@pytest.fixture(scope="session")
def padded() -> Callable[..., Any]:
    """Pad the first ``lengths[i]`` ids of each row to one width, on either side."""

    def pad(ids: Any, lengths: list[int], side: str, width: int | None = None) -> tuple[Any, Any]:
        width = width or max(lengths) + 2
        tokens = torch.zeros((len(lengths), width), dtype=torch.int64)
        mask = torch.zeros((len(lengths), width), dtype=torch.bool)
        for i, length in enumerate(lengths):
            at = slice(0, length) if side == "right" else slice(width - length, width)
            tokens[i, at] = ids[i, :length]
            mask[i, at] = True
        return tokens, mask

    return pad


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """A folder of real models trained elsewhere; tests that need it skip where there is none."""
    named = os.environ.get("LOADBEARING_SHARED")
    for root in filter(None, (named, REPO.parent / "shared")):
        for folder in (Path(root) / "models", Path(root)):
            if (folder / "stories260k").is_dir():
                return folder
    pytest.skip(
        "no real models: set LOADBEARING_SHARED to a folder that holds stories260k, or put it in "
        "shared/models beside the repository"
    )
