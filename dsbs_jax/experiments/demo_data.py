"""Generated helpdesk tickets, and a scripted teacher that answers like an LLM.

A ticket states eight facts in random order and in several phrasings. A technician has
to visit if exactly one of internet and phone is down. If both are down, the fault is
in the street; if neither is down, there is nothing to repair. So two of eight facts
decide, and no single word determines the label. Labels alone say little about the rule,
while a rationale quotes the two facts and states the conclusion:

    input      "Nora: sounds calm, pages never load, has a dog, ..."
    rationale  "pages never load, calls sound clear. Only one is down."
    label      "visit"

The teacher makes the mistakes of a language model: some answers are wrong, and their
rationales agree with them; many completions continue with another, invented ticket; and
some give no answer. The parser of a real teacher's completions reads these as well.

The teacher also answers several times, in other words (`complete`), and explains a
label that it is given (`explain`): the right one, as a teacher that is asked again with
the human label, or a wrong one, as for the counterfactual rationales of SCOTT (Wang et
al. 2023, arXiv 2305.01879). `reply` answers the text of such a question.
`with_all_fields` adds these answers to rows and leaves the other fields unchanged.
`with_answers_given` replaces the teacher's label and rationale where the teacher is
wrong. Both use their own random numbers, so the rows of `make` stay the same.
"""

import dataclasses
import pathlib
import random
from collections.abc import Sequence

from dsbs_jax import files
from dsbs_jax.data import dataset_spec
from dsbs_jax.data.completions import ParsedCompletion
from dsbs_jax.data.records import Record, as_row
from dsbs_jax.teacher import given_answers

VISIT, REMOTE = "visit", "remote"
SIZES = {"validation": 200, "test": 400}
# Completions for each row of `with_all_fields`, including the one of `make`.
SAMPLES = 5

# Seed of the replies.
_SEED = 0

# Proportions of the teacher's completions that are wrong, that continue after the
# answer, and that have no answer.
WRONG, RUNS_ON, UNPARSABLE = 0.07, 0.30, 0.02

# Phrasings of "works" and of "is down".
_DECISIVE = {
    "internet": (
        ["internet works", "internet is fine", "browsing is fast", "pages load well"],
        ["internet is dead", "internet drops out", "no browsing", "pages never load"],
    ),
    "phone": (
        ["phone works", "phone is fine", "calls sound clear", "dial tone heard"],
        ["phone is dead", "phone only crackles", "no calls", "dial tone missing"],
    ),
}
_DISTRACTING = [
    ["router is new", "router bought lately", "router is old", "router years old"],
    ["bill is paid", "payments on time", "bill is open", "payments are late"],
    ["television is fine", "all channels there", "television is dark", "few channels"],
    ["lives in a house", "owns a cottage", "lives in a flat", "rents a room"],
    ["wants an email", "prefers writing", "wants a call back", "prefers talking"],
    ["first ticket", "never wrote before", "third ticket", "wrote last week"],
    ["sounds calm", "very polite", "sounds angry", "quite upset"],
    ["works at home", "has a home office", "works in town", "office downtown"],
    ["has a dog", "keeps two cats", "has no pets", "keeps no animals"],
    ["free in the morning", "home before noon", "home after five", "free at night"],
    ["small plan", "cheapest plan", "large plan", "fastest plan"],
    ["sunny outside", "dry all week", "storm outside", "rain all week"],
]
_DISTRACTING_FACTS = 6
_NAMES = ["Ana", "Bo", "Carl", "Dina", "Emil", "Fay", "Gus", "Hana", "Ivo", "Jun"]
# What the teacher concludes if none, one or both of the two are down. Without samples,
# it uses the first of each.
_CONCLUSIONS = (
    ["Both work", "Nothing is broken", "Neither of them fails"],
    ["Only one is down", "Exactly one of them fails", "One of the two is broken"],
    ["Both are down", "Neither of them works", "Both of them fail"],
)
_NO_ANSWER = [
    "The ticket does not say enough to decide. Please ask for the router's lights.",
    "It could be either. A colleague should have a look first.",
]


@dataclasses.dataclass(frozen=True)
class Ticket:
    """One generated example.

    Attributes:
        input: Text of the ticket.
        down: Whether internet and phone are down.
        quotes: The two decisive facts, as written in the input.
        others: The other facts.
    """

    input: str
    down: tuple[bool, bool]
    quotes: tuple[str, str]
    others: tuple[str, ...]

    @property
    def label(self) -> str:
        """The correct label."""
        return decide(*self.down)


def decide(internet_down: bool, phone_down: bool) -> str:
    """Returns the correct label: a visit if exactly one of the two is down."""
    return VISIT if internet_down != phone_down else REMOTE


