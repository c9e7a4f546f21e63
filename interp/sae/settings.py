"""What decides a training: the settings, and what they mean to sae-lens. Light to import."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Architecture = Literal[
    "standard",
    "gated",
    "jumprelu",
    "topk",
    "abstopk",
    "batchtopk",
    "matryoshka_batchtopk",
    "matching_pursuit",
]
#: What the sparsity coefficient, and the steps in which it rises, are called in sae-lens.
_COEFFICIENT = {
    "standard": ("l1_coefficient", "l1_warm_up_steps"),
    "gated": ("l1_coefficient", "l1_warm_up_steps"),
    "jumprelu": ("l0_coefficient", "l0_warm_up_steps"),
}
_WITH_K = ("topk", "abstopk", "batchtopk", "matryoshka_batchtopk")


@dataclass(frozen=True)
class SaeSettings:
    """How an SAE is trained; with the model, the site and the data, all that decides it.

    Attributes:
        arch: Architecture, by its name in sae-lens. batchtopk and matryoshka_batchtopk are saved
            as jumprelu, with another L0 than they had in training.
        d_sae: Number of latents; 8 times the width of the site where None.
        k: Latents active at a time, for the topk kinds; a sixteenth of the site's width where None.
        sparsity: Weight of the sparsity penalty, for standard, gated (L1) and jumprelu (L0); that
            of sae-lens where None.
        samples: Activations to train on, counted again in every epoch.
        batch: Activations a step.
        lr: Learning rate of Adam; rises over the first twentieth of the steps, falls to zero over
            the last fifth.
        normalize: Scale activations to a mean norm of √width, or whiten them, while training;
            folded into the weights at the end.
        context: Tokens a row of text, the beginning-of-sequence mark included; the model's own
            limit where that is less.
        skip_bos: Leave out activations at beginning-of-sequence marks, here and in evaluation.
        buffer: Most activations held in memory, which are also those shuffled together.
        seed: Decides weights, order and split.
        checkpoint_every: Steps between checkpoints.
        options: Further fields of the architecture's configuration in sae-lens, by name; those
            that nothing else here decides, 1 or 0 for yes or no.
    """

    arch: Architecture = "topk"
    d_sae: int | None = None
    k: int | None = None
    sparsity: float | None = None
    samples: int = 1_000_000
    batch: int = 1024
    lr: float = 1e-3
    normalize: Literal["none", "expected_average_only_in", "covariance_whitening"] = (
        "expected_average_only_in"
    )
    context: int = 128
    skip_bos: bool = True
    buffer: int = 65_536
    seed: int = 0
    checkpoint_every: int = 500
    options: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.samples < self.batch or self.batch < 2:
            raise ValueError(
                f"samples={self.samples} and batch={self.batch}: expected a batch of at least 2 "
                "and samples for one batch at least"
            )
        for name in ("context", "checkpoint_every", "d_sae", "k"):
            value = getattr(self, name)
            if value is not None and value < (2 if name == "context" else 1):
                raise ValueError(f"{name}={value}: expected a positive number; leave it out")
        if self.buffer <= self.batch:
            raise ValueError(
                f"buffer={self.buffer} and batch={self.batch}: expected a buffer of a batch and a "
                "row at least"
            )
        if not (0 < self.lr < math.inf and 0 <= (self.sparsity or 0) < math.inf):
            raise ValueError(
                f"lr={self.lr}, sparsity={self.sparsity}: expected a positive rate and a weight "
                "of zero or more"
            )
        if self.k is not None and self.d_sae is not None:
            _require_fewer(self.k, self.d_sae)
        if self.k is not None and self.arch not in _WITH_K:
            raise ValueError(f"{self.arch} takes no k; give sparsity=, or one of {_WITH_K}")
        if self.sparsity is not None and self.arch not in _COEFFICIENT:
            raise ValueError(f"{self.arch} takes no sparsity; give k=, or one of standard, …")

    @property
    def n_steps(self) -> int:
        """Optimizer steps in all."""
        return self.samples // self.batch

    def sae_fields(self, d_in: int) -> dict[str, Any]:
        """The fields of sae-lens' configuration of the SAE, metadata and ``options`` excepted.

        Raises:
            ValueError: more active latents than there are.
        """
        d_sae = self.d_sae or 8 * d_in
        k = self.k or max(2, d_in // 16)
        rise = self.n_steps // 20
        fields: dict[str, Any] = {
            "architecture": self.arch,
            "d_in": d_in,
            "d_sae": d_sae,
            "normalize_activations": self.normalize,
        }
        if self.arch in _WITH_K:
            _require_fewer(k, d_sae)
            fields["k"] = k
        if self.arch in _COEFFICIENT:
            name, warm_up = _COEFFICIENT[self.arch]
            fields[warm_up] = rise
            if self.sparsity is not None:
                fields[name] = self.sparsity
        if self.arch in ("batchtopk", "matryoshka_batchtopk"):
            # The threshold that is saved is a running mean: short trainings need a shorter one.
            fields["topk_threshold_lr"] = max(0.01, min(1.0, 10 / self.n_steps))
        if self.arch == "matching_pursuit":
            fields["decoder_init_norm"] = 1.0  # the only one that sae-lens takes
        if self.arch == "matryoshka_batchtopk":
            widths = {max(1, d_sae // part) for part in (16, 8, 4, 2, 1)}
            fields["matryoshka_widths"] = sorted(widths)
        return fields

    def trainer_fields(self) -> dict[str, Any]:
        """The fields of sae-lens' trainer."""
        steps = self.n_steps
        rise = steps // 20
        return {
            "total_training_samples": steps * self.batch,
            "train_batch_size_samples": self.batch,
            "lr": self.lr,
            "lr_end": self.lr / 10,  # needed, and unused by a constant rate
            "lr_warm_up_steps": rise if rise > 1 else 0,
            "lr_decay_steps": steps // 5,
            "dead_feature_window": min(1000, max(1, steps // 10)),
            "feature_sampling_window": steps + 1,
            "n_batches_for_norm_estimate": min(64, max(1, steps // 10)),
        }


def _require_fewer(k: int, d_sae: int) -> None:
    if k > d_sae:
        raise ValueError(f"k={k} active latents of d_sae={d_sae}; give a smaller k")
