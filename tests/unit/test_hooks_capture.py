"""Capture: what one plain run holds, whatever the lengths, batches and interruptions."""

from __future__ import annotations

import json

import pytest
import torch

from interp.hooks import Site, SiteError, capture, reference_mean, session
from interp.hooks import store as store_module
from interp.models import Examples, Model, ModelError

LENGTHS = [7, 2, 9, 4, 9, 1, 5]
SITES = ["embed", "L0.resid_pre", "L1.z", "L1H2", "L1.k", "L2.resid_post", "L0.attn_out"]
CLOSE = {"atol": 2e-5, "rtol": 1e-5}


@pytest.fixture(params=["left", "right", "none"])
def examples(request, random_ids, padded):
    ids = random_ids(7, 9)
    if request.param == "none":
        return Examples(ids)
    return Examples(*padded(ids, LENGTHS, request.param, width=11))


@pytest.fixture
def mixed(random_ids, padded):
    return Examples(*padded(random_ids(7, 9), LENGTHS, "right", width=11))


def alone(model, examples, row, sites):
    """One example by itself, without padding."""
    ids = examples.tokens[row][examples.mask[row]][None]
    with session(model, capture=sites) as s:
        s.run(ids)
        return {Site.parse(site): s[site][0] for site in sites}


def test_each_example_as_if_it_were_alone(model, examples):
    found = capture(model, examples, SITES, batch_size=3)
    assert list(found) == [Site.parse(site) for site in SITES]
    width = int(examples.lengths.max())
    assert all(values.shape[:2] == (7, width) for values in found.values())
    for row, length in enumerate(examples.lengths.tolist()):
        expected = alone(model, examples, row, SITES)
        for site, values in found.items():
            torch.testing.assert_close(values[row, :length], expected[site], **CLOSE)
            assert bool((values[row, length:] == 0).all())


def test_attention_of_mixed_lengths(model, examples):
    sites = ["L1.pattern", "L0H3.pattern"]
    found = capture(model, examples, sites, batch_size=3)
    width = int(examples.lengths.max())
    assert found[Site(1, "pattern")].shape == (7, 4, width, width)
    assert found[Site(0, "pattern", 3)].shape == (7, width, width)
    for row, length in enumerate(examples.lengths.tolist()):
        expected = alone(model, examples, row, sites)
        for site, values in found.items():
            mine = values[row]
            torch.testing.assert_close(mine[..., :length, :length], expected[site], **CLOSE)
            # What a padding query attends to is nothing to be read.
            assert bool((mine[..., length:, :] == 0).all())
            assert bool((mine[..., :length, length:] == 0).all())


def test_equal_to_run_with_cache(model, random_ids):
    ids = random_ids(5, 8)
    _, cache = model.bridge.run_with_cache(ids)
    found = capture(model, Examples(ids), ["L1.resid_post", "L2.z", "L0.pattern"], batch_size=2)
    torch.testing.assert_close(
        found[Site(1, "resid_post")], cache["blocks.1.hook_resid_post"], **CLOSE
    )
    torch.testing.assert_close(found[Site(2, "z")], cache["blocks.2.attn.hook_z"], **CLOSE)
    torch.testing.assert_close(
        found[Site(0, "pattern")], cache["blocks.0.attn.hook_pattern"], **CLOSE
    )


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        (0, lambda n: 0),
        (-1, lambda n: n - 1),
        ("last", lambda n: n - 1),
        ([0], lambda n: [0]),
        ([-1, 0, 0], lambda n: [n - 1, 0, 0]),
        (torch.tensor([6, 1, -1, 3, 0, 0, 2]), None),
        (torch.tensor([[6, 0], [1, 1], [-1, 5], [3, -4], [0, 8], [0, -1], [2, 2]]), None),
    ],
)
def test_positions_among_real_tokens(gpt2, random_ids, padded, positions, expected):
    sites = ["L1.resid_post", "L1H2", "L1.z", "final_norm"]
    for side in ("left", "right"):
        examples = Examples(*padded(random_ids(7, 9), LENGTHS, side, width=11))
        every = capture(gpt2, examples, sites)
        found = capture(gpt2, examples, sites, positions=positions, batch_size=2)
        for site, values in found.items():
            for row, length in enumerate(LENGTHS):
                at = expected(length) if expected else positions[row]
                want = every[site][row][
                    at % length if isinstance(at, int) else torch.as_tensor(at) % length
                ]
                torch.testing.assert_close(values[row], want, **CLOSE)
            assert len(values) == 7


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (1, "position 1 is outside example 5, which has 1 tokens"),
        ([0, -2], "position -2 is outside example 5"),
        ("first", "unknown positions 'first'"),
        (torch.zeros(3, dtype=torch.int64), r"one row an example \(7\)"),
        (torch.zeros(7, 2, 2, dtype=torch.int64), "one row an example"),
        ([], "at least one"),
        (0.5, "whole numbers"),
        (torch.ones(7, dtype=torch.bool), "whole numbers"),
    ],
)
def test_impossible_positions(gpt2, mixed, positions, message):
    with pytest.raises(SiteError, match=message):
        capture(gpt2, mixed, ["L0.z"], positions=positions)


