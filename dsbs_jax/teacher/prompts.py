r"""Few-shot chain-of-thought prompts: plain text files that a person can edit.

The prompts of the paper's datasets are in `dsbs_jax/teacher/prompts/`; `template.txt`
there explains the format. An input becomes one text (style "completion") or a list of
messages (style "chat") that ends where the teacher's answer begins:

    "hot tea" -> "…Q: juice\nA: It has ice. So the answer is cold.\n\nQ: hot tea\nA:"
"""

import dataclasses
import json
import pathlib
import re

from dsbs_jax.data import dataset_spec
from dsbs_jax.data.completions import ParsedCompletion
from dsbs_jax.data.dataset_spec import DatasetSpec
from dsbs_jax.data.records import SEGMENT_SEPARATOR
from dsbs_jax.errors import UserError, reason
from dsbs_jax.replies.reader import ReplyReader
from dsbs_jax.teacher import folder, structured

FOLDER = pathlib.Path(__file__).resolve().parent / "prompts"

# The text of a new prompt file that the user replaces by a rationale.
PLACEHOLDER = "<write one or two sentences>"

_SECTION = re.compile(r"=== *(\w+) *")
_FIELD = re.compile(r"\{(?:input|segment [1-9])\}")


@dataclasses.dataclass(frozen=True, slots=True)
class Exemplar:
    """A worked example; the answer is rationale, answer marker and label."""

    input: str
    label: str
    answer: str


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """The text around an input that is sent to the teacher.

    Attributes:
        name: The file's path, for messages.
        dataset: Name of the `DatasetSpec` whose parser reads the answers.
        stop: Texts at which the server stops generating.
        instructions: Text before the exemplars; may be empty.
        question: Template of a question, with `{input}` or `{segment 1}`.
        exemplars: Worked examples, in the order in which they are sent.
        labels: The task's labels, if the file names them. They are not sent.
    """

    name: str
    dataset: str
    stop: tuple[str, ...]
    instructions: str
    question: str
    exemplars: tuple[Exemplar, ...]
    labels: tuple[str, ...] = ()

    @property
    def spec(self) -> DatasetSpec:
        """The spec of the prompt's dataset."""
        return dataset_spec.get(self.dataset)

    def fill_question(self, input: str) -> str:
        """Inserts an input into the question's template.

        Raises:
            ValueError: The input does not have the segments that the template names.
        """
        segments = input.split(SEGMENT_SEPARATOR)
        values = {f"{{segment {n}}}": s.strip() for n, s in enumerate(segments, 1)}
        named = {f for f in _FIELD.findall(self.question) if f != "{input}"}
        if named and named != set(values):
            raise ValueError(
                f"the prompt {self.name} expects {len(named)} segments separated "
                f"by {SEGMENT_SEPARATOR}, found {len(segments)}"
            )
        values["{input}"] = input
        # One pass over the template, so that an input that contains "{input}" or
        # "{segment 1}" is inserted unchanged.
        return _FIELD.sub(lambda match: values[match.group()], self.question)

    def completion_prompt(self, input: str) -> str:
        """Builds the prompt for completion style; raises as `fill_question`."""
        ask = self.fill_question
        exemplars = [f"{ask(e.input)} {e.answer}" for e in self.exemplars]
        parts = [self.instructions, *exemplars, ask(input)]
        return "\n\n".join(part for part in parts if part)

    def chat_messages(self, input: str, as_json: bool = False) -> list[dict[str, str]]:
        """Builds the messages for chat style; raises as `fill_question`.

        The instructions precede the first question in the same message, because some
        models do not support the system role.

        Args:
            input: The input that the teacher answers.
            as_json: Whether the exemplars' answers are structured output.
        """
        texts = []
        for exemplar in self.exemplars:
            answer = exemplar.answer
            if as_json:
                answer = structured.exemplar_json(answer, self.spec.parser)
            texts += [self.fill_question(exemplar.input), answer]
        texts.append(self.fill_question(input))
        if self.instructions:
            texts[0] = f"{self.instructions}\n\n{texts[0]}"
        roles = ["user", "assistant"] * len(texts)
        return [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]

    def fingerprint(self) -> str:
        """Returns the SHA-256 of everything in the prompt that affects replies.

        Folders of version 0.1 hold this value, so the names and their order are fixed.
        """
        content = {
            "rule": self.dataset,
            "stop": self.stop,
            "instructions": self.instructions,
            "question": self.question,
            "exemplars": [dataclasses.asdict(exemplar) for exemplar in self.exemplars],
        }
        return folder.fingerprint(json.dumps(content).encode())

    def part_fingerprints(self) -> dict[str, str]:
        """Returns a short hash of each part of the prompt file, by its name."""
        parts = {
            "rule": self.dataset,
            "stop": "\n".join(self.stop),
            "instructions": self.instructions,
            "question": self.question,
        }
        for number, exemplar in enumerate(self.exemplars, 1):
            parts[f"exemplar {number}"] = json.dumps(dataclasses.asdict(exemplar))
        return {
            name: folder.fingerprint(text.encode("utf-8", "surrogatepass"))[:23]
            for name, text in parts.items()
        }


def has_heading(text: str) -> bool:
    """Returns whether a line of a text would begin a section of a prompt file."""
    return any(_SECTION.fullmatch(line) for line in text.splitlines())


