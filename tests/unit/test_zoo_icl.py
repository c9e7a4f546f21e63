"""In-context tasks: pairs by rule, files read without silent loss, and where an answer begins."""

from __future__ import annotations

import json

import pytest

from interp.zoo.icl import IclError, IclTask, icl_task, register_icl_task
from interp.zoo.icl_files import load_icl_file, load_icl_folder
from interp.zoo.icl_words import ANIMALS, past, plural


def write(folder, rows, name="some.json"):
    path = folder / name
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows), encoding="utf-8")
    return path


RULES = {
    "singular-plural": plural,
    "present-past": past,
    "capitalize": str.capitalize,
    "first-letter": lambda word: word[0],
    "last-letter": lambda word: word[-1],
    "word-length": lambda word: str(len(word)),
    "choose-first-of-3": lambda text: text.split(", ")[0],
    "choose-middle-of-5": lambda text: text.split(", ")[2],
    "choose-last-of-5": lambda text: text.split(", ")[4],
    "alphabetically-first-3": lambda text: sorted(text.split(", "))[0],
    "alphabetically-last-5": lambda text: sorted(text.split(", "))[4],
    "animal-v-object-3": lambda text: next(w for w in text.split(", ") if w in ANIMALS),
    "animal-or-object": lambda word: "animal" if word in ANIMALS else "object",
    "parity": lambda number: ("even", "odd")[int(number) % 2],
    "copy": lambda text: text,
    "key-value-recall-3": lambda text: dict(
        part.split(" is ") for part in text.split("; ")[0].split(", ")
    )[text.split("; ")[1]],
}


@pytest.mark.parametrize("name", RULES)
def test_every_output_is_what_the_rule_gives(name):
    task = icl_task(name, n=120, seed=3)
    assert len(task) == 120
    assert all(output == RULES[name](given) for given, output in task.pairs)
    assert all(o in offered for (_, o), offered in zip(task.pairs, task.choices, strict=False))
    assert icl_task(name, n=120, seed=3) == task
    assert icl_task(name, n=120, seed=4).hash != task.hash


def test_rules_for_words():
    assert [plural(w) for w in ("box", "bench", "lady", "key", "cat", "dish")] == [
        "boxes",
        "benches",
        "ladies",
        "keys",
        "cats",
        "dishes",
    ]
    assert [past(w) for w in ("bake", "cry", "play", "ask")] == [
        "baked",
        "cried",
        "played",
        "asked",
    ]
    pairs = dict(icl_task("next-capital-letter", n=400).pairs)
    assert pairs["hammer"] == "I" and pairs["zebra"] == "A"
    opposites = dict(icl_task("antonym", n=88).pairs)
    assert (opposites["hot"], opposites["cold"]) == ("cold", "hot")


def test_more_words_than_there_are_get_invented_but_a_list_ends():
    task = icl_task("singular-plural", n=500)
    assert len({given for given, _ in task.pairs}) == 500
    with pytest.raises(IclError, match="the list has"):
        icl_task("antonym", n=500)
    with pytest.raises(IclError, match="did you mean singular-plural"):
        icl_task("singular_plurals")
    with pytest.raises(IclError, match="at least 1"):
        icl_task("parity", n=0)
    with pytest.raises(IclError, match="already registered"):
        register_icl_task("parity")(lambda *, n, seed: task)


def test_a_file_is_read_and_what_is_left_out_is_counted(tmp_path):
    rows = [
        {"input": "a", "output": "b"},
        {"input": "a", "output": "b"},  # a further copy
        {"input": "c", "output": "d"},
        {"input": "c", "output": "e"},  # another answer: both go
        {"input": " ", "output": "f"},  # empty
        {"input": ["g", "h"], "output": ["i"], "note": 1},
    ]
    task = load_icl_file(write(tmp_path, rows))
    assert task.name == "some" and task.kind == "file"
    assert task.pairs == (("a", "b"), ("g, h", "i"))
    assert dict(task.dropped) == {
        "empty input or output": 1,
        "further copy of a row": 1,
        "input with several outputs": 2,
    }
    assert task.n_dropped + len(task) == len(rows)
    assert task.choices == ()


def test_choices_are_found_where_every_answer_is_an_item_of_its_input(tmp_path):
    rows = [{"input": "x, y", "output": "y"}, {"input": ["p", "q", "r"], "output": "p"}]
    assert load_icl_file(write(tmp_path, rows)).choices == (("x", "y"), ("p", "q", "r"))
    rows.append({"input": "s, t", "output": "u"})
    assert load_icl_file(write(tmp_path, rows)).choices == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"input": "a", "output": "b"}, 3]', "row 1: a int"),
        ('[{"input": "a"}]', "row 0: no output; it has input"),
        ('[{"input": "a", "output": 7}]', "row 0: output is 7"),
        ('[{"input": ["a", null], "output": "b"}]', "row 0: input is null"),
        ('{"input": "a", "output": "b"}', "holds a dict"),
        ("[", "not JSON"),
        ("[]", "no pair is left"),
        ('[{"input": "a", "output": ""}]', "1 empty input or output"),
    ],
)
def test_a_malformed_file_is_refused_by_file_row_and_reason(tmp_path, content, said):
    path = write(tmp_path, content)
    with pytest.raises(IclError, match=said) as error:
        load_icl_file(path)
    assert "some" in str(error.value)


def test_folders(tmp_path):
    with pytest.raises(IclError, match="no such folder"):
        load_icl_folder(tmp_path / "none")
    with pytest.raises(IclError, match=r"no \.json"):
        load_icl_folder(tmp_path)
    with pytest.raises(IclError, match="expected a JSON file"):
        load_icl_file(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'["\xe9"]')
    with pytest.raises(IclError, match="not UTF-8"):
        load_icl_file(tmp_path / "latin.json")
    (tmp_path / "latin.json").unlink()
    for name in ("b", "a"):
        write(tmp_path, [{"input": name, "output": "x"}], f"{name}.json")
    assert [task.name for task in load_icl_folder(tmp_path)] == ["a", "b"]


def test_tasks_that_cannot_be():
    with pytest.raises(IclError, match="stands twice"):
        IclTask("t", "copy", (("a", "b"), ("a", "c")))
    with pytest.raises(IclError, match="not among its choices"):
        IclTask("t", "copy", (("a", "b"),), choices=(("c", "d"),))
    with pytest.raises(IclError, match="unknown kind"):
        IclTask("t", "cope", (("a", "b"),))  # type: ignore[arg-type]
    with pytest.raises(IclError, match="as many choices"):
        IclTask("t", "copy", (("a", "b"),), choices=(("b",), ("c",)))
