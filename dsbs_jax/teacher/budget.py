"""What asking costs: estimated before the first request, counted, and capped.

A request reserves the most that it may cost before it is sent, and is charged what it
did cost afterwards. So requests under way at the same time cannot pass a cap together,
as far as the estimate of a prompt's tokens is right.
"""

import asyncio
import dataclasses
import math
from collections.abc import Callable

from dsbs_jax.errors import UserError
from dsbs_jax.teacher import checks

_MILLION = 1e6


@dataclasses.dataclass(slots=True)
class Spending:
    """Requests sent, and the tokens they read and wrote."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.prompt_tokens + self.completion_tokens

    def add(self, other: "Spending") -> None:
        """Adds another's numbers to these."""
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens


@dataclasses.dataclass(frozen=True)
class Budget:
    """Prices and caps. A cap counts everything ever spent on the output folder.

    Attributes:
        prompt_price: Of a million tokens read, in any currency; None is unknown.
        completion_price: Of a million tokens written; None is unknown.
        max_cost: The most to be spent; None is no cap. Needs both prices.
        max_total_tokens: The most tokens, read and written; None is no cap.
        max_requests: The most requests, those sent again included; None is no cap.
        chars_per_token: For estimates, where there is no tokenizer.
        tokenizer_path: A SentencePiece model to count tokens by instead; None for none.

    Raises:
        UserError: A setting is out of its range.
    """

    prompt_price: float | None = None
    completion_price: float | None = None
    max_cost: float | None = None
    max_total_tokens: int | None = None
    max_requests: int | None = None
    chars_per_token: float = 4.0
    tokenizer_path: str | None = None

    def __post_init__(self) -> None:
        """Checks the fields."""
        for name in ("prompt_price", "completion_price", "max_cost"):
            if getattr(self, name) is not None:
                checks.number(name, getattr(self, name))
        for name in ("max_total_tokens", "max_requests"):
            if getattr(self, name) is not None:
                checks.whole(name, getattr(self, name), 0)
        checks.number("chars_per_token", self.chars_per_token, 0.5, 20)
        if self.max_cost is not None and not self.is_priced:
            raise UserError(
                "MAX_COST is set, expected PROMPT_PRICE and COMPLETION_PRICE with it"
            )

    @property
    def is_priced(self) -> bool:
        """Whether both prices are known."""
        return None not in (self.prompt_price, self.completion_price)

    def cost(self, spent: Spending) -> float:
        """What was spent, in money; 0 where prices are not known."""
        if not self.is_priced:
            return 0.0
        read, written = spent.prompt_tokens, spent.completion_tokens
        total = read * self.prompt_price + written * self.completion_price
        return total / _MILLION

    def exceeded_by(self, spent: Spending) -> str | None:
        """Names the cap that is passed when this much is spent, or None."""
        caps = (
            ("MAX_REQUESTS", self.max_requests, spent.requests),
            ("MAX_TOTAL_TOKENS", self.max_total_tokens, spent.tokens),
            ("MAX_COST", self.max_cost, self.cost(spent)),
        )
        for name, cap, value in caps:
            if cap is not None and value > cap:
                return f"{name} = {cap}"
        return None

    def counter(self) -> Callable[[str], int]:
        """Makes the function that counts, or estimates, the tokens of a text.

        Raises:
            UserError: The tokenizer cannot be read.
        """
        if self.tokenizer_path is None:
            return lambda text: math.ceil(len(text) / self.chars_per_token)
        # Only needed here.
        import sentencepiece

        try:
            with open(self.tokenizer_path, "rb") as file:
                model = sentencepiece.SentencePieceProcessor(model_proto=file.read())
        except OSError as error:
            raise UserError(f"{self.tokenizer_path}: {error.strerror}") from error
        except RuntimeError as error:
            raise UserError(
                f"{self.tokenizer_path}: expected a SentencePiece model"
            ) from error
        return lambda text: len(model.encode(text))

    def describe(self, spent: Spending) -> str:
        """Says what was spent: "1,204 tokens, 0.31" or, without prices, the tokens."""
        money = f", cost {self.cost(spent):,.4f}" if self.is_priced else ""
        return f"{spent.tokens:,} tokens{money}"


class CapReached(Exception):
    """The next request could pass a cap; the message names it."""


class Ledger:
    """Keeps count of what is spent and of what is reserved by requests under way.

    Attributes:
        spent: All that was spent on the output folder so far.
    """

    def __init__(self, budget: Budget, spent: Spending) -> None:
        """Begins with what earlier runs spent."""
        self._budget, self.spent = budget, spent
        self._reserved: list[Spending] = []
        self._changed = asyncio.Condition()

    async def reserve(self, most: Spending) -> None:
        """Sets aside what a request may cost; waits while others hold what it needs.

        Raises:
            CapReached: It does not fit, and no request is under way that could turn out
                cheaper than reserved.
        """
        async with self._changed:
            while cap := self._budget.exceeded_by(self._with(most)):
                if not self._reserved:
                    raise CapReached(cap)
                await self._changed.wait()
            self._reserved.append(most)

    async def settle(self, most: Spending, actual: Spending) -> None:
        """Charges what a request did cost, and frees the rest."""
        async with self._changed:
            self._reserved.remove(most)
            self.spent.add(actual)
            self._changed.notify_all()

    def _with(self, most: Spending) -> Spending:
        total = Spending()
        for part in (self.spent, most, *self._reserved):
            total.add(part)
        return total
