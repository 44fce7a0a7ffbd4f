"""Writes the table of sizes in docs/plan.md from the compiled runs in docs/plan.jsonl.

python docs/generate_plan.py            # writes the table
python docs/generate_plan.py --stdout   # prints the page
python docs/generate_plan.py --compile  # first compiles the runs that are missing

Compilation needs the extra `tpu`, takes minutes for each run, and adds each run to the
file when it is complete. A run whose settings change is compiled again. To compile all
runs again, for example with a new libtpu, delete the file.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dsbs_jax.planning.config import PlanConfig

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/plan.md"
RECORDS = ROOT / "docs/plan.jsonl"
BEGIN = "<!-- Written by docs/generate_plan.py; do not edit. -->"
END = "<!-- The end of the table. -->"
GIB = 2**30
Record = Mapping[str, Any]
# A run and its record; None if it was not compiled.
Row = tuple[PlanConfig, Record | None]


def slices(size: str, *chosen: tuple[str, int, int], **values: Any) -> list[PlanConfig]:
    """Returns a run of a size for each (topology, partitions, microbatches)."""
    return [
        PlanConfig(
            size=size,
            topology=topology,
            num_partitions=partitions,
            num_microbatches=microbatches,
            step="train",
            scan_layers=True,
            **values,
        )
        for topology, partitions, microbatches in chosen
    ]


RUNS = (
    *slices(
        "small", ("v4:2x2x1", 1, 1), ("v5e:2x2", 1, 2), ("v5p:2x2x1", 1, 1),
        ("v6e:2x2", 1, 1),
    ),
    *slices(
        "base", ("v4:2x2x1", 1, 2), ("v5e:2x4", 1, 2), ("v5p:2x2x1", 1, 1),
        ("v6e:2x2", 1, 2),
    ),
    *slices(
        "large", ("v4:2x2x2", 1, 2), ("v5e:4x4", 2, 4), ("v5p:2x2x1", 1, 2),
        ("v6e:2x4", 1, 4),
    ),
    *slices(
        "xl", ("v4:2x2x4", 4, 4), ("v5e:4x4", 8, 8), ("v5p:2x2x2", 2, 4),
        ("v6e:4x4", 4, 4),
    ),
    # The paper's batch of the largest student: 32 pairs.
    *slices(
        "xxl", ("v4:2x4x4", 16, 4), ("v5e:8x8", 32, 8), ("v5p:2x2x4", 4, 4),
        ("v6e:4x8", 16, 4), batch_size=64, train_steps=4_000,
    ),
)  # fmt: skip


def select(runs: Sequence[PlanConfig], records: Sequence[Record]) -> list[Row]:
    """Finds the record of each run.

    Settings that a record does not have had their defaults when it was compiled.
    """
    compiled = [(PlanConfig(**record["run"]), record) for record in records]
    return [
        (run, next((record for other, record in compiled if other == run), None))
        for run in runs
    ]


def table(rows: Sequence[Row]) -> str:
    """Makes the table of sizes and slices, and says what was not compiled."""
    head = (
        "size", "slice", "mesh", "parts", "held, GiB", "temporary, GiB", "peak, GiB",
        "TFLOP", "traffic, GB", "sent, GB", "least time, ms", "bound by",
        "chip hours", "compiled in, s",
    )  # fmt: skip
    lines = [_line(head), _line(["---"] * len(head))]
    lines += [_line(_cells(run, record)) for run, record in rows if record]
    missing = [f"{run.size} on {run.topology}" for run, record in rows if not record]
    notes = [_origin([record for _, record in rows if record])]
    notes += [f"Not compiled: {', '.join(missing)}."] if missing else []
    return "\n".join([*lines, "", *notes])


def _cells(run: PlanConfig, record: Record) -> Iterator[str]:
    mesh = record["mesh"]
    yield from (run.size, run.topology, f"{mesh['data']} × {mesh['model']}")
    yield str(run.num_microbatches)
    if record["needed"] is not None:
        yield from ("", "", f"does not fit: {record['needed'] / GIB:.1f}", *[""] * 6)
    else:
        seconds, chips = record["least_seconds"], mesh["data"] * mesh["model"]
        for name in ("arguments", "temporary", "peak"):
            yield f"{record[name] / GIB:.2f}"
        yield f"{record['operations'] / 1e12:.2f}"
        yield f"{record['traffic'] / 1e9:.1f}"
        yield f"{sum(one['sent'] for one in record['collectives']) / 1e9:.2f}"
        yield f"{1e3 * seconds:.1f}"
        yield record["bound_by"]
        yield f"{run.train_steps * seconds * chips / 3600:.1f}"
    yield f"{record['compile_seconds']:.0f}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _origin(records: Sequence[Record]) -> str:
    """Says when and with which versions the runs were compiled."""
    days = " and ".join(sorted({record["date"] for record in records}))
    versions = {f"{n} {v}" for one in records for n, v in one["versions"].items()}
    return f"Compiled on {days} with {', '.join(sorted(versions))}."


def read() -> list[Record]:
    """Reads the compiled runs; the file may be missing."""
    if not RECORDS.exists():
        return []
    return [json.loads(line) for line in RECORDS.read_text().splitlines()]


def page(records: Sequence[Record]) -> str:
    """Returns the page with its generated part replaced.

    Raises:
        SystemExit: The page does not have exactly one generated part.
    """
    text = PAGE.read_text()
    parts = re.split(f"({re.escape(BEGIN)}.*?{re.escape(END)})", text, flags=re.DOTALL)
    if len(parts) != 3:
        raise SystemExit(f"{PAGE.name}: expected one part from {BEGIN} to {END}")
    return f"{parts[0]}{BEGIN}\n{table(select(RUNS, records))}\n{END}{parts[2]}"


def compile_missing(runs: Sequence[PlanConfig]) -> None:
    """Compiles the runs without a record, one after another."""
    import dsbs_jax
    from dsbs_jax.planning.figures import figures

    for run, record in select(runs, read()):
        if record:
            continue
        print(f"{run.size} on {run.topology}", file=sys.stderr, flush=True)
        made = dsbs_jax.plan(**dataclasses.asdict(run))
        line = json.dumps(figures(run, made.program("train")))
        with RECORDS.open("a") as file:
            file.write(f"{line}\n")


def main() -> None:
    """Compiles missing runs if asked to, and writes or prints the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--compile", action="store_true", help="compile missing runs")
    parser.add_argument("--stdout", action="store_true", help="print the page")
    options = parser.parse_args()
    if options.compile:
        compile_missing(RUNS)
    text = page(read())
    if options.stdout:
        sys.stdout.write(text)
    else:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
