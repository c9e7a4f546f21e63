"""Spectra of planted and of unstructured codes, and of ordered tokens."""

from __future__ import annotations

import math

import pytest
import torch

from interp.fourier import (
    FourierError,
    embedding_spectrum,
    find_tokens,
    gini,
    spectrum,
    token_spectrum,
    unembedding_spectrum,
    unit_spectra,
)
from interp.models import ModelError, ModelSpec, load_model


def code(n: int, frequencies: list[int], *, d: int = 16, noise: float = 0.0, seed: int = 0):
    """Residues on circles in random planes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.arange(n)
    found = noise * torch.randn((n, d), generator=generator)
    for k in frequencies:
        plane = torch.randn((2, d), generator=generator)
        angle = 2 * math.pi * k * x / n
        found += angle.cos()[:, None] * plane[0] + angle.sin()[:, None] * plane[1]
    return found + 3.0


@pytest.mark.parametrize("n", [12, 13, 100])
def test_planted_frequencies_are_found_and_nothing_else(n):
    found = spectrum(code(n, [2, 5], noise=0.1), n_shuffles=99, seed=1)
    # On a small group a shuffled order can come near the weaker of two: p is that of the largest.
    assert set(found.keys()) == {2, 5} if n == 100 else set(found.keys()) <= {2, 5}
    assert found.share([2, 5]) > 0.9
    assert {k for k, _ in found.top(2)} == {2, 5}
    assert float(found.power.sum()) == pytest.approx(1)
    assert found.constant > 0.5


def test_the_last_frequency_of_an_even_group_is_found():
    n = 10
    values = (1 - 2.0 * (torch.arange(n) % 2))[:, None] * torch.ones(1, 4)
    assert spectrum(values).top(1) == [(5, pytest.approx(1.0))]


def test_in_shuffled_order_nothing_is_found():
    order = torch.randperm(59, generator=torch.Generator().manual_seed(4))
    found = spectrum(code(59, [3, 20])[order], n_shuffles=99, seed=2)
    assert found.keys() == ()
    assert float(found.power.max()) < 0.2


def test_of_noise_about_one_in_twenty_is_called_periodic():
    hits = 0
    for seed in range(60):
        rows = torch.randn((12, 3), generator=torch.Generator().manual_seed(seed))
        hits += bool(spectrum(rows, n_shuffles=39, seed=seed).keys())
    assert hits <= 8  # 3 expected; 9 or more happen less than once in 250


def test_any_axis_may_count_residues_and_a_single_value_will_do():
    values = code(13, [4])
    torch.testing.assert_close(spectrum(values.T, dim=1).power, spectrum(values).power)
    x = torch.arange(13)
    assert spectrum((2 * math.pi * 4 * x / 13).cos()).top(1)[0][0] == 4


def test_shuffled_energy_is_that_of_the_shuffled_rows():
    values = code(11, [2], noise=0.5)
    found = spectrum(values, n_shuffles=1, seed=7)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(7))
    again = spectrum(values[order])
    assert float(found.null_max[0]) == pytest.approx(float(again.power.max()))
    assert float(found.null_gini[0]) == pytest.approx(again.gini)


def test_gini():
    assert gini(torch.ones(5)) == pytest.approx(0)
    assert gini(torch.tensor([0.0, 0.0, 0.0, 1.0])) == pytest.approx(0.75)
    assert gini(torch.zeros(3)) == 0
    values = torch.rand(9, generator=torch.Generator().manual_seed(0))
    pairs = (values[:, None] - values).abs().mean() / (2 * values.mean())
    assert gini(values) == pytest.approx(float(pairs))


def test_units_at_once():
    values = torch.stack([code(13, [k], d=1)[:, 0] for k in (1, 6)], 1)
    values = torch.cat([values, torch.tensor([[2.0, 0.1, 0.0]]).expand(13, 3)], 1)
    found = unit_spectra(values)
    assert found.argmax(1)[:2].tolist() == [0, 5]
    assert found.sum(1).tolist() == pytest.approx([1, 1, 0, 0, 0])
    assert not bool(found[2:].any()), "a constant has no power, also not in its rounding"
    with pytest.raises(FourierError, match="finite"):
        unit_spectra(torch.full((5, 1), torch.inf))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (torch.ones(2, 3), "at least 3"),
        (torch.ones(5, 3), "same values"),
        (torch.full((5, 3), torch.nan), "finite"),
    ],
)
def test_what_has_no_spectrum_is_refused(values, said):
    with pytest.raises(FourierError, match=said):
        spectrum(values)


@pytest.mark.parametrize("frequencies", [[0], [-1], [7], []])
def test_shares_of_frequencies_that_there_are_not_are_refused(frequencies):
    with pytest.raises(FourierError, match=r"1…6"):
        spectrum(code(13, [2])).share(frequencies)


def test_no_p_values_without_a_null():
    with pytest.raises(FourierError, match="n_shuffles"):
        _ = spectrum(code(7, [1])).p_values


@pytest.fixture(scope="module")
def little():
    return load_model(
        ModelSpec(
            "little",
            native={
                "n_layers": 1,
                "d_model": 8,
                "n_heads": 2,
                "d_head": 4,
                "d_mlp": 8,
                "n_ctx": 4,
                "d_vocab": 9,
                "d_vocab_out": 9,
                "act_fn": "relu",
                "normalization_type": None,
            },
        )
    )


def test_embedding_and_unembedding_in_the_order_of_ids(little):
    ids = [4, 2, 7, 1, 5]
    rows = little.W_E[ids]
    torch.testing.assert_close(embedding_spectrum(little, ids).power, spectrum(rows).power)
    columns = little.W_U[:, ids].T
    torch.testing.assert_close(unembedding_spectrum(little, ids).power, spectrum(columns).power)
    with pytest.raises(ModelError, match="outside"):
        embedding_spectrum(little, [1, 2, 9])
    with pytest.raises(FourierError, match="outputs"):
        unembedding_spectrum(little, [1, 2, 9])
    for made in (embedding_spectrum, unembedding_spectrum):
        with pytest.raises(FourierError, match="3 different token ids"):
            made(little, [1, 2, 2, 3])
        with pytest.raises(FourierError, match="at least 1"):
            made(little, ids, n_shuffles=0)
    with pytest.raises(FourierError, match="at least 0"):
        spectrum(rows, n_shuffles=-1)


def test_a_model_without_text_is_refused(little):
    with pytest.raises(FourierError, match="no tokenizer"):
        find_tokens(little, "digits")


@pytest.fixture(scope="module")
def speller():
    """A language model whose vocabulary holds some ordered sets, written GPT-2's way."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel
    from tokenizers.models import WordLevel
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from interp.fourier import TOKEN_SETS

    words = [f"Ġ{day}" for day in TOKEN_SETS["weekdays"]]
    words += [*map(str, range(10)), "ĠMarch", "march", "ĠMay", "?"]
    raw = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))
    raw.decoder = ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="?", eos_token="?")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(words),
                n_positions=8,
                n_embd=8,
                n_layer=1,
                n_head=2,
                bos_token_id=None,
                eos_token_id=None,
                tie_word_embeddings=False,
            )
        )
    wheel = torch.arange(7) * 2 * math.pi / 7
    with torch.no_grad():
        made.transformer.wte.weight[:7, 0] = wheel.cos()
        made.transformer.wte.weight[:7, 1] = wheel.sin()
    return load_model("speller", hf_model=made, tokenizer=tokenizer)


