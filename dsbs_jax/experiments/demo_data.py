"""A generated data set, and a scripted teacher that answers as an LLM does.

Helpdesk tickets state eight facts in shuffled order, in several phrasings. A technician
has to visit when exactly one of internet and phone is down; with both down the fault
is in the street, with neither there is nothing to repair. Two facts of eight decide,
and no single word gives the answer away, so labels alone say little about the rule,
while a rationale quotes the two facts and says what follows:

    input      "Nora: sounds calm, pages never load, has a dog, …"
    rationale  "pages never load, calls sound clear. Only one is down."
    label      "visit"

The teacher is no better than a language model: some of its answers are wrong, with a
rationale to match, many run on into a next ticket of its own invention, and some give
no answer at all. Its completions go through the same parser as a real teacher's.
"""

import dataclasses
import pathlib
import random
from collections.abc import Sequence

from dsbs_jax import files
from dsbs_jax.data import completions
from dsbs_jax.data.records import Record

VISIT, REMOTE = "visit", "remote"
SIZES = {"validation": 200, "test": 400}

# Shares of the teacher's completions; the rest are right and end where they should.
WRONG, RUNS_ON, UNPARSABLE = 0.07, 0.30, 0.02

# Up, down.
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
_NO_ANSWER = [
    "The ticket does not say enough to decide. Please ask for the router's lights.",
    "It could be either. A colleague should have a look first.",
]


@dataclasses.dataclass(frozen=True)
class Ticket:
    """One generated example.

    Attributes:
        input: The ticket's text.
        down: Whether internet and phone are down.
        quotes: The two decisive facts as they stand in the input.
        others: The distracting facts.
    """

    input: str
    down: tuple[bool, bool]
    quotes: tuple[str, str]
    others: tuple[str, ...]

    @property
    def label(self) -> str:
        """What the policy says."""
        return decide(*self.down)


def decide(internet_down: bool, phone_down: bool) -> str:
    """The policy: a visit when exactly one of the two is down."""
    return VISIT if internet_down != phone_down else REMOTE


def ticket(rng: random.Random) -> Ticket:
    """Draws a ticket."""
    down = (rng.random() < 0.5, rng.random() < 0.5)
    quotes = tuple(
        rng.choice(phrasings[is_down])
        for phrasings, is_down in zip(_DECISIVE.values(), down, strict=True)
    )
    others = tuple(
        rng.choice(facts) for facts in rng.sample(_DISTRACTING, _DISTRACTING_FACTS)
    )
    facts = [*quotes, *others]
    rng.shuffle(facts)
    text = f"{rng.choice(_NAMES)}: {', '.join(facts)}"
    return Ticket(text, down, quotes, others)


def tickets(count: int, seed: int, avoid: Sequence[Ticket] = ()) -> list[Ticket]:
    """Draws tickets with different texts, none of them among `avoid`."""
    rng = random.Random(seed)
    seen = {one.input for one in avoid}
    drawn = []
    while len(drawn) < count:
        one = ticket(rng)
        if one.input not in seen:
            seen.add(one.input)
            drawn.append(one)
    return drawn


def completion(one: Ticket, rng: random.Random) -> str:
    """The scripted teacher's raw answer to a ticket."""
    if rng.random() < UNPARSABLE:
        return rng.choice(_NO_ANSWER)
    down, quotes = list(one.down), list(one.quotes)
    if rng.random() < WRONG:
        # It misreads one of the two; half of the time it quotes another fact for it.
        which = rng.randrange(2)
        down[which] = not down[which]
        if rng.random() < 0.5:
            quotes[which] = rng.choice(one.others)
    conclusion = ("Both work", "Only one is down", "Both are down")[sum(down)]
    answer = f"{quotes[0]}, {quotes[1]}. {conclusion}."
    answer += f" So the answer is {decide(*down)}."
    if rng.random() < RUNS_ON:
        more = f"\n\nQ: {ticket(rng).input}\nA: {ticket(rng).quotes[0]}"
        answer += more[: rng.randrange(20, len(more))]
    return answer


@dataclasses.dataclass(frozen=True)
class Demo:
    """The generated data set after its completions have been parsed.

    Attributes:
        records: By split.
        completions: By split, the raw completions of its records, in their order.
        problems: (record id, problem) of each completion that gave no label.
    """

    records: dict[str, list[Record]]
    completions: dict[str, list[str]]
    problems: list[tuple[str, str]]


def make(num_train: int, seed: int = 0) -> Demo:
    """Generates tickets, asks the teacher, parses what it says.

    Validation and test do not depend on `num_train`, and a smaller training set is the
    beginning of a larger one.
    """
    drawn: dict[str, list[Ticket]] = {}
    held: list[Ticket] = []
    sizes = {**SIZES, "train": num_train}
    for number, (split, size) in enumerate(sizes.items()):
        drawn[split] = tickets(size, seed * 10 + number, avoid=held)
        held += drawn[split]
    raw, records, problems = {}, {}, []
    for number, (split, ones) in enumerate(drawn.items()):
        rng = random.Random(seed * 10 + 5 + number)
        raw[split] = [completion(one, rng) for one in ones]
        records[split] = []
        for row, (one, text) in enumerate(zip(ones, raw[split], strict=True)):
            parsed = completions.parse("default", text)
            name = f"{split}-{row}"
            if parsed.problem:
                problems.append((name, parsed.problem))
            records[split].append(
                Record(name, one.input, one.label, parsed.label, parsed.rationale)
            )
    return Demo(records, raw, problems)


def write(demo: Demo, folder: pathlib.Path) -> dict[str, str]:
    """Writes the data set as a user would have it.

    `<split>.jsonl` are what `datasets/jsonl.gin` reads, `completions.jsonl` is what the
    teacher said, `quarantine.jsonl` which of it gave no label.

    Returns:
        By split, the file's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for split in ("train", "validation", "test"):
        rows = [dataclasses.asdict(record) for record in demo.records[split]]
        written[split] = str(folder / f"{split}.jsonl")
        files.write_jsonl(folder / f"{split}.jsonl", rows)
    said = [
        {"id": record.id, "completion": text}
        for split, records in demo.records.items()
        for record, text in zip(records, demo.completions[split], strict=True)
    ]
    files.write_jsonl(folder / "completions.jsonl", said)
    problems = [{"id": name, "problem": problem} for name, problem in demo.problems]
    files.write_jsonl(folder / "quarantine.jsonl", problems)
    return written
