"""Ctrl-C and SIGTERM."""

from tolerance import SETTINGS_AND_FILES, Section

SECTION = Section(
    order=34,
    part=SETTINGS_AND_FILES,
    title="Interruption",
    text="What a command does when Ctrl-C or SIGTERM arrives, and the text that it"
    " prints after the name of the signal. The exit status is 130 after "
    "Ctrl-C and 143 after SIGTERM. Training saves its state first.",
    columns=("what the command does", "printed text"),
    rows=(
        ("the command waits", "stopped"),
        ("a library catches every exception", "stopped"),
        ("Python computes", "stopped"),
        ("a library computes", "stopped"),
        ("standard error is redirected", "stopped"),
        ("a write does not end", "stopped"),
        (
            "a run saves its state, and a second signal arrives",
            "stopped at the second signal without saving",
        ),
    ),
)