@pytest.mark.parametrize(
    ("sites", "positions", "message"),
    [
        ([], None, "no sites"),
        (["L0.z@1"], None, "by positions=, not in the site"),
        (["L0.z", "L0.pattern"], "last", "kept for all positions"),
        (["L9.z"], None, "no layer 9"),
        (["L0.zz"], None, "cannot read"),
    ],
)
def test_impossible_sites(gpt2, mixed, sites, positions, message):
    with pytest.raises(SiteError, match=message):
        capture(gpt2, mixed, sites, positions=positions)


def test_batches_are_of_similar_length_and_go_no_further_than_needed(gpt2, mixed, monkeypatch):
    shapes = []
    forward = Model.forward

    def counting(self, tokens, mask=None):
        shapes.append(tuple(tokens.shape))
        return forward(self, tokens, mask)

    blocks = [0, 0, 0]
    handles = []
    for layer, block in enumerate(gpt2.bridge.blocks):

        def count(module, inputs, layer=layer):
            blocks[layer] += 1

        handles.append(block.register_forward_pre_hook(count))
    Site.parse("L1.z").point(gpt2)  # surveyed before counting
    monkeypatch.setattr(Model, "forward", counting)
    try:
        blocks[:] = [0, 0, 0]
        shapes.clear()
        capture(gpt2, mixed, ["L1.z"], batch_size=3)
    finally:
        for handle in handles:
            handle.remove()
    assert shapes == [(3, 4), (3, 9), (1, 9)]
    assert blocks == [3, 3, 0]


def test_what_is_kept_does_not_depend_on_the_batch_size(gpt2, mixed):
    one = capture(gpt2, mixed, SITES, batch_size=1)
    for size in (2, 7, 100):
        for site, values in capture(gpt2, mixed, SITES, batch_size=size).items():
            torch.testing.assert_close(values, one[site], **CLOSE)
    with pytest.raises(ModelError, match="batch size must be at least 1"):
        capture(gpt2, mixed, SITES, batch_size=0)


def test_it_halves_when_memory_runs_out(gpt2, mixed, monkeypatch):
    expected = capture(gpt2, mixed, SITES)
    sizes = run_out_of_memory(monkeypatch, above=2)
    found = capture(gpt2, mixed, SITES, batch_size=6)
    for site, values in found.items():
        torch.testing.assert_close(values, expected[site], **CLOSE)
    assert sizes[:3] == [6, 3, 1]


def run_out_of_memory(monkeypatch, above):
    sizes = []
    forward = Model.forward

    def limited(self, tokens, mask=None):
        sizes.append(len(tokens))
        if len(tokens) > above:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, tokens, mask)

    monkeypatch.setattr(Model, "forward", limited)
    monkeypatch.setattr("gc.collect", lambda: 0)
    return sizes


def test_precision_is_the_models(make_hf, mixed, tmp_path):
    from interp.models import load_model

    half = load_model("half", hf_model=make_hf("gpt2"), dtype="bfloat16")
    inside = capture(half, mixed, ["L0.z"])[Site(0, "z")]
    assert inside.dtype == torch.bfloat16
    mapped = capture(half, mixed, ["L0.z"], path=tmp_path)[Site(0, "z")]
    assert mapped.dtype == torch.float32  # numpy has no bfloat16
    assert torch.equal(mapped, inside.float())


