"""``probes steer``, in process: evidence on a model that depends, and every refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from interp.evidence import Evidence
from interp.hooks import Site, capture
from interp.models import load_model
from interp.zoo.truth_world.statements import prompts, statements
from interp.zoo.truth_world.world import world_of
from probes import Probe, StatementSet
from probes.causal.directions import Direction
from probes.cli import main
from probes.domains import Domain

SITE = "L0.resid_post"


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOADBEARING_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield  # type: ignore[misc]


@pytest.fixture(scope="module")
def world_probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe of zoo:truth-world, whose statements are ids and not text."""
    world, model = world_of("truth-world"), load_model("zoo:truth-world")

    def domain(part: str) -> Domain:
        rows = statements(world, "D0", n=72, part=part, seed=0)  # type: ignore[arg-type]
        vectors = capture(model, rows.examples, SITE, positions=rows.object_at)[SITE]
        return Domain.build(part, vectors, rows.true.numpy(), groups=rows.examples.groups)

    found = Direction.fit(domain("train"), test=domain("test"), site=SITE, seed=0, model=model)
    assert found.centre is not None
    held = {"auroc": found.auroc, "auroc_low": 0.9, "auroc_high": 1.0}
    held |= {"lead_over_length_low": 0.1, "lead_over_length_high": 0.5}
    return Probe(
        direction=found.vector.float(),
        centre=found.centre.float(),
        bias=0.0,
        site=Site.parse(SITE),
        position=14,
        method="mass-mean",
        model="zoo:truth-world",
        fingerprint=model.fingerprint,
        data="D0",
        data_hash="0" * 64,
        seed=0,
        metrics={
            "train": {"natural_gap": found.gap},
            "held_out": held,
            "null": {"mean": found.auroc_null, "percentile_95": 0.6},
        },
        training_rows=("00" * 8,),
    ).save(tmp_path_factory.mktemp("probe") / "truth")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts after true statements, and the same after false ones."""
    n = 8
    rows = prompts(world_of("truth-world"), "D0", "D1", n=n, part="test", seed=0)
    tokens, answer = rows.examples.tokens.tolist(), rows.examples.answer
    assert answer is not None
    lines = [
        {
            "clean": tokens[i],
            "corrupt": tokens[i + n],
            "answer": int(answer[i]),
            "wrong": int(rows.false_objects[i, 0]),
            "group": rows.examples.groups[i],
        }
        for i in range(n)
    ]
    path = tmp_path_factory.mktemp("prompts") / "asked.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture(scope="module")
def text_probe(
    tiny_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A probe of a tiny model that reads text, made by the command."""
    folder = tmp_path_factory.mktemp("tiny")
    words = [(f"w{i} w{j} w{4 + i % 2}", i % 2) for i in range(7, 17) for j in range(7, 12)]
    (folder / "data.csv").write_text("text,label\n" + "\n".join(f"{t},{y}" for t, y in words))
    options = ["--data", str(folder / "data.csv"), "--site", "L1.resid_post"]
    out = folder / "probe"
    model = str(tiny_folder("gpt2"))
    assert main(["train", "--model", model, *options, "--out", str(out)]) == 0
    return out


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The statements the world's probe was fitted to; ids are not read from files."""
    rows = statements(world_of("truth-world"), "D0", n=72, part="train", seed=0)
    data = StatementSet.build(
        ids=rows.examples.tokens[:, 1:].tolist(),  # the first token is put before them again
        labels=rows.true.tolist(),
        groups=rows.examples.groups,
        name="D0",
    )
    monkeypatch.setattr("probes.causal.steering_report.own_statements", lambda _: data)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("known")
