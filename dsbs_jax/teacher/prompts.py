r"""Few-shot chain-of-thought prompts: plain text files that a person can edit.

The files of the project stand in `dsbs_jax/teacher/prompts/`; `template.txt` there says
how they are written. An input becomes one text (style "completion") or a conversation
(style "chat") that ends where the teacher is to go on:

    "hot tea" -> "…Q: juice\nA: It has ice. So the answer is cold.\n\nQ: hot tea\nA:"
"""

import dataclasses
import pathlib
import re

from dsbs_jax.data import completions
from dsbs_jax.data.records import SEGMENT_SEPARATOR
from dsbs_jax.errors import UserError
from dsbs_jax.teacher import structured

FOLDER = pathlib.Path(__file__).resolve().parent / "prompts"

_SECTION = re.compile(r"=== *(\w+) *")
_FIELD = re.compile(r"\{(?:input|segment [1-9])\}")
_EXEMPLAR = ("input", "label", "answer")


@dataclasses.dataclass(frozen=True, slots=True)
class Exemplar:
    """A question that the prompt answers itself.

    Attributes:
        input: As an example's.
        label: What the rule reads out of the answer.
        answer: What a good teacher says: reasoning, answer marker, label.
    """

    input: str
    label: str
    answer: str


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """How an input is put to the teacher.

    Attributes:
        name: The file's name, for messages.
        rule: A key of `dsbs_jax.data.completions.RULES`.
        stop: Where the server is asked to stop.
        instructions: What stands before everything else; may be empty.
        question: Template of a question.
        exemplars: Questions with answers, in the order in which they are shown.
    """

    name: str
    rule: str
    stop: tuple[str, ...]
    instructions: str
    question: str
    exemplars: tuple[Exemplar, ...]

    def ask(self, input: str) -> str:
        """Puts an input into the question's template.

        Raises:
            ValueError: It has not the segments that the template names.
        """
        segments = input.split(SEGMENT_SEPARATOR)
        fields = {f"{{segment {n}}}": s.strip() for n, s in enumerate(segments, 1)}
        wanted = [f for f in _FIELD.findall(self.question) if f != "{input}"]
        if wanted and set(wanted) != set(fields):
            raise ValueError(
                f"the prompt {self.name} expects {len(set(wanted))} segments separated "
                f"by {SEGMENT_SEPARATOR}, found {len(segments)}"
            )
        fields["{input}"] = input
        # All at once: an input that looks like a field is left as it is.
        return _FIELD.sub(lambda match: fields[match.group()], self.question)

    def text(self, input: str) -> str:
        """Makes the whole prompt for completion style.

        Raises:
            ValueError: As `ask`.
        """
        shown = [f"{self.ask(e.input)} {e.answer}" for e in self.exemplars]
        parts = [self.instructions, *shown, self.ask(input)]
        return "\n\n".join(part for part in parts if part)

    def messages(self, input: str, as_json: bool = False) -> list[dict[str, str]]:
        """Makes the conversation for chat style.

        The instructions open the first question, since some models know no system role.

        Args:
            input: The example's.
            as_json: Whether the exemplars answer in structured output's form.

        Raises:
            ValueError: As `ask`.
        """
        found = []
        for exemplar in self.exemplars:
            answer = exemplar.answer
            if as_json:
                answer = structured.from_completion(answer, self.rule)
            found.append({"role": "user", "content": self.ask(exemplar.input)})
            found.append({"role": "assistant", "content": answer})
        found.append({"role": "user", "content": self.ask(input)})
        if self.instructions:
            found[0]["content"] = f"{self.instructions}\n\n{found[0]['content']}"
        return found


def load(name: str) -> Prompt:
    """Reads a prompt.

    Args:
        name: One of the project's ("cqa"), or the path of a file.

    Raises:
        UserError: There is no such prompt, or it is not written as it should be; also
            when the rule does not read an exemplar's label out of its answer.
    """
    own = FOLDER / f"{name}.txt"
    path = own if re.fullmatch(r"\w+", name) and own.is_file() else pathlib.Path(name)
    try:
        return parse(path.read_bytes().decode("utf-8-sig"), str(path))
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.txt")))
        raise UserError(
            f"prompt {name!r}: {error.strerror}; expected one of {known}, or a file"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def parse(text: str, name: str) -> Prompt:
    """Reads a prompt file's text.

    Raises:
        ValueError: It is not written as it should be; the message says where.
    """
    head, sections = _split(text)
    rule, stop = _head(head)
    parts = {"instructions": "", "question": ""}
    while sections and sections[0][0] in parts:
        kind, body = sections.pop(0)
        parts[kind] = body
    if not _FIELD.search(parts["question"]):
        raise ValueError("expected a section 'question' with {input} or {segment 1}")
    for number, (kind, _) in enumerate(sections):
        if kind != _EXEMPLAR[number % 3]:
            raise ValueError(
                f"exemplar {number // 3 + 1}: expected a section "
                f"{_EXEMPLAR[number % 3]!r}, found {kind!r}"
            )
    bodies = [body for _, body in sections]
    if len(bodies) % 3:
        raise ValueError(f"exemplar {len(bodies) // 3 + 1} is not whole")
    exemplars = [Exemplar(*bodies[n : n + 3]) for n in range(0, len(bodies), 3)]
    prompt = Prompt(name, rule, stop, **parts, exemplars=tuple(exemplars))
    _check(prompt)
    return prompt


def _split(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Splits a file into the lines of its head and its sections with their bodies."""
    head: list[str] = []
    sections: list[tuple[str, list[str]]] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if begins := _SECTION.fullmatch(line):
            sections.append((begins.group(1), []))
        elif sections:
            sections[-1][1].append(line)
        elif line.strip() and not line.startswith("#"):
            head.append(line)
    return head, [(kind, "\n".join(lines).strip()) for kind, lines in sections]


def _head(lines: list[str]) -> tuple[str, tuple[str, ...]]:
    rule, stop = "default", []
    for line in lines:
        name, colon, value = line.partition(":")
        # Only the blank behind the colon is none of the value's.
        value = value.removeprefix(" ").replace("\\n", "\n")
        if name == "rule" and value.strip() in completions.RULES:
            rule = value.strip()
        elif name == "stop" and value:
            stop.append(value)
        else:
            rules = ", ".join(completions.RULES)
            raise ValueError(
                f"found {line!r:.60}, expected 'rule: ' and one of {rules}, or 'stop: '"
            )
    return rule, tuple(stop)


def _check(prompt: Prompt) -> None:
    """Raises ValueError unless every exemplar is read as it says."""
    for number, exemplar in enumerate(prompt.exemplars, 1):
        parsed = completions.parse(prompt.rule, exemplar.answer)
        if parsed.problem or parsed.label != exemplar.label:
            raise ValueError(
                f"exemplar {number}: the rule {prompt.rule!r} reads "
                f"{parsed.label!r:.60} ({parsed.problem or 'no problem'}) out of the "
                f"answer, expected its label {exemplar.label!r:.60}"
            )
        prompt.ask(exemplar.input)
