"""The zoo's tasks, cards and recipes: what they promise, on many random arguments."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.models.examples import Examples
from interp.zoo import cards
from interp.zoo.recipes import RECIPES, RecipeError, get_recipe
from interp.zoo.tasks import (
    TASKS,
    TaskError,
    first_repeat,
    get_task,
    register_task,
    repeated_tokens,
    reversed_tokens,
    text_windows,
)

SEEDS = st.integers(0, 2**31)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def determined(row: list[int], *, back: int) -> list[bool]:
    """By brute force: q is followed by what stood ``back`` from each earlier occurrence of it."""
    answer = []
    for q in range(len(row)):
        earlier = [p for p in range(q) if row[p] == row[q]]
        targets = {row[p + back] for p in earlier if 0 <= p + back <= q}
        answer.append(q + 1 < len(row) and targets == {row[q + 1]})
    return answer


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, int]:
    return {
        "n": draw(st.integers(1, 4)),
        "length": draw(st.integers(2, 9)),
        "repeats": draw(st.integers(2, 4)),
    }


@settings(max_examples=60, deadline=None)
@given(shape=shapes(), seed=SEEDS, bos=st.booleans(), spare=st.integers(0, 20))
def test_repeated_tokens_scores_exactly_what_is_determined(shape, seed, bos, spare) -> None:
    exclude = {3, 5}
    arguments = {
        **shape,
        "bos_id": 0 if bos else None,
        "exclude": exclude,
    }
    vocabulary = shape["length"] + len(exclude) + 1 + spare + 6
    examples = repeated_tokens(vocabulary, **arguments, generator=seeded(seed))

    body = examples.tokens[:, int(bos) :]
    assert body.shape == (shape["n"], shape["length"] * shape["repeats"])
    if bos:
        assert bool((examples.tokens[:, 0] == 0).all())
        assert not bool((body == 0).any())
    assert not any(bool((body == i).any()) for i in exclude)
    assert int(body.min()) >= 0
    assert int(body.max()) < vocabulary
    r = body[:, : shape["length"]]
    assert torch.equal(body, r.repeat(1, shape["repeats"]))
    for row in r.tolist():
        assert len(set(row)) == len(row)
    for row, scored in zip(examples.tokens.tolist(), examples.scored.tolist(), strict=True):
        assert scored == determined(row, back=1)
    assert int(examples.scored[0].sum()) == shape["length"] * (shape["repeats"] - 1) - 1

    again = repeated_tokens(vocabulary, **arguments, generator=seeded(seed))
    assert again.hash == examples.hash
    assert examples.seed == seed


@settings(max_examples=60, deadline=None)
@given(shape=shapes(), seed=SEEDS, bos=st.booleans(), sep=st.booleans())
def test_reversed_tokens_scores_exactly_what_is_determined(shape, seed, bos, sep) -> None:
    n, length = shape["n"], shape["length"]
    examples = reversed_tokens(
        length + 2,
        n=n,
        length=length,
        bos_id=0 if bos else None,
        sep_id=1 if sep else None,
        generator=seeded(seed),
    )
    width = int(bos) + 2 * length + int(sep)
    assert examples.tokens.shape == (n, width)
    s = examples.tokens[:, int(bos) : int(bos) + length]
    assert torch.equal(examples.tokens[:, -length:], s.flip(1))
    special = torch.tensor([i for i, used in ((0, bos), (1, sep)) if used])
    assert not bool(torch.isin(s, special).any())
    for row, scored in zip(examples.tokens.tolist(), examples.scored.tolist(), strict=True):
        assert scored == determined(row, back=-1)
    assert int(examples.scored[0].sum()) == length - 1


def test_without_distinctness_all_ids_occur() -> None:
    examples = repeated_tokens([4, 9], n=20, length=8, distinct=False, generator=seeded())
    assert set(examples.tokens.flatten().tolist()) == {4, 9}
    assert torch.equal(examples.tokens[:, :8], examples.tokens[:, 8:])


def test_the_generator_is_the_only_randomness() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    generator = seeded(5)
    first = repeated_tokens(30, n=2, length=5, generator=generator)
    second = repeated_tokens(30, n=2, length=5, generator=generator)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.hash != second.hash


@settings(max_examples=40, deadline=None)
@given(size=st.integers(4, 80), length=st.integers(2, 12), n=st.integers(1, 6), bos=st.booleans())
def test_text_windows_are_disjoint_stretches_of_the_stream(size, length, n, bos) -> None:
    stream = torch.arange(100, 100 + size)
    if n > size // length:
        with pytest.raises(TaskError, match="windows"):
            text_windows(stream, n=n, length=length, generator=seeded())
        return
    examples = text_windows(
        stream, n=n, length=length, bos_id=0 if bos else None, generator=seeded()
    )
    body = examples.tokens[:, int(bos) :]
    assert body.shape == (n, length)
    assert bool((body.diff(dim=1) == 1).all())
    assert len(set(body.flatten().tolist())) == body.numel()
    assert len(set(examples.groups)) == n
    assert bool(examples.scored[:, :-1].all())
    assert not bool(examples.scored[:, -1].any())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocabulary": 5}, "10 distinct tokens asked for, but only 4 ids"),
        ({"length": 1}, "length=1: expected a whole number, at least 2"),
        ({"repeats": 1}, "repeats=1"),
        ({"n": 0}, "n=0"),
        ({"n": 2.0}, "n=2.0"),
        ({"bos_id": 40}, "bos_id=40 is outside the vocabulary"),
        ({"bos_id": -1}, "bos_id=-1"),
        ({"vocabulary": [1, 1, 2]}, "differ"),
        ({"vocabulary": [0]}, "no id is left"),
        ({"exclude": range(40)}, "no id is left"),
    ],
)
def test_impossible_arguments_say_what_to_do(arguments, message) -> None:
    usual = {"vocabulary": 40, "n": 2, "length": 10, "bos_id": 0}
    with pytest.raises(ValueError, match=message) as caught:
        repeated_tokens(**{**usual, **arguments}, generator=seeded())
    assert "\n" not in str(caught.value)


def test_text_windows_wants_one_stream_of_ids() -> None:
    for stream in (torch.zeros(3, 4, dtype=torch.int64), torch.zeros(9)):
        with pytest.raises(TaskError, match=r"shape \[stream\]"):
            text_windows(stream, n=1, length=2, generator=seeded())


def test_registry_knows_names_and_near_ones() -> None:
    assert set(TASKS) >= {"repeated-tokens", "reversed-tokens", "text-windows"}
    assert get_task("repeated-tokens") is repeated_tokens
    with pytest.raises(TaskError, match="did you mean repeated-tokens"):
        get_task("repeated_token")
    with pytest.raises(TaskError, match="known: "):
        get_task("xyzzy")
    with pytest.raises(TaskError, match="already registered"):
        register_task("repeated-tokens")(repeated_tokens)


def test_a_task_can_be_added(monkeypatch) -> None:
    monkeypatch.setattr("interp.zoo.tasks.TASKS", dict(TASKS))

    @register_task("ones")
    def ones(*, n: int) -> Examples:
        return Examples(torch.ones(n, 3, dtype=torch.int64))

    assert get_task("ones") is ones


# Cards and recipes


def test_bundled_models_have_cards_and_recipes() -> None:
    listed = {card.name: card for card in cards.list_cards()}
    for name in ("induction-exact", "induction-decoy"):
        card = listed[name]
        assert card.kind == "hand-built"
        assert card.summary
        assert card.known
        assert card.licence
        assert name in RECIPES
    for name, card in listed.items():
        assert (cards.WEIGHTS / name / "model.safetensors").is_file()
        assert card.name == name
        assert card.summary


def test_card_round_trip_keeps_unknown_fields(tmp_path) -> None:
    card = cards.Card(
        name="m", summary="s", loss=1.5, known=("a", "b"), measured={"x": 1}, extra={"new": [1]}
    )
    cards.write_card(card, tmp_path)
    assert cards.read_card(tmp_path) == card
    assert cards.read_card(tmp_path / "card.json") == card
    assert [path.name for path in tmp_path.iterdir()] == ["card.json"]


def test_stamp_changes_the_fingerprint_only(tmp_path) -> None:
    fields = {"what": "a model", "steps": 3, "odd": {"x": None}, "known": "one thing"}
    (tmp_path / "card.json").write_text(json.dumps(fields))
    stamped = cards.stamp(tmp_path, "abc")
    assert stamped.fingerprint == "abc"
    assert json.loads((tmp_path / "card.json").read_text()) == {**fields, "fingerprint": "abc"}
    assert stamped == cards.read_card(tmp_path)
    assert stamped.name == tmp_path.name
    assert stamped.summary == "a model"
    assert stamped.known == ("one thing",)
    assert stamped.extra == {"odd": {"x": None}}


def test_a_card_of_another_making_is_understood() -> None:
    fields = {
        "name": "lm",
        "what": "A small model.",
        "data": {"files": 3},
        "recipe": {"seed": 4},
        "measured": {"text_ce_nats_per_token": 2.5},
        "summary": None,
        "history": [],
    }
    card = cards.card_from_dict(fields, name="folder")
    assert (card.name, card.loss, card.kind) == ("lm", 2.5, "trained")
    assert card.summary == "A small model."
    assert dict(card.extra) == {"history": []}
    assert cards.card_from_dict({}, name="folder") == cards.Card(name="folder")


@pytest.mark.parametrize(("text", "message"), [("{", "JSON"), ("[1]", "object"), (None, "no card")])
def test_a_broken_card_is_one_line(tmp_path, caplog, text, message) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if text is not None:
        (folder / "card.json").write_text(text)
    with pytest.raises(cards.CardError, match=message) as caught:
        cards.read_card(folder)
    assert "\n" not in str(caught.value)
    assert cards.list_cards(tmp_path) == []
    assert bool(caplog.records) == (text is not None)


def test_unknown_names_get_near_ones() -> None:
    assert get_recipe("zoo:induction-exact") is RECIPES["induction-exact"]
    with pytest.raises(RecipeError, match="did you mean induction-exact"):
        get_recipe("induction_exact")
    with pytest.raises(cards.CardError, match="induction-decoy"):
        cards.get_card("zoo:induction-decoi")
    assert cards.get_card("zoo:induction-decoy").name == "induction-decoy"


@pytest.mark.parametrize("name", ["induction-exact", "induction-decoy"])
def test_recipes_resolve_to_their_models(name) -> None:
    recipe = get_recipe(name)
    config = recipe.load_config()()
    assert dataclasses.is_dataclass(config)
    assert config.name == name
    assert callable(recipe.load_function())


def test_listing_models_imports_nothing_heavy() -> None:
    code = (
        "import sys, interp.zoo.cards as c, interp.zoo.recipes; c.list_cards();"
        "assert not {'torch', 'numpy', 'transformer_lens'} & set(sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


@pytest.mark.parametrize("bos_id", [None, 0])
def test_first_repeat_scores_the_tokens_of_the_first_repeat(bos_id: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    made = repeated_tokens(range(1, 30), n=3, length=5, bos_id=bos_id, generator=generator)
    first = first_repeat(made)
    assert first.scored is not None and made.scored is not None
    predicted = [first.tokens[i, 1:][first.scored[i, :-1]].tolist() for i in range(3)]
    r = made.tokens[:, 1:6] if bos_id == 0 else made.tokens[:, :5]
    # Without BOS nothing predicts the very first token.
    assert predicted == (r if bos_id == 0 else r[:, 1:]).tolist()
    assert not bool((first.scored & made.scored).any())
    with pytest.raises(TaskError, match="repeated_tokens"):
        first_repeat(dataclasses.replace(made, scored=None))
