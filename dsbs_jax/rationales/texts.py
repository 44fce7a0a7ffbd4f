"""Figures of the rationales' texts: named labels, copied input, near-duplicates.

A rationale that names another label than its row's contradicts the label, one that
repeats the input does not explain it, and one that is nearly the same on many rows is a
template. A student learns all three as readily as a good rationale.
"""

import collections
import dataclasses
import hashlib
import heapq
import importlib.util
from collections.abc import Mapping, Sequence

from dsbs_jax.data import label_sets
from dsbs_jax.data.metrics import Metric
from dsbs_jax.data.records import SEGMENT_SEPARATOR, Record
from dsbs_jax.rationales.filters import words_of
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.replies import choices
from dsbs_jax.reports.proportion import Proportion

# Words of a shingle, the unit that is compared between two texts.
SHINGLE_WORDS = 3
# Shares of a rationale's shingles that also occur in the input.
COPIED_SHARES = (0.25, 0.5, 0.75)
# Jaccard similarity of the shingles of two near-duplicates.
SIMILARITY = 0.8
# Near-duplicates are searched among this many rows; of more rows, a fixed draw.
SEARCHED_ROWS = 20_000
# Groups of near-duplicates that the card shows.
SHOWN_GROUPS = 5
# Replaces words of the input and numbers in a template.
BLANK = "…"
# Bands of MinHash and values in a band. Two texts with a similarity of 0.8 share a band
# with a probability of 1 - (1 - 0.8**5)**25 = 0.99995.
_BANDS, _BAND_SIZE = 25, 5
_PERMUTATIONS = _BANDS * _BAND_SIZE


@dataclasses.dataclass(frozen=True, slots=True)
class NamedLabels:
    """The labels that rationales name, for rows with a known set of labels.

    Attributes:
        agree: Rationales that name only the teacher label.
        several: Rationales that name the teacher label and others.
        disagree: Rationales that name only other labels.
        silent: Rationales that name no label.
        last: Of the rationales that name a label, those that name the teacher label
            last.
    """

    agree: Proportion
    several: Proportion
    disagree: Proportion
    silent: Proportion
    last: Proportion


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Rationales with nearly the same text.

    Attributes:
        rows: Number of rows.
        text: The first of the rationales, or their template.
    """

    rows: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Duplicates:
    """Rationales that are nearly the same as another one.

    Attributes:
        repeated: Rows whose rationale has a near-duplicate on another row.
        groups: The largest groups of near-duplicates.
    """

    repeated: Proportion
    groups: list[Group]


@dataclasses.dataclass(frozen=True, slots=True)
class TextFigures:
    """Figures of the texts of the kept rationales.

    Attributes:
        named: The labels that rationales name; None without a known set of labels.
        copied: Maps a share to the rationales of which at least this share of the
            shingles occurs in the input.
        duplicates: Rationales with nearly the same words; None without datasketch.
        templates: The same after words of the input and numbers are blanked.
    """

    named: NamedLabels | None
    copied: Mapping[float, Proportion]
    duplicates: Duplicates | None
    templates: Duplicates | None


def measure(kept: Sequence[VotedExample], metric: Metric) -> TextFigures:
    """Computes the figures of the kept rows that have a rationale.

    Args:
        kept: The kept rows.
        metric: Compares labels.
    """
    rows = [e for e in kept if e.rationale is not None]
    duplicates = templates = None
    if importlib.util.find_spec("datasketch"):
        searched = _drawn(rows)
        duplicates = near_duplicates([words_of(e.rationale or "") for e in searched])
        templates = near_duplicates([template(e) for e in searched])
    return TextFigures(named_labels(rows, metric), _copied(rows), duplicates, templates)


def named_labels(rows: Sequence[VotedExample], metric: Metric) -> NamedLabels | None:
    """Compares each row's teacher label with the labels that its rationale names.

    The labels of a row are the choices that its input lists, or the label set of all
    rows. Rows without either, and rows whose teacher label is not one of them, do not
    count.

    Labels a and b, teacher label a: "It is a." agrees, "Not b, but a." names several,
    "It is b." disagrees.

    Args:
        rows: Rows with rationales.
        metric: Compares labels.
    """
    found = label_sets.detect_label_set(
        Record(e.id, e.input, e.label, e.teacher_label) for e in rows
    )
    labels = found.labels if found else ()
    counts: collections.Counter[str] = collections.Counter()
    for row in rows:
        names = choices.choices_of(row.input) or labels
        own = [x for x in names if row.teacher_label and _same(x, row, metric)]
        if not own:
            continue
        mentions = _mentions(words_of(row.rationale or ""), names)
        counts["rows"] += 1
        counts[_kind(set(mentions), set(own))] += 1
        counts["last"] += bool(mentions) and mentions[-1] in own
    total = counts["rows"]
    if not total:
        return None
    return NamedLabels(
        agree=Proportion(counts["agree"], total),
        several=Proportion(counts["several"], total),
        disagree=Proportion(counts["disagree"], total),
        silent=Proportion(counts["silent"], total),
        last=Proportion(counts["last"], total - counts["silent"]),
    )


def _same(label: str, row: VotedExample, metric: Metric) -> bool:
    teacher_label = row.teacher_label or ""
    return label == teacher_label or metric.is_correct(label, teacher_label)


def _kind(mentioned: set[str], own: set[str]) -> str:
    if not mentioned:
        return "silent"
    if not mentioned & own:
        return "disagree"
    return "several" if mentioned - own else "agree"


def _mentions(words: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Lists the labels in a text, in their order; of two at a place the longer one.

    ["not", "a", "letter", "box"], labels "letter", "letter box" -> ["letter box"]
    """
    forms = sorted(((words_of(x), x) for x in labels), key=lambda pair: -len(pair[0]))
    result, place = [], 0
    while place < len(words):
        for form, label in forms:
            if form and words[place : place + len(form)] == form:
                result.append(label)
                place += len(form)
                break
        else:
            place += 1
    return result


