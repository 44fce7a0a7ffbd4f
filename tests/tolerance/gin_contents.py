"""Gin files."""

from tolerance import SETTINGS_AND_FILES, Refused, Section

SECTION = Section(
    order=28,
    part=SETTINGS_AND_FILES,
    title="Gin files",
    text="A gin file, and the value of `A`. A reference takes the final value of "
    "the macro.",
    columns=("the file", "A"),
    rows=(
        ("A = 1_000\n", "1000"),
        ("A = -2e-3\n", "-0.002"),
        ("A = %B\nB = 1\n", "1"),
        ("A = 1\nA = 2\n", "2"),
        ("A = ('a', 'b')\n", "('a', 'b')"),
        (
            "A = 1\nB = runs/own\n",
            Refused("own.gin: line 2: cannot parse 'B = runs/own'"),
        ),
        ("A = 1\nB\n", Refused("own.gin: line 2: cannot parse")),
        ("A = [1,\n", Refused("own.gin: a bracket is not closed")),
        ("A = %B\n", Refused("A refers to B, which is not set; give --gin.B=value")),
        ("A = %B\nB = %A\n", Refused("A refers to itself")),
        ("A = @optimizers.adamw()\n", Refused("line 1: A is @optimizers.adamw")),
        ("A = [@f]\n", Refused("A contains @f, expected a value")),
        ("f.x = 3\n", Refused("line 1: f.x is not a setting")),
        ("eval/f.x = 3\n", Refused("line 1: f.x is not a setting")),
    ),
)
