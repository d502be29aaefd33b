"""What is taken out of prompts before they leave the machine, as chains.yaml has it."""

from __future__ import annotations

from dataclasses import dataclass

from hyperguild.domain.chain import Model


@dataclass(frozen=True, slots=True)
class RedactionPattern:
    """Something of the user's own to take out: a regular expression (MULTILINE) of the package `regex`.

    What its group `secret` matched is replaced; where it has no such group, the whole match is.
    """

    name: str
    regex: str


@dataclass(frozen=True, slots=True)
class RedactionPolicy:
    """What is taken out: `secrets` (configured keys, and what looks like one), and matches of `patterns`."""

    secrets: bool = True
    patterns: tuple[RedactionPattern, ...] = ()

    def applies_to(self, model: Model) -> bool:
        """Tell whether requests to the model are redacted: as its endpoint's `redact` says.

        `auto`: where its tier is not local.
        """
        if not (self.secrets or self.patterns):
            return False
        redact = model.endpoint.redact
        return redact == "always" or (redact == "auto" and model.label != "local")
