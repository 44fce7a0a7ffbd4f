"""Reads a user's rows: JSON lines, JSON, CSV, Parquet, and datasets of Hugging Face.

Each format gives the same records for the same rows. pyarrow and `datasets` are
imported only when a format needs them.
"""

from dsbs_jax.data.tables.columns import DEFAULT, ColumnMap, nearest_column
from dsbs_jax.data.tables.faults import Faults
from dsbs_jax.data.tables.locations import Source, files_of, split_names
from dsbs_jax.data.tables.reading import (
    InputRow,
    arrow_types,
    input_text,
    iter_inputs,
    json_value,
    read_examples,
    read_inputs,
    read_rows,
    read_split,
)
from dsbs_jax.data.tables.rows import note
from dsbs_jax.data.tables.values import (
    canonical_label,
    canonical_labels,
    number_list,
    text_list,
)

# The default names of the columns of a record.
FIELDS = DEFAULT.all

__all__ = [
    "FIELDS",
    "ColumnMap",
    "Faults",
    "InputRow",
    "Source",
    "arrow_types",
    "canonical_label",
    "canonical_labels",
    "files_of",
    "input_text",
    "iter_inputs",
    "json_value",
    "nearest_column",
    "note",
    "number_list",
    "read_examples",
    "read_inputs",
    "read_rows",
    "read_split",
    "split_names",
    "text_list",
]
