"""Damaged files of a checkpoint."""

from tolerance import SETTINGS_AND_FILES, Refused, Section

SECTION = Section(
    order=33,
    part=SETTINGS_AND_FILES,
    title="Damaged files",
    text="Damage of a checkpoint that holds the file `params/d/a`. A run resumes"
    " from the previous checkpoint.",
    columns=("the damage", ""),
    rows=(
        ("a file is removed", Refused("params/d/a is missing")),
        ("a file is longer", Refused("params/d/a has changed")),
        ("one bit of a file differs", Refused("params/d/a has changed")),
        ("a file is empty", Refused("params/d/a has changed")),
        ("a file is new", Refused("params/d/new has changed")),
        ("a folder is removed", Refused("params/d/a is missing")),
    ),
)
