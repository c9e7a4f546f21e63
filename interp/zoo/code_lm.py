"""Train the bundled ``code-lm``: a small language model of Python code with plain induction heads.

Text alone does not form induction heads at this scale within minutes; repeated random tokens do:

1. train a byte-level BPE tokenizer on the standard library's source (:mod:`interp.zoo.corpus`);
2. warm up on sequences ``<|endoftext|> r r r ...`` of uniformly random tokens, the period drawn
   afresh for every batch (a fixed one teaches "look that many tokens back" instead of induction),
   loss on everything after the first period. Only a few heads of each layer may write meanwhile:
   otherwise all heads of one layer become induction heads, and none is left to compare them with;
3. go on with text, a share of every batch still repeated random, first short windows, then long;
4. measure on what was not trained on, and write a transformers folder with a ``card.json``.

Every sequence begins with ``<|endoftext|>``, so that evaluation which prepends it is in
distribution. What heads *look* like is measured here; what depends on them is for ablation to say.
"""

from __future__ import annotations

import logging
import math
import platform
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from interp.zoo.cards import CARD_FILE, Card, card_bytes, replace_file
from interp.zoo.code_lm_measures import BOS, attention_scores, measure
from interp.zoo.code_lm_training import Clock, CodeLMConfig, Stage, Training, encode
from interp.zoo.corpus import END_OF_TEXT, Corpus, read_corpus, train_tokenizer

__all__ = ["CodeLMConfig", "Stage", "train"]

log = logging.getLogger(__name__)


def train(config: CodeLMConfig, out: Path, *, stop_after: int | None = None) -> dict[str, Any]:
    """Train, measure and write ``code-lm``.

    An interrupted training is taken up from ``out/checkpoint.safetensors`` and ends with the
    weights of an uninterrupted one (same library versions, processor and number of threads).

    Args:
        config: The recipe.
        out: Folder to write; made if missing.
        stop_after: Stop, with a checkpoint, once this many steps are done in all; None to finish.

    Returns:
        The card, as in ``card.json``; or, if stopped, ``{"status": "stopped", "step": ...}``.

    Raises:
        ValueError: If ``out`` holds a checkpoint of another recipe or corpus, or the corpus is
            unusable.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        return _train(config, out, config.n_steps if stop_after is None else stop_after)
    finally:
        torch.set_num_threads(threads)


def _train(config: CodeLMConfig, out: Path, stop: int) -> dict[str, Any]:
    clock = Clock()
    corpus = read_corpus(held_out_share=config.held_out_share, max_bytes=config.max_bytes)
    tokenizer = train_tokenizer(corpus.train_text, vocab_size=config.vocab_size)
    tokens, held_out = encode(tokenizer, corpus.train_text), encode(tokenizer, corpus.held_out)
    path = out / "checkpoint.safetensors"
    run = Training(config, corpus.sha256)
    if path.exists():
        run.load(path, clock)
        log.info("resuming from %s at step %d", path, run.step)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("code-lm", total=config.n_steps, completed=run.step)
        while run.step < min(stop, config.n_steps):
            losses = run.advance(tokens)
            progress.update(bar, completed=run.step)
            if run.step % config.checkpoint_every == 0 or run.step in (stop, config.n_steps):
                scores = attention_scores(run.model, seed=config.seed + 1, n_sequences=8)
                best = round(scores["induction"].max().item(), 4)
                run.history.append({"step": run.step, **losses, "induction": best})
                log.info(
                    "of %d steps, %.0f s: %s", config.n_steps, clock.read()["wall"], run.history[-1]
                )
                run.save(path, clock)
    if run.step < config.n_steps:
        return {"status": "stopped", "step": run.step}
    measured = measure(run.model, held_out, seed=config.seed + 1)
    bits = measured["text_ce_nats_per_token"] / math.log(2)
    measured["text_bits_per_byte"] = round(bits * len(held_out) / corpus.held_out_bytes, 4)
    n_tokens = {"tokens_train": len(tokens), "tokens_held_out": len(held_out)}
    card = _card(run, corpus, n_tokens, measured, clock)
    _save_folder(out, run.model, tokenizer, card)
    path.unlink(missing_ok=True)
    return card


def _card(
    run: Training,
    corpus: Corpus,
    n_tokens: dict[str, int],
    measured: dict[str, Any],
    clock: Clock,
) -> dict[str, Any]:
    stages = run.config.stages
    text = sum(s.steps * round(s.batch * s.text_share) * s.context for s in stages)
    spent = clock.read()
    return Card(
        name="code-lm",
        summary="A small Llama-style language model of Python source code with induction heads, "
        "made to try instruments on. It is of no use for writing code.",
        data={
            "source": "the .py files of the Python standard library, tests included, installed "
            "packages not; whole files held out in order of content hash",
            "python": platform.python_version(),
            "corpus_sha256": corpus.sha256,
            **corpus.counts(),
            **n_tokens,
        },
        recipe=asdict(run.config),
        steps=run.step,
        seed=run.config.seed,
        loss=measured["text_ce_nats_per_token"],
        known=(
            "Its induction heads come from repeated random tokens; they say nothing about whether "
            "text alone would form them.",
            "While they formed, only the first few heads of each layer wrote (recipe, stages, "
            "heads); so they are found among those, and the other heads of their layer are "
            "controls that could hardly have mattered as much.",
            "The scores under 'measured' are signatures. Whether the model depends on a head is a "
            "separate, causal question.",
            "Held-out files share boilerplate, and some much more, with training files: only exact "
            "copies were removed.",
        ),
        measured=measured,
        licence="Trained on CPython's standard library (Python Software Foundation and others, PSF "
        "License Version 2; some modules carry other notices). No file of it is included.",
        source="interp.zoo.code_lm:train",
        extra={
            "tokens_seen": sum(s.steps * s.batch * s.context for s in stages),
            "tokens_seen_text": text,
            "wall_seconds": round(spent["wall"]),
            "cpu_seconds": round(spent["cpu"]),
            "versions": {
                name: version(name)
                for name in ("torch", "transformers", "tokenizers", "safetensors")
            },
            "history": run.history,
        },
    ).to_dict()


def _save_folder(
    out: Path, model: LlamaForCausalLM, tokenizer: Tokenizer, card: dict[str, Any]
) -> None:
    """Write the transformers folder: every file whole, the card last."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=model.config.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    )
    with tempfile.TemporaryDirectory() as partial:
        model.config.pad_token_id = model.generation_config.pad_token_id = BOS
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(partial)
        model.generation_config.save_pretrained(partial)
        fast.save_pretrained(partial)
        # Not model.save_pretrained: it draws a progress bar even where nobody looks. The tied
        # output matrix is no parameter of its own, so it is left out, as there.
        weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
        save_file(weights, Path(partial) / "model.safetensors", metadata={"format": "pt"})
        for path in sorted(Path(partial).iterdir()):
            replace_file(out / path.name, path.read_bytes())
    replace_file(out / CARD_FILE, card_bytes(card))
