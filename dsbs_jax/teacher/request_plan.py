"""What an extraction asks: inputs, prompt and sampling, and what is still missing."""

import dataclasses
import functools
import json
import os
import pathlib
from typing import Any

from dsbs_jax.data import jsonl
from dsbs_jax.data.records import check_text
from dsbs_jax.errors import UserError
from dsbs_jax.teacher import folder
from dsbs_jax.teacher.estimate import Estimate
from dsbs_jax.teacher.prompts import Prompt
from dsbs_jax.teacher.results import Example
from dsbs_jax.teacher.runner import Request
from dsbs_jax.teacher.sampling import CHAT, Sampling
from dsbs_jax.teacher.store import Store


@dataclasses.dataclass(frozen=True)
class Task:
    """One prompt and one way of sampling over the inputs of a file.

    Attributes:
        input_file: JSON lines with `input` and optionally `id` and `label`.
        prompt: How an input is put to the teacher.
        sampling: What is asked for.
    """

    input_file: str | os.PathLike[str]
    prompt: Prompt
    sampling: Sampling

    @functools.cached_property
    def examples(self) -> list[Example]:
        """The inputs in the file's order.

        Raises:
            UserError: As `jsonl.read_inputs`; a label is no text, or an input does not
                fit the prompt.
        """
        found = []
        for row in jsonl.read_inputs(self.input_file):
            try:
                found.append(self._example(row))
            except ValueError as error:
                raise UserError(
                    f"{self.input_file}: row {row['id']!r}: {error}"
                ) from error
        return found

    def _example(self, row: dict[str, Any]) -> Example:
        label = row.get("label")
        if label is not None:
            check_text("label", label)
        samples = range(self.sampling.samples)
        keys = (self.sampling.key(self.body(row["input"], n), n) for n in samples)
        return Example(row["id"], row["input"], label, tuple(keys))

    def body(self, input: str, sample: int) -> dict[str, Any]:
        """Makes the body of a request, as `Sampling.body` does."""
        return self.sampling.body(self.prompt, input, sample)

    def missing(self, store: Store, cost: Estimate) -> list[Request]:
        """Lists the requests whose replies are not stored, each of them once."""
        found: dict[str, Request] = {}
        # Sample by sample: a run that a cap stops has a reply for as many as can be.
        for sample in range(self.sampling.samples):
            for example in self.examples:
                key = example.keys[sample]
                if key not in store.replies and key not in found:
                    most = cost.most(example.input)
                    found[key] = Request(key, example.id, example.input, sample, most)
        return list(found.values())

    def identity(self) -> dict[str, Any]:
        """Says what all replies of a folder have in common, by the settings' names.

        How many samples there are is not part of it: more of them can be added.
        """
        settings = dataclasses.asdict(self.sampling)
        del settings["samples"]
        prompt = dataclasses.asdict(self.prompt)
        # Where it stands is not what it says.
        del prompt["name"]
        content = pathlib.Path(self.input_file).read_bytes()
        return {
            **{name.upper(): value for name, value in settings.items()},
            "PROMPT": folder.fingerprint(json.dumps(prompt).encode()),
            "INPUT_FILE": folder.fingerprint(content),
        }

    def facts(self) -> dict[str, Any]:
        """Says what rationales are made from, for the report and the card."""
        return {
            "inputs": os.fspath(self.input_file),
            "teacher": self.sampling.model,
            "prompt": pathlib.Path(self.prompt.name).stem,
            "samples": self.sampling.samples,
            "temperature": self.sampling.temperature,
        }

    def shown(self) -> str:
        """Shows the whole prompt of the first input, and what is sent with it."""
        example = self.examples[0]
        body = self.body(example.input, 0)
        if self.sampling.style == CHAT:
            messages = body.pop("messages")
            text = "\n\n".join(f"[{m['role']}]\n{m['content']}" for m in messages)
        else:
            text = body.pop("prompt")
        sent = json.dumps(body, ensure_ascii=False, indent=2)
        return f"{text}\n\n--- example {example.id!r}, sent with\n{sent}"
