"""Extraction: from a file of inputs to one with rationales and labels.

The output folder holds every raw reply in `completions/`. After the last reply it also
holds the files of `rationales.output_files` and the quality card.
"""

import collections
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Container, Mapping
from typing import Any

from dsbs_jax import files
from dsbs_jax.counts import counted
from dsbs_jax.data import tables
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import accuracy, filters, output_files, verdicts
from dsbs_jax.rationales.filters import FilterResult
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.replies import specs
from dsbs_jax.replies.label_matching import LabelMatcher
from dsbs_jax.reports.proportion import Proportion
from dsbs_jax.teacher import (
    batch_records,
    folder,
    given_answers,
    judging,
    label_set,
    prompts,
    reading,
    results,
)
from dsbs_jax.teacher.batch_runner import BatchRunner
from dsbs_jax.teacher.config import ExtractionSettings
from dsbs_jax.teacher.extraction_result import (
    CAPPED,
    DONE,
    SOME_FAILED,
    ExtractionResult,
)
from dsbs_jax.teacher.judging import Judge
from dsbs_jax.teacher.label_set import LabelSet
from dsbs_jax.teacher.request_plan import Request, RequestPlan
from dsbs_jax.teacher.results import Collected
from dsbs_jax.teacher.runner import Runner, RunSummary
from dsbs_jax.teacher.store import DAMAGED, Store, StoredReply

# Ids that a warning lists.
_SHOWN_IDS = 20


def extract(
    config: ExtractionSettings,
    dry_run: bool = False,
    kept_file: pathlib.Path | None = None,
) -> ExtractionResult:
    """Asks the teacher for a rationale and a label of every input.

    A second run with the same output folder resumes: stored replies are never requested
    again. Prints progress, the cost and a summary.

    Args:
        config: The settings.
        dry_run: Whether to only print the first request and the estimated cost.
        kept_file: A second file to write the kept rows to, besides `rationales.jsonl`
            in the output folder.

    Raises:
        UserError: A setting or the input file is wrong, or the server rejects all
            requests.
        OSError: A file cannot be written.
    """
    plan, labels = _plan(config)
    judge = judging.judge_of(config)
    output = pathlib.Path(config.extraction.output_dir)
    unfinished = ExtractionResult(
        status=DONE,
        folder=output,
        inputs=len(plan.inputs),
        labels=labels.labels if labels else None,
    )
    print(f"{plan.input_file}: {counted(len(plan.inputs), 'input')}")
    if labels:
        print(labels.describe())
    _report_exemplars(plan)
    if dry_run:
        requests = _requests(plan, (), config)
        most = [request.max_spending for request in requests]
        count = sum(len(request.samples) for request in requests)
        print(plan.first_request(), plan.estimate.describe(most, count), sep="\n\n")
        if judge:
            rows = counted(len(plan.inputs), "request")
            print(f"judge: {judge.name}, one request for each kept row, at most {rows}")
        return unfinished
    # These raise for an invalid key or tokenizer, before any file is written.
    config.endpoint.key()
    if judge:
        judge.config.endpoint.key()
    _ = plan.estimate
    shared = plan.shared_settings()
    store = folder.open_store(
        output, shared, {"PROMPT": f"the prompt {plan.prompt.name}"}
    )
    try:
        _check_inputs(plan, store, output)
        folder.save_settings(output, shared)
        files.write(output / "config.gin", config.as_gin())
        summary = _send_requests(plan, store, config)
        if summary.missing:
            return dataclasses.replace(unfinished, status=_stopped_early(summary))
        collected = _collect(plan, store, summary, config, unfinished)
        _check_texts(collected, _stored(plan, store))
        answered = _ask_with_answers(plan, store, config, unfinished, collected)
        if judge and isinstance(answered, Collected):
            answered = _judge(judge, plan, store, answered)
        if isinstance(answered, RunSummary):
            return dataclasses.replace(unfinished, status=_stopped_early(answered))
        return _finish(plan, store, answered, config, unfinished, kept_file)
    finally:
        store.close()


def _plan(config: ExtractionSettings) -> tuple[RequestPlan, LabelSet | None]:
    """Reads the prompt and the inputs."""
    path = config.extraction.input_file
    prompt = prompts.load(config.extraction.prompt)
    rows = tables.read_split(path, config.columns.columns, unlabeled=True)
    labels = label_set.choose(config.extraction, prompt, rows)
    plan = RequestPlan(
        input_file=path,
        rows=rows,
        prompt=prompt,
        sampling=config.sampling,
        budget=config.budget,
        labels=_labels_in_requests(config, labels),
        reader=reading.reader_of(
            prompt, labels.labels if labels else (), config.reading
        ),
        columns=config.columns,
        earlier_limits=_earlier_limits(config),
    )
    return plan, labels


