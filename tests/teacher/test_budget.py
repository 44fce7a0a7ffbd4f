import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsbs_jax.data import vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.teacher import extraction, prompts
from dsbs_jax.teacher.budget import BudgetConfig, CapReached, Ledger, Spending
from dsbs_jax.teacher.estimate import CostEstimate, token_counter
from dsbs_jax.teacher.sampling import SamplingConfig

GOOD = "The line is dead. So the answer is visit."


def test_cost_is_tokens_times_the_price_of_a_million():
    budget = BudgetConfig(prompt_price=2.0, completion_price=10.0)
    assert budget.cost(Spending(3, 1_500_000, 20_000)) == pytest.approx(3.2)
    assert BudgetConfig().cost(Spending(3, 1_500_000, 20_000)) == 0.0
    assert budget.describe(Spending(1, 1_000_000, 0)) == "1,000,000 tokens, cost 2.0000"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"prompt_price": -1}, "PROMPT_PRICE is -1, expected"),
        ({"max_requests": "10"}, "MAX_REQUESTS is '10', expected"),
        ({"max_cost": float("nan")}, "MAX_COST is nan"),
        ({"max_cost": 3.0}, "MAX_COST is set, expected PROMPT_PRICE and"),
        ({"max_cost": 3.0, "prompt_price": 1.0}, "COMPLETION_PRICE with it"),
        ({"chars_per_token": 0}, "CHARS_PER_TOKEN is 0"),
    ],
)
def test_bad_setting_is_named(setting, message):
    with pytest.raises(UserError, match=message):
        BudgetConfig(**setting)


CALLS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 3)), max_size=30
)


@given(calls=CALLS, cap=st.integers(0, 300), workers=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_cap_is_never_exceeded_and_only_stops_requests_that_do_not_fit(
    calls, cap, workers
):
    """Holds for any schedule if no request costs more than its estimate."""

    async def run():
        ledger = Ledger(BudgetConfig(max_total_tokens=cap), Spending())
        waiting, refused, highest = iter(calls), [], [0]

        async def work():
            for read, written, slow in waiting:
                most = Spending(1, read, written)
                try:
                    await ledger.reserve(most)
                except CapReached as reached:
                    assert str(reached) == f"MAX_TOTAL_TOKENS = {cap}"
                    refused.append((most.tokens, ledger.spent.tokens))
                    return
                for _ in range(slow):
                    await asyncio.sleep(0)
                await ledger.settle(most, Spending(1, read // 2, written // 3))
                highest[0] = max(highest[0], ledger.spent.tokens)

        await asyncio.gather(*(work() for _ in range(workers)))
        return refused, highest[0]

    refused, highest = asyncio.run(run())
    assert highest <= cap
    # A refused request would exceed the cap even without the other requests.
    assert all(tokens + spent > cap for tokens, spent in refused)


def test_estimate_counts_the_complete_prompt():
    prompt = prompts.load("cqa")
    sampling = SamplingConfig(model="m", style="completion", max_tokens=50)
    estimate = CostEstimate(prompt, sampling, BudgetConfig(chars_per_token=4.0))
    most = estimate.max_spending("Where is it?")
    assert most.requests == 1 and most.completion_tokens == 50
    # Each part is rounded up, and the text between the parts is not counted.
    assert most.prompt_tokens == pytest.approx(
        len(prompt.completion_prompt("Where is it?")) / 4, 0.1
    )


def test_estimate_counts_with_the_given_tokenizer(tmp_path):
    prompt = prompts.load("template")
    path = tmp_path / "own.model"
    vocabulary.train([prompt.completion_prompt("x")] * 3, path, vocab_size=150)
    sampling = SamplingConfig(model="m")
    budget = BudgetConfig(tokenizer_path=str(path))
    count = token_counter(budget)
    estimate = CostEstimate(prompt, sampling, budget)
    longer = estimate.max_spending("no dial tone").prompt_tokens
    assert longer - estimate.max_spending("").prompt_tokens == count("no dial tone") > 3
    assert f"the tokens of {path}" in estimate.describe([Spending(1, 9, 9)], 1)
    with pytest.raises(UserError, match="nowhere.model: cannot be read as a Sent"):
        token_counter(BudgetConfig(tokenizer_path="nowhere.model"))
    path.write_text("no model")
    with pytest.raises(UserError, match="own.model: cannot be read as a Sentence"):
        token_counter(budget)


def test_estimate_is_printed_before_the_first_request(serve, extract, capsys):
    server = serve(lambda *_: GOOD)
    prices = {"PROMPT_PRICE": 1.0, "COMPLETION_PRICE": 2.0}
    extract(server, count=10, **prices, MAX_COST=1e-9, MAX_TOKENS=40)
    assert not server.bodies
    output = capsys.readouterr().out
    assert "estimate with 4 characters per token: 10 requests, " in output
    assert "(at most 400), cost about 0.00" in output
    assert "MAX_COST = 1e-09 will probably stop the run early" in output


CAPS = [
    ({"MAX_REQUESTS": 5}, {"MAX_REQUESTS": 1000}, 5),
    # The server counts 110 tokens per reply; about 250 are reserved.
    ({"MAX_TOTAL_TOKENS": 800}, {"MAX_TOTAL_TOKENS": 10**6}, 7),
    (
        {"MAX_COST": 0.0008, "PROMPT_PRICE": 1.0, "COMPLETION_PRICE": 1.0},
        {"MAX_COST": 10, "PROMPT_PRICE": 1.0, "COMPLETION_PRICE": 1.0},
        7,
    ),
]


@pytest.mark.parametrize(("low", "high", "most"), CAPS)
def test_cap_stops_the_run_and_a_higher_cap_resumes_it(
    serve, extract, rows, tmp_path, capsys, low, high, most
):
    server = serve(lambda *_: GOOD)
    options = {"count": 20, "CONCURRENCY": 3, "MAX_TOKENS": 50}
    assert extract(server, **options, **low) == extraction.CAPPED
    name = next(iter(low))
    assert 3 <= len(server.bodies) <= most
    output = capsys.readouterr().out
    assert f"{name} = {low[name]} is reached" in output
    missing = 20 - len(server.bodies)
    assert f"{missing} replies are missing" in output
    assert not (tmp_path / "out/rationales.jsonl").exists()
    # The cap counts everything ever spent, so the same command sends nothing more.
    before = len(server.bodies)
    assert extract(server, **options, **low) == extraction.CAPPED
    assert len(server.bodies) == before
    assert extract(server, **options, **high) == extraction.DONE
    assert (
        set(server.request_counts.values()) == {1}
        and len(rows("rationales.jsonl")) == 20
    )


def test_failed_attempts_count_towards_the_cap(serve, act, extract):
    script = random.Random(0)
    server = serve(lambda *_: act["status"](500) if script.random() < 0.5 else GOOD)
    status = extract(server, count=20, MAX_REQUESTS=12, MAX_ATTEMPTS=9)
    assert status == extraction.CAPPED
    assert len(server.bodies) == 12


def test_reply_without_usage_is_charged_the_estimate(serve, act, extract, rows):
    server = serve(lambda *_: act["reply"](GOOD, usage=None))
    options = {"count": 6, "MAX_TOKENS": 50, "CONCURRENCY": 1}
    assert extract(server, **options, MAX_TOTAL_TOKENS=800) == extraction.CAPPED
    assert 2 <= len(server.bodies) <= 4
