"""What `hyperguild init` chooses, and how it reads what a person chooses. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hyperguild.adapters.probes import EndpointInventory, ListedModel
from hyperguild.cli.diagnosis import look_up, names_of
from hyperguild.cli.init_file import CLOUD_MODELS, KEY_VARIABLES, Cloud, Provider, is_usable
from hyperguild.config.wording import did_you_mean, quoted
from hyperguild.errors import UsageError

_NOT_FOR_CHAT = re.compile(
    r"embed|rerank|whisper|transcri|diffusion|vision-?encoder"
    r"|(?:^|[^a-z])(?:bge|gte|e5|tts|stt|clip|flux|sdxl|guard|reward|kokoro|parakeet)(?:[^a-z]|$)",
    re.IGNORECASE,
)
"""Names of models that embed, rank, hear, speak, draw or classify. A guess, and only for what is proposed."""


def choosable(inventory: EndpointInventory) -> tuple[ListedModel, ...]:
    """Return the models that chains.yaml can name as they are, aliases left out, in the server's order."""
    return tuple(model for model in inventory.models if model.kind != "alias" and is_usable(model.id))


def is_for_chat(model: ListedModel) -> bool:
    """Tell whether the model is likely to answer questions, going by its name."""
    return not _NOT_FOR_CHAT.search(model.id)


def default_order(models: Sequence[ListedModel], judge: str | None = None) -> tuple[str, ...]:
    """Return the order to propose: the models that the server itself loads, as it lists them.

    Without those that are not for chat, and without the judge, unless there is no other: the model of that
    name; where none is given, those that are called a judge, else the last one, which `default_judge` takes.
    """
    own = [model.id for model in models if model.kind == "model" and is_for_chat(model)]
    workers = [name for name in own if not _is_judge(name) and name != judge]
    if judge is None and workers == own:
        workers = own[:-1]
    return tuple(workers) or tuple(own)


def default_judge(models: Sequence[ListedModel], order: Sequence[str]) -> str | None:
    """Return the judge to propose, None where nothing is judged.

    That is a model that is called a judge; else one that does not work itself, a loaded one first; else the
    last of the order, taken to be the most capable.
    """
    if not order:
        return None
    own = [model for model in models if model.kind == "model" and is_for_chat(model)]
    named = [model.id for model in own if _is_judge(model.id)]
    idle = sorted((model for model in own if model.id not in order), key=lambda model: model.state != "ready")
    return next(iter([*named, *(model.id for model in idle)]), order[-1])


def default_provider(env: Mapping[str, str]) -> Provider | None:
    """Return the provider whose key is in the environment; Anthropic before OpenAI, None without a key."""
    return next((provider for provider, variable in KEY_VARIABLES.items() if env.get(variable)), None)


def cloud_of(provider: str | None, model: str | None, env: Mapping[str, str]) -> Cloud | None:
    """Return the cloud tier that the flags ask for: `provider` anthropic, openai, none or None (not said).

    Raises `UsageError` for a model of no provider, and a model that chains.yaml cannot name.
    """
    if model is not None and not is_usable(model):
        raise UsageError(f"{quoted(model)} cannot be the name of a model")
    if provider == "none":
        if model is not None:
            raise UsageError("--cloud none and --cloud-model exclude each other")
        return None
    for known, variable in KEY_VARIABLES.items():
        asked = provider == known or (provider is None and model is not None and _is_of(model, known))
        if asked or (provider is None and model is None and env.get(variable)):
            return Cloud(known, model or CLOUD_MODELS[known])
    return None


def parse_order(text: str, inventory: EndpointInventory) -> tuple[str, ...]:
    """Read names or numbers (of `choosable`, from 1), parted by commas or spaces, as names of models.

    Aliases become the models that they stand for. Raises `UsageError`, which names what is not known and
    what is most like it, and where nothing is named or something twice.
    """
    whole = text.strip()
    if "," in whole:
        words = [word.strip() for word in whole.split(",") if word.strip()]
    else:
        words = [whole] if look_up(inventory, whole) else whole.split()
    if not words:
        raise UsageError("the order names no model")
    names = tuple(parse_model(word, inventory) for word in words)
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise UsageError(f"the order names {quoted(doubled)} twice")
    return names


def parse_model(word: str, inventory: EndpointInventory) -> str:
    """Read one name or number; see `parse_order`."""
    word = word.strip()
    models = choosable(inventory)
    known = look_up(inventory, word)
    if known is not None and is_usable(known.model.id):
        return known.model.id
    if word.isascii() and word.isdecimal() and 0 < int(word[:6]) <= len(models):
        return models[int(word[:6]) - 1].id
    near = did_you_mean(word, names_of(inventory))
    listed = ", ".join(model.id for model in models[:8])
    more = ", …" if len(models) > 8 else ""
    raise UsageError(f"the server has no model {quoted(word)}{near}", hint=f"it has {listed}{more}")


def _is_judge(name: str) -> bool:
    return "judge" in name.lower()


def _is_of(model: str, provider: Provider) -> bool:
    return (provider == "anthropic") == model.startswith("claude-")