# -- in files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", [None, "last", [0, -1]], ids=str)
def test_memory_mapped_equals_in_memory(gpt2, mixed, tmp_path, positions):
    expected = capture(gpt2, mixed, SITES, positions=positions, batch_size=2)
    found = capture(
        gpt2, mixed, SITES, positions=positions, batch_size=2, path=tmp_path / "a" / "b"
    )
    for site, values in found.items():
        assert torch.equal(values, expected[site])
        assert (tmp_path / "a" / "b" / f"{site}.npy").is_file()


class _Killed(BaseException):
    """As a kill would: nothing catches it."""


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_an_interrupted_capture_goes_on_where_it_stopped(gpt2, mixed, tmp_path, monkeypatch, after):
    expected = capture(gpt2, mixed, SITES, batch_size=2)
    forward, ran = Model.forward, []

    def killed(self, tokens, mask=None):
        if len(ran) == after:
            raise _Killed
        ran.append(len(tokens))
        return forward(self, tokens, mask)

    with monkeypatch.context() as patch, pytest.raises(_Killed):
        patch.setattr(Model, "forward", killed)
        capture(gpt2, mixed, SITES, batch_size=2, path=tmp_path)
    assert ran == [2] * after
    state = tmp_path / "capture.json"
    assert state.is_file() == (after > 0)
    assert after == 0 or json.loads(state.read_text())["done"] == 2 * after

    def counting(self, tokens, mask=None):
        ran.append(len(tokens))
        return forward(self, tokens, mask)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "forward", counting)
        found = capture(gpt2, mixed, SITES, batch_size=2, path=tmp_path)
    assert sum(ran) == 7  # nothing twice
    for site, values in found.items():
        assert torch.equal(values, expected[site])

    with monkeypatch.context() as patch:  # finished: the model does not run at all
        patch.setattr(Model, "forward", killed)
        again = capture(gpt2, mixed, SITES, batch_size=2, path=tmp_path)
    for site, values in again.items():
        assert torch.equal(values, expected[site])


def test_a_kill_while_writing_loses_one_batch(gpt2, mixed, tmp_path, monkeypatch):
    expected = capture(gpt2, mixed, SITES, batch_size=2)
    flushed = []
    write = store_module.Store.write

    def half_written(self, rows, parts):
        if len(flushed) == 2:  # some sites' rows are there, the record is not
            first = next(iter(parts))
            self.tensors[first][rows] = 99.0
            raise _Killed
        flushed.append(len(rows))
        write(self, rows, parts)

    with monkeypatch.context() as patch, pytest.raises(_Killed):
        patch.setattr(store_module.Store, "write", half_written)
        capture(gpt2, mixed, SITES, batch_size=2, path=tmp_path)
    for site, values in capture(gpt2, mixed, SITES, batch_size=2, path=tmp_path).items():
        assert torch.equal(values, expected[site])


def test_a_folder_of_another_capture_is_refused(gpt2, load_tiny, mixed, tmp_path):
    capture(gpt2, mixed, ["L0.z"], path=tmp_path)
    others = [
        (gpt2, mixed, ["L0.z", "L1.z"], None),
        (gpt2, mixed, ["L1.z"], None),
        (gpt2, mixed.select([0, 1]), ["L0.z"], None),
        (gpt2, mixed, ["L0.z"], "last"),
        (load_tiny("llama"), mixed, ["L0.z"], None),
    ]
    for model, examples, sites, positions in others:
        with pytest.raises(SiteError, match="holds another capture"):
            capture(model, examples, sites, positions=positions, path=tmp_path)
    single = tmp_path / "single"
    capture(gpt2, mixed, ["L0.z"], positions=0, path=single)
    with pytest.raises(SiteError, match="holds another capture"):  # the same, but for its shape
        capture(gpt2, mixed, ["L0.z"], positions=[0], path=single)
    again = capture(gpt2, mixed, ["L0.z"], positions="last", path=tmp_path / "l")
    by_number = capture(gpt2, mixed, ["L0.z"], positions=-1, path=tmp_path / "l")
    assert torch.equal(again[Site(0, "z")], by_number[Site(0, "z")])


def test_lost_files_are_made_again(gpt2, mixed, tmp_path):
    expected = capture(gpt2, mixed, ["L0.z", "L1.z"], path=tmp_path)
    kept = {site: values.clone() for site, values in expected.items()}
    (tmp_path / "L1.z.npy").unlink()
    for site, values in capture(gpt2, mixed, ["L0.z", "L1.z"], path=tmp_path).items():
        assert torch.equal(values, kept[site])