def test_a_file_of_prompts_ends_in_evidence(
    world_probe: Path, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "evidence.json"
    args = ["steer", str(world_probe), "--prompts", str(asked), "--random", "199"]
    assert main([*args, "--out", str(out)]) == 0
    text = said(capsys)
    for part in (
        "AUROC 1.000 on statements held out",
        "at token 14",
        "natural gap",
        "the push along truth",
        "load-bearing",
        "Erasing truth costs",
        "shuffled-label",
        str(out),
    ):
        assert part in text
    held = json.loads(out.read_text())
    rows = [Evidence.from_dict(row) for row in held["evidence"]]
    assert [row.subject for row in rows] == ["the push along truth", "truth"]
    assert all(row.verdict == "load-bearing" and (row.share or 0) > 0.5 for row in rows)
    assert held["probe"] == "truth" and len(held["dose"]) == 6 and len(held["effects"]) == 2
    assert main([*args, "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_without_the_statements_there_is_no_verdict(
    world_probe: Path, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["steer", str(world_probe), "--prompts", str(asked), "--random", "19"]
    assert main(args) == 0
    text = said(capsys)
    assert "are not found unchanged, and there is no verdict" in text
    assert "isotropic directions as long" in text and "load-bearing" not in text
    assert main([*args, "--out", str(tmp_path / "e.json")]) == 2
    assert "are not found unchanged" in capsys.readouterr().err
    assert not (tmp_path / "e.json").exists()


def test_prompts_about_statements_it_was_fitted_to_are_refused(
    text_probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (text_probe.parent / "data.csv").open() as file:
        texts = [line.partition(",")[0] for line in list(file)[1:]]
    known = set(Probe.load(text_probe).training_rows)
    hashed = dict(
        zip(
            texts,
            StatementSet.build(texts, [i % 2 for i in range(len(texts))]).row_hashes,
            strict=True,
        )
    )
    fitted = [text for text in texts if hashed[text] in known]
    path = tmp_path / "asked.jsonl"

    def ask(wanted: list[str], group: str = "g{}") -> int:
        rows = [
            {"clean": f"{t} w20", "answer": " w5", "wrong": " w6", "group": group.format(i)}
            for i, t in enumerate(wanted)
        ]
        path.write_text("\n".join(map(json.dumps, rows)))
        return main(["steer", str(text_probe), "--prompts", str(path), "--random", "19"])

    assert ask(fitted[:6]) == 2
    assert f"fitted to ({fitted[0]!r})" in capsys.readouterr().err
    # Names of groups in two files have nothing to do with each other.
    assert ask([f"w{i} w20 w21" for i in range(7, 13)], group="row {}") == 0
    assert "the push along probe" in said(capsys)


def test_statements_with_labels_turned_round_are_refused(
    text_probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (text_probe.parent / "data.csv").read_text().splitlines()
    turned = [f"{line[:-1]}{1 - int(line[-1])}" for line in lines[1:]]
    (tmp_path / "turned.csv").write_text("\n".join([lines[0], *turned]))
    args = ["--prompt", "w7 w8", "--data", str(tmp_path / "turned.csv")]
    assert main(["steer", str(text_probe), *args]) == 2
    assert "it points to label 0" in capsys.readouterr().err


@pytest.mark.usefixtures("known")
def test_one_pair_of_prompts_is_shown_without_a_verdict(
    world_probe: Path, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(asked.read_text().splitlines()[0])
    assert main(["steer", str(world_probe), "--prompts", str(path), "--random", "19"]) == 0
    assert "there is no verdict" in said(capsys)


@pytest.mark.usefixtures("known")
def test_where_nothing_reads_it_there_is_no_load(
    world_probe: Path, asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["steer", str(world_probe), "--prompts", str(asked), "--random", "19"]
    assert main([*args, "--position", "1"]) == 0
    text = said(capsys)
    assert "not load-bearing" in text
    assert "does not measurably" in text


@pytest.mark.usefixtures("known")
def test_without_labels_there_is_only_the_push(
    world_probe: Path, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in asked.read_text().splitlines()]
    path = tmp_path / "plain.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows).replace("corrupt", "clean2"))
    assert main(["steer", str(world_probe), "--prompts", str(path)]) == 2
    assert "unknown key 'clean2'" in capsys.readouterr().err
    path.write_text(
        "\n".join(json.dumps({k: v for k, v in r.items() if k != "corrupt"}) for r in rows)
    )
    assert main(["steer", str(world_probe), "--prompts", str(path), "--random", "19"]) == 0
    text = said(capsys)
    assert "the push along truth" in text and "do not say which label they have" in text


def test_a_text_is_continued_with_and_without_the_push(
    text_probe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    args = ["steer", str(text_probe), "--prompt", "w7 w8 w9", "w3 w8", "--tokens", "3"]
    assert main([*args, "--amount", "-4", "--random", "19"]) == 0
    text = said(capsys)
    assert text.count("prompt: w") == 2 and text.count("before: 'w") == 2
    assert "pushed by -4 ×" in text and "19 isotropic directions as long move it by" in text
    assert "is no verdict" in text
    assert main([*args, "--ablate", "--position", "every"]) == 0
    text = said(capsys)
    assert "its component set to the centre's, at every token" in text


def test_answers_on_the_command_line_are_judged_where_there_are_several_prompts(
    text_probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    args = ["steer", str(text_probe), "--answer", " w5", "--wrong", " w6", " w7"]
    args += ["--random", "19"]
    assert main([*args, "--prompt", "w7 w8 w9"]) == 0
    text = said(capsys)
    assert "has no interval, so there is no verdict" in text
    assert "load-bearing" not in text
    texts = [f"w{i} w8 w9" for i in range(10, 16)]
    data = text_probe.parent / "data.csv"
    for given in (["--data", str(data)], []):  # found again by itself
        assert main([*args, *given, "--prompt", *texts]) == 0
        text = said(capsys)
        assert "the push along probe" in text and "19 drawn" in text and "shuffled-label" in text
    assert main([*args, "--prompt", "w7", "--out", str(tmp_path / "e.json")]) == 2
    assert "has no interval, so there is no verdict" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "either --prompt TEXT or --prompts FILE"),
        (["--prompt", "w7", "--prompts", "x.jsonl"], "either --prompt TEXT or --prompts FILE"),
        (["--prompt", "w7", "--answer", " w5"], "--answer and --wrong go together"),
        (["--prompt", "w7", "--wrong", " w5"], "--answer and --wrong go together"),
        (["--prompts", "x", "--answer", "a", "--wrong", "b"], "a --prompts file has its own"),
        (["--prompt", "w7", "--amount", "0"], "--amount is 0.0"),
        (["--prompt", "w7", "--amount", "nan"], "--amount is nan"),
        (["--prompts", "x.jsonl", "--amount", "-1"], "a negative --amount is for prompts without"),
        (["--prompts", "x.jsonl", "--ablate"], "--ablate is for prompts without answers"),
        (["--prompt", "w7", "--out", "e.json"], "--out keeps evidence, which needs answers"),
        (["--prompt", "w7", "--ablate", "--amount", "5"], "there is no --amount to push by"),
        (["--prompts", "x", "--tokens", "5"], "--tokens is for prompts without answers"),
        (["--prompt", "w7", "--first-token"], "--first-token is for answers"),
        (["--prompt", "w7", "--group", "g"], "--group says how to read --data"),
        (["--prompt", "w7", "--position", "first"], "expected last, every or a token's index"),
        (["--prompt", "w7", "--random", "3"], "--random is 3; expected at least 19"),
        (["--prompt", "w7", "--tokens", "-1"], "--tokens is -1"),
        (["--prompt", "w7", "--promts", "x"], "unknown"),
        (["--prompts", "none.jsonl"], "none.jsonl: there is no such file"),
        (["--prompt", "w7", "--position", "5"], "there is no place 5"),
        (["--prompt", "w7", "--answer", " w5 w6", "--wrong", " w9"], "'answer' is 2 tokens"),
        (["--prompt", "w7", "--answer", " w5", "--wrong", " w5"], "begin with the same token"),
    ],
)
def test_refusals_are_one_line(
    text_probe: Path, args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["steer", str(text_probe), *args]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_other_models_probes_and_places_are_refused(
    text_probe: Path, world_probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    prompt = ["--prompt", "w7"]
    assert main(["steer", str(world_probe), *prompt, "--model", "zoo:code-lm"]) == 2
    assert "belongs to zoo:truth-world" in capsys.readouterr().err
    assert main(["steer", str(tmp_path / "none"), *prompt]) == 2
    assert "holds no probe" in capsys.readouterr().err
    assert main(["steer", *prompt]) == 2
    assert "expected a probe's folder first" in capsys.readouterr().err
    assert main(["steer", str(world_probe), *prompt]) == 2
    assert "has no tokenizer" in capsys.readouterr().err
    held = Probe.load(text_probe)
    replace(held, position="char:3").save(tmp_path / "char")
    assert main(["steer", str(tmp_path / "char"), *prompt]) == 2
    assert "give --position last" in capsys.readouterr().err
    train = {k: v for k, v in held.metrics["train"].items() if k != "natural_gap"}
    old = replace(held, metrics=dict(held.metrics) | {"train": train})
    old.save(tmp_path / "old")
    assert main(["steer", str(tmp_path / "old"), *prompt]) == 2
    assert "does not say how far its labels lie apart" in capsys.readouterr().err
    data = text_probe.parent / "data.csv"
    quiet = ["--tokens", "0", "--random", "19"]
    assert main(["steer", str(tmp_path / "old"), *prompt, *quiet, "--data", str(data)]) == 0


def test_the_help_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["steer", "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--prompt", "--answer", "--wrong", "--prompts", "--amount", "--ablate", "--out"):
        assert option in text
    assert main(["--help"]) == 0
    assert "steer" in capsys.readouterr().out
