"""Bi-Induct's data and training: what is rewritten, what stays, and that arms match."""

import pytest
import torch

from interp.zoo.bi_induct.documents import text_documents
from interp.zoo.bi_induct.measures import held_out_loss, induction_scores
from interp.zoo.bi_induct.rewrite import ARMS, batch, mixing_rate
from interp.zoo.bi_induct.streams import (
    BOS,
    SEP,
    Stream,
    StreamError,
    read_stream,
    renamed_code,
    text_stream,
    write_stream,
)
from interp.zoo.bi_induct.training import ArmConfig, Training, new_model, train_arm
from interp.zoo.bi_induct.warming import warm_up

CODE = (
    "import os\ndef f(alpha, beta):\n"
    "    return alpha.gamma(beta) + alpha.gamma(beta) if None else 1\n"
)
SMALL = {
    "n_heads": 4,
    "d_head": 8,
    "d_model": 32,
    "d_mlp": 64,
    "context": 48,
    "rows": 4,
    "steps": 6,
    "shortest": 4,
    "longest": 8,
}


@pytest.fixture(scope="module")
def stream(tmp_path_factory) -> Stream:
    root = tmp_path_factory.mktemp("library")
    for i in range(12):
        body = "".join(CODE.replace("alpha", f"a{i}_{j}").replace("f(", f"f{j}(") for j in range(8))
        (root / f"m{i}.py").write_text(body)
    return renamed_code(root, pool=64, held_out_share=0.2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_code_is_its_identifiers_and_nothing_else(tmp_path):
    (tmp_path / "a.py").write_text("x = y(x, 1) if None else 'text'  # comment\n")
    (tmp_path / "b.py").write_text("import z\n")
    made = renamed_code(tmp_path, pool=8)
    parts = sorted([made.train.tolist(), made.held_out.tolist()], key=len)
    assert parts[1][0] == parts[1][2] < 0, "x, y, x"
    assert parts[1][1] not in {parts[1][0], BOS} and parts[1][3:] == [BOS]
    assert len(parts[0]) == 2 and parts[0][0] not in parts[1], "no document shares a name"


def test_names_of_a_window_get_distinct_ids_afresh(stream):
    codes = stream.train[:40][None].expand(50, -1)
    windows = stream._rename(codes, generator())
    name = codes[0] < 0
    assert (windows[:, name] >= stream.n_fixed).all() and (windows < stream.vocab_size).all()
    for row in windows:
        pairs = set(zip(codes[0][name].tolist(), row[name].tolist(), strict=True))
        assert len(pairs) == len({c for c, _ in pairs}) == len({i for _, i in pairs})
    assert len({tuple(row) for row in windows.tolist()}) == 50, "another name each time"
    # Every id is as likely as any other: names say nothing by themselves.
    first = torch.cat([stream._rename(codes, generator(s))[:, name][:, 0] for s in range(80)])
    counts = torch.bincount(first - stream.n_fixed, minlength=stream.pool).double()
    expected = counts.sum() / stream.pool
    assert float(((counts - expected) ** 2 / expected).sum()) < 130  # χ² of 63 degrees, p ≈ 1e-6


def test_a_stream_comes_back_from_its_file(stream, tmp_path):
    write_stream(stream, tmp_path / "stream.safetensors")
    back = read_stream(tmp_path / "stream.safetensors")
    assert back.sha256 == stream.sha256 and back.pool == stream.pool == 64
    assert torch.equal(
        back.windows(3, 20, generator=generator()), stream.windows(3, 20, generator=generator())
    )


def test_windows_that_cannot_be_are_refused(stream):
    with pytest.raises(StreamError, match="fewer than a window"):
        stream.windows(1, 10**6, generator=generator())
    with pytest.raises(StreamError, match="larger vocabulary"):
        stream.windows(1, 100, generator=generator())
    with pytest.raises(StreamError, match="at least 2 ids"):
        renamed_code(pool=1)


def test_text_keeps_documents_apart_and_an_id_for_the_separator(tmp_path):
    for i in range(6):
        (tmp_path / f"{i}.txt").write_text(
            f"the cat number {i} sat on the mat number {i * 7}. " * 9
        )
    (tmp_path / "copy.txt").write_text((tmp_path / "0.txt").read_text())
    documents, held_out = text_documents(str(tmp_path), held_out_share=0.2)
    assert len(documents) + len(held_out) == 6 and not set(documents) & set(held_out)
    made = text_stream(documents, held_out, vocab_size=262)
    assert made.pool == 0 and not (made.train == SEP).any() and int(made.train.max()) < 262
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(StreamError, match="at least two"):
        text_documents(str(empty))


def one(stream, arm, *, rate=0.5, n=40, seed=0):
    return batch(
        stream,
        arm,
        n=n,
        context=64,
        rate=rate,
        lengths=(4, 10),
        natural=generator(seed),
        snippets=generator(seed + 1),
    )


def test_natural_rows_are_the_stream_and_all_arms_begin_with_the_same_windows(stream):
    natural = one(stream, "natural")
    windows = stream.windows(40, 63, generator=generator())
    assert natural.coverage == 0 and torch.equal(natural.rows[:, 1:], windows)
    for arm in ARMS[1:]:
        made = one(stream, arm)
        assert made.rows.shape == natural.rows.shape and (made.rows[:, 0] == BOS).all()
        for row, original in zip(made.rows, natural.rows, strict=True):
            if SEP not in row.tolist():
                assert torch.equal(row, original)


@pytest.mark.parametrize("arm", ARMS[1:])
def test_snippets_are_copies_in_the_arm_s_direction(stream, arm):
    forwards = backwards = 0
    for row in one(stream, arm).rows.tolist():
        for at in (i for i, token in enumerate(row) if token == SEP):
            ways = set()
            for length in range(4, 11):
                before, after = row[at - length : at], row[at + 1 : at + 1 + length]
                if at >= length and len(after) == length and len(set(before)) > 1:
                    ways |= {"f"} if before == after else set()
                    ways |= {"b"} if before == after[::-1] else set()
            forwards += "f" in ways
            backwards += "b" in ways
    assert forwards + backwards > 20
    assert (forwards > 0) == (arm != "backward") and (backwards > 0) == (arm != "forward")


def test_coverage_is_the_rate_on_average_and_falls_to_none(stream):
    shares = [one(stream, "forward", rate=0.5, n=60, seed=s).coverage for s in range(8)]
    assert abs(sum(shares) / 8 - 0.5) < 0.03, shares
    assert (
        mixing_rate(0, 100) == 0.5 and mixing_rate(50, 100) == 0.25 and mixing_rate(100, 100) == 0
    )
    assert one(stream, "forward", rate=0.0).coverage == 0
    with pytest.raises(ValueError, match="share from 0 to 1"):
        one(stream, "forward", rate=1.5)


def test_arms_of_a_seed_begin_alike_and_an_interruption_changes_nothing(stream, tmp_path):
    first, second = (Training(ArmConfig(arm=a, **SMALL), stream) for a in ("natural", "backward"))
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    config = ArmConfig(arm="balanced", **SMALL)
    whole = list(train_arm(config, stream, every=2))[-1]
    path = tmp_path / "checkpoint.safetensors"
    interrupted = train_arm(config, stream, every=2, checkpoint=path)
    for _ in range(3):
        next(interrupted)
    interrupted.close()
    resumed = list(train_arm(config, stream, every=2, checkpoint=path))[-1]
    assert resumed.history == whole.history and resumed.coverage == whole.coverage > 0
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="another recipe"):
        next(train_arm(ArmConfig(arm="forward", **SMALL), stream, checkpoint=path))


