r"""Reads the rationale and the label of a teacher's reply.

    "<think>Hm.</think>The line is dead. **So the answer is** `visit`.\n\nQ: Next"
    -> rationale "The line is dead.", label "visit"

A reply is read in steps, each a module: characters are repaired, reasoning blocks and
special tokens removed, the next question is cut off, answer phrases are found, and the
dataset's rule reads the answer after each phrase. The same answer given twice is one
answer; with different answers there is no label.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from dsbs_jax.data import completions
from dsbs_jax.data.completions import CompletionParser, ParsedCompletion
from dsbs_jax.data.dataset_spec import DatasetSpec
from dsbs_jax.replies import (
    answer_phrases,
    answer_rules,
    characters,
    markup,
    questions,
    reasoning,
    special_tokens,
    structured_answers,
)
from dsbs_jax.replies.answer_phrases import Phrase
from dsbs_jax.replies.answer_rules import AnswerRule, Reading
from dsbs_jax.replies.problems import (
    INCOMPLETE,
    ONLY_REASONING,
    TOO_LONG,
    TWO_ANSWERS,
    UNFINISHED_REASONING,
)
from dsbs_jax.replies.reasoning import SplitReply

# Version of the rules, for rows and reports. Version 1 is the paper's parsers.
READER_VERSION = 2
MAX_LENGTH = 400_000  # characters of a reply
# A brace of JSON, unlike one of LaTeX: \boxed{4}.
_OBJECT_BEGINS = re.compile(r"""\{\s*(\\?["'“‘]|\w+\s*:|\Z)""")
_WRAPPED = re.compile(
    r"<(answer|final_answer|final|response|output|result)>([\s\S]*)</\1>", re.IGNORECASE
)


class Reader(Protocol):
    """Reads replies to one kind of request; `ReplyReader` describes the methods."""

    @property
    def keep_reasoning(self) -> bool:
        """Whether a reasoning block becomes the rationale."""

    @property
    def version(self) -> int:
        """Version of the rules, for rows and reports."""

    def read(
        self, reply: str, asked: str = "", cut_off: bool = False
    ) -> ParsedCompletion:
        """Reads a reply."""

    def read_structured(
        self, reply: str, asked: str = "", cut_off: bool = False
    ) -> ParsedCompletion:
        """Reads a reply that is a JSON object."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Answer:
    """The label that was read after a phrase."""

    phrase: Phrase
    reading: Reading

    @property
    def counts(self) -> bool:
        """Whether there is a label, or an answer that is ambiguous."""
        return self.reading.label is not None or self.reading.stops

    @property
    def is_given(self) -> bool:
        """Whether any text is after the phrase."""
        return self.reading.problem != completions.NO_LABEL_AFTER_MARKER


@dataclasses.dataclass(frozen=True)
class ReplyReader:
    """Reads the replies to the prompts of a dataset.

    Attributes:
        parser: The dataset's parser, with its markers and the words of a next question.
        labels: The closed set of labels; empty for free text.
        synonyms: The label that each synonym means.
        keep_reasoning: Whether a reasoning block becomes the rationale.
        is_tolerant: Whether the tolerant rule of the dataset is used. Otherwise, and
            for a parser with a rule of its own, only reasoning blocks are removed and
            the parser reads the rest.
    """

    parser: CompletionParser
    labels: tuple[str, ...] = ()
    synonyms: Mapping[str, str] = dataclasses.field(default_factory=dict)
    keep_reasoning: bool = False
    is_tolerant: bool = True

    @classmethod
    def of_spec(
        cls,
        spec: DatasetSpec,
        labels: Sequence[str] = (),
        synonyms: Mapping[str, str] | None = None,
        keep_reasoning: bool = False,
    ) -> "ReplyReader":
        """Makes the reader of a dataset.

        Args:
            spec: The dataset.
            labels: The task's labels, if they are known; by default those of the spec.
            synonyms: The label that each synonym means.
            keep_reasoning: Whether a reasoning block becomes the rationale.
        """
        known = tuple(labels) or spec.labels or ()
        return cls(spec.parser, known, dict(synonyms or {}), keep_reasoning)

    @property
    def version(self) -> int:
        """Version of the rules, for rows and reports."""
        return READER_VERSION if self._rule("") else completions.PARSER_VERSION

    def _rule(self, asked: str) -> AnswerRule | None:
        if not self.is_tolerant:
            return None
        return answer_rules.rule_of(self.parser, self.labels, self.synonyms, asked)

    def read(
        self, reply: str, asked: str = "", cut_off: bool = False
    ) -> ParsedCompletion:
        """Reads a reply.

        Args:
            reply: The raw reply, any text.
            asked: The input of the row, for its choices.
            cut_off: Whether the reply may be incomplete. Then an answer counts only if
                more text follows it.
        """
        if len(reply) > MAX_LENGTH:
            return ParsedCompletion(None, None, TOO_LONG)
        split = reasoning.split(characters.repair(reply))
        visible = special_tokens.without(split.visible)
        rule = self._rule(asked)
        if rule is None:
            parsed = self._read_own(visible, cut_off)
        else:
            parsed = self._read_visible(visible, asked, rule, cut_off)
            if parsed.problem == completions.NO_MARKER and "{" in visible:
                parsed = self._read_object(visible, rule) or parsed
        return self._with_reasoning(parsed, split)

    def read_structured(
        self, reply: str, asked: str = "", cut_off: bool = False
    ) -> ParsedCompletion:
        """Reads a reply that is a JSON object, with or without text around it.

        A reply without an object is read as text.
        """
        if len(reply) > MAX_LENGTH:
            return ParsedCompletion(None, None, TOO_LONG)
        split = reasoning.split(characters.repair(reply))
        visible = special_tokens.without(split.visible)
        rule = self._rule(asked)
        parsed = self._read_object(visible, rule)
        if parsed is None and _OBJECT_BEGINS.search(visible):
            parsed = ParsedCompletion(None, None, INCOMPLETE)
        if parsed is None:
            return self.read(reply, asked, cut_off)
        return self._with_reasoning(parsed, split)

    def _read_visible(
        self, text: str, asked: str, rule: AnswerRule, cut_off: bool
    ) -> ParsedCompletion:
        text = _unwrapped(text)
        shorter = questions.without_restated(text, asked)
        parsed = self._read_text(shorter, rule, cut_off)
        if parsed.problem == completions.BLANK_RATIONALE and shorter != text:
            # The rationale is the input itself.
            return self._read_text(text, rule, cut_off)
        return parsed

    def _read_text(
        self, text: str, rule: AnswerRule, cut_off: bool
    ) -> ParsedCompletion:
        text = questions.cut(text, self.parser.cut_at)
        phrases = answer_phrases.find(text, self.parser.answer_markers)
        answers = self._answers(text, phrases, rule)
        if not answers:
            last = rule.last_line(text)
            if last is None:
                return ParsedCompletion(None, None, completions.NO_MARKER)
            begin, reading = last
            phrase = Phrase(begin, begin, len(text), answer_phrases.WEAK)
            answers = [_Answer(phrase, reading)]
        if cut_off:
            answers = [answer for answer in answers if _is_complete(answer, text)]
            if not answers:
                return ParsedCompletion(None, None, INCOMPLETE)
        return self._decide(text, answers, rule)

    def _answers(
        self, text: str, phrases: list[Phrase], rule: AnswerRule
    ) -> list[_Answer]:
        """Reads the answers after the strongest phrases that have one."""
        clear = [phrase for phrase in phrases if phrase.rank < answer_phrases.WEAK]
        answers = _read_phrases(text, clear, rule)
        found = [answer for answer in answers if answer.counts]
        if found:
            return found
        # The dataset's own phrase has the answer, although it cannot be read.
        own = [a for a in answers if a.phrase.rank == answer_phrases.OWN and a.is_given]
        if own:
            return own[-1:]
        weak = [a for a in _read_phrases(text, phrases, rule) if a.counts]
        return weak or answers[-1:]

    def _decide(
        self, text: str, answers: list[_Answer], rule: AnswerRule
    ) -> ParsedCompletion:
        first = answers[0]
        for answer in answers:
            if answer.reading.label is None:
                return ParsedCompletion(None, None, answer.reading.problem)
        label = first.reading.label or ""
        for answer in answers[1:]:
            if not rule.are_equal(label, answer.reading.label or ""):
                return ParsedCompletion(None, None, TWO_ANSWERS)
        rationale = markup.strip_rationale(text[: first.phrase.begin])
        if rationale:
            # "The best answer is B, it is hot. So the answer is B.": up to "So".
            best = min(answers, key=lambda answer: answer.phrase.rank)
            rationale = markup.strip_rationale(text[: best.phrase.begin])
        else:
            rationale = answer_rules.explanation_after(first.reading.rest)
        problem = None if rationale else completions.BLANK_RATIONALE
        return ParsedCompletion(rationale or None, label, problem)

    def _read_object(
        self, text: str, rule: AnswerRule | None
    ) -> ParsedCompletion | None:
        """Reads the JSON object of a reply; None without one."""
        fields = structured_answers.read(text)
        if fields is None:
            return None
        if fields.problem:
            return ParsedCompletion(None, None, fields.problem)
        rationale = fields.rationale or ""
        if rule is None:
            label = fields.labels[0].strip().removesuffix(".")
            return self.parser.parse_parts(rationale, f" {label}.")
        labels: list[str] = []
        for one in fields.labels:
            reading = rule.read_field(one)
            if reading.label is None:
                return ParsedCompletion(None, None, reading.problem)
            if labels and not rule.are_equal(labels[0], reading.label):
                return ParsedCompletion(None, None, TWO_ANSWERS)
            labels.append(reading.label)
        rationale = self._without_last_answer(rationale, labels[0], rule)
        problem = None if rationale else completions.BLANK_RATIONALE
        return ParsedCompletion(rationale or None, labels[0], problem)

    def _without_last_answer(self, rationale: str, label: str, rule: AnswerRule) -> str:
        """Removes the sentence with the answer from the end of a rationale."""
        rationale = markup.strip_rationale(rationale)
        for phrase in answer_phrases.find(rationale, self.parser.answer_markers):
            reading = rule.read(rationale[phrase.end : phrase.stop], phrase.opened)
            ends = reading.label is not None and not reading.rest.strip()
            if ends and phrase.rank <= answer_phrases.CLEAR:
                before = markup.strip_rationale(rationale[: phrase.begin])
                if before and rule.are_equal(label, reading.label or ""):
                    return before
        return rationale

    def _read_own(self, text: str, cut_off: bool) -> ParsedCompletion:
        """Reads a reply with a parser that has a rule of its own."""
        runs_on = any(cut in text for cut in self.parser.cut_at)
        if cut_off and not runs_on:
            for marker in self.parser.answer_markers:
                text = text.partition(marker)[0]
        return self.parser.parse(text)

    def _with_reasoning(
        self, parsed: ParsedCompletion, split: SplitReply
    ) -> ParsedCompletion:
        """Makes the reasoning the rationale, or reports it as the problem."""
        if parsed.label is not None and self.keep_reasoning and split.reasoning:
            return ParsedCompletion(split.reasoning, parsed.label, None)
        no_answer = (completions.NO_MARKER, INCOMPLETE)
        if split.unfinished and parsed.problem in no_answer:
            return ParsedCompletion(None, None, UNFINISHED_REASONING)
        if parsed.problem == completions.BLANK_RATIONALE and split.reasoning:
            return ParsedCompletion(None, parsed.label, ONLY_REASONING)
        return parsed


def _read_phrases(text: str, phrases: list[Phrase], rule: AnswerRule) -> list[_Answer]:
    """Reads the answer after each phrase, up to a question after an answer.

    Statements about the answer ("The answer is not obvious") are left out if there is
    an answer.
    """
    answers = []
    end = len(text)
    for phrase in phrases:
        if phrase.begin >= end:
            break
        reading = rule.read(text[phrase.end : min(phrase.stop, end)], phrase.opened)
        answers.append(_Answer(phrase, reading))
        if reading.label is not None:
            end = min(end, questions.next_question(text, phrase.end))
    statements = [
        answer
        for answer in answers
        if answer.counts
        and answer.phrase.rank > answer_phrases.OWN
        and rule.is_statement(answer.reading)
    ]
    others = [answer for answer in answers if answer not in statements]
    return others if any(answer.counts for answer in others) else answers


def _unwrapped(text: str) -> str:
    """Removes tags around a complete reply: "<answer>…</answer>"."""
    match = _WRAPPED.fullmatch(text.strip())
    if match is None or not answer_phrases.find(match[2]):
        return text
    return match[2]


def _is_complete(answer: _Answer, text: str) -> bool:
    """Whether more text follows the answer, which shows that it was not cut off."""
    if answer.phrase.closed:
        return True
    rest = answer.reading.rest + text[answer.phrase.stop :]
    return bool(rest.strip(" \t*_`\"'.)]}$")) or "\n" in rest
