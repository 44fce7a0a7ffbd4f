"""Extraction: from a JSONL file of inputs to one with rationales and labels.

The output folder holds every raw reply in `completions/`. After the last reply it also
holds the files of `rationales.output_files` and the quality card.
"""

import collections
import dataclasses
import json
import pathlib
from typing import Any

from dsbs_jax import files, settings
from dsbs_jax.data.completions import PARSER_VERSION
from dsbs_jax.rationales import filters, output_files
from dsbs_jax.rationales.filters import FilterConfig
from dsbs_jax.settings import Settings, Text, setting
from dsbs_jax.teacher import folder, prompts, results
from dsbs_jax.teacher.budget import BudgetConfig
from dsbs_jax.teacher.endpoint import EndpointConfig
from dsbs_jax.teacher.request_plan import Request, RequestPlan
from dsbs_jax.teacher.runner import Runner, RunnerConfig, RunSummary
from dsbs_jax.teacher.sampling import SamplingConfig
from dsbs_jax.teacher.store import DAMAGED, Store

# Exit statuses.
DONE = 0
CAPPED = 3
SOME_FAILED = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractionConfig(Settings):
    """Files of an extraction."""

    input_file: Text = setting(help="JSON lines with `input`, maybe `id` and `label`.")
    output_dir: Text = setting(help="A new folder, or that of an extraction to resume.")
    prompt: Text = setting(
        help="'cqa', 'svamp', 'asdiv', 'anli1', 'esnli', 'template', or the path of "
        "your own file (format: dsbs_jax/teacher/prompts/template.txt)."
    )


def extract(
    config: ExtractionConfig,
    *,
    sampling: SamplingConfig,
    endpoint: EndpointConfig,
    budget: BudgetConfig,
    runner: RunnerConfig,
    filter_config: FilterConfig,
    dry_run: bool = False,
) -> int:
    """Asks the teacher for a rationale and a label of every input.

    A second run with the same output folder resumes: stored replies are never requested
    again.

    Args:
        config: Input file, output folder and prompt.
        sampling: How the teacher answers.
        endpoint: The teacher's server.
        budget: Prices and caps.
        runner: Concurrency and circuit breaker.
        filter_config: Which rows are dropped.
        dry_run: Whether to only print the first request and the estimated cost.

    Returns:
        The exit status: `DONE`; `CAPPED` if a cap stopped the run; `SOME_FAILED` if
        inputs are left without a usable reply; 128 + number after a signal.

    Raises:
        UserError: A setting or the input file is wrong, or the server rejects all
            requests.
        OSError: A file cannot be written.
    """
    prompt = prompts.load(config.prompt)
    plan = RequestPlan(config.input_file, prompt, sampling, budget)
    print(f"{config.input_file}: {len(plan.inputs):,} inputs")
    if dry_run:
        inputs = [row.input for row in plan.inputs] * sampling.samples
        print(plan.first_request(), plan.estimate.describe(inputs), sep="\n\n")
        return DONE
    endpoint.key()  # raises for an invalid key, before any file is written
    output = pathlib.Path(config.output_dir)
    store = folder.open_store(output, plan.shared_settings())
    try:
        every = [config, sampling, endpoint, runner, budget, filter_config]
        files.write(output / "config.gin", settings.as_gin(every))
        requests = _missing_requests(plan, store)
        summary = RunSummary()
        if requests:
            summary = Runner(plan, requests, store, endpoint, runner).run()
            spent = f"{store.spent.requests:,} requests, {budget.describe(store.spent)}"
            print(f"spent so far: {spent}")
        if summary.missing:
            return _stopped_early(summary)
        return _finish(plan, store, summary, filter_config, output)
    finally:
        store.close()


def _missing_requests(plan: RequestPlan, store: Store) -> list[Request]:
    """Lists the missing requests, and prints what is stored and what they will cost."""
    for problem in store.damaged:
        print(
            f"{store.path}: {problem}; the line is moved to {DAMAGED} and its request "
            "is sent again"
        )
    requests = plan.missing_requests(store)
    print(f"replies to request: {len(requests):,}, stored: {len(store.replies):,}")
    if requests:
        inputs = [request.row.input for request in requests]
        print(plan.estimate.describe(inputs, store.spent), flush=True)
    return requests


def _stopped_early(summary: RunSummary) -> int:
    """Prints why the run stopped and how to resume; returns the exit status."""
    if summary.stop_signal and not summary.cap:
        reason, command = f"stopped by {summary.stop_signal.name}", "again"
        status = 128 + summary.stop_signal
    else:
        reason, command = f"{summary.cap} is reached", "with a higher cap"
        status = CAPPED
    print(
        f"{reason}; {summary.missing:,} replies are missing. The other replies are "
        f"stored; run the same command {command} to resume"
    )
    return status


def _finish(
    plan: RequestPlan,
    store: Store,
    summary: RunSummary,
    filter_config: FilterConfig,
    output: pathlib.Path,
) -> int:
    """Votes, filters, and writes the files of a finished extraction."""
    spec, budget = plan.prompt.spec, plan.budget
    examples, failed = results.collect(
        plan.inputs, store.replies, summary.failed, spec, plan.sampling.structured
    )
    result = filters.apply(examples, filter_config, spec)
    kept = output / output_files.KEPT
    files.write_jsonl(output / output_files.FAILED, failed)
    filters.write(result, kept, output / output_files.FILTERED)
    report = {
        **output_files.report_fields(spec, filter_config, plan.provenance()),
        "inputs": len(plan.inputs),
        "kept": len(result.kept),
        "filtered": result.counts,
        "failed": len(failed),
        **_reply_counts(plan, store),
        "parser_version": PARSER_VERSION,
        "spent": dataclasses.asdict(store.spent),
        "cost": round(budget.cost(store.spent), 6) if budget.has_prices else None,
    }
    files.write(output / output_files.REPORT, json.dumps(report, indent=2) + "\n")
    if examples:
        _write_card(
            output,
            examples,
            result,
            spec=spec,
            failed=len(failed),
            facts=plan.provenance(),
        )
    print(
        f"{len(result.kept):,} rows kept in {kept}, {len(result.dropped):,} filtered, "
        f"{len(failed):,} failed"
    )
    return SOME_FAILED if failed else DONE


def _reply_counts(plan: RequestPlan, store: Store) -> dict[str, Any]:
    keys = {key for row in plan.inputs for key in row.keys}
    replies = [store.replies[key] for key in keys if key in store.replies]
    reasons = collections.Counter(str(reply.finish_reason) for reply in replies)
    return {
        "samples": plan.sampling.samples,
        "replies": len(replies),
        "missing_replies": len(keys) - len(replies),
        "finish_reasons": dict(sorted(reasons.items())),
    }


def _write_card(*arguments: Any, **options: Any) -> None:
    from dsbs_jax.rationales import card  # imports matplotlib, which takes seconds

    card.write(*arguments, **options)
