"""What the bias lens found, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.bias_lens_measuring import Found

_LOST = 0.05  # of recognition, from which on it is said


def headline(found: Found, told: dict[str, dict[str, Any]]) -> str:
    """A few words for lists of runs, on the first triple."""
    name, numbers = next(iter(told.items()))
    of = numbers["agreement"][numbers["yardstick"]]
    forms = ", ".join(f"{method} {held['rho']:.2f}" for method, held in of.items())
    verdicts = sorted({held.get("verdict", "none") for held in numbers["latents"].values()})
    return (
        f"{name} at {found.site}: ρ with {numbers['yardstick']} {forms}; latents "
        f"{', '.join(verdicts)}"
    )


def conclusion(found: Found, told: dict[str, dict[str, Any]]) -> str:
    """A paragraph for each triple, and what was left out."""
    said = [
        _triple(name, numbers, found.site, several=len(told) > 1) for name, numbers in told.items()
    ]
    said += [f"Not tested: {reason}." for reason in found.untested]
    said += [f"{test.title}: {_published(name, test)}." for name, test in found.published.items()]
    return " ".join(said)


def _triple(name: str, numbers: dict[str, Any], site: str, *, several: bool) -> str:
    first, second = numbers["references"]
    yardstick = numbers["yardstick"]
    planted = numbers["behaviour_rho_planted"]
    parts = [
        f"{name}: " * several + f"{numbers['n_targets']} targets between {first} and {second}; the "
        f"model's log-odds vary over them by {numbers['behaviour_spread']:.2g} nats (SD)"
        + ("" if planted is None else f" and go with what is planted, ρ {planted:.2f}")
        + ".",
        _concept_space(numbers, site, yardstick),
        *(_against_raw(sae, held, yardstick) for sae, held in numbers["sae_less_cav"].items()),
        _sensitivity(numbers),
        _axis(numbers),
        *(_latents(sae, held) for sae, held in numbers["latents"].items()),
    ]
    return " ".join(parts)


def _concept_space(numbers: dict[str, Any], site: str, yardstick: str) -> str:
    forms = [
        f"{method} ρ {held['rho']:.2f} [{held['low']:.2f}, {held['high']:.2f}], Holm p "
        f"{held['p_holm']:.2g}"
        for method, held in numbers["agreement"][yardstick].items()
    ]
    small = [
        method for method, held in numbers["size"].items() if held["size"] <= held["null_high"]
    ]
    said = f"In concept space at {site}, beside {yardstick}: {'; '.join(forms)}."
    if small:
        said += f" Not larger than with shuffled references: {', '.join(small)}."
    if not numbers["references_apart"]:
        said += (
            " At some sites the references' vectors are at chance: nothing to be biased towards."
        )
    if numbers["n_vectors_near_chance"]:
        said += f" {numbers['n_vectors_near_chance']} concept vectors are not above chance."
    return said


def _against_raw(sae: str, held: dict[str, float], yardstick: str) -> str:
    if held["low"] > 0:
        verdict = "the SAE form agrees better"
    elif held["high"] < 0:
        verdict = "raw vectors agree better"
    else:
        verdict = "neither is shown to agree better"
    return (
        f"SAE {sae} less raw vectors: ρ {held['difference']:+.2f} [{held['low']:+.2f}, "
        f"{held['high']:+.2f}], {verdict} with {yardstick}."
    )


def _sensitivity(numbers: dict[str, Any]) -> str:
    found = [f"{row['concept']} at {row['site']}" for row in numbers["sensitive"]]
    return f"Behaviour is sensitive (TCAV, Holm) to {', '.join(found) or 'no concept'}."


def _axis(numbers: dict[str, Any]) -> str:
    parts = []
    for place, row in numbers["axis"].items():
        share = "" if row["share"] is None else f"{row['share']:.0%} of the bias slope gone, "
        parts.append(f"{place} {share}{row['verdict']} (Holm p {row['p_holm']:.2g})")
    said = f"The axis between the references taken out, on other prompts: {'; '.join(parts)}."
    if any((row["share"] or 0) > 1 for row in numbers["axis"].values()):
        said += " Above 100% the targets lean the other way."
    return said


def _latents(sae: str, held: dict[str, Any]) -> str:
    if "none" in held:
        return f"SAE {sae}: no latents were judged: {held['none']}."
    return (
        f"SAE {sae}: {held['n']} latents to {held['kind']} take {held['slope_gone']:.0%} of the "
        f"slope [{held['low']:.0%}, {held['high']:.0%}] at {held['added_loss']:+.3f} nats a token "
        f"of neutral text; random latents that fire {held['how_often']} take "
        f"{held['random_most']:.0%} at most: {held['verdict']} (Holm p "
        f"{held['p_holm']:.2g}).{_price(held, held)}{_beside(held)}"
    )


def _beside(held: dict[str, Any]) -> str:
    """What the other changes at the same tokens do, and at what price."""
    names = {
        "direction projected out": "The axis projected out there",
        "reconstruction": "The SAE's reconstruction in place of the activations",
    }
    said = ""
    for name, called in names.items():
        row = held["baselines"].get(name)
        if row is not None:
            steeper = " (it gets steeper)" if row["slope_gone"] < 0 else ""
            said += (
                f" {called} takes {row['slope_gone']:.0%} of the slope [{row['low']:.0%}, "
                f"{row['high']:.0%}]{steeper} at "
                f"{row['ce']:+.3f} nats.{_price({**row, 'added_loss': row['ce']}, held)}"
            )
    return said


def _price(done: dict[str, Any], held: dict[str, Any]) -> str:
    """What else is lost: a bias that goes together with its concept was not taken out alone."""
    said = ""
    if done["added_loss"] > held["most_added_loss"]:
        said += f" That is more than the {held['most_added_loss']:g} nats that an edit may cost."
    now, before = done["recognition"], held["recognition_before"]
    if now is not None:
        said += f" A reference that is named is recognised in {before:.0%} of prompts before"
        said += f" and {now:.0%} after"
        lost = before - now > _LOST and before > 0.5 + _LOST
        said += ": the concept goes with the bias." if lost else "."
    return said


def _published(name: str, test: Any) -> str:
    row = test["all"]
    if name == "winobias":
        return (
            f"accuracy {row.pro} where the pronoun is stereotyped and {row.anti} where not (chance "
            f".5), log-probability gap {row.log_prob_gap} nats"
        )
    return (
        f"the more stereotyping sentence is likelier in {row.share_more} of pairs (.5 without "
        f"bias), conditional gap {row.conditional} nats, {row.unequal:.0%} of pairs differ in "
        "their number of tokens"
    )
