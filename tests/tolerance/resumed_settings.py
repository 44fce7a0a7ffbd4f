"""Settings of a run that is resumed."""

from tolerance import SETTINGS_AND_FILES, Refused, Section

SECTION = Section(
    order=30,
    part=SETTINGS_AND_FILES,
    title="Settings of a resumed run",
    text="A setting of a command that resumes a run, and the note that it "
    "prints. [Training](training.md#resume-a-run) lists the settings that "
    "may change.",
    columns=("the setting", "note"),
    rows=(
        ("EVAL_PERIOD = 7", "no note"),
        ("PATIENCE = 3", "no note"),
        (
            "NUM_BEAMS = 4",
            "NUM_BEAMS is 4, was 1: earlier scores on validation were "
            "computed with the old value",
        ),
        ("ALPHA = 0.9", Refused("ALPHA is 0.9, was 0.5")),
        ("ALPHA = 1.0", Refused("ALPHA is 1.0, was 0.5")),
        ("BATCH_SIZE = 8", Refused("BATCH_SIZE is 8, was 16")),
        ("LEARNING_RATE = 0.1", Refused("LEARNING_RATE is 0.1, was 5e-05")),
        ("LEARNING_RATE = 0.0", Refused("LEARNING_RATE is 0.0, was 5e-05")),
        ("METHOD = 'finetune'", Refused("METHOD is 'finetune', was 'step_by_step'")),
        (
            "MLP_ACTIVATIONS = ('relu',)",
            Refused("MLP_ACTIVATIONS is ('relu',), was ('gelu', 'linear')"),
        ),
        ("OPTIMIZER = 'adafactor'", Refused("OPTIMIZER is 'adafactor', was 'adamw'")),
        ("PACK = True", Refused("PACK is True, was False")),
        ("SCHEDULE = 'cosine'", Refused("SCHEDULE is 'cosine', was 'linear'")),
        ("DATASET = 'mail'", Refused("DATASET is 'mail', was 'tickets'")),
    ),
)