def draw_ticket(rng: random.Random) -> Ticket:
    """Draws a random ticket."""
    down = (rng.random() < 0.5, rng.random() < 0.5)
    internet, phone = (
        rng.choice(phrasings[is_down])
        for phrasings, is_down in zip(_DECISIVE.values(), down, strict=True)
    )
    quotes = internet, phone
    others = tuple(
        rng.choice(facts) for facts in rng.sample(_DISTRACTING, _DISTRACTING_FACTS)
    )
    facts = [*quotes, *others]
    rng.shuffle(facts)
    text = f"{rng.choice(_NAMES)}: {', '.join(facts)}"
    return Ticket(text, down, quotes, others)


def draw_tickets(count: int, seed: int, avoid: Sequence[Ticket] = ()) -> list[Ticket]:
    """Draws tickets with different texts.

    Args:
        count: Number of tickets.
        seed: Seed of the random numbers.
        avoid: Tickets whose texts are not used again.
    """
    rng = random.Random(seed)
    texts = {ticket.input for ticket in avoid}
    tickets: list[Ticket] = []
    while len(tickets) < count:
        ticket = draw_ticket(rng)
        if ticket.input not in texts:
            texts.add(ticket.input)
            tickets.append(ticket)
    return tickets


def complete(ticket: Ticket, rng: random.Random, is_varied: bool = False) -> str:
    """Returns the scripted teacher's completion for a ticket.

    Args:
        ticket: The ticket.
        rng: Random numbers.
        is_varied: Whether the words differ between completions of the same ticket, as
            with a temperature above 0.
    """
    if rng.random() < UNPARSABLE:
        return rng.choice(_NO_ANSWER)
    down, quotes = list(ticket.down), list(ticket.quotes)
    if rng.random() < WRONG:
        _misread(ticket, down, quotes, rng)
    answer = _reason(down, quotes, rng if is_varied else None)
    if rng.random() < RUNS_ON:
        more = f"\n\nQ: {draw_ticket(rng).input}\nA: {draw_ticket(rng).quotes[0]}"
        answer += more[: rng.randrange(20, len(more))]
    return answer


def _misread(
    ticket: Ticket, down: list[bool], quotes: list[str], rng: random.Random
) -> None:
    """Misreads one of the two facts; in half of the cases quotes an unrelated one."""
    which = rng.randrange(2)
    down[which] = not down[which]
    if rng.random() < 0.5:
        quotes[which] = rng.choice(ticket.others)


def _reason(down: Sequence[bool], quotes: list[str], rng: random.Random | None) -> str:
    """Returns rationale and answer, in random words if random numbers are given."""
    conclusion = _CONCLUSIONS[sum(down)][0]
    if rng is not None:
        conclusion = rng.choice(_CONCLUSIONS[sum(down)])
        rng.shuffle(quotes)
    answer = f"{quotes[0]}, {quotes[1]}. {conclusion}."
    return f"{answer} So the answer is {decide(*down)}."


def explain(ticket: Ticket, label: str, rng: random.Random) -> str:
    """Returns a completion that reasons to a given label.

    For a wrong label, the teacher misreads one of the two facts, so the rationale leads
    to this label.
    """
    down, quotes = list(ticket.down), list(ticket.quotes)
    if label != ticket.label:
        _misread(ticket, down, quotes, rng)
    return _reason(down, quotes, rng)


def read_ticket(text: str) -> Ticket:
    """Reads the text of a generated ticket.

    Raises:
        ValueError: A fact that decides is missing.
    """
    facts = text.partition(": ")[2].split(", ")
    down, quotes = [], []
    for name, phrasings in _DECISIVE.items():
        found = [
            (is_down, fact)
            for is_down, known in enumerate(phrasings)
            for fact in facts
            if fact in known
        ]
        if len(found) != 1:
            raise ValueError(
                f"{text!r:.80}: found {len(found)} facts about the {name}, expected one"
            )
        down.append(bool(found[0][0]))
        quotes.append(found[0][1])
    others = tuple(fact for fact in facts if fact not in quotes)
    return Ticket(text, (down[0], down[1]), (quotes[0], quotes[1]), others)


def reply(question: str, sample: int = 0) -> str:
    r"""Answers a question, as a server does with the last question of a prompt.

    "Ana: no calls, …\n(The correct answer is: visit)" is answered by `explain`, and a
    question without an answer by `complete`, in other words for each sample.

    Args:
        question: The text of a ticket, or one with an answer
            (`given_answers.with_answer`).
        sample: Number of the sample, from 0.

    Raises:
        ValueError: The question holds no ticket, or its answer is not a label.
    """
    rng = random.Random(f"{_SEED} {sample} {question}")
    text, label = given_answers.split(question)
    ticket = read_ticket(text)
    if label is None:
        return complete(ticket, rng, is_varied=True)
    if label not in (VISIT, REMOTE):
        raise ValueError(
            f"found the answer {label!r:.40}, expected {VISIT} or {REMOTE}"
        )
    return explain(ticket, label, rng)


