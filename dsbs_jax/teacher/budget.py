"""Prices, caps, and the ledger that keeps an extraction below its caps.

A request reserves the most that it can cost before it is sent, and is charged its
actual cost afterwards. Therefore concurrent requests cannot exceed a cap together, as
long as the estimate of their prompt tokens is not too low.
"""

import asyncio
import dataclasses
from typing import Annotated

from msgspec import Meta

from dsbs_jax.errors import UserError
from dsbs_jax.settings import (
    AnyPath,
    NonNegativeFloat,
    NonNegativeInt,
    Settings,
    setting,
)

_MILLION = 1e6
_Amount = NonNegativeFloat | None
_Count = NonNegativeInt | None


@dataclasses.dataclass(slots=True)
class Spending:
    """Requests sent, and the tokens of their prompts and completions.

    Attributes:
        requests: Requests sent.
        prompt_tokens: Tokens of all prompts.
        completion_tokens: Tokens of all completions.
        batch_prompt_tokens: The part of `prompt_tokens` in batches, at half price.
        batch_completion_tokens: The part of `completion_tokens` in batches, at half
            price.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    batch_prompt_tokens: int = 0
    batch_completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """The sum of prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens

    def in_batch(self) -> "Spending":
        """Returns the same spending in a batch, with half price for all tokens."""
        read, written = self.prompt_tokens, self.completion_tokens
        return Spending(self.requests, read, written, read, written)

    def entry(self) -> dict[str, int]:
        """Returns the fields by name; fields of batches only if they are not 0."""
        fields = dataclasses.asdict(self)
        has_batch = self.batch_prompt_tokens or self.batch_completion_tokens
        return {n: v for n, v in fields.items() if has_batch or "batch" not in n}

    def add(self, other: "Spending") -> None:
        """Adds another spending to this one."""
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.batch_prompt_tokens += other.batch_prompt_tokens
        self.batch_completion_tokens += other.batch_completion_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class BudgetConfig(Settings):
    """Prices, caps and how estimates count tokens.

    A cap counts everything ever spent on an output folder. None disables a cap.
    """

    prompt_price: _Amount = setting(None, help="Price of a million prompt tokens.")
    completion_price: _Amount = setting(
        None, help="Price of a million completion tokens, in the same currency."
    )
    max_cost: _Amount = setting(None, help="Cap on the cost; needs both prices.")
    max_total_tokens: _Count = setting(
        None, help="Cap on prompt and completion tokens together."
    )
    max_requests: _Count = setting(None, help="Cap on requests, retries included.")
    chars_per_token: Annotated[float, Meta(ge=0.5, le=20)] = setting(
        4.0, help="Characters per token, for estimates without a tokenizer."
    )
    tokenizer_path: AnyPath | None = setting(
        None,
        help="SentencePiece model that counts tokens, in place of CHARS_PER_TOKEN.",
    )

    def __post_init__(self) -> None:
        """Checks that MAX_COST has prices."""
        super().__post_init__()
        if self.max_cost is not None and not self.has_prices:
            raise UserError(
                "MAX_COST is set, expected PROMPT_PRICE and COMPLETION_PRICE with it"
            )

    @property
    def has_prices(self) -> bool:
        """Whether both prices are known."""
        return self.prompt_price is not None and self.completion_price is not None

    def cost(self, spent: Spending) -> float:
        """Returns the cost in the prices' currency, or 0 without prices."""
        if self.prompt_price is None or self.completion_price is None:
            return 0.0
        read = spent.prompt_tokens - spent.batch_prompt_tokens / 2
        written = spent.completion_tokens - spent.batch_completion_tokens / 2
        total = read * self.prompt_price + written * self.completion_price
        return total / _MILLION

    def exceeded_cap(self, spent: Spending) -> str | None:
        """Returns the first cap that the spending exceeds ("MAX_REQUESTS = 5")."""
        caps = (
            ("MAX_REQUESTS", self.max_requests, spent.requests),
            ("MAX_TOTAL_TOKENS", self.max_total_tokens, spent.tokens),
            ("MAX_COST", self.max_cost, self.cost(spent)),
        )
        exceeded = (f"{n} = {cap}" for n, cap, v in caps if cap is not None and v > cap)
        return next(exceeded, None)

    def describe(self, spent: Spending) -> str:
        """Formats spending: "1,204 tokens, cost 0.3100"; the cost only with prices."""
        cost = f", cost {self.cost(spent):,.4f}" if self.has_prices else ""
        return f"{spent.tokens:,} tokens{cost}"


class CapReached(Exception):
    """The next request could exceed a cap; the message names the cap."""


class Ledger:
    """Counts what is spent and what requests in flight have reserved.

    Attributes:
        spent: Everything spent on the output folder so far.
    """

    def __init__(self, budget: BudgetConfig, spent: Spending) -> None:
        """Starts with the spending of earlier runs."""
        self._budget, self.spent = budget, spent
        self._reserved: list[Spending] = []
        self._changed = asyncio.Condition()

    async def reserve(self, max_spending: Spending) -> None:
        """Reserves the maximum cost of a request.

        Waits while requests in flight may still cost less than they have reserved.

        Raises:
            CapReached: The request does not fit, and no other request is in flight.
        """
        async with self._changed:
            while cap := self._budget.exceeded_cap(self._total_with(max_spending)):
                if not self._reserved:
                    raise CapReached(cap)
                await self._changed.wait()
            self._reserved.append(max_spending)

    async def settle(self, max_spending: Spending, actual: Spending) -> None:
        """Replaces a reservation by the actual cost of the request."""
        async with self._changed:
            self._reserved.remove(max_spending)
            self.spent.add(actual)
            self._changed.notify_all()

    def _total_with(self, max_spending: Spending) -> Spending:
        total = Spending()
        for part in (self.spent, max_spending, *self._reserved):
            total.add(part)
        return total
