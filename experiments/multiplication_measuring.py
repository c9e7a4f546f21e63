"""The multiplication study's models, and what is measured of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.multiplication import Config
    from interp.evidence import EvidenceTable
    from interp.fourier import (
        AttentionTree,
        DigitAttribution,
        DigitScore,
        MinkowskiScore,
        SumProbe,
    )
    from interp.models import Examples, Model
    from interp.runs import Run
    from interp.zoo.multiply.task import Multiplication

MODELS = "models"


@dataclass(frozen=True)
class Subject:
    """A model to read.

    Attributes:
        name: ``auxiliary``, ``plain``, or what was asked for.
        model: Loaded in the bridge.
        task: What it was trained on.
        history: Looks along its training.
    """

    name: str
    model: Model
    task: Multiplication
    history: list[dict[str, Any]]


@dataclass(frozen=True)
class PairHead:
    """A first-layer head where it looks hardest at one pair of operand digits.

    Attributes:
        head: Which.
        position: Where it looks from.
        pair: The pair's positions.
        mass: Its mean attention on them.
        score: How additive its output there is in the two digits.
        means: The output's mean for each pair of digits.
    """

    head: int
    position: int
    pair: tuple[int, int]
    mass: float
    score: MinkowskiScore
    means: Tensor


@dataclass(frozen=True)
class Found:
    """What was measured of one model."""

    subject: Subject
    exact: float
    right: list[float]
    attribution: DigitAttribution
    probes: list[SumProbe]
    fits: dict[str, DigitScore]
    prisms: dict[str, DigitScore]
    means: dict[str, Tensor]
    tree: AttentionTree
    pair_heads: list[PairHead]
    tables: dict[str, EvidenceTable]
    untested: str | None


def subjects_of(config: Config, run: Run) -> list[Subject]:
    """Train the two models, or load the one asked for."""
    from interp.models import load_model
    from interp.zoo.multiply.making import recipe_of

    if config.weights is not None:
        model = load_model(config.weights)
        run.record(model=model.fingerprint, seeds={"all": config.seed}, device="cpu")
        return [Subject("given", model, recipe_of(config.weights).task, [])]
    subjects = [
        _trained(config, run, "auxiliary", config.auxiliary),
        _trained(config, run, "plain", 0.0),
    ]
    run.record(
        model={subject.name: subject.model.fingerprint for subject in subjects},
        seeds={"all": config.seed},
        device=config.device,
    )
    return subjects


def _trained(config: Config, run: Run, name: str, auxiliary: float) -> Subject:
    """Train a model; an interrupted run goes on where it stopped."""
    from experiments.multiplication import recipe
    from interp.models import load_model
    from interp.zoo.modular.bridging import write_folder
    from interp.zoo.multiply.task import EQUALS
    from interp.zoo.multiply.training import Training
    from interp.zoo.world_training import go_on, torch_threads

    how = recipe(config, auxiliary)
    folder = run.path / MODELS / name
    with torch_threads(how.threads):
        training = Training(how)
        go_on(training, folder, name=name, look_every=how.look_every, stop=None)
    weights = {
        key: value.detach().cpu().contiguous() for key, value in training.model.named_parameters()
    }
    write_folder(folder, training.model.native_config(bos_id=EQUALS), weights)
    return Subject(name, load_model(str(folder)), how.task, training.history)


def clear(run: Run) -> None:
    """Remove what only an interrupted run needs."""
    from interp.zoo.world_training import CHECKPOINT

    for path in (run.path / MODELS).glob(f"*/{CHECKPOINT}"):
        path.unlink()


def measure(config: Config, run: Run, subject: Subject) -> Found:
    """Read one model: signatures on rows it was trained on, all judging on held-out ones."""
    import torch

    from experiments.multiplication_edges import weigh_edges
    from interp.fourier import (
        attention_tree,
        digit_attribution,
        digit_fits,
        digit_means,
        prism_score,
        probe_sums,
        weigh_sums,
    )
    from interp.hooks import Site, capture, session

    model, task = subject.model, subject.task
    seen = task.draw(config.rows, generator=_generator(config, 1))
    held = task.draw(config.judged, generator=_generator(config, 2), held_out=True)
    rows, judged = task.examples(seen), task.examples(held)
    run.record(data={f"{subject.name} rows": rows.hash, f"{subject.name} judged": judged.hash})
    where = {"operands": task.operands, "predicts": task.predicts}
    n_shuffles, seed = config.shuffles, config.seed
    at = list(task.predicts)

    with session(model) as s:
        logits = s.run(held)[:, at].cpu()
    right = logits[..., :10].argmax(-1) == held[:, -task.n_answers :]
    probes = probe_sums(
        model,
        rows,
        task.running_sums(seen),
        judged,
        task.running_sums(held),
        predicts=task.predicts,
        n_shuffles=min(19, config.shuffles),
        seed=config.seed,
    )
    last = f"L{model.n_layers - 1}"
    middle = task.n_answers // 2
    final = capture(model, rows, f"{last}.resid_post", positions=at[middle])
    means = {
        "embedding": model.W_E[:10].detach().cpu().double(),
        f"final state by c{middle}": digit_means(
            final[Site.parse(f"{last}.resid_post")], seen[:, at[middle] + 1]
        ),
    }
    tree = attention_tree(model, rows, **where)
    edges = weigh_edges(config, model, tree, task.predicts, judged)
    heads, untested = _weighed_heads(config, model, tree, rows, judged)
    sums = weigh_sums(
        model,
        [probe for probe in probes if str(probe.site) == f"{last}.attn_out"],
        judged,
        reference=rows,
        n_controls=config.controls,
        alpha=config.alpha,
        seed=config.seed,
    )
    return Found(
        subject=subject,
        exact=float(right.all(1).double().mean()),
        right=torch.as_tensor(right).double().mean(0).tolist(),
        attribution=digit_attribution(model, held, **where, seed=config.seed),
        probes=probes,
        fits=digit_fits(model, logits.flatten(0, 1), n_shuffles=n_shuffles, seed=seed),
        prisms={
            name: prism_score(value, name=name, n_shuffles=n_shuffles, seed=seed)
            for name, value in means.items()
        },
        means=means,
        tree=tree,
        pair_heads=_pair_heads(config, model, tree, rows),
        tables={
            "sums": _named(subject, sums),
            **({} if edges is None else {"edges": _named(subject, edges)}),
        }
        | ({} if heads is None else {"heads": _named(subject, heads)}),
        untested=untested,
    )


def _named(subject: Subject, table: EvidenceTable) -> EvidenceTable:
    """Rows that say of which model they are."""
    from dataclasses import replace

    from interp.evidence import EvidenceTable

    return EvidenceTable([replace(r, subject=f"{r.subject} ({subject.name})") for r in table])


def _generator(config: Config, stage: int) -> Any:
    import torch

    return torch.Generator().manual_seed((config.seed + stage * 2**40) % 2**63)


def _weighed_heads(
    config: Config, model: Model, tree: AttentionTree, rows: Examples, judged: Examples
) -> tuple[EvidenceTable | None, str | None]:
    """Remove the heads that look hardest at one pair of operand digits."""
    from interp.evidence import NoControlsError
    from interp.heads import HeadScores, weigh_heads

    # Where both operands have been read: before, a pair's mass is there for lack of anything else.
    first = int((tree.pair_mass[0, 0] > 0).nonzero()[0])
    over = (tree.pair_mass - tree.uniform)[:, :, first:]
    best = over.argmax(-1)
    score = HeadScores(
        "pair-attention",
        tree.pair_mass[:, :, first:].gather(-1, best[..., None])[..., 0],
        units="attention",
        null=None,
        about_null="uniform attention, under control",
        control=tree.uniform[first:][best],
    )
    try:
        found = weigh_heads(
            model,
            score,
            selected_on=rows,
            judged_on=judged,
            kind="mean-by-position",
            alpha=config.alpha,
            n_controls=config.controls,
            seed=config.seed,
        )
    except NoControlsError as error:
        return None, str(error)
    return found, None


def _pair_heads(
    config: Config, model: Model, tree: AttentionTree, rows: Examples
) -> list[PairHead]:
    """Each first-layer head where its attention to one pair exceeds uniform attention most."""
    from interp.fourier import minkowski_score, pair_means
    from interp.hooks import Site, capture

    z = capture(model, rows, "L0.z")[Site(0, "z")]
    found = []
    for head in range(model.n_heads):
        position = int((tree.pair_mass[0, head] - tree.uniform).argmax())
        i, j = tree.pair[0, head, position].tolist()
        given = (z[:, position, head], rows.tokens[:, i], rows.tokens[:, j])
        score = minkowski_score(*given, n_shuffles=min(99, config.shuffles), seed=config.seed)
        mass = float(tree.pair_mass[0, head, position])
        found.append(PairHead(head, position, (i, j), mass, score, pair_means(*given)))
    return found
