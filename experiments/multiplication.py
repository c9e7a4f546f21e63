"""Does an auxiliary loss on running sums teach a transformer to multiply, and how does it multiply?

Two models alike but for the auxiliary loss of "Why Can't Transformers Learn Multiplication?"
(2025) are trained for as many steps. Signatures: which operand digits each answer digit listens
to, whether running sums can be read off, Fourier fits, prisms, Minkowski sums, attention to digit
pairs. Load: what removing the running sums' directions and the heads that look at pairs costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.runs import Run
    from interp.zoo.multiply.training import MultiplyConfig

SUMMARY = "Does an auxiliary loss on running sums teach a transformer to multiply, and how?"
# Below this share of exact products a model has not learnt to multiply, and is reported as such.
LEARNT = 0.95


@dataclass(frozen=True)
class Config:
    """Settings of the multiplication study.

    Attributes:
        weights: Read this instead of training: zoo:multiply-2x2, or the folder of a model that was
            made by its recipe, card included.
        n: Digits of each operand, 2 up.
        auxiliary: Weight of the running-sum loss in the first model; the second has none.
        steps: Optimizer steps of each.
        batch: Fresh rows in a step.
        d_model: Width of the residual stream.
        n_heads: Heads of each of the two layers.
        muon_lr: Peak learning rate of Muon, for the blocks' matrices.
        adamw_lr: That of AdamW, for all else.
        weight_decay: Of both. 0.2 made zoo:multiply-2x2, whose few pairs could else be learnt by
            heart.
        look_every: Steps between two looks.
        seed: Draws first weights, rows, controls and bootstrap.
        rows: Rows, of pairs trained on, from which signatures are read and maps are fitted.
        judged: Held-out rows on which all is judged.
        controls: Matched-random controls a family.
        shuffles: Shuffles for each null.
        alpha: Level of the verdicts.
        device: Where it trains; what is measured afterwards runs on the CPU.
    """

    weights: str | None = None
    n: int = 3
    auxiliary: float = 1.0
    steps: int = 20_000
    batch: int = 256
    d_model: int = 128
    n_heads: int = 4
    muon_lr: float = 0.02
    adamw_lr: float = 3e-3
    weight_decay: float = 0.0
    look_every: int = 500
    seed: int = 0
    rows: int = 4000
    judged: int = 512
    controls: int = 99
    shuffles: int = 199
    alpha: float = 0.05
    device: str = "cpu"


PRESETS: dict[str, dict[str, Any]] = {
    # Too few steps to multiply: shows that everything runs, and what is said of such a model.
    "smoke": {
        "n": 2,
        "steps": 40,
        "batch": 128,
        "d_model": 32,
        "look_every": 20,
        "rows": 1500,
        "judged": 128,
        "controls": 39,
        "shuffles": 39,
    },
    "default": {},
    # The published size and length; a day on a CPU, so meant for an accelerator.
    "paper": {"n": 4, "steps": 600_000, "look_every": 10_000, "device": "cuda", "judged": 1000},
}


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    least = {"judged": 32, "controls": 1, "shuffles": 1, "rows": 1200}
    for name, value in least.items():
        if getattr(config, name) < value:
            raise ValueError(f"{name} is {getattr(config, name)}; expected at least {value}")
    if not 0 < config.alpha < 1:
        raise ValueError(f"alpha is {config.alpha}; expected a level between 0 and 1, such as .05")
    if not 0 <= config.seed < 2**63:
        raise ValueError(f"seed is {config.seed}; expected a whole number from 0 to 2**63 - 1")
    if config.weights is not None:
        from interp.zoo.multiply.making import recipe_of

        recipe_of(config.weights)
        return
    if not config.auxiliary > 0:
        raise ValueError(
            f"auxiliary is {config.auxiliary}; expected more than 0, since the second model has 0"
        )
    if config.rows < 2 * config.d_model:
        raise ValueError(f"rows is {config.rows}; expected at least 2·d_model={2 * config.d_model}")
    recipe(config, config.auxiliary)
    if config.n < 2:
        raise ValueError(
            f"n is {config.n}; expected at least 2: of one-digit products the first digit is never "
            "9, and all ten are needed"
        )
    from interp.models import require_device

    require_device(config.device)


def recipe(config: Config, auxiliary: float) -> MultiplyConfig:
    """The settings of one training."""
    from interp.zoo.multiply.training import MultiplyConfig

    return MultiplyConfig(
        n=config.n,
        auxiliary=auxiliary,
        seed=config.seed,
        d_model=config.d_model,
        n_heads=config.n_heads,
        steps=config.steps,
        batch=config.batch,
        muon_lr=config.muon_lr,
        adamw_lr=config.adamw_lr,
        weight_decay=config.weight_decay,
        look_every=config.look_every,
        device=config.device,
    )


def run(config: Config, run: Run) -> None:
    """Train both models, or load the one asked for, and read them."""
    from experiments.multiplication_measuring import clear, measure, subjects_of
    from experiments.multiplication_report import save

    subjects = subjects_of(config, run)
    save(config, run, [measure(config, run, subject) for subject in subjects])
    clear(run)


def report(run: Run) -> Any:
    """Return what the terminal shows: the evidence."""
    from interp.evidence import EvidenceTable, read_evidence

    return EvidenceTable(read_evidence(run.table("evidence")))
