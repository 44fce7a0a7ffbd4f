"""The rows of a fit: read, split, and checked before anything is computed."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

from dsbs_jax.counts import counted
from dsbs_jax.data import data_files, label_sets, split_making, tables
from dsbs_jax.data.label_sets import LabelSet
from dsbs_jax.data.methods import METHODS, Method
from dsbs_jax.data.records import Record
from dsbs_jax.data.tables import ColumnMap, Source
from dsbs_jax.errors import UserError
from dsbs_jax.fitting.config import FitConfig
from dsbs_jax.reports import data_quality
from dsbs_jax.reports.data_quality import DataReport

# Labels that an error names.
_SHOWN = 20
_COUNTERFACTUAL = ("counterfactual_rationale", "counterfactual_label")
_HELD_OUT = ("validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitRows:
    """The rows of a fit, with the method and the label set that are chosen from them.

    Attributes:
        splits: The rows by split, train first.
        made: Names of the splits that were made from the training rows.
        method: The training method.
        method_reason: The reason for the method.
        labels: The closed label set; None for open answers.
        labels_reason: The reason for the label set.
        report: Counts and warnings.
        outside: Number of training rows whose teacher label is not in the label set.
            Their teacher label and rationale are removed.
    """

    splits: Mapping[str, Sequence[Record]]
    made: tuple[str, ...]
    method: Method
    method_reason: str
    labels: tuple[str, ...] | None
    labels_reason: str
    report: DataReport
    outside: int

    @property
    def has_rationales(self) -> bool:
        """Whether a training row has a rationale."""
        return any(record.rationale for record in self.splits["train"])


def read(
    data: Source | Mapping[str, Source], columns: ColumnMap, config: FitConfig
) -> FitRows:
    """Reads the rows and checks that a student can be trained and scored on them.

    Args:
        data: The rows: one source, a dataset with splits, or a source for each split.
        columns: The columns of the fields.
        config: The user's choices.

    Raises:
        UserError: The rows cannot be read, split or trained on, a split has no row to
            score, or the method or the label set does not fit the rows.
    """
    splits, made = _split(_read_splits(data, columns, config), config)
    labels, labels_reason = _label_set(splits, config.labels)
    if config.labels:
        _check_human_labels(splits, config.labels)
    outside = 0
    if labels is not None:
        splits["train"], outside = _limit_teacher(splits["train"], labels)
    report = data_quality.inspect(splits)
    if config.labels is not None:
        report = dataclasses.replace(report, label_set=_given_set(splits, config))
    method, method_reason = _choose_method(splits["train"], config.method)
    _check_scored(splits)
    return FitRows(
        splits=splits,
        made=made,
        method=method,
        method_reason=method_reason,
        labels=labels,
        labels_reason=labels_reason,
        report=report,
        outside=outside,
    )


def _read_splits(
    data: Source | Mapping[str, Source], columns: ColumnMap, config: FitConfig
) -> dict[str, list[Record]]:
    """Reads the rows of every split that is given."""
    given = {
        name: source
        for name in _HELD_OUT
        if (source := getattr(config, name)) is not None
    }
    if isinstance(data, Mapping):
        twice = sorted(given.keys() & data.keys())
        if twice:
            raise UserError(f"{twice[0]} is given twice, as data and as an option")
        given = {**data, **given}
    elif given:
        # A dataset with splits keeps those that are not given.
        own = dict.fromkeys(tables.split_names(data), data)
        given = {**own, "train": data, **given}
    records = tables.read_examples(given or data, columns)
    if not isinstance(records, dict):
        return {"train": records}
    data_files.check_splits(records)
    return {name: records[name] for name in data_files.SPLITS if name in records}


def _split(
    splits: dict[str, list[Record]], config: FitConfig
) -> tuple[dict[str, list[Record]], tuple[str, ...]]:
    """Makes the splits that are not given, and names them."""
    if "validation" in splits:
        return splits, ()
    shares = {"validation": config.validation_share, "test": config.test_share}
    if "test" in splits:
        shares["test"] = 0.0
    made = split_making.make_splits(splits["train"], config.split_seed, **shares)
    names = tuple(name for name in made if name != "train")
    empty = [name for name in names if not made[name]]
    if empty:
        raise UserError(
            f"{counted(len(splits['train']), 'row is', 'rows are')} too few for "
            f"{empty[0]} rows, because "
            "one input of each label stays in train; expected 100 rows or more"
        )
    return {**splits, **made}, names


def _label_set(
    splits: Mapping[str, Sequence[Record]], given: tuple[str, ...] | None
) -> tuple[tuple[str, ...] | None, str]:
    """Returns the label set and the reason for it."""
    if given is not None:
        twice = [label for label in given if given.count(label) > 1]
        if twice:
            raise UserError(f"labels has {twice[0]!r:.60} twice, expected it once")
        return given or None, "given" if given else "any text, as given"
    detected = label_sets.detect_label_set(splits["train"])
    if detected is None:
        why = label_sets.why_open(splits["train"])
        return None, f"{why}; if they are a closed set, give them as labels"
    rows = sum(detected.counts)
    reason = f"they cover {rows:,} training rows"
    if detected.odd_labels:
        odd = dict(detected.odd_labels)
        listed = ", ".join(f"{label!r:.40}" for label in list(odd)[:_SHOWN])
        reason += f"; labels on one row are not in it: {listed}"
        reason += ", …" if len(odd) > _SHOWN else ""
    return detected.labels, reason


def _given_set(
    splits: Mapping[str, Sequence[Record]], config: FitConfig
) -> LabelSet | None:
    """Returns the user's label set with its training rows; None for open answers."""
    if not config.labels:
        return None
    counts = collections.Counter(label_sets.target_labels(splits["train"]))
    return LabelSet(config.labels, tuple(counts[x] for x in config.labels), ())


