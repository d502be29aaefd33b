"""From what judges came to, to what should stand in chains.yaml: one threshold for each verifier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hyperguild.config.configuration import Configuration
from hyperguild.domain.chain import Judge
from hyperguild.review.calibration import Calibration


@dataclass(frozen=True, slots=True)
class Tuning:
    """A verifier's threshold: as it is (`now`), and as it should be.

    `skills` want it: where they want different ones, it is the highest of theirs, which keeps false accepts
    of all of them rare. `others` use the verifier as well, and have no part in this.
    """

    verifier: str
    now: float
    accept_at: float
    skills: tuple[str, ...]
    others: tuple[str, ...]


def threshold_now(configuration: Configuration, judge: str, chains: Iterable[str]) -> float | None:
    """Return the threshold that applies to a judge in one of these chains, as configured; None for none."""
    found = [verifier.accept_at for verifier in _judges(configuration, judge, chains).values()]
    return found[0] if found else None


def tunings(
    configuration: Configuration, chosen: Sequence[Calibration], every: Sequence[Calibration]
) -> tuple[Tuning, ...]:
    """Return what each verifier's threshold should be, where one of the chosen has a proposal.

    A judge and skill belong to the verifiers of the chains that they were seen in, as configured today.
    `every` one that is known, the chosen ones among them, tells who else uses a verifier.
    """
    wanted: dict[str, dict[str, float]] = {}
    seen: dict[str, dict[str, None]] = {}
    for one in every:
        for name in _judges(configuration, one.judge, one.chains):
            seen.setdefault(name, {}).setdefault(one.skill)
            if one.proposal is not None and one in chosen:
                skills = wanted.setdefault(name, {})
                skills[one.skill] = max(skills.get(one.skill, 0.0), one.proposal.accept_at)
    result = []
    for name, skills in wanted.items():
        judge = configuration.verifiers[name].judge
        if judge is not None:
            using = {**seen[name], **dict.fromkeys(_configured_skills(configuration, name))}
            others = tuple(skill for skill in using if skill not in skills)
            accept_at = max(skills.values())
            result.append(Tuning(name, judge.accept_at, accept_at, tuple(skills), others))
    return tuple(result)


def _judges(configuration: Configuration, judge: str, chains: Iterable[str]) -> dict[str, Judge]:
    """Return the judges of these chains, by verifier, that have the model (`a, b`: each that voted)."""
    models = set(judge.split(", "))
    verifiers = [configuration.chains[name].verifier for name in chains if name in configuration.chains]
    return {
        verifier.name: verifier.judge
        for verifier in verifiers
        if verifier is not None
        and verifier.judge is not None
        and models <= {model.name for model in verifier.judge.models}
    }


def _configured_skills(configuration: Configuration, verifier: str) -> list[str]:
    """Return the skills with an entry in chains.yaml whose chain has this verifier."""
    chains = {skill: configuration.chains[name] for skill, name in configuration.skill_chains.items()}
    return [skill for skill, chain in chains.items() if chain.verifier and chain.verifier.name == verifier]