def with_all_fields(records: Sequence[Record]) -> list[Record]:
    """Adds the fields that only some methods read; the others stay the same.

    `rationales` has the different rationales of `SAMPLES` completions that agree with
    the row's teacher label, the row's own first. The counterfactual rationale is that
    of the teacher to which the wrong label is given as the answer.

    Args:
        records: Records of `make`.
    """
    return [
        dataclasses.replace(
            record,
            rationales=_rationales(record),
            counterfactual_rationale=_given(record, _other(record.label)).rationale,
            counterfactual_label=_other(record.label),
        )
        for record in records
    ]


def with_answers_given(records: Sequence[Record]) -> list[Record]:
    """Asks again, with the label given, where the teacher is wrong or has no answer.

    These rows get the right teacher label, and a rationale that leads to it.

    Args:
        records: Records of `make`.
    """
    changed = []
    for record in records:
        if record.teacher_label != record.label:
            given = _given(record, record.label)
            record = dataclasses.replace(
                record, teacher_label=given.label, rationale=given.rationale
            )
        changed.append(record)
    return changed


def _rationales(record: Record) -> tuple[str, ...]:
    if record.rationale is None:
        return ()
    parsed = [
        dataset_spec.DEFAULT.parse(reply(record.input, sample))
        for sample in range(1, SAMPLES)
    ]
    agreeing = [p.rationale for p in parsed if p.label == record.teacher_label]
    texts = [record.rationale, *(text for text in agreeing if text is not None)]
    return tuple(dict.fromkeys(texts))


def _given(record: Record, label: str | None) -> ParsedCompletion:
    assert label is not None  # every ticket has a label
    question = given_answers.with_answer(record.input, label)
    return dataset_spec.DEFAULT.parse(reply(question))


def _other(label: str | None) -> str:
    return REMOTE if label == VISIT else VISIT


@dataclasses.dataclass(frozen=True)
class DemoDataset:
    """The generated dataset, with parsed completions.

    Attributes:
        records: The records of each split.
        completions: The completions of each split, in the order of its records.
        problems: (record id, problem) of each completion without a label.
    """

    records: dict[str, list[Record]]
    completions: dict[str, list[str]]
    problems: list[tuple[str, str]]


def make(num_train: int, seed: int = 0) -> DemoDataset:
    """Generates tickets, and parses the teacher's completions for them.

    Validation and test do not depend on `num_train`, and a smaller training set is the
    beginning of a larger one.

    Args:
        num_train: Number of training examples.
        seed: Seed of the random numbers.
    """
    tickets: dict[str, list[Ticket]] = {}
    earlier: list[Ticket] = []
    sizes = {**SIZES, "train": num_train}
    for number, (split, size) in enumerate(sizes.items()):
        tickets[split] = draw_tickets(size, seed * 10 + number, avoid=earlier)
        earlier += tickets[split]
    dataset = DemoDataset({}, {}, [])
    for number, split in enumerate(tickets):
        rng = random.Random(seed * 10 + 5 + number)
        texts = [complete(ticket, rng) for ticket in tickets[split]]
        dataset.completions[split] = texts
        dataset.records[split] = []
        for row, (ticket, text) in enumerate(zip(tickets[split], texts, strict=True)):
            parsed = dataset_spec.DEFAULT.parse(text)
            name = f"{split}-{row}"
            if parsed.problem:
                dataset.problems.append((name, parsed.problem))
            record = Record(
                name, ticket.input, ticket.label, parsed.label, parsed.rationale
            )
            dataset.records[split].append(record)
    return dataset


def write(dataset: DemoDataset, folder: pathlib.Path) -> dict[str, str]:
    """Writes the dataset in the format of a user's dataset, with all fields.

    `<split>.jsonl` are the rows that `datasets/jsonl.gin` reads, with the fields of
    `with_all_fields`, `completions.jsonl` the teacher's completions, and
    `quarantine.jsonl` the completions without a label.

    Args:
        dataset: The dataset.
        folder: Folder to write, created if needed.

    Returns:
        The path of each split's file.
    """
    paths = {}
    for split in ("train", "validation", "test"):
        rows = map(as_row, with_all_fields(dataset.records[split]))
        paths[split] = str(folder / f"{split}.jsonl")
        files.write_jsonl(folder / f"{split}.jsonl", rows)
    completions = [
        {"id": record.id, "completion": text}
        for split, records in dataset.records.items()
        for record, text in zip(records, dataset.completions[split], strict=True)
    ]
    files.write_jsonl(folder / "completions.jsonl", completions)
    problems = [{"id": name, "problem": problem} for name, problem in dataset.problems]
    files.write_jsonl(folder / "quarantine.jsonl", problems)
    return paths
