"""The digit measures on an untrained network, where there is nothing to find, and a planted sum."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from interp.fourier import (
    attention_tree,
    digit_attribution,
    digit_fits,
    minkowski_score,
    prism_score,
    probe_sums,
    weigh_sums,
)
from interp.fourier.digits_sums import SumProbe
from interp.hooks import Site, capture, session
from interp.models import Examples, Model, ModelSpec, load_model
from interp.zoo.multiply.task import EQUALS, Multiplication
from interp.zoo.multiply.training import MultiplyConfig, new_network

TASK = Multiplication(2)
WHERE = {"operands": TASK.operands, "predicts": TASK.predicts}


@cache
def untrained() -> Model:
    fields = new_network(MultiplyConfig()).native_config(bos_id=EQUALS)
    return load_model(ModelSpec("untrained", native=fields, seed=1))


@cache
def rows(n: int, held_out: bool) -> torch.Tensor:
    return TASK.draw(n, generator=torch.Generator().manual_seed(n), held_out=held_out)


def examples(n: int, held_out: bool) -> Examples:
    return TASK.examples(rows(n, held_out))


@cache
def probes() -> list[SumProbe]:
    train, test = rows(1500, False), rows(200, True)
    return probe_sums(
        untrained(),
        examples(1500, False),
        TASK.running_sums(train),
        examples(200, True),
        TASK.running_sums(test),
        predicts=TASK.predicts,
    )


def test_an_untrained_stream_holds_no_more_of_the_sums_than_the_tokens_do():
    """It holds the part additive in the digits: beside the mean alone it would look good."""
    middle = [p for p in probes() if p.k in (1, 2)]
    assert max(p.skill for p in middle) > 0.2
    assert not any(p.readable for p in middle)
    assert all(p.tokens_mae is not None and p.mae > 0.95 * p.tokens_mae for p in middle)


def test_removing_sums_from_an_untrained_model_is_not_load_bearing():
    found = weigh_sums(
        untrained(),
        [p for p in probes() if str(p.site) == "L1.attn_out"],
        examples(200, True),
        reference=examples(1500, False),
        n_controls=39,
    )
    assert [row.control_family for row in found] == ["random-direction", "noise-pattern"]
    strict = next(row for row in found if row.control_family == "noise-pattern")
    assert strict.verdict != "load-bearing"
    assert not strict.has_signature


def test_an_untrained_models_digits_have_no_structure():
    with session(untrained()) as s:
        logits = s.run(rows(200, True))[:, list(TASK.predicts)]
    fits = digit_fits(untrained(), logits.flatten(0, 1), n_shuffles=199)
    assert abs(fits["embedding"].excess) < 0.15
    assert fits["embedding"].p_value > 0.01
    assert fits["neurons"].p_value > 0.01
    assert prism_score(untrained().W_E[:10], n_shuffles=199).p_value > 0.01


def test_an_untrained_models_attention_is_no_tree():
    tree = attention_tree(untrained(), examples(500, False), **WHERE)
    sees = tree.pair_mass > 0
    excess = (tree.pair_mass - tree.uniform)[sees]
    assert float(excess.max()) < 0.3, "the threshold at which a head carries the signature"
    torch.testing.assert_close(tree.pattern.sum(-1), torch.ones_like(tree.pattern[..., 0]))
    assert all(edge.weight < 0.5 for edge in tree.edges)


def test_an_untrained_head_is_additive_all_the_same():
    """So a Minkowski sum alone is no sign of learning: attention does not depend on digits."""
    given = examples(2000, False)
    z = capture(untrained(), given, "L0.z")[Site(0, "z")][:, TASK.predicts[0], 0]
    found = minkowski_score(z, given.tokens[:, 0], given.tokens[:, 3], n_shuffles=19)
    assert found.score > 0.8
    assert found.excess > 0.5


def test_an_untrained_model_listens_to_no_digit_in_particular():
    found = digit_attribution(untrained(), rows(200, True), **WHERE)
    assert float(found.drops.abs().max()) < 1


# -- planted: a stream that is made to hold the sum -----------------------------------------------


def test_a_sum_written_into_the_stream_is_found_there_beyond_the_tokens():
    from interp.fourier import fit_sum

    train, test = rows(1500, False), rows(200, True)
    generator = torch.Generator().manual_seed(0)
    written = torch.randn(64, generator=generator, dtype=torch.float64)

    def stream(which):
        noise = 0.1 * torch.randn(len(which), 64, generator=generator, dtype=torch.float64)
        return noise + TASK.running_sums(which)[:, 1, None] * written

    found = fit_sum(
        stream(train),
        TASK.running_sums(train)[:, 1],
        stream(test),
        TASK.running_sums(test)[:, 1],
        site="L1.attn_out",
        k=1,
        position=TASK.predicts[1],
    )
    assert found.mae < 0.2
    along = torch.nn.functional.cosine_similarity(found.pattern, written, dim=0)
    assert float(along) == pytest.approx(1, abs=1e-3)