def test_a_planted_week_is_a_circle(speller):
    forms = find_tokens(speller, "weekdays")
    assert forms.ids == tuple(range(7))
    assert forms.style == "as written, with a space before"
    found = token_spectrum(speller, "weekdays", n_shuffles=199)
    assert found.top(1)[0][0] == 1
    assert found.keys() == (1,)
    assert find_tokens(speller, "digits").style.endswith("without a space before")
    assert token_spectrum(speller, "weekdays", matrix="unembedding", n_shuffles=199).keys() == ()


def test_an_own_order_of_words(speller):
    scattered = ["Monday", "Wednesday", "Friday", "Sunday", "Tuesday", "Thursday", "Saturday"]
    assert token_spectrum(speller, scattered, n_shuffles=199).top(1)[0][0] == 2


def test_missing_members_are_named(speller):
    with pytest.raises(FourierError, match=r"10 are missing: January, February, April"):
        find_tokens(speller, "months")
    with pytest.raises(FourierError, match="did you mean weekdays"):
        find_tokens(speller, "weekday")
    with pytest.raises(FourierError, match="3 different"):
        find_tokens(speller, ["1", "1", "2"])
    with pytest.raises(FourierError, match="an empty one"):
        find_tokens(speller, ["1", "", "2"])
    with pytest.raises(FourierError, match="'W_E'; expected embedding or unembedding"):
        token_spectrum(speller, "digits", matrix="W_E")


def test_a_real_model_finds_its_digits_and_says_what_it_lacks(shared_models):
    model = load_model(str(shared_models / "stories260k"))
    forms = find_tokens(model, "digits")
    texts = [model.tokenizer.decode([i]).strip() for i in forms.ids]
    assert texts == list("0123456789")
    found = token_spectrum(model, "digits", n_shuffles=199)
    assert len(found.power) == 5
    with pytest.raises(FourierError, match="90 are missing: 10, 11"):
        token_spectrum(model, "numbers")
