"""Settings of another type."""

from tolerance import SETTINGS_AND_FILES, Refused, Section

SECTION = Section(
    order=20,
    part=SETTINGS_AND_FILES,
    title="Settings of another type",
    text="A setting in a gin file or in `--gin.NAME=value`, and the value read.",
    columns=("the setting", "value"),
    rows=(
        ("ALPHA = 1", "1.0"),
        ("LABELS = ['visit', 'remote']", "('visit', 'remote')"),
        ("DATA_FILES = ['a.jsonl', 'b.jsonl']", "('a.jsonl', 'b.jsonl')"),
        ("PATIENCE = None", "None"),
        ("BATCH_SIZE = '4'", Refused("BATCH_SIZE is '4', expected int >= 1")),
        ("BATCH_SIZE = 4.0", Refused("BATCH_SIZE is 4.0, expected int >= 1")),
        ("BATCH_SIZE = True", Refused("BATCH_SIZE is True, expected int >= 1")),
        ("TRAIN_STEPS = '1'", Refused("TRAIN_STEPS is '1', expected int >= 1")),
        ("PATIENCE = '3'", Refused("PATIENCE is '3', expected int >= 1 or None")),
        ("RANDOM_SEED = '0'", Refused("RANDOM_SEED is '0', expected int >= 0")),
        ("ALPHA = '0.5'", Refused("ALPHA is '0.5', expected float >= 0 and <= 1")),
        (
            "SUBSAMPLE_FRACTION = '0.5'",
            Refused("SUBSAMPLE_FRACTION is '0.5', expected float > 0 and <= 1"),
        ),
        (
            "LEARNING_RATE = '2e-3'",
            Refused("LEARNING_RATE is '2e-3', expected float >= 0"),
        ),
        ("PACK = 'yes'", Refused("PACK is 'yes', expected bool")),
        ("PACK = 1", Refused("PACK is 1, expected bool")),
        (
            "LABELS = 'visit'",
            Refused("LABELS is 'visit', expected list of str or None"),
        ),
        ("MODEL_DIR = 3", Refused("MODEL_DIR is 3, expected str")),
    ),
)
