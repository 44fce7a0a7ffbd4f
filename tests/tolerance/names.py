"""Names of datasets and teachers."""

from tolerance import SETTINGS_AND_FILES, Refused, Section

SECTION = Section(
    order=21,
    part=SETTINGS_AND_FILES,
    title="Names",
    text="The value of `DATASET`, `TEACHER` or `TEST_DATASET`. You can give your "
    "own files the name of a dataset of the paper; the rules of that "
    "dataset do not apply to them.",
    columns=("the name", "name of the dataset"),
    rows=(
        ("tickets", "tickets"),
        ("my_data", "my_data"),
        ("my.data", "my.data"),
        ("données", "données"),
        ("a1", "a1"),
        ("my-data", Refused("expected letters, digits, '_' and '.' only")),
        ("my data", Refused("expected letters, digits, '_' and '.' only")),
        ("a/b", Refused("expected letters, digits, '_' and '.' only")),
        ("a{}", Refused("expected letters, digits, '_' and '.' only")),
        ("50%", Refused("expected letters, digits, '_' and '.' only")),
        ("~", Refused("expected letters, digits, '_' and '.' only")),
    ),
)
