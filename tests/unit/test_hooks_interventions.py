"""Interventions: each kind against a computation by hand, and none touches what it is given."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.hooks import (
    Intervention,
    Site,
    SiteError,
    add,
    capture,
    derangement,
    mean,
    project_out,
    reference_mean,
    resample,
    session,
    set_to,
    zero,
)
from interp.models import Examples

BATCH, POS, HEADS, WIDTH = 3, 6, 4, 5


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture
def z():
    return randn(BATCH, POS, HEADS, WIDTH)


@pytest.fixture
def resid():
    return randn(BATCH, POS, WIDTH)


def others(z, head):
    return [h for h in range(z.shape[2]) if h != head]


def test_zero(z):
    out = zero("L0H2").apply(z)
    assert bool((out[:, :, 2] == 0).all())
    assert torch.equal(out[:, :, others(z, 2)], z[:, :, others(z, 2)])
    at = zero("L0H2@-1").apply(z)
    assert bool((at[:, -1, 2] == 0).all())
    assert torch.equal(at[:, :-1], z[:, :-1])
    assert bool((zero("L0.z").apply(z) == 0).all())
    pattern = randn(BATCH, HEADS, POS, POS).softmax(-1)
    query = zero("L0H1.pattern@3").apply(pattern)
    assert bool((query[:, 1, 3] == 0).all())
    assert torch.equal(query[:, 0], pattern[:, 0])
    assert torch.equal(query[:, 1, :3], pattern[:, 1, :3])


def test_mean_over_all_positions(z, resid):
    value = randn(WIDTH, seed=1)
    out = mean("L0H2", value).apply(z)
    assert torch.equal(out[:, :, 2], value.expand(BATCH, POS, WIDTH))
    assert torch.equal(out[:, :, others(z, 2)], z[:, :, others(z, 2)])
    heads = randn(HEADS, WIDTH, seed=2)
    assert torch.equal(mean("L0.z", heads).apply(z), heads.expand_as(z))
    at = mean("L0.resid_post@2", value).apply(resid)
    assert torch.equal(at[:, 2], value.expand(BATCH, WIDTH))
    assert torch.equal(at[:, 3:], resid[:, 3:])


def test_mean_by_position(z, resid):
    value = randn(POS + 3, WIDTH, seed=1)  # made on longer rows than these
    out = mean("L0H2", value).apply(z)
    assert torch.equal(out[:, :, 2], value[:POS].expand(BATCH, POS, WIDTH))
    heads = randn(POS, HEADS, WIDTH, seed=2)
    assert torch.equal(mean("L0.z", heads).apply(z), heads.expand_as(z))
    with pytest.raises(SiteError, match="the value has 4 positions, the rows 6"):
        mean("L0.resid_post", value[:4]).apply(resid)


@pytest.mark.parametrize("position", [0, 2, -1, -6])
def test_mean_by_position_at_one_position(z, position):
    value = randn(POS + 3, WIDTH, seed=1)
    out = mean(Site(0, "z", 2, position), value).apply(z)
    at = position % POS  # from the end of the rows that run, not of the mean
    assert torch.equal(out[:, at, 2], value[at].expand(BATCH, WIDTH))
    rest = [p for p in range(POS) if p != at]
    assert torch.equal(out[:, rest], z[:, rest])


def test_a_mean_for_each_position_is_not_one_for_each_example():
    # As many positions as rows: broadcasting would fit either way.
    square = randn(4, 4, WIDTH)
    value = randn(4, WIDTH, seed=1)
    out = mean("L0.resid_post@1", value).apply(square)
    assert torch.equal(out[:, 1], value[1].expand(4, WIDTH))


@pytest.mark.parametrize(
    ("site", "shape"),
    [
        ("L0H2", (WIDTH + 1,)),
        ("L0H2", (HEADS, WIDTH + 1)),
        ("L0.z", (WIDTH,)),
        ("L0.z", (HEADS + 1, WIDTH)),
        ("L0.z", (BATCH, POS, HEADS, WIDTH)),
        ("L0H2", (1,)),
        ("L0H2", ()),
        ("L0H2@1", (1, POS, WIDTH)),
    ],
)
def test_means_of_another_shape(z, site, shape):
    with pytest.raises(SiteError, match=r"does not fit|positions"):
        mean(site, randn(*shape)).apply(z)


def test_set_broadcasts_over_what_is_missing(z, resid):
    assert torch.equal(set_to("L0.resid_post", torch.tensor(2.0)).apply(resid), resid * 0 + 2)
    each = randn(BATCH, POS, WIDTH, seed=1)
    assert torch.equal(set_to("L0.resid_post", each).apply(resid), each)
    assert torch.equal(set_to("L0H1", each).apply(z)[:, :, 1], each)
    one = randn(BATCH, WIDTH, seed=2)
    assert torch.equal(set_to("L0H1@3", one).apply(z)[:, 3, 1], one)
    with pytest.raises(SiteError, match=r"shape \[7, 5\] does not fit .* \[3, 6, 5\] \(batch, pos"):
        set_to("L0.resid_post", randn(POS + 1, WIDTH)).apply(resid)
    with pytest.raises(SiteError, match="does not fit"):
        set_to("L0.resid_post", randn(2, 3, 6, 5)).apply(resid)


def test_add(z, resid):
    vector = randn(WIDTH, seed=1)
    out = add("L0.resid_post", vector, scale=-2.5).apply(resid)
    torch.testing.assert_close(out, resid - 2.5 * vector)
    head = add("L0H3@1", vector).apply(z)
    torch.testing.assert_close(head[:, 1, 3], z[:, 1, 3] + vector)
    assert torch.equal(head[:, 2:], z[:, 2:])
    assert torch.equal(add("L0.resid_post", vector, scale=0.0).apply(resid), resid)


def test_project_out_one_direction(resid):
    direction = randn(WIDTH, seed=1)
    unit = direction / direction.norm()
    out = project_out("L0.resid_post", direction).apply(resid)
    torch.testing.assert_close(out, resid - (resid @ unit)[..., None] * unit)
    torch.testing.assert_close(out @ unit, torch.zeros(BATCH, POS), atol=1e-6, rtol=0)
    again = project_out("L0.resid_post", -3 * direction).apply(out)
    torch.testing.assert_close(again, out)


@given(st.integers(1, 4), st.integers(0, 1000), st.floats(1e-6, 1e6))
@settings(deadline=None)
def test_project_out_removes_the_span_and_nothing_else(k, seed, scale):
    directions = randn(k, WIDTH, seed=seed)
    directions[0] *= scale  # directions of very different lengths are as independent as any
    x = randn(BATCH, POS, WIDTH, seed=seed + 1)
    out = project_out("L0.resid_post", directions).apply(x)
    units = directions / directions.norm(dim=1, keepdim=True)
    assert (out @ units.T).abs().max() < 1e-4
    # What is orthogonal to the span is kept: compare with least squares.
    q = torch.linalg.qr(units.T.double())[0]
    torch.testing.assert_close(out.double(), x.double() - x.double() @ q @ q.T, atol=1e-5, rtol=0)


def test_project_out_at_a_head(z):
    direction = randn(WIDTH, seed=1)
    out = project_out("L0H2", direction).apply(z)
    assert (out[:, :, 2] @ direction).abs().max() < 1e-5
    assert torch.equal(out[:, :, others(z, 2)], z[:, :, others(z, 2)])
    whole = project_out("L0.z", direction).apply(z)
    torch.testing.assert_close(whole[:, :, 2], out[:, :, 2])


def test_whole_numbers_are_directions_too(resid):
    out = project_out("L0.resid_post", torch.tensor([1, 1, 0, 0, 0])).apply(resid)
    torch.testing.assert_close(out[..., 0], -out[..., 1])
    assert (resid[..., 0] + resid[..., 1]).abs().max() > 0.1


@pytest.mark.parametrize(
    "directions",
    [
        torch.zeros(WIDTH),
        torch.stack([torch.ones(WIDTH), torch.ones(WIDTH)]),
        torch.eye(WIDTH + 1)[:, :WIDTH],
        torch.full((WIDTH,), float("nan")),
        torch.zeros(2, 2, WIDTH),
    ],
)
def test_impossible_directions(directions):
    with pytest.raises(SiteError, match=r"not linearly independent|finite directions"):
        project_out("L0.resid_post", directions)


def test_patterns_have_no_directions():
    with pytest.raises(SiteError, match="no directions"):
        project_out("L0.pattern", torch.ones(4))


def test_halves_are_worked_in_full(resid):
    half = (100 * resid).to(torch.bfloat16)
    direction = randn(WIDTH, seed=1)
    out = project_out("L0.resid_post", direction).apply(half)
    assert out.dtype == torch.bfloat16
    exact = project_out("L0.resid_post", direction).apply(half.double())
    assert torch.equal(out, exact.to(torch.bfloat16))


# -- resampling -----------------------------------------------------------------------------------


@given(st.integers(2, 40), st.integers(0, 2**31))
def test_derangements(n, seed):
    order = derangement(n, seed=seed)
    assert sorted(order.tolist()) == list(range(n))
    assert not bool((order == torch.arange(n)).any())
    assert torch.equal(order, derangement(n, seed=seed))


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=40), st.integers(0, 2**31))
def test_derangements_leave_the_group_where_they_can(groups, seed):
    most = max(groups.count(label) for label in groups)
    if len(set(groups)) < len(groups) < 2 * most:
        with pytest.raises(SiteError, match="too few others"):
            derangement(len(groups), seed=seed, groups=groups)
        return
    order = derangement(len(groups), seed=seed, groups=groups).tolist()
    assert sorted(order) == list(range(len(groups)))
    assert all(groups[i] != groups[source] for i, source in enumerate(order))


def test_groups_of_one_change_no_derangement():
    assert torch.equal(derangement(5, seed=2), derangement(5, seed=2, groups="abcde"))
    with pytest.raises(SiteError, match="as many group labels"):
        derangement(5, seed=2, groups="abc")


def test_derangements_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    derangement(20, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    seen = {tuple(derangement(4, seed=seed).tolist()) for seed in range(300)}
    assert len(seen) == 9  # all derangements of four


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_to_resample(n):
    with pytest.raises(SiteError, match="at least two examples"):
        resample("L0H1", torch.zeros(n, POS, WIDTH), seed=0)


def test_resample(z):
    donors = randn(BATCH, POS + 2, WIDTH, seed=1)
    change = resample("L0H1", donors, seed=3)
    out = change.apply(z)
    assert torch.equal(out[:, :, 1], donors[change.source][:, :POS])
    assert torch.equal(out[:, :, others(z, 1)], z[:, :, others(z, 1)])
    at = resample("L0H1@-2", donors, seed=3).apply(z)
    assert torch.equal(at[:, -2, 1], donors[change.source][:, POS - 2])
    alone = resample("L0H1@-2", donors[:, 4], seed=3).apply(z)
    assert torch.equal(alone[:, -2, 1], donors[change.source][:, 4])
    with pytest.raises(SiteError, match="5 positions, the rows 6"):
        resample("L0H1", donors[:, :5], seed=3).apply(z)
    with pytest.raises(SiteError, match="does not fit"):
        resample("L0H1", donors[..., :4], seed=3).apply(z)


def test_resampling_in_batches_equals_the_whole(gpt2, random_ids):
    examples = Examples(random_ids(7, 6))
    held = capture(gpt2, examples, ["L1.z"])[Site(1, "z")]
    change = resample("L1.z", held, seed=2)
    with session(gpt2, intervene=[change]) as s:
        whole = s.run(examples)
        for size in (1, 2, 3):
            parts = [s.run(batch, rows=rows) for rows, batch in examples.batches(size)]
            torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=0)
    # By hand: each example with the donor's z.
    with session(gpt2, intervene=[set_to("L1.z", held[change.source])]) as s:
        torch.testing.assert_close(s.run(examples), whole)
    assert (whole - gpt2.logits(examples.tokens)).abs().max() > 0.01


def test_resampling_padded_rows_is_refused(gpt2, random_ids, padded):
    tokens, mask = padded(random_ids(3, 6), [4, 6, 5], "right", 6)
    with session(gpt2, intervene=[resample("L1H0", torch.zeros(3, 6, 5), seed=0)]) as s:
        with pytest.raises(SiteError, match="needs rows without padding"):
            s.run(tokens, mask)
        s.run(tokens)
    with session(gpt2, intervene=[resample("L1H0@0", torch.zeros(3, 5), seed=0)]) as s:
        s.run(tokens, mask)


def test_a_mean_by_position_on_left_padded_rows_is_refused(gpt2, random_ids, padded):
    left = padded(random_ids(3, 6), [4, 6, 5], "left", 6)
    right = padded(random_ids(3, 6), [4, 6, 5], "right", 6)
    with session(gpt2, intervene=[mean("L1H0", torch.zeros(6, 5))]) as s:
        with pytest.raises(SiteError, match="without padding on the left"):
            s.run(*left)
        s.run(*right)
    columns = set_to("L1H0", torch.zeros(3, 6, 5))
    for change in (mean("L1H0", torch.zeros(5)), columns, zero("L1H0")):
        with session(gpt2, intervene=[change]) as s:
            s.run(*left)


def test_means_from_a_reference_set_fit(model, random_ids):
    reference, ids = Examples(random_ids(5, 9)), random_ids(2, 7, seed=8)
    for by_position in (False, True):
        sites = ["L1.z", "L1H2", "L2.resid_post", "L0.attn_out", "L1.k"]
        means = reference_mean(model, reference, sites, by_position=by_position)
        for site, value in means.items():
            with session(model, capture=[site], intervene=[mean(site, value)]) as s:
                s.run(ids)
                axes = value[:7] if by_position else value.unsqueeze(0).expand(7, *value.shape)
                torch.testing.assert_close(s[site], axes.expand(2, *axes.shape))


# -- purity ---------------------------------------------------------------------------------------

EVERY_KIND = [
    zero("L0H1"),
    mean("L0H1", torch.ones(WIDTH)),
    mean("L0H1@2", torch.ones(POS, WIDTH)),
    resample("L0H1", torch.ones(BATCH, POS, WIDTH), seed=0),
    set_to("L0H1", torch.ones(WIDTH)),
    add("L0H1", torch.ones(WIDTH), scale=0.5),
    project_out("L0H1", torch.ones(WIDTH)),
]


@pytest.mark.parametrize("change", EVERY_KIND, ids=str)
def test_interventions_are_pure(change: Intervention, z):
    before = z.clone()
    value = None if change.value is None else change.value.clone()
    first, second = change.apply(z), change.apply(z)
    assert torch.equal(z, before)
    assert torch.equal(first, second)
    assert first.data_ptr() != z.data_ptr()
    assert first.dtype == z.dtype
    assert not torch.equal(first, z)
    assert value is None or torch.equal(value, change.value)
    assert change.apply(z.to(torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("change", EVERY_KIND, ids=str)
def test_interventions_let_gradients_through(change: Intervention, z):
    z = z.clone().requires_grad_()
    change.apply(z)[:, :, 0].sum().backward()
    assert z.grad is not None
    assert torch.equal(z.grad[:, :, 0], torch.ones(BATCH, POS, WIDTH))
    assert bool((z.grad[:, :, 1:] == 0).all())


@pytest.mark.parametrize("position", [POS, -POS - 1, 100])
def test_rows_that_are_too_short(z, position):
    with pytest.raises(SiteError, match=f"no position {position} in rows of {POS}"):
        zero(Site(0, "z", 1, position)).apply(z)