def _check_human_labels(
    splits: Mapping[str, Sequence[Record]], labels: Sequence[str]
) -> None:
    """Checks that a given label set has the human labels of all splits."""
    rows: dict[str, list[str]] = {}
    for name, part in splits.items():
        for record in part:
            if record.label is not None and record.label not in labels:
                place = f"row {record.id!r} of {name}"
                rows.setdefault(record.label, []).append(place)
    if not rows:
        return
    ordered = sorted(rows.items(), key=lambda item: -len(item[1]))
    listed = [
        f"{label!r:.60} {len(places):,}, the first is {places[0]}"
        for label, places in ordered[:_SHOWN]
    ]
    more = len(ordered) - _SHOWN
    listed += [f"and {more:,} more"] if more > 0 else []
    known = ", ".join(f"{label!r:.60}" for label in labels[:_SHOWN])
    raise UserError(
        f"{counted(sum(map(len, rows.values())), 'row has', 'rows have')} labels that "
        f"are not in the label set {known}{', …' if len(labels) > _SHOWN else ''}; "
        "correct the rows, or add to labels:\n  " + "\n  ".join(listed)
    )


def _limit_teacher(
    train: Sequence[Record], labels: Sequence[str]
) -> tuple[list[Record], int]:
    """Removes the teacher's labels that are not in the set, with their rationales."""
    known = {None, *labels}
    limited = [
        record if record.teacher_label in known else record.without_teacher()
        for record in train
    ]
    return limited, sum(one is not two for one, two in zip(limited, train, strict=True))


def _choose_method(train: Sequence[Record], given: Method | None) -> tuple[Method, str]:
    """Chooses the method, or checks that the rows have what a given method needs."""
    counts = {
        "label": sum(r.label is not None for r in train),
        "teacher_label": sum(r.teacher_label is not None for r in train),
        "rationale": sum(r.rationale is not None for r in train),
        **{
            field: sum(getattr(r, field) is not None for r in train)
            for field in _COUNTERFACTUAL
        },
    }
    found = (
        f"of {len(train):,} training rows {counts['label']:,} have a label, "
        f"{counts['teacher_label']:,} a teacher label and {counts['rationale']:,} a "
        "rationale"
    )
    if given is not None:
        missing = [field for field in needed_fields(given) if not counts[field]]
        # Rows without a human label are trained on the teacher's label.
        if missing and not (missing == ["label"] and counts["teacher_label"]):
            raise UserError(
                f"method is {given!r}, which needs rows with {' and '.join(missing)}; "
                f"{found}"
            )
        return given, "given"
    labels = "" if counts["label"] else "_unlabeled"
    if counts["rationale"]:
        method: Method = f"step_by_step{labels}"  # type: ignore[assignment]
        return method, found
    return ("finetune" if counts["label"] else "distill"), found


def needed_fields(method: Method) -> list[str]:
    """Returns the fields of a record that a method trains on.

    "step_by_step_unlabeled" -> ["teacher_label", "rationale"]
    """
    targets = METHODS[method].targets
    teacher = any(
        target in ("{t}label", "{t}predict") or target.endswith("teacher_label")
        for target in targets
    )
    info = METHODS[method]
    rationale = info.paired or any("rationale" in target for target in targets)
    label = "teacher_label" if teacher else "label"
    other = _COUNTERFACTUAL if info.counterfactual else ()
    return [label, *(["rationale"] if rationale else []), *other]


def uses_rationales(method: Method) -> bool:
    """Whether a method trains on rationales."""
    return "rationale" in needed_fields(method)


def without_rationales(rows: FitRows) -> FitRows:
    """Returns the same rows for the method that trains on their labels alone."""
    method: Method = "finetune"
    if needed_fields(rows.method)[0] == "teacher_label":
        method = "distill"
    return dataclasses.replace(
        rows, method=method, method_reason=f"the baseline of {rows.method}"
    )


def _check_scored(splits: Mapping[str, Sequence[Record]]) -> None:
    """Checks that every split has a row with the label that it is scored on."""
    human = any(r.label is not None for part in splits.values() for r in part)
    for name, part in splits.items():
        scored = "label" if human else "teacher_label"
        if name == "train":
            continue
        if all(getattr(record, scored) is None for record in part):
            raise UserError(
                f"none of {len(part):,} {name} rows has a {scored}, so the student "
                "cannot be scored on them"
            )
