"""Concept sets: the project's own, and the user's files with errors that name file and row."""

from __future__ import annotations

import json

import pytest

from probes.data import DataError, group_split
from probes.data.concepts import (
    OWN_CONCEPTS,
    TRIPLES,
    concept_set,
    concept_table,
    neutral_texts,
    read_concept,
)


@pytest.mark.parametrize("name", OWN_CONCEPTS)
def test_own_concepts_are_balanced_in_templates_that_never_straddle(name):
    data = concept_set(name)
    assert 30 <= sum(data.labels) <= 60 and sum(data.labels) * 2 == len(data)
    assert all(text.endswith(".") and "{" not in text for text in data.texts)
    for group in set(data.groups):
        labels = [y for y, g in zip(data.labels, data.groups, strict=True) if g == group]
        assert sorted(labels) == [False, True], "a template stands once with and once without"
    known, new = group_split(data.y, data.groups, held_out=0.3, seed=0)
    assert not {data.groups[i] for i in known} & {data.groups[i] for i in new}


def test_concepts_of_people_differ_in_one_word_only():
    nurse, engineer = concept_set("nurse"), concept_set("engineer")
    for one, other in zip(nurse.texts[:40], engineer.texts[:40], strict=True):
        assert one.replace("nurse", "engineer").lower() == other.lower()
    assert nurse.texts[40:] == engineer.texts[40:], "the negatives are the same neutral people"


def test_pleasant_and_unpleasant_are_each_others_negatives():
    good, bad = concept_set("pleasant"), concept_set("unpleasant")
    assert set(good.texts) == set(bad.texts)
    assert {t for t, y in zip(good.texts, good.labels, strict=True) if y} == {
        t for t, y in zip(bad.texts, bad.labels, strict=True) if not y
    }


def test_triples_name_concepts_that_exist_and_are_apart():
    for triple in TRIPLES.values():
        names = [triple.first, triple.second, *triple.targets]
        assert len(set(names)) == len(names) and set(names) <= set(OWN_CONCEPTS)
    assert len(set(neutral_texts())) == len(neutral_texts()) >= 60
    assert list(concept_table()["name"]) == list(OWN_CONCEPTS)


def test_an_unknown_concept_names_its_neighbours():
    with pytest.raises(DataError, match="did you mean nurse"):
        concept_set("nurs")


def test_json_of_sentences_and_of_words_with_templates(tmp_path):
    file = tmp_path / "sea.json"
    sentences = {
        "name": "sailing",
        "positive": ["The ship left.", {"text": "A sail tore.", "group": "storm"}],
        "negative": ["The car left.", {"text": "A tyre burst.", "group": "storm"}],
    }
    file.write_text(json.dumps(sentences))
    data = read_concept(file)
    assert (data.name, data.labels) == ("sailing", (True, True, False, False))
    assert data.groups[1] == data.groups[3] != data.groups[0]

    words = {
        "positive": ["sailor", "captain", "cook"],
        "negative": ["driver"],
        "templates": ["The {word} slept.", "A letter for the {word} came."],
    }
    file.write_text(json.dumps(words))
    data = read_concept(file, name="crew")
    assert data.name == "crew"
    assert data.texts[:3] == (
        "The sailor slept.",
        "A letter for the captain came.",
        "The cook slept.",
    )
    assert data.groups[0] == data.groups[2] != data.groups[1], "templates bind their sentences"


def test_tables_and_lines(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("text,label,group\nThe ship left.,1,a\nThe car left.,0,a\n")
    assert read_concept(table).groups == ("a", "a")
    words = tmp_path / "w.csv"
    words.write_text("word,label\nsailor,1\nbosun,1\ndriver,0\n")
    data = read_concept(words)
    assert len(data) == 80 and "sailor" in data.texts[0], "the own templates, words in turn"
    lines = tmp_path / "sailors.txt"
    lines.write_text("# crew\nsailor\n\nbosun\n")
    others = tmp_path / "others.txt"
    others.write_text("driver\n")
    data = read_concept(lines, negatives=others)
    assert data.name == "sailors" and sum(data.labels) == 40 and "driver" in data.texts[-1]
    lines.write_text("The ship left.\nA sail tore.\n")
    data = read_concept(lines)
    assert sum(data.labels) == 2 and len(data) == 62, "neutral sentences stand against sentences"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.yaml", "x", "is read from .json"),
        ("a.json", '{"positiv": ["x."]}', "unknown key 'positiv'; did you mean positive"),
        ("a.json", '["x."]', "expected an object"),
        ("a.json", '{"positive": "x."}', "positive is str; expected a list"),
        ("a.json", '{"positive": ["x.", ""]}', "a.json, positive 2: the sentence is empty"),
        ("a.json", '{"positive": [{"text": "x.", "groop": 1}]}', "positive 1: unknown key 'groop'"),
        ("a.json", '{"negative": ["x."]}', "no sentence with the concept"),
        (
            "a.json",
            '{"positive": ["x"], "templates": ["The word."]}',
            "template 1: .* exactly once",
        ),
        (
            "a.json",
            '{"positive": ["x."], "negative": ["x."]}',
            "a.json: .*negative 1: .* positive 1 again",
        ),
        ("a.csv", "text,labl\nx.,1\n", "has columns text, labl"),
        ("a.csv", "text,label\nx.,1\ny.,maybe\n", r"a.csv, row 2 .*the label is 'maybe'"),
        ("a.csv", "text,label\n,1\n", "row 1 .*the text is empty"),
        ("a.txt", "# nothing\n", "no line but"),
        ("a.txt", "A sentence.\nword\n", "line 2: 'word' is a word among sentences"),
    ],
)
def test_errors_name_the_file_and_the_row(tmp_path, name, text, problem):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(DataError, match=problem):
        read_concept(file)


def test_negatives_are_given_once_and_in_kind(tmp_path):
    own = tmp_path / "own.json"
    own.write_text('{"positive": ["a."], "negative": ["b."]}')
    words = tmp_path / "words.txt"
    words.write_text("driver\n")
    with pytest.raises(DataError, match="has negatives of its own"):
        read_concept(own, negatives=words)
    own.write_text('{"positive": ["a."]}')
    with pytest.raises(DataError, match=r"holds sentences and .* words"):
        read_concept(own, negatives=words)
    with pytest.raises(DataError, match="no file"):
        read_concept(tmp_path / "gone.txt")
