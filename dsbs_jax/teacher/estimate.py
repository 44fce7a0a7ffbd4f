"""What requests will cost, as far as it can be known beforehand."""

from collections.abc import Sequence

from dsbs_jax.teacher.budget import Budget, Spending
from dsbs_jax.teacher.prompts import Prompt
from dsbs_jax.teacher.sampling import CHAT, Sampling

# Tokens that a conversation adds to each message, for its role and its bounds.
_TOKENS_A_MESSAGE = 4


class Estimate:
    """Estimates the tokens of requests; what a server counts will differ."""

    def __init__(self, prompt: Prompt, sampling: Sampling, budget: Budget) -> None:
        """Counts once what all prompts have in common.

        Raises:
            UserError: The tokenizer cannot be read.
        """
        self._budget, self._sampling = budget, sampling
        self._count = budget.counter()
        shown = [(prompt.ask(e.input), e.answer) for e in prompt.exemplars]
        texts = [prompt.instructions, prompt.question]
        texts += [text for pair in shown for text in pair]
        self._common = sum(map(self._count, texts))
        if sampling.style == CHAT:
            self._common += _TOKENS_A_MESSAGE * (2 * len(shown) + 1)
        answers = [self._count(answer) for _, answer in shown]
        self._answer = sum(answers) / len(answers) if answers else sampling.max_tokens

    def most(self, input: str) -> Spending:
        """The most that one attempt at an input may cost."""
        tokens = self._common + self._count(input)
        return Spending(1, tokens, self._sampling.max_tokens)

    def describe(self, inputs: Sequence[str], spent: Spending | None = None) -> str:
        """Says what asking will cost.

        Args:
            inputs: One for each request.
            spent: What was spent before and counts towards the caps.
        """
        most = Spending()
        for text in inputs:
            most.add(self.most(text))
        likely = Spending(
            most.requests,
            most.prompt_tokens,
            round(min(self._answer, self._sampling.max_tokens) * most.requests),
        )
        budget = self._budget
        how = (
            f"{budget.chars_per_token:g} characters a token"
            if budget.tokenizer_path is None
            else f"the tokens of {budget.tokenizer_path}"
        )
        line = (
            f"estimate, by {how}: {most.requests:,} requests, "
            f"{most.prompt_tokens:,} tokens read, about {likely.completion_tokens:,} "
            f"written (at most {most.completion_tokens:,})"
        )
        if budget.is_priced:
            line += f", cost about {budget.cost(likely):,.4f}"
            line += f" (at most {budget.cost(most):,.4f})"
        likely.add(spent or Spending())
        cap = budget.exceeded_by(likely)
        return f"{line}\n{cap} will stop it before the end" if cap else line
