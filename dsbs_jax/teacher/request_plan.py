"""The requests of an extraction: their bodies, maximum cost and missing replies."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Collection, Container, Sequence
from typing import Any

from dsbs_jax import settings
from dsbs_jax.data.column_config import ColumnConfig
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.replies.reader import Reader
from dsbs_jax.teacher import folder, sampling
from dsbs_jax.teacher.budget import BudgetConfig, Spending
from dsbs_jax.teacher.estimate import CostEstimate
from dsbs_jax.teacher.prompts import Prompt
from dsbs_jax.teacher.sampling import CHAT, SamplingConfig
from dsbs_jax.teacher.store import Store, StoredReply


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
    """A request for samples (from 0) of one input, and its cost per attempt."""

    row: ExtractionInput
    samples: tuple[int, ...]
    max_spending: Spending

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys under which the replies are stored."""
        return tuple(self.row.keys[sample] for sample in self.samples)


@dataclasses.dataclass(frozen=True)
class RequestPlan:
    """One prompt and one way of sampling, applied to the inputs of a file.

    Attributes:
        input_file: The file of the inputs.
        rows: Its rows, whose human labels are optional.
        prompt: The prompt around each input.
        reader: Reads the replies.
        sampling: How the teacher answers.
        budget: Prices, caps and how tokens are counted.
        labels: The labels to which structured output is limited, if any.
        columns: The columns that the rows were read from.
        earlier_limits: MAX_TOKENS of earlier runs; their complete replies are used.
        is_judge: Whether the requests go to the judge. Then replies of the teacher do
            not show that the judge answers.
    """

    input_file: str
    rows: Sequence[Record]
    prompt: Prompt
    reader: Reader
    sampling: SamplingConfig
    budget: BudgetConfig
    labels: tuple[str, ...] = ()
    columns: ColumnConfig = ColumnConfig()
    earlier_limits: tuple[int, ...] = ()
    is_judge: bool = False

    @functools.cached_property
    def estimate(self) -> CostEstimate:
        """The estimate of the cost; raises UserError for a wrong tokenizer."""
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
        samples = range(self.sampling.samples)
        keys = tuple(self._key(row.input, sample) for sample in samples)
        return ExtractionInput(row.id, row.input, row.label, keys, row.answers)

    def _key(self, input: str, sample: int, limit: int | None = None) -> str:
        body = self.request_body(input, sample)
        if limit is not None:
            body[self.sampling.max_tokens_name] = limit
        return sampling.request_key(self.sampling.style, body, sample)

    def request_body(self, input: str, sample: int) -> dict[str, Any]:
        """Builds the body of a request, as `sampling.request_body`."""
        return sampling.request_body(
            self.sampling, self.prompt, input, sample, self.labels
        )

    def stored_replies(
        self, store: Store, is_cut: Callable[[StoredReply, str], bool]
    ) -> dict[str, StoredReply]:
        """Returns the replies that need no request, by the keys of `inputs`.

        A reply to a request with another MAX_TOKENS counts, unless it was cut off and
        the limit is now higher.

        Args:
            store: The stored replies.
            is_cut: Whether a reply to an input was cut off before its answer.
        """
        found = {}
        for row in self.inputs:
            for sample, key in enumerate(row.keys):
                reply = store.replies.get(key)
                if self.earlier_limits and (reply is None or is_cut(reply, row.input)):
                    reply = self._earlier_reply(row, sample, store, is_cut) or reply
                if reply is not None:
                    found[key] = reply
        return found

    def replies_of_model(self, store: Store) -> Collection[StoredReply]:
        """Returns the stored replies that show that the plan's model answers."""
        if not self.is_judge:
            return store.replies.values()
        keys = {key for row in self.inputs for key in row.keys}
        return [store.replies[key] for key in keys & store.replies.keys()]

    def _earlier_reply(
        self,
        row: ExtractionInput,
        sample: int,
        store: Store,
        is_cut: Callable[[StoredReply, str], bool],
    ) -> StoredReply | None:
        cut = None
        for limit in sorted(self.earlier_limits):
            reply = store.replies.get(self._key(row.input, sample, limit))
            if reply is not None and not is_cut(reply, row.input):
                return reply
            if reply is not None and limit >= self.sampling.max_tokens:
                cut = reply
        return cut

    def missing_requests(
        self, replies: Container[str], samples_per_request: int = 1
    ) -> list[Request]:
        """Lists the requests whose replies are not stored, each of them once.

        All first samples come before all second samples, so that a run that a cap stops
        early has replies for as many inputs as possible.

        Args:
            replies: The keys of the replies that need no request.
            samples_per_request: The most samples of an input in one request.
        """
        requests: list[Request] = []
        planned: set[str] = set()
        for first in range(0, self.sampling.samples, samples_per_request):
            for row in self.inputs:
                samples = []
                last = min(first + samples_per_request, self.sampling.samples)
                for sample in range(first, last):
                    key = row.keys[sample]
                    if key not in replies and key not in planned:
                        planned.add(key)
                        samples.append(sample)
                if samples:
                    requests.append(self.request(row, samples))
        return requests

    def request(self, row: ExtractionInput, samples: Sequence[int]) -> Request:
        """Returns the request for some samples of an input."""
        most = self.estimate.max_spending(row.input, len(samples))
        return Request(row, tuple(samples), most)

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
        values[folder.PROMPT_PARTS] = self.prompt.part_fingerprints()
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
        if self.earlier_limits:
            values[folder.EARLIER_LIMITS] = self.earlier_limits
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
