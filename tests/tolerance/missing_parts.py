"""Files that a setting names and that do not exist."""

from tolerance import SETTINGS_AND_FILES, Refused, Section

SECTION = Section(
    order=24,
    part=SETTINGS_AND_FILES,
    title="Missing files",
    text="A setting of a training run that names a missing file. The run writes "
    "nothing.",
    columns=("the setting", ""),
    rows=(
        (
            "VOCABULARY_PATH = '/no/such.model'",
            Refused("vocabulary /no/such.model: no such file"),
        ),
        (
            "DATA_FILES = '/no/such.jsonl'",
            Refused("/no/such.jsonl: No such file or directory"),
        ),
        (
            "INITIAL_CHECKPOINT_PATH = '/no/weights'",
            Refused("checkpoint /no/weights: expected a run folder, a T5X checkpoint"),
        ),
    ),
)
