"""The raw form of `provider_tools:`. Each description becomes the help that editors show."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from hyperguild.config.schema_parts import Text, refused
from hyperguild.config.wording import quoted

RUN_BY_THE_CLIENT = ("bash_", "text_editor_", "computer_", "memory_")
"""How the types of Anthropic's tools begin that the client executes."""

RUNNERS = {"shell": "bash_"}
"""Our tools that can run one of them, and how its type begins: both take a `command`."""


class ProviderTool(BaseModel):
    """A tool as the provider's API takes it: what is not named here goes into the request as it is."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: Text = Field(description="The provider's type of tool, such as web_search_20250305.")
    name: Text | None = Field(None, description="The name of its calls, where the API wants one.")
    runner: Literal["shell"] | None = Field(
        None, description="The tool here that executes it: shell runs bash_20250124. Else the provider does."
    )

    @model_validator(mode="after")
    def _somebody_runs_it(self) -> Self:
        ours = None if self.runner is None else RUNNERS[self.runner]
        if ours is not None and not self.type.startswith(ours):
            raise refused(f"{self.runner} runs tools of the types {ours}…, not {quoted(self.type)}")
        if ours is not None and self.name is None:
            raise refused("needs the `name` that the model calls it by")
        if ours is None and self.type.startswith(RUN_BY_THE_CLIENT):
            remedy = "add `runner: shell`" if self.type.startswith("bash_") else "there is no runner for it"
            raise refused(f"{quoted(self.type)} is a tool that the client executes: {remedy}")
        return self

    def definition(self) -> dict[str, Any]:
        """Return it as the API takes it."""
        return self.model_dump(exclude={"runner"}, exclude_none=True)


def _apart(tools: tuple[ProviderTool, ...]) -> tuple[ProviderTool, ...]:
    names = [tool.name for tool in tools if tool.name is not None]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise refused(f"two tools are named {quoted(twice)}")
    return tools


ProviderTools = Annotated[tuple[ProviderTool, ...], AfterValidator(_apart)]
