"""The requests of an extraction: their bodies, maximum cost and missing replies."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from dsbs_jax import settings
from dsbs_jax.data.column_config import ColumnConfig
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.teacher import folder, sampling
from dsbs_jax.teacher.budget import BudgetConfig, Spending
from dsbs_jax.teacher.estimate import CostEstimate
from dsbs_jax.teacher.prompts import Prompt
from dsbs_jax.teacher.sampling import CHAT, SamplingConfig
from dsbs_jax.teacher.store import Store


@dataclasses.dataclass(frozen=True, slots=True)
class ExtractionInput:
    """An input that is sent to the teacher.

    Attributes:
        id: Unique among the inputs.
        input: The text that the student will read.
        label: The human label, or None.
        keys: The key of each sample's request.
        answers: All acceptable human labels, where there are several.
    """

    id: str
    input: str
    label: str | None
    keys: tuple[str, ...]
    answers: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A request for one sample (from 0) of one input, and its cost per attempt."""

    row: ExtractionInput
    sample: int
    max_spending: Spending

    @property
    def key(self) -> str:
        """The key under which the reply is stored."""
        return self.row.keys[self.sample]


@dataclasses.dataclass(frozen=True)
class RequestPlan:
    """One prompt and one way of sampling, applied to the inputs of a file.

    Attributes:
        input_file: The file of the inputs.
        rows: Its rows, whose human labels are optional.
        prompt: The prompt around each input.
        sampling: How the teacher answers.
        budget: Prices, caps and how tokens are counted.
        labels: The labels to which structured output is limited, if any.
        columns: The columns that the rows were read from.
    """

    input_file: str
    rows: Sequence[Record]
    prompt: Prompt
    sampling: SamplingConfig
    budget: BudgetConfig
    labels: tuple[str, ...] = ()
    columns: ColumnConfig = ColumnConfig()

    @functools.cached_property
    def estimate(self) -> CostEstimate:
        """The estimate of the requests' cost; UserError for a wrong tokenizer."""
        return CostEstimate(self.prompt, self.sampling, self.budget)

    @functools.cached_property
    def inputs(self) -> list[ExtractionInput]:
        """The inputs in the file's order.

        Raises:
            UserError: An input does not fit the prompt.
        """
        inputs = []
        for row in self.rows:
            try:
                inputs.append(self._to_input(row))
            except ValueError as error:
                raise UserError(
                    f"{self.input_file}: row {row.id!r}: {error}"
                ) from error
        return inputs

    def _to_input(self, row: Record) -> ExtractionInput:
        keys = []
        for sample in range(self.sampling.samples):
            body = self.request_body(row.input, sample)
            keys.append(sampling.request_key(self.sampling.style, body, sample))
        return ExtractionInput(row.id, row.input, row.label, tuple(keys), row.answers)

    def request_body(self, input: str, sample: int) -> dict[str, Any]:
        """Builds the body of a request, as `sampling.request_body`."""
        return sampling.request_body(
            self.sampling, self.prompt, input, sample, self.labels
        )

    def missing_requests(self, store: Store) -> list[Request]:
        """Lists the requests whose replies are not stored, each of them once.

        All first samples come before all second samples, so that a run that a cap stops
        early has replies for as many inputs as possible.
        """
        requests: dict[str, Request] = {}
        for sample in range(self.sampling.samples):
            for row in self.inputs:
                key = row.keys[sample]
                if key not in store.replies and key not in requests:
                    most = self.estimate.max_spending(row.input)
                    requests[key] = Request(row, sample, most)
        return list(requests.values())

    def shared_settings(self) -> dict[str, Any]:
        """Returns, by macro name, the settings that all replies in a folder share.

        SAMPLES is not one of them, so that samples can be added later.
        """
        values = {
            info.macro: getattr(self.sampling, info.field)
            for info in settings.settings_of(SamplingConfig)
            if info.field != "samples"
        }
        values["PROMPT"] = self.prompt.fingerprint()
        # Only if they are set, so that folders of earlier versions can be resumed.
        if self.labels:
            values["LABELS"] = self.labels
        for info in settings.settings_of(ColumnConfig):
            value = getattr(self.columns, info.field)
            if value != info.default and info.field not in (
                "label_column",
                "id_column",
            ):
                values[info.macro] = value
        return values | {"INPUT_FILE": folder.fingerprint(self._content())}

    def _content(self) -> bytes:
        """Returns the bytes of the input file, or the rows of several files as JSON."""
        path = pathlib.Path(self.input_file).expanduser()
        if path.is_file():
            return path.read_bytes()
        rows = [(row.id, row.input, row.label) for row in self.rows]
        return json.dumps(rows).encode()

    def provenance(self) -> dict[str, Any]:
        """Returns what the rationales were made from, for the report and the card."""
        return {
            "inputs": self.input_file,
            "teacher": self.sampling.model,
            "prompt": pathlib.Path(self.prompt.name).stem,
            "samples": self.sampling.samples,
            "temperature": self.sampling.temperature,
        }

    def first_request(self) -> str:
        """Formats the first request: the prompt, then the other fields."""
        row = self.inputs[0]
        body = self.request_body(row.input, 0)
        if self.sampling.style == CHAT:
            messages = body.pop("messages")
            text = "\n\n".join(f"[{m['role']}]\n{m['content']}" for m in messages)
        else:
            text = body.pop("prompt")
        fields = json.dumps(body, ensure_ascii=False, indent=2)
        return f"{text}\n\n--- input {row.id!r}, sent with\n{fields}"
