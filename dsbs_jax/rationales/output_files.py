"""The files that an extraction writes and the quality card reads."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import msgspec

from dsbs_jax import json_input
from dsbs_jax.data.dataset_spec import DatasetSpec
from dsbs_jax.rationales.filters import FilterConfig

# Kept rows, which are a dataset to train on.
KEPT = "rationales.jsonl"
# Dropped rows with the reason of the filter.
FILTERED = "filtered.jsonl"
# Inputs without a usable reply.
FAILED = "failed.jsonl"
REPORT = "report.json"
# The quality card.
CARD = "card.html"

# Fields of `FilterConfig` that version 0.1 wrote under another name.
_FORMER_NAMES = {
    "unparsable": "drop_unparsable",
    "disagreement": "drop_disagreement",
    "duplicate_inputs": "drop_duplicate_inputs",
    "duplicate_rows": "drop_duplicate_rows",
}


@dataclasses.dataclass(frozen=True)
class Report:
    """The part of `report.json` that the quality card reads.

    Attributes:
        dataset: Name of the dataset spec that parsed and compared the labels.
        config: The filters that ran.
        made_from: What the rationales were made from, such as the teacher's name.
    """

    dataset: str
    config: FilterConfig
    made_from: Mapping[str, object]


def report_fields(
    spec: DatasetSpec, config: FilterConfig, made_from: Mapping[str, object]
) -> dict[str, Any]:
    """Returns the fields of `report.json` that `read_report` reads."""
    return {
        "made_from": dict(made_from),
        "dataset": spec.name,
        "filters": dataclasses.asdict(config),
    }


class _ReportFields(msgspec.Struct):
    made_from: dict[str, Any]
    filters: dict[str, Any]
    dataset: str | None = None


def read_report(path: pathlib.Path) -> Report | None:
    """Reads `report.json`, also one of version 0.1.

    Returns:
        The report, or None if the file does not exist or is not a report.
    """
    try:
        fields = json_input.parse(path.read_bytes(), _ReportFields)
        # Version 0.1 wrote the dataset as one of the filters' settings.
        former_dataset = fields.filters.pop("dataset", None)
        settings = {_FORMER_NAMES.get(k, k): v for k, v in fields.filters.items()}
        dataset = json_input.convert(fields.dataset or former_dataset, str)
        return Report(dataset, FilterConfig(**settings), fields.made_from)
    except (OSError, ValueError, TypeError):
        return None
