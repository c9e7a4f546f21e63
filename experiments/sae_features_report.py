"""What the study of latents leaves behind: tables, figures, a page of cards, headline numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.sae_features_concepts import in_numbers, in_words
from experiments.sae_features_concepts import save as save_concepts

if TYPE_CHECKING:
    from experiments.sae_features import Config
    from experiments.sae_features_concepts import Told
    from interp.evidence import EvidenceTable
    from interp.runs import Run
    from interp.sae import Dictionary, Evaluation
    from interp.sae.attribution import LatentAttribution
    from interp.sae.contexts import FeatureCard


def save(
    config: Config,
    run: Run,
    dictionary: Dictionary,
    evaluation: Evaluation,
    attribution: LatentAttribution,
    *,
    ranked: list[tuple[int, float]],
    table: EvidenceTable,
    alone: list[float],
    cards: list[FeatureCard],
    told: Told,
) -> None:
    """Tables, figures, the page of cards, and the headline."""
    from interp.plots.latents import chosen_and_judged
    from interp.runfolder.files import write_text
    from interp.sae.contexts import cards_frame, cards_page

    row = table[0]
    top = ranked[: config.top]
    run.save_table("evidence", table.frame())
    run.save_table("evaluation", evaluation.frame())
    run.save_table("attribution", attribution.table())
    run.save_table("cards", cards_frame(cards))
    title = f"{config.model}: latents of {dictionary.name} at {dictionary.site}"
    about = (
        "In the order of what setting each latent to its mean, alone, costs on the half of the "
        "text that chose them."
    )
    write_text(run.path / "cards.html", cards_page(cards, title=title, about=about))
    run.save_figure("density", evaluation.figure())
    run.save_figure(
        "chosen_and_judged",
        chosen_and_judged(
            [damage for _, damage in top],
            alone,
            names=[str(latent) for latent, _ in top],
            controls=row.controls,
            together=row.effect,
            title=f"{config.model}: the costliest latents, on other text",
        ),
    )
    save_concepts(run, told, title=f"{config.model}: what a few latents tell of labelled texts")
    loss = "undefined" if evaluation.ce_recovered is None else f"{evaluation.ce_recovered:.3f}"
    run.save_metrics(
        {
            **evaluation.metrics(),
            "site": str(dictionary.site),
            "d_sae": dictionary.d_sae,
            "latents": [latent for latent, _ in top],
            "effect": row.effect,
            "p_value": row.p_value,
            "verdict": row.verdict,
            **in_numbers(told),
            "headline": f"{row.subject} {row.verdict} (p {row.p_value:.2g}); L0 "
            f"{evaluation.l0:.1f}, loss recovered {loss}",
            "conclusion": f"The SAE keeps {evaluation.l0:.1f} of {dictionary.d_sae} latents active "
            f"a token; with its reconstruction in place the loss rises by "
            f"{evaluation.ce_cost:.3g} nats a token (recovered: {loss}"
            f"{'' if evaluation.undefined is None else ', ' + evaluation.undefined}), and "
            f"{evaluation.n_dead} latents never fire. {row.reason} That a card reads well is a "
            f"signature, not evidence. {in_words(told)}",
        }
    )