def _earlier_limits(config: ExtractionSettings) -> tuple[int, ...]:
    """Returns the other values of MAX_TOKENS that the folder has replies for."""
    limits = folder.earlier_limits(config.extraction.output_dir)
    return tuple(n for n in limits if n != config.sampling.max_tokens)


def _check_inputs(plan: RequestPlan, store: Store, output: pathlib.Path) -> None:
    """Raises UserError if the folder holds replies, but none to a row of the inputs.

    Rows may be added, removed and corrected. A file that shares no row with the stored
    replies is probably a mistake, and the run would request every reply again.
    """
    ids = {reply.id for reply in store.replies.values()}
    is_known = any(row.id in ids for row in plan.inputs)
    if store.replies and not is_known and not _stored(plan, store):
        raise UserError(
            f"OUTPUT_DIR {output} holds replies, but none to a row of INPUT_FILE "
            f"{plan.input_file}; use another OUTPUT_DIR"
        )


def _stored(plan: RequestPlan, store: Store) -> dict[str, StoredReply]:
    """Returns the stored replies to the plan's requests, by their keys."""
    return plan.stored_replies(store, functools.partial(_is_cut, plan))


def _is_cut(plan: RequestPlan, reply: StoredReply, input: str) -> bool:
    """Returns whether a reply to an input was cut off before its answer."""
    return results.is_cut(reply, plan.reader, input, plan.sampling.structured)


def _labels_in_requests(
    config: ExtractionSettings, labels: LabelSet | None
) -> tuple[str, ...]:
    """Returns the labels that structured output is limited to."""
    if not labels or not config.sampling.structured:
        return ()
    stored = folder.stored_settings(config.extraction.output_dir)
    if labels.detected and stored and "LABELS" not in stored:
        # Version 0.2 detected no labels, and its requests are not sent again.
        return ()
    return labels.labels


def _send_requests(
    plan: RequestPlan, store: Store, config: ExtractionSettings
) -> RunSummary:
    """Sends the requests whose replies are not stored."""

    def missing_requests() -> list[Request]:
        return _missing_requests(plan, store, config)

    if config.batch.batch:
        summary = BatchRunner(plan, store, config).run(missing_requests)
    else:
        batch_records.check_none_pending(pathlib.Path(config.extraction.output_dir))
        requests = missing_requests()
        if not requests:
            return RunSummary()
        summary = Runner(plan, requests, store, config.endpoint, config.runner).run()
    spent = config.budget.describe(store.spent)
    print(f"spent so far: {counted(store.spent.requests, 'request')}, {spent}")
    return summary


def _missing_requests(
    plan: RequestPlan, store: Store, config: ExtractionSettings
) -> list[Request]:
    """Lists the missing requests, and prints what is stored and what they will cost."""
    for problem in store.damaged:
        print(
            f"{store.path}: {problem}; the line is moved to {DAMAGED} and its request "
            "is sent again"
        )
    stored = _stored(plan, store)
    empty = {key for key, reply in stored.items() if reply.is_empty}
    # If nothing has text, the server was wrong, and its replies are of no use.
    if config.runner.retry_empty or len(empty) == len(stored):
        stored = {key: r for key, r in stored.items() if key not in empty}
    requests = _requests(plan, stored.keys(), config)
    count = sum(len(request.samples) for request in requests)
    print(f"replies to request: {count:,}, stored: {len(stored):,}")
    if requests:
        most = [request.max_spending for request in requests]
        print(plan.estimate.describe(most, count, store.spent), flush=True)
    return requests


def _requests(
    plan: RequestPlan, replies: Container[str], config: ExtractionSettings
) -> list[Request]:
    """Lists the requests without a reply, with the cost that they have in this run."""
    requests = plan.missing_requests(replies, config.runner.samples_per_request)
    if not config.batch.batch:
        return requests
    return [
        dataclasses.replace(request, max_spending=request.max_spending.in_batch())
        for request in requests
    ]


def _stopped_early(summary: RunSummary) -> int:
    """Prints why the run stopped and how to resume; returns the exit status."""
    if summary.stop_signal and summary.on_server:
        name, *others = summary.on_server
        more = f" and {len(others):,} more" if others else ""
        print(
            f"stopped by {summary.stop_signal.name}; batch {name}{more} continues on "
            "the server, and the same command resumes"
        )
        return 128 + summary.stop_signal
    if summary.stop_signal and not summary.cap:
        reason, command = f"stopped by {summary.stop_signal.name}", "again"
        status = 128 + summary.stop_signal
    else:
        reason, command = f"{summary.cap} is reached", "with a higher cap"
        status = CAPPED
    print(
        f"{reason}; {counted(summary.missing, 'reply is', 'replies are')} missing. The "
        f"other replies are "
        f"stored; run the same command {command} to resume"
    )
    return status