def test_too_much_for_memory_asks_for_a_folder(gpt2, mixed, tmp_path, monkeypatch):
    # Sites differ in size: all of them count, not the first times their number.
    z, logits = 7 * 9 * 20 * 4, 7 * 9 * 29 * 4
    monkeypatch.setattr(store_module, "MEMORY_MAP_BYTES", z + logits)
    capture(gpt2, mixed, ["L0.z", "logits"])
    monkeypatch.setattr(store_module, "MEMORY_MAP_BYTES", z + logits - 1)
    with pytest.raises(SiteError, match="pass path=FOLDER"):
        capture(gpt2, mixed, ["L0.z", "logits"])
    capture(gpt2, mixed, ["L0.z", "logits"], positions="last")
    capture(gpt2, mixed, ["L0.z", "logits"], path=tmp_path)


# -- means --------------------------------------------------------------------------------------


def test_reference_mean_is_the_mean_over_real_tokens(model, examples):
    sites = ["L1.z", "L1H2", "L0.resid_post", "L1.v"]
    every = capture(model, examples, sites)
    found = reference_mean(model, examples, sites, batch_size=3)
    for site, value in found.items():
        rows = [every[site][row, :length] for row, length in enumerate(examples.lengths.tolist())]
        expected = torch.cat(rows).double().mean(0).float()
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected, **CLOSE)


def test_reference_mean_by_position(gpt2, mixed):
    every = capture(gpt2, mixed, ["L1.z", "L1H2"])
    found = reference_mean(gpt2, mixed, ["L1.z", "L1H2"], by_position=True, batch_size=3)
    for site, value in found.items():
        assert len(value) == 9  # as far as the longest example, not as the padding
        for position in range(9):
            rows = [row for row, length in enumerate(LENGTHS) if length > position]
            expected = every[site][rows, position].double().mean(0).float()
            torch.testing.assert_close(value[position], expected, **CLOSE)


def test_reference_mean_when_memory_runs_out_counts_nothing_twice(gpt2, mixed, monkeypatch):
    sites = ["L0.z", "L1.z"]
    expected = reference_mean(gpt2, mixed, sites)
    monkeypatch.setattr("gc.collect", lambda: 0)
    to = torch.Tensor.to
    calls = []

    def failing(self, *args, **kwargs):
        if args == (torch.float64,) and self.ndim == 4:
            calls.append(len(self))
            if len(calls) == 2:  # after the first site of the first batch is summed
                raise MemoryError
        return to(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", failing)
    found = reference_mean(gpt2, mixed, sites, batch_size=7)
    assert calls[:4] == [7, 7, 3, 3]
    for site, value in found.items():
        torch.testing.assert_close(value, expected[site], **CLOSE)


def test_impossible_means(gpt2, mixed, padded, random_ids):
    left = Examples(*padded(random_ids(2, 9), [4, 9], "left"))
    with pytest.raises(SiteError, match="without padding on the left"):
        reference_mean(gpt2, left, ["L0.z"], by_position=True)
    for site in ("L0.pattern", "L0.scores", "L0.z@-1"):
        with pytest.raises(SiteError, match="no mean over positions"):
            reference_mean(gpt2, mixed, [site])
    with pytest.raises(SiteError, match="no sites"):
        reference_mean(gpt2, mixed, [])


def test_progress_is_silent_where_nobody_watches(gpt2, mixed, capfd):
    capture(gpt2, mixed, ["L0.z"])
    out, err = capfd.readouterr()
    assert not out
    assert not err


def test_captured_sites_may_be_written_as_text(load_tiny):
    model = load_tiny("gpt2")
    examples = Examples(torch.tensor([[1, 2, 3]]))
    found = capture(model, examples, ["L1.resid_post"], positions="last")
    assert torch.equal(found["L1.resid_post"], found[Site(1, "resid_post")])
    with pytest.raises(SiteError, match=r"L0\.resid_post was not captured; there are L1"):
        found["L0.resid_post"]
    with pytest.raises(SiteError, match="needs Examples, got Tensor"):
        capture(model, examples.tokens, "L1.resid_post")
