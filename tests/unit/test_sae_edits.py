"""Edits of latents: each kind by hand, and what is refused."""

from __future__ import annotations

import pytest
import torch

from interp.sae.edits import EditError, clamp_latents, scale_latents, set_latents, zero_latents


def test_each_kind_by_hand_and_none_touches_what_it_is_given():
    latents = torch.rand(3, 4, 6)
    before = latents.clone()
    wanted = {
        zero_latents([1, 3]): lambda f: 0 * f,
        set_latents([1, 3], torch.tensor([0.5, -2.0])): lambda f: torch.tensor(
            [0.5, -2.0]
        ).expand_as(f),
        set_latents([1, 3], torch.arange(6.0)): lambda f: torch.tensor([1.0, 3.0]).expand_as(f),
        set_latents([1, 3], 0.25): lambda f: 0 * f + 0.25,
        clamp_latents([1, 3], 0.2, 0.6): lambda f: f.clamp(0.2, 0.6),
        scale_latents([1, 3], -2.0): lambda f: -2.0 * f,
    }
    rest = [0, 2, 4, 5]
    for edit, function in wanted.items():
        found = edit.apply(latents)
        assert torch.equal(latents, before)
        assert torch.equal(found[..., rest], before[..., rest])
        torch.testing.assert_close(found[..., [1, 3]], function(before[..., [1, 3]]))


def test_values_follow_the_order_in_which_latents_are_named():
    edit = set_latents([4, 0], torch.tensor([1.0, 2.0]))
    assert edit.apply(torch.zeros(6)).tolist() == [2.0, 0, 0, 0, 1.0, 0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: zero_latents([]), "name at least one"),
        (lambda: zero_latents([2, 2]), "different indices"),
        (lambda: zero_latents([-1]), "different indices"),
        (lambda: set_latents([0, 1], torch.zeros(1)), "as many finite values"),
        (lambda: set_latents([0, 7], torch.zeros(5)), "as many finite values"),
        (lambda: scale_latents([0], float("nan")), "finite values"),
        (lambda: clamp_latents([0], 1.0, 0.0), "upper end"),
        (lambda: zero_latents([6]).apply(torch.zeros(2, 6)), "no latent 6; there are 6"),
    ],
)
def test_what_makes_no_edit(make, said):
    with pytest.raises(EditError, match=said):
        make()
