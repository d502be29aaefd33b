"""The raw form of `budget:` and of `limits:`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hyperguild.config.schema_parts import Count, Entry, Number, Seconds

Spending = Annotated[Number, Field(gt=0)]


class Budget(Entry):
    """What one run may spend."""

    cost_usd: Spending | None = Field(None, description="US dollars.")
    seconds: Seconds | None = Field(None, description="Seconds.")
    attempts: Count | None = Field(None, description="Attempts, over all tiers.")
    tokens: Count | None = Field(None, description="Tokens in and out, of all its models together.")


class SharedBudget(Entry):
    """What several runs may spend together."""

    cost_usd: Spending | None = Field(None, description="US dollars.")
    attempts: Count | None = Field(None, description="Attempts, over all tiers and runs.")
    tokens: Count | None = Field(None, description="Tokens in and out, of all models together.")


class Limits(Entry):
    """What runs may spend, whatever their chain: each of them, those of a session, those of a day."""

    run: Budget = Field(Budget(), description="One run; the budget of its chain holds as well.")
    session: SharedBudget = Field(SharedBudget(), description="All runs of one session together.")
    day: SharedBudget = Field(
        SharedBudget(), description="All runs of one day (UTC) together, over one session database."
    )
