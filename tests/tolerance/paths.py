"""Paths on this machine."""

from tolerance import SETTINGS_AND_FILES, Refused, Section

SECTION = Section(
    order=22,
    part=SETTINGS_AND_FILES,
    title="Paths",
    text="The path of a file or folder that a command writes. `HOME` is the home"
    " folder.",
    columns=("the path", "path that is used"),
    rows=(
        ("~/run", "HOME/run"),
        ("~", "HOME"),
        ("a/~b", "a/~b"),
        ("run with spaces", "run with spaces"),
        ("ünïcode/🦊", "ünïcode/🦊"),
        ("C:run", "C:run"),
        ("gs://bucket/run", Refused("is an address, expected a path on this machine")),
        ("s3://b", Refused("is an address, expected a path on this machine")),
        ("hdfs://h/a", Refused("is an address, expected a path on this machine")),
        ("file:///a", Refused("is an address, expected a path on this machine")),
        ("~no-such-user-0/run", Refused("this user has no home folder")),
    ),
)