def load(name: str) -> Prompt:
    """Reads a prompt.

    Args:
        name: Name of a built-in prompt ("cqa"), or the path of a file.

    Raises:
        UserError: There is no such prompt, or `parse` rejects the file.
    """
    built_in = FOLDER / f"{name}.txt"
    is_built_in = re.fullmatch(r"\w+", name) and built_in.is_file()
    path = built_in if is_built_in else pathlib.Path(name)
    try:
        return parse(path.read_bytes().decode("utf-8-sig"), str(path))
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.txt")))
        raise UserError(
            f"prompt {name!r}: {reason(error)}; expected one of {known}, or a file"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def parse(text: str, name: str) -> Prompt:
    """Reads the text of a prompt file.

    Raises:
        ValueError: A placeholder is not replaced, a line of the header or a section is
            wrong, or the completion parser does not read an exemplar's label from its
            answer.
    """
    _check_placeholders(text)
    header, sections = _split(text)
    dataset, stop, labels = _parse_header(header)
    parts = {"instructions": "", "question": ""}
    while sections and sections[0][0] in parts:
        kind, body = sections.pop(0)
        parts[kind] = body
    if not _FIELD.search(parts["question"]):
        raise ValueError("expected a section 'question' with {input} or {segment 1}")
    exemplars = _parse_exemplars(sections)
    prompt = Prompt(name, dataset, stop, **parts, exemplars=exemplars, labels=labels)
    _check_exemplars(prompt)
    return prompt


def _split(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Splits a file into header lines and (section name, body) pairs.

    Comments are removed here, so they are not part of a prompt or its fingerprint.
    """
    header: list[str] = []
    sections: list[tuple[str, list[str]]] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if heading := _SECTION.fullmatch(line):
            sections.append((heading.group(1), []))
        elif sections:
            sections[-1][1].append(line)
        elif line.strip() and not line.startswith("#"):
            header.append(line)
    return header, [(kind, "\n".join(lines).strip()) for kind, lines in sections]


def _check_placeholders(text: str) -> None:
    """Raises ValueError for a rationale that the user has not written yet."""
    left = [
        number
        for number, line in enumerate(text.split("\n"), 1)
        if PLACEHOLDER in line and not line.startswith("#")
    ]
    if left:
        raise ValueError(
            f"line {left[0]}: {len(left)} of the rationales are not written yet, "
            f"expected your own text in place of each {PLACEHOLDER}"
        )


def _parse_header(
    lines: list[str],
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    r"""Reads the lines `rule: cqa`, `stop: \nQ:` and `label: visit`.

    Returns:
        The dataset, the stop texts and the labels.
    """
    dataset, stop, labels = "default", [], []
    for line in lines:
        name, _, value = line.partition(":")
        # Only the space after the colon is not part of the value.
        value = value.removeprefix(" ").replace("\\n", "\n")
        if name == "rule" and value.strip() in dataset_spec.names():
            dataset = value.strip()
        elif name == "stop" and value:
            stop.append(value)
        elif name == "label" and value.strip() and value.strip() not in labels:
            labels.append(value.strip())
        else:
            known = ", ".join(dataset_spec.names())
            raise ValueError(
                f"found {line!r:.60}, expected 'rule: ' and one of {known}, 'stop: ', "
                "or 'label: ' and one of the task's labels"
            )
    return dataset, tuple(stop), tuple(labels)


def _parse_exemplars(sections: list[tuple[str, str]]) -> tuple[Exemplar, ...]:
    exemplars = []
    for start in range(0, len(sections), 3):
        group = sections[start : start + 3]
        names = [name for name, _ in group]
        if names != ["input", "label", "answer"]:
            raise ValueError(
                f"exemplar {start // 3 + 1}: expected the sections input, label and "
                f"answer, found {', '.join(names)}"
            )
        exemplars.append(Exemplar(**dict(group)))
    return tuple(exemplars)


def _parse_exemplar(prompt: Prompt, exemplar: Exemplar) -> ParsedCompletion:
    """Reads an exemplar as the paper's parser does, or else tolerantly."""
    parsed = prompt.spec.parser.parse(exemplar.answer)
    if parsed.label == exemplar.label:
        return parsed
    tolerant = ReplyReader.of_spec(prompt.spec, prompt.labels)
    tolerantly_parsed = tolerant.read(exemplar.answer, exemplar.input)
    return tolerantly_parsed if tolerantly_parsed.label == exemplar.label else parsed


def _check_exemplars(prompt: Prompt) -> None:
    """Raises ValueError unless the parser reads each label from its answer."""
    for number, exemplar in enumerate(prompt.exemplars, 1):
        parsed = _parse_exemplar(prompt, exemplar)
        if parsed.problem or parsed.label != exemplar.label:
            raise ValueError(
                f"exemplar {number}: the parser of {prompt.dataset!r} reads "
                f"{parsed.label!r:.60} ({parsed.problem or 'no problem'}) from the "
                f"answer, expected the label {exemplar.label!r:.60}"
            )
        prompt.fill_question(exemplar.input)
        if prompt.labels and exemplar.label not in prompt.labels:
            raise ValueError(
                f"exemplar {number}: the label is {exemplar.label!r:.60}, expected one "
                f"of {', '.join(prompt.labels)}"
            )
