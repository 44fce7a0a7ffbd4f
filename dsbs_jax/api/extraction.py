"""Extraction of labels and rationales from a teacher."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from dsbs_jax.errors import UserError
from dsbs_jax.teacher import extraction
from dsbs_jax.teacher.budget import BudgetConfig
from dsbs_jax.teacher.config import BatchConfig, ExtractionSettings, RunnerConfig
from dsbs_jax.teacher.endpoint import EndpointConfig
from dsbs_jax.teacher.extraction_result import ExtractionResult
from dsbs_jax.teacher.sampling import SamplingConfig

_Path = str | os.PathLike[str]


def extract(
    inputs: _Path,
    prompt: _Path,
    base_url: str,
    model: str,
    output: _Path,
    *,
    labels: Sequence[str] | None = None,
    samples: int = SamplingConfig.samples,
    temperature: float | None = SamplingConfig.temperature,
    max_tokens: int = SamplingConfig.max_tokens,
    style: str = SamplingConfig.style,
    structured: bool = SamplingConfig.structured,
    concurrency: int = RunnerConfig.concurrency,
    api_key_variable: str = EndpointConfig.api_key_variable,
    prompt_price: float | None = BudgetConfig.prompt_price,
    completion_price: float | None = BudgetConfig.completion_price,
    max_cost: float | None = BudgetConfig.max_cost,
    max_requests: int | None = BudgetConfig.max_requests,
    max_total_tokens: int | None = BudgetConfig.max_total_tokens,
    batch: bool = BatchConfig.batch,
    dry_run: bool = False,
    **options: Any,
) -> ExtractionResult:
    """Asks a teacher for a label and a rationale of every input.

    Each reply is stored before it is parsed. A second call with the same output resumes
    and requests only the missing replies. Prints progress, the cost and a summary with
    the teacher's accuracy; warns on standard error if the teacher may be no better than
    always answering the most frequent label.

        dsbs_jax.extract(
            inputs="tickets.jsonl",
            prompt="prompt.txt",
            base_url="http://localhost:8000/v1",
            model="the-teacher",
            output="rationales.jsonl",
        )

    Args:
        inputs: Rows with an input, and optionally a label and an id, in a format that
            `dsbs_jax.data.tables` reads.
        prompt: A prompt file, or the name of a built-in prompt such as "cqa".
        base_url: Address of an OpenAI-compatible server.
        model: The server's name of the model.
        output: A new folder, or the folder of an extraction to resume. With a path that
            ends in ".jsonl", the kept rows are also written to that file, and the
            folder is next to it: "rationales.jsonl" -> "rationales_extraction".
        labels: The task's labels; other labels of the teacher do not count. None uses
            the labels of the prompt file, or the human labels of the data if they are a
            small closed set. An empty list allows any label.
        samples: Replies per input; the label with the most votes wins.
        temperature: 0 gives the same reply each time; None uses the server's default.
        max_tokens: Maximum tokens of a completion.
        style: "chat", or "completion" (API /v1/completions) without a chat template.
        structured: Whether to request JSON with rationale and label, with the label
            limited to the label set.
        concurrency: Requests in flight at the same time.
        api_key_variable: Environment variable of the key.
        prompt_price: Price of a million prompt tokens.
        completion_price: Price of a million completion tokens, in the same currency.
        max_cost: Cap on the cost; needs both prices. Caps count all calls with the same
            output.
        max_requests: Cap on requests, retries included.
        max_total_tokens: Cap on prompt and completion tokens together.
        batch: Whether to send the requests through OpenAI's Batch API, for half the
            price and with replies within 24 hours. The call waits for them; a second
            call with the same output resumes.
        dry_run: Whether to only print the first request and the estimated cost.
        **options: Other settings of an extraction by their names in lower case, such as
            the columns (`input_column="text"`), the filters (`drop_disagreement=True`),
            a judge of the rationales (`judge=True`) and `timeout=30.0`.

    Raises:
        UserError: An argument or a file is wrong, or the server rejects all requests.
        OSError: A file cannot be written.
    """
    folder, kept_file = _output_paths(output, inputs)
    config = ExtractionSettings.from_fields(
        {
            **options,
            "input_file": os.fspath(inputs),
            "prompt": os.fspath(prompt),
            "base_url": base_url,
            "model": model,
            "output_dir": os.fspath(folder),
            "labels": labels,
            "samples": samples,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "style": style,
            "structured": structured,
            "concurrency": concurrency,
            "api_key_variable": api_key_variable,
            "prompt_price": prompt_price,
            "completion_price": completion_price,
            "max_cost": max_cost,
            "max_requests": max_requests,
            "max_total_tokens": max_total_tokens,
            "batch": batch,
        }
    )
    return extraction.extract(config, dry_run, kept_file)


def _output_paths(
    output: _Path, inputs: _Path
) -> tuple[pathlib.Path, pathlib.Path | None]:
    """Returns the output folder, and the file of the kept rows next to it, if any.

    "a/rationales.jsonl" -> ("a/rationales_extraction", "a/rationales.jsonl")

    Raises:
        UserError: The file holds something else than the rows of this extraction.
    """
    path = pathlib.Path(output)
    if path.suffix != ".jsonl":
        return path, None
    folder = path.with_name(f"{path.stem}_extraction")
    if path.exists() and (not folder.exists() or path.samefile(inputs)):
        raise UserError(
            f"{path} exists and is not the output of an extraction, expected a new "
            f"file, or one with its folder {folder.name}"
        )
    return folder, path