def _copied(rows: Sequence[VotedExample]) -> dict[float, Proportion]:
    shares = [s for e in rows if (s := copied_share(e)) is not None]
    return {
        least: Proportion(sum(share >= least for share in shares), len(shares))
        for least in COPIED_SHARES
    }


def copied_share(example: VotedExample) -> float | None:
    """Returns the share of the rationale's shingles that occur in the input, 0 to 1.

    Input "A dog runs fast.", rationale "A dog runs, so it moves." -> 1 of 4 shingles

    Returns:
        The share, or None for a rationale shorter than a shingle.
    """
    own = _shingles(words_of(example.rationale or ""))
    if not own:
        return None
    return len(own & _shingles(_input_words(example))) / len(own)


def _input_words(example: VotedExample) -> list[str]:
    return words_of(example.input.replace(SEGMENT_SEPARATOR, " "))


def _shingles(words: Sequence[str]) -> set[str]:
    """{"a b c", "b c d"} for the words a, b, c and d."""
    starts = range(len(words) - SHINGLE_WORDS + 1)
    return {" ".join(words[n : n + SHINGLE_WORDS]) for n in starts}


def template(example: VotedExample) -> list[str]:
    """Returns the rationale's words, with words of the input and numbers blanked.

    Consecutive blanks become one. Input "Tom has 3 pens.", rationale "Tom has 3 pens
    left over." -> ["…", "left", "over"]
    """
    known = set(_input_words(example))
    result: list[str] = []
    for word in words_of(example.rationale or ""):
        shown = BLANK if word in known or word.isdecimal() else word
        if shown != BLANK or result[-1:] != [BLANK]:
            result.append(shown)
    return result


def _drawn(rows: Sequence[VotedExample]) -> Sequence[VotedExample]:
    """Draws the rows to search: all, or those with the smallest SHA-256 of the id."""
    if len(rows) <= SEARCHED_ROWS:
        return rows
    return heapq.nsmallest(
        SEARCHED_ROWS, rows, key=lambda e: hashlib.sha256(e.id.encode()).digest()
    )


def near_duplicates(texts: Sequence[Sequence[str]]) -> Duplicates:
    """Groups texts whose shingles have a Jaccard similarity of at least `SIMILARITY`.

    MinHash with locality-sensitive hashing proposes pairs (Broder 1997; the library is
    datasketch), and the exact similarity decides. Texts that are connected by pairs are
    one group. Texts shorter than a shingle do not count.

    Args:
        texts: The words of each text.
    """
    distinct: dict[str, list[int]] = {}
    for index, words in enumerate(texts):
        if len(words) >= SHINGLE_WORDS:
            distinct.setdefault(" ".join(words), []).append(index)
    names = list(distinct)
    leaders = _leaders([_shingles(name.split()) for name in names])
    members: dict[int, list[int]] = collections.defaultdict(list)
    for place, name in enumerate(names):
        members[leaders[place]] += distinct[name]
    groups = [
        Group(len(indices), " ".join(texts[min(indices)]))
        for indices in members.values()
        if len(indices) > 1
    ]
    total = sum(map(len, members.values()))
    repeated = Proportion(sum(group.rows for group in groups), total)
    largest = sorted(groups, key=lambda group: (-group.rows, group.text))
    return Duplicates(repeated, largest[:SHOWN_GROUPS])


def _leaders(sets: Sequence[set[str]]) -> list[int]:
    """Returns for each set the index of the first one in its group (union-find)."""
    import datasketch  # of the extra "duplicates"

    index = datasketch.MinHashLSH(params=(_BANDS, _BAND_SIZE), num_perm=_PERMUTATIONS)
    leaders = list(range(len(sets)))

    def leader(place: int) -> int:
        while leaders[place] != place:
            leaders[place] = leaders[leaders[place]]
            place = leaders[place]
        return place

    encoded = ([shingle.encode() for shingle in own] for own in sets)
    sketches = datasketch.MinHash.generator(encoded, num_perm=_PERMUTATIONS)
    for place, (own, sketch) in enumerate(zip(sets, sketches, strict=True)):
        for other in sorted(index.query(sketch)):
            if leader(other) != leader(place):
                both = len(own & sets[other])
                if both >= SIMILARITY * (len(own) + len(sets[other]) - both):
                    first, second = sorted((leader(other), leader(place)))
                    leaders[second] = first
        index.insert(place, sketch)
    return [leader(place) for place in range(len(sets))]
