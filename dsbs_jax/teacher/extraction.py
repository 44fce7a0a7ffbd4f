"""Step one of the method: from a JSONL of inputs to a JSONL with rationales and labels.

The folder of an extraction holds every reply as it came in `completions/`, and at the
end `rationales.jsonl`, `filtered.jsonl`, `failed.jsonl`, `report.json` and the quality
card.
"""

import collections
import dataclasses
import json
import pathlib
import time
from typing import Any

import gin

from dsbs_jax import files
from dsbs_jax.data import dataset_spec
from dsbs_jax.data.completions import PARSER_VERSION
from dsbs_jax.progress import duration
from dsbs_jax.rationales import filters, output_files
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.teacher import checks, folder, prompts, results
from dsbs_jax.teacher.budget import Budget
from dsbs_jax.teacher.client import Endpoint
from dsbs_jax.teacher.estimate import Estimate
from dsbs_jax.teacher.request_plan import Task
from dsbs_jax.teacher.runner import Ended, Patience, ask_all
from dsbs_jax.teacher.sampling import Sampling
from dsbs_jax.teacher.store import DAMAGED, Store

# Exit statuses.
DONE = 0
CAPPED = 3
SOME_FAILED = 4


@gin.configurable
def extract(
    *,
    input_file: str,
    output_dir: str,
    prompt: str,
    sampling: Sampling,
    endpoint: Endpoint,
    budget: Budget,
    patience: Patience,
    filtering: filters.FilterConfig,
    dry_run: bool = False,
) -> int:
    """Asks the teacher about every input; run again, goes on where it stopped.

    Args:
        input_file: JSON lines with `input` and optionally `id` and `label`.
        output_dir: The extraction's folder.
        prompt: A prompt's name or file.
        sampling: What is asked for.
        endpoint: Where the teacher is.
        budget: Prices and caps.
        patience: How many requests at a time.
        filtering: What is dropped; labels are compared as the prompt's rule says.
        dry_run: Print the first input's prompt and the estimate, and do nothing else.

    Returns:
        The exit status: `DONE`; `CAPPED` when a cap stopped it; `SOME_FAILED` when
        inputs are left without a usable reply; 128 and its number after a signal.

    Raises:
        UserError: A setting or the input is wrong, or the server refuses to answer.
        OSError: A file cannot be written.
    """
    names = {"INPUT_FILE": input_file, "OUTPUT_DIR": output_dir, "PROMPT": prompt}
    for name, value in names.items():
        checks.text(name, value)
    task = Task(input_file, prompts.load(prompt), sampling)
    cost = Estimate(task.prompt, sampling, budget)
    print(f"{input_file}: {len(task.examples):,} inputs")
    if dry_run:
        inputs = [example.input for example in task.examples] * sampling.samples
        print(task.shown(), cost.describe(inputs), sep="\n\n")
        return DONE
    # What is wrong with the key is said before anything is written.
    endpoint.key()
    store = folder.open_store(output_dir, task.identity())
    try:
        files.write(pathlib.Path(output_dir) / "config.gin", gin.config_str())
        ended = _ask(task, store, cost, endpoint, budget, patience)
        missing = sum(request.key not in ended.failed for request in ended.left)
        if missing:
            return _unfinished(ended, missing)
        return _finish(task, store, ended, budget, filtering, pathlib.Path(output_dir))
    finally:
        store.close()


def _ask(
    task: Task,
    store: Store,
    cost: Estimate,
    endpoint: Endpoint,
    budget: Budget,
    patience: Patience,
) -> Ended:
    """Asks for what is missing."""
    for problem in store.damaged:
        print(f"{store.path}: {problem}; set aside in {DAMAGED}, and asked again")
    requests = task.missing(store, cost)
    print(f"replies to ask for: {len(requests):,}, at hand: {len(store.replies):,}")
    if not requests:
        return Ended()
    inputs = [request.input for request in requests]
    print(cost.describe(inputs, store.spent), flush=True)
    began = time.monotonic()
    ended = ask_all(
        requests,
        lambda request: task.body(request.input, request.sample),
        store,
        endpoint=endpoint,
        style=task.sampling.style,
        budget=budget,
        patience=patience,
    )
    print(
        f"{len(requests) - len(ended.left):,} replies in "
        f"{duration(time.monotonic() - began)}; spent so far: "
        f"{store.spent.requests:,} requests, {budget.describe(store.spent)}"
    )
    return ended


def _unfinished(ended: Ended, missing: int) -> int:
    why = f"{ended.cap} is reached" if ended.cap else "asked to stop"
    then = "with a higher cap" if ended.cap else "again"
    print(
        f"{why}; {missing:,} replies are missing. What came is stored; run the same "
        f"command {then} to go on"
    )
    return CAPPED if ended.cap else 128 + ended.signal


def _finish(
    task: Task,
    store: Store,
    ended: Ended,
    budget: Budget,
    filtering: filters.FilterConfig,
    output: pathlib.Path,
) -> int:
    """Writes everything that a whole extraction leaves behind."""
    rule, sampling = task.prompt.rule, task.sampling
    found = results.decide(task.examples, store.replies, rule, sampling.structured)
    failed = results.failed_rows(task.examples, store.replies, ended.failed)
    result = filters.apply(found, filtering, dataset_spec.get(rule))
    results.write(output, result, failed)
    report = _report(task, store, result, len(failed), budget)
    files.write(output / results.REPORT, json.dumps(report, indent=2) + "\n")
    if found:
        _write_card(output, found, result, len(failed), task)
    print(
        f"{len(result.kept):,} kept in {output / results.KEPT}, "
        f"{len(result.dropped):,} filtered, {len(failed):,} failed"
    )
    return SOME_FAILED if failed else DONE


def _report(
    task: Task, store: Store, result: filters.FilterResult, failed: int, budget: Budget
) -> dict[str, Any]:
    keys = {key for example in task.examples for key in example.keys}
    there = [store.replies[key] for key in keys if key in store.replies]
    ends = collections.Counter(str(stored.finish_reason) for stored in there)
    assert result.config is not None
    spec = dataset_spec.get(task.prompt.rule)
    return {
        **output_files.report_fields(spec, result.config, task.facts()),
        "inputs": len(task.examples),
        "kept": len(result.kept),
        "filtered": result.counts,
        "failed": failed,
        "samples": task.sampling.samples,
        "replies": len(there),
        "missing_replies": len(keys) - len(there),
        "finish_reasons": dict(sorted(ends.items())),
        "parser_version": PARSER_VERSION,
        "spent": dataclasses.asdict(store.spent),
        "cost": round(budget.cost(store.spent), 6) if budget.is_priced else None,
    }


def _write_card(
    output: pathlib.Path,
    found: list[VotedExample],
    result: filters.FilterResult,
    failed: int,
    task: Task,
) -> None:
    # Draws plots, and is slow to import.
    from dsbs_jax.rationales import card

    card.write(
        output,
        found,
        result,
        spec=dataset_spec.get(task.prompt.rule),
        failed=failed,
        facts=task.facts(),
    )