def _collect(
    plan: RequestPlan,
    store: Store,
    summary: RunSummary,
    config: ExtractionSettings,
    unfinished: ExtractionResult,
) -> Collected:
    """Votes over the replies to a plan's requests."""
    labels = unfinished.labels
    return results.collect(
        plan.inputs,
        _stored(plan, store),
        summary.failed,
        specs.for_new_rows(plan.prompt.spec),
        plan.reader,
        plan.sampling.structured,
        LabelMatcher(labels, config.reading.synonyms) if labels else None,
        config.reading.keep_rationales,
    )


def _ask_with_answers(
    plan: RequestPlan,
    store: Store,
    config: ExtractionSettings,
    unfinished: ExtractionResult,
    collected: Collected,
) -> Collected | RunSummary:
    """With GIVE_ANSWERS, asks again for rows that the teacher got wrong.

    Returns:
        The answers, or the summary of a run that stopped early.
    """
    metric = specs.for_new_rows(plan.prompt.spec).metric
    again = None
    if config.extraction.give_answers:
        again = given_answers.plan_of(plan, collected.examples, metric)
    if again is None:
        return collected
    rows = counted(len(again.inputs), "row")
    print(f"asking again for {rows}, with the human label given")
    summary = _send_requests(again, store, config)
    if summary.missing:
        return summary
    if summary.failed:
        failed = counted(len(summary.failed), "request")
        print(f"{failed} with the answer given failed; the same command repeats them")
    aided = _collect(again, store, summary, config, unfinished).examples
    examples = given_answers.merge(collected.examples, aided, metric)
    given = sum(example.answer_given for example in examples)
    return dataclasses.replace(
        collected,
        examples=examples,
        answer_given=Proportion(given, len(again.inputs)),
        aided_failed=len(summary.failed),
    )


def _judge(
    judge: Judge, plan: RequestPlan, store: Store, collected: Collected
) -> Collected | RunSummary:
    """Asks the judge about the rationale of each kept row.

    If the judge rejects a row, the filters may keep another row with the same input in
    its place, which is judged next.

    Returns:
        The answers with the verdicts, or the summary of a run that stopped early.
    """
    spec, config = specs.for_new_rows(plan.prompt.spec), judge.config
    examples, asked = collected.examples, set[str]()
    answered: list[VotedExample] = []
    while True:
        kept = filters.apply(examples, config.filters, spec).kept
        rows = [row for row in kept if row.rationale and row.id not in asked]
        if not rows:
            return dataclasses.replace(collected, examples=examples)
        asked |= {row.id for row in rows}
        # The texts of earlier rounds show that the judge answers: if a later round has
        # only empty or failed replies, the server is not wrong.
        judged = judging.plan_of(judge, plan, [*answered, *rows], store)
        keys = [row.keys[0] for row in judged.inputs[len(answered) :]]
        print(f"judge {judge.name}: {counted(len(rows), 'rationale')} to judge")
        try:
            summary = _send_requests(judged, store, config)
        except UserError as error:
            raise UserError(
                f"judge {judge.name}: {error} (the names of the judge's settings begin "
                "with JUDGE_)"
            ) from error
        if summary.missing:
            return summary
        if summary.failed:
            failed = counted(len(summary.failed), "request")
            print(
                f"{failed} to the judge failed, so these rows are not judged; the same "
                "command repeats them"
            )
        stored = _stored(judged, store)
        replies = {key: stored[key] for key in keys if key in stored}
        _report_cut_replies(judged, replies, "JUDGE_MAX_TOKENS")
        examples = judging.merge(examples, judged, replies)
        answered += [
            row
            for row, key in zip(rows, keys, strict=True)
            if key in replies and not replies[key].is_empty
        ]


def _finish(
    plan: RequestPlan,
    store: Store,
    collected: Collected,
    config: ExtractionSettings,
    unfinished: ExtractionResult,
    kept_file: pathlib.Path | None,
) -> ExtractionResult:
    """Filters, writes the files and prints the summary."""
    spec = specs.for_new_rows(plan.prompt.spec)
    _report_cut_replies(plan, _stored(plan, store))
    filtered = filters.apply(collected.examples, config.filters, spec)
    majority_label, majority = accuracy.majority_class(collected.examples)
    judge = verdicts.measure(filtered, spec.metric)
    unanswered = collected.aided_failed + (judge.not_judged if judge else 0)
    budget, output = config.budget, unfinished.folder
    result = dataclasses.replace(
        unfinished,
        status=SOME_FAILED if collected.failed or unanswered else DONE,
        rationales=kept_file or output / output_files.KEPT,
        filtered=output / output_files.FILTERED,
        failed=output / output_files.FAILED,
        report=output / output_files.REPORT,
        card=output / output_files.CARD if collected.examples else None,
        kept_count=len(filtered.kept),
        dropped_counts=filtered.counts,
        problem_counts=filtered.problem_counts,
        failed_count=len(collected.failed),
        failed_label_count=sum("label" in row for row in collected.failed),
        other_labels=dict(collected.other_labels.most_common()),
        answer_given=collected.answer_given,
        judge=judge,
        teacher_accuracy=accuracy.accuracy(collected.examples, spec.metric),
        majority_label=majority_label,
        majority_accuracy=majority,
        cost=round(budget.cost(store.spent), 6) if budget.has_prices else None,
    )
    _write_files(plan, store, config, collected, filtered, result)
    print(result.summary())
    if warning := result.warning():
        print(f"warning: {warning}", file=sys.stderr)
    return result


