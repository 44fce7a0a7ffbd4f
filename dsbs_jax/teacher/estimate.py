"""Estimates tokens and cost before the first request is sent."""

import dataclasses
import math
from collections.abc import Callable, Sequence

from dsbs_jax.counts import counted
from dsbs_jax.rationales import lengths
from dsbs_jax.teacher.budget import BudgetConfig, Spending
from dsbs_jax.teacher.prompts import Prompt
from dsbs_jax.teacher.sampling import CHAT, SamplingConfig

# Tokens that a chat template adds to each message, for its role and its delimiters.
_TOKENS_PER_MESSAGE = 4


def token_counter(budget: BudgetConfig) -> Callable[[str], int]:
    """Returns the function that counts or estimates the tokens of a text.

    Without TOKENIZER_PATH, the number of characters gives an estimate.

    Raises:
        UserError: The tokenizer cannot be read.
    """
    if budget.tokenizer_path is None:
        return lambda text: math.ceil(len(text) / budget.chars_per_token)
    model = lengths.load_tokenizer(budget.tokenizer_path)
    return lambda text: len(model.encode(text))


class CostEstimate:
    """Estimates the tokens of requests. The server's own count differs slightly."""

    def __init__(
        self, prompt: Prompt, sampling: SamplingConfig, budget: BudgetConfig
    ) -> None:
        """Counts the tokens that all prompts share, once; raises as `token_counter`."""
        self._sampling, self._budget = sampling, budget
        self._count = token_counter(budget)
        pairs = [(prompt.fill_question(e.input), e.answer) for e in prompt.exemplars]
        texts = [prompt.instructions, prompt.question]
        texts += [text for pair in pairs for text in pair]
        self._shared_tokens = sum(map(self._count, texts))
        if sampling.style == CHAT:
            self._shared_tokens += _TOKENS_PER_MESSAGE * (2 * len(pairs) + 1)
        # A completion is expected to be about as long as an exemplar's answer.
        answers = [self._count(answer) for _, answer in pairs]
        mean = sum(answers) / len(answers) if answers else sampling.max_tokens
        self._completion_tokens = min(mean, sampling.max_tokens)

    def max_spending(self, input: str, samples: int = 1) -> Spending:
        """Returns the most that one attempt at a request for this input can cost."""
        prompt_tokens = self._shared_tokens + self._count(input)
        return Spending(1, prompt_tokens, samples * self._sampling.max_tokens)

    def describe(
        self,
        requests: Sequence[Spending],
        replies: int,
        spent: Spending | None = None,
    ) -> str:
        """Describes the estimated cost of requests.

        Args:
            requests: The most that each request can cost.
            replies: Number of replies that they ask for.
            spent: Earlier spending that counts towards the caps.
        """
        budget, most = self._budget, Spending()
        for request in requests:
            most.add(request)
        count = round(self._completion_tokens * replies)
        expected = dataclasses.replace(most, completion_tokens=count)
        in_batch = bool(most.batch_completion_tokens)
        if in_batch:
            expected.batch_completion_tokens = count
        method = (
            f"{budget.chars_per_token:g} characters per token"
            if budget.tokenizer_path is None
            else f"the tokens of {budget.tokenizer_path}"
        )
        line = (
            f"estimate with {method}: {counted(most.requests, 'request')}, "
            f"{most.prompt_tokens:,} prompt tokens, about "
            f"{expected.completion_tokens:,} completion tokens "
            f"(at most {most.completion_tokens:,})"
        )
        if budget.has_prices:
            line += f", cost about {budget.cost(expected):,.4f}"
            line += f" (at most {budget.cost(most):,.4f})"
            line += " at the half price of a batch" if in_batch else ""
        expected.add(spent or Spending())
        cap = budget.exceeded_cap(expected)
        return f"{line}\n{cap} will probably stop the run early" if cap else line