def test_training_lowers_the_loss():
    texts = [f"the cat number {i} sat on the mat, and the dog on the log. " * 9 for i in range(9)]
    stream = text_stream(texts[:6], texts[6:], vocab_size=270)
    seen = list(
        train_arm(
            ArmConfig(**{**SMALL, "steps": 40}),
            stream,
            every=40,
            look=lambda m: {"held_out": held_out_loss(m, stream, context=48, seed=0, n=8)},
        )
    )[-1].history
    assert seen[-1]["held_out"] < seen[0]["held_out"] - 1


def test_warm_up_leaves_the_other_heads_silent_or_says_that_it_failed(stream):
    config = ArmConfig(**SMALL, warm_up_until=0.01, warm_up_heads=1)
    model, steps = warm_up(config, stream)
    assert steps == 5
    for layer in model.model.layers:
        weight = layer.self_attn.o_proj.weight
        assert (weight[:, 8:] == 0).all() and (weight[:, :8] != 0).any()
    hopeless = ArmConfig(**SMALL, warm_up_until=0.99, warm_up_at_most=5)
    with pytest.raises(RuntimeError, match="strongest head scores"):
        warm_up(hopeless, stream)
    untouched, none = warm_up(ArmConfig(**SMALL, warm_up_until=None), stream)
    assert none == 0
    for a, b in zip(
        untouched.parameters(), new_model(config, stream.vocab_size).parameters(), strict=True
    ):
        assert torch.equal(a, b)


def test_random_weights_have_no_induction_head(stream):
    scores = induction_scores(
        new_model(ArmConfig(**SMALL), stream.vocab_size), stream, seed=0, length=12
    )
    assert scores.shape == (2, 4) and float(scores.max()) < 0.1


def test_a_data_set_out_of_reach_is_said_at_once(monkeypatch):
    from interp.zoo.bi_induct import documents

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(documents, "hub_reachable", lambda: False)
    with pytest.raises(StreamError, match="cannot be reached; give a folder"):
        text_documents("datasets:nobody/nothing")