def _report_exemplars(plan: RequestPlan) -> None:
    """Prints a warning if the teacher sees the labels of rows in the prompt."""
    shown = {exemplar.input.strip() for exemplar in plan.prompt.exemplars}
    ids = [row.id for row in plan.inputs if row.input.strip() in shown]
    if ids:
        listed = ", ".join(f"{id!r:.40}" for id in ids[:_SHOWN_IDS])
        more = ", …" if len(ids) > _SHOWN_IDS else ""
        print(
            f"warning: rows that are also examples of the prompt: {listed}{more}. The "
            "teacher sees their labels, so its accuracy is too high on them; remove "
            "them from the rows, or at least from your test rows",
            file=sys.stderr,
        )


def _report_cut_replies(
    plan: RequestPlan, replies: Mapping[str, StoredReply], limit: str = "MAX_TOKENS"
) -> None:
    inputs = {key: row.input for row in plan.inputs for key in row.keys}
    cut = sum(_is_cut(plan, reply, inputs[key]) for key, reply in replies.items())
    if cut:
        print(
            f"cut off before the answer: {cut:,} of {len(replies):,} replies; with a "
            f"higher {limit}, the same command requests only these again"
        )


def _check_texts(collected: Collected, replies: Mapping[str, StoredReply]) -> None:
    """Raises UserError if there are replies, and none of them has text."""
    if collected.examples or not replies:
        return
    reasons = collections.Counter(row["reason"] for row in collected.failed)
    ((reason, count),) = reasons.most_common(1)
    raise UserError(
        f"none of the {len(replies):,} replies has text; most frequent reason "
        f"({count:,} inputs): {reason}; check the server's chat template, MAX_TOKENS "
        "and the stop sequences; the same command requests them again"
    )


def _write_files(
    plan: RequestPlan,
    store: Store,
    config: ExtractionSettings,
    collected: Collected,
    filtered: FilterResult,
    result: ExtractionResult,
) -> None:
    """Writes the rows, the report and the card."""
    spec, output = specs.for_new_rows(plan.prompt.spec), result.folder
    made_from = plan.provenance() | _label_facts(result)
    if result.judge:
        made_from["judge"] = config.judge.judge_model or config.sampling.model
    files.write_jsonl(output / output_files.FAILED, collected.failed)
    kept = output / output_files.KEPT
    filters.write(filtered, kept, output / output_files.FILTERED)
    if result.rationales and result.rationales != kept:
        files.write(result.rationales, kept.read_bytes())
    report = {
        **output_files.report_fields(spec, config.filters, made_from),
        **result.report_fields(),
        **_reply_counts(plan, store),
        "parser_version": plan.reader.version,
        "spent": store.spent.entry(),
    }
    files.write_json(output / output_files.REPORT, report)
    if result.card:
        _write_card(
            output,
            collected.examples,
            filtered,
            spec=spec,
            failed=len(collected.failed),
            facts=made_from,
        )


def _label_facts(result: ExtractionResult) -> dict[str, str]:
    """Returns what the card states about the label set."""
    if not result.labels:
        return {}
    other = sum(result.other_labels.values())
    return {
        "labels": ", ".join(result.labels),
        "samples with a label outside the label set": f"{other:,}",
    }


def _reply_counts(plan: RequestPlan, store: Store) -> dict[str, Any]:
    keys = {key for row in plan.inputs for key in row.keys}
    replies = _stored(plan, store).values()
    changes = sorted({change for reply in replies for change in reply.changes})
    reasons = collections.Counter(str(reply.finish_reason) for reply in replies)
    return {
        "samples": plan.sampling.samples,
        "replies": len(replies),
        "missing_replies": len(keys) - len(replies),
        "finish_reasons": dict(sorted(reasons.items())),
    } | ({"changes_to_requests": changes} if changes else {})


def _write_card(*arguments: Any, **options: Any) -> None:
    # This module imports matplotlib, which takes seconds.
    from dsbs_jax.rationales.card import writing

    writing.write(*arguments, **options)
