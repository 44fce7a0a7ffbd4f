"""Compares the kept rows of an extraction with the expected rows; exits with 0 or 1.

    python check_rows.py OUTPUT_DIR expected.jsonl

Each line of `expected.jsonl` describes the row with the same `id`:

    label       the teacher's label; a list if several values are correct
    value       instead of label: the number that the label evaluates to
    rationale   the complete rationale; a list if several texts are correct
    without     texts that the rationale must not contain
    kept        false: the row must not become a training row
"""

import json
import pathlib
import sys


def rows(path):
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").split("\n")
    return {row["id"]: row for row in map(json.loads, filter(str.strip, lines))}


def either(expected):
    return expected if isinstance(expected, list) else [expected]


folder = pathlib.Path(sys.argv[1])
kept = rows(folder / "rationales.jsonl")
dropped = rows(folder / "filtered.jsonl")
failed = rows(folder / "failed.jsonl")
wrong = 0
for want in rows(pathlib.Path(sys.argv[2])).values():
    row, said = kept.get(want["id"]), []
    if not want.get("kept", True):
        if row:
            label, why = row.get("teacher_label"), row.get("rationale")
            said.append(
                f"kept with label {label!r} and rationale {why!r}, expected no row"
            )
    elif row is None:
        lost = dropped.get(want["id"]) or failed.get(want["id"]) or {}
        said.append(f"not kept: {lost.get('reason')}")
    else:
        label, why = row.get("teacher_label"), row.get("rationale", "")
        if "label" in want and label not in either(want["label"]):
            said.append(f"label {label!r}, expected {want['label']!r}")
        if "value" in want:
            from dsbs_jax.data import metrics  # not needed for most cases

            if not label or not metrics.same_value(str(want["value"]), label):
                said.append(f"label {label!r}, expected the value {want['value']}")
        if "rationale" in want and why not in either(want["rationale"]):
            said.append(f"rationale {why!r}, expected {want['rationale']!r}")
        for text in want.get("without", []):
            if text in why:
                said.append(f"{text!r} occurs in the rationale {why!r}")
    if said:
        wrong += 1
        print(f"WRONG {want['id']}: {'; '.join(said)}")
print(f"{wrong} wrong")
sys.exit(1 if wrong else 0)
