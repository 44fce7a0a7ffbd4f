"""Measures the memory and the time that reading a large CSV file takes.

    python benchmarks/reading_memory.py --folder=/tmp
    python benchmarks/reading_memory.py --folder=/tmp --megabytes=2000 --kept=1.0

Writes a CSV file of support tickets to the folder, reads it with `read_examples`, and
removes it. `--kept` is the proportion of the text that is in the input's column;
another column has the rest and is not read. Prints a row of a table: size of the file
and of the text that is kept, rows, the process's peak resident memory, the peak before
reading, and seconds.
"""

import argparse
import pathlib
import random
import re
import time
from typing import Any

MB = 1e6
ROW_CHARACTERS = 1_000
LABELS = ("billing", "login", "product", "shipping")


def parse_options() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--folder", type=pathlib.Path, required=True, help="a folder for the file")
    add("--megabytes", type=int, default=200, help="size of the file")
    add("--kept", type=float, default=0.25, help="proportion of the text to keep")
    return parser.parse_args()


def main(options: argparse.Namespace) -> None:
    """Writes and reads the file, and prints a row of a table."""
    from dsbs_jax.data import tables

    path = options.folder / "tickets.csv"
    try:
        write(path, options.megabytes * MB, options.kept)
        size = path.stat().st_size
        before, start = peak(), time.monotonic()
        columns = tables.ColumnMap(input="text", label="category")
        # Other sources have several splits.
        records: Any = tables.read_examples(path, columns)
        seconds = time.monotonic() - start
    finally:
        path.unlink(missing_ok=True)
    kept = sum(len(record.input) for record in records)
    print(
        f"| {size / MB:,.0f} MB | {kept / MB:,.0f} MB | {len(records):,} | "
        f"{peak() / MB:,.0f} MB | {before / MB:,.0f} MB | {seconds:.0f} s |"
    )


def write(path: pathlib.Path, size: float, kept: float) -> None:
    """Writes a CSV file of about `size` bytes."""
    words = [f"word{number}" for number in range(500)]
    source = random.Random(0)
    text = " ".join(source.choices(words, k=4 * ROW_CHARACTERS))
    width = round(kept * ROW_CHARACTERS)
    written, row = 0, 0
    with path.open("w") as file:
        file.write("text,category,history\n")
        while written < size:
            row += 1
            start = source.randrange(len(text) - ROW_CHARACTERS)
            content = text[start : start + ROW_CHARACTERS]
            written += file.write(
                f'"{row}: {content[:width]}",{LABELS[row % 4]},"{content[width:]}"\n'
            )


def peak() -> float:
    """Returns the peak resident memory of this process in bytes (Linux)."""
    # getrusage would include the memory of the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text()
    (kilobytes,) = re.findall(r"VmHWM:\s*([0-9]+) kB", status)
    return int(kilobytes) * 1024


if __name__ == "__main__":
    main(parse_options())
