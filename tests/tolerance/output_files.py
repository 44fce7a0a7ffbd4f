"""Output files that are checked before the work begins."""

from tolerance import SETTINGS_AND_FILES, Refused, Section

SECTION = Section(
    order=23,
    part=SETTINGS_AND_FILES,
    title="Output files",
    text="The path of an output file, which is checked before the work begins. The "
    "folder `folder` and the file `file` exist.",
    columns=("the output file", "path that is written at the end"),
    rows=(
        ("answers.jsonl", "answers.jsonl"),
        ("new/deep/answers.jsonl", "new/deep/answers.jsonl"),
        ("file", "file"),
        ("folder", Refused("folder is a folder, expected the path of a file")),
        ("file/answers.jsonl", Refused("file is a file, expected a folder")),
        ("file/new/answers.jsonl", Refused("file is a file, expected a folder")),
        ("/proc/answers.jsonl", Refused("/proc: cannot be written")),
    ),
)
