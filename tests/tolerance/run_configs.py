"""Settings of a run, which import nothing."""

from tolerance import SETTINGS_AND_FILES, Refused, Section

SECTION = Section(
    order=29,
    part=SETTINGS_AND_FILES,
    title="Gin files of a run",
    text="The `config.gin` of a run may come from another person. Reading it runs "
    "no code.",
    columns=("the file", ""),
    rows=(
        ("import my_own_module", Refused("but a run's config.gin imports nothing")),
        (
            "import my_own_module.part",
            Refused("but a run's config.gin imports nothing"),
        ),
        (
            "import subprocess\nsubprocess.check_output.args = ['true']",
            Refused("but a run's config.gin imports nothing"),
        ),
        (
            "A = 1\nimport my_own_module as other",
            Refused("but a run's config.gin imports nothing"),
        ),
        (
            "from my_own_module import part",
            Refused("but a run's config.gin imports nothing"),
        ),
        ("include 'part.gin'", Refused("but a run's config.gin imports nothing")),
    ),
)
