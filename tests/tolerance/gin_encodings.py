"""Text encodings of gin files."""

from tolerance import SETTINGS_AND_FILES, Refused, Section

SECTION = Section(
    order=26,
    part=SETTINGS_AND_FILES,
    title="Text encodings",
    text="The bytes of a gin file, and the setting `A` that is read.",
    columns=("the bytes", "A"),
    rows=(
        (repr(b"\xef\xbb\xbfA = 'caf\xc3\xa9'\nB = 1\n"), "café"),
        (repr(b"A = 'caf\xc3\xa9'\r\nB = 1\r\n"), "café"),
        (repr(b"\xef\xbb\xbfA = 'caf\xc3\xa9'\r\nB = 1"), "café"),
        (repr(b"A = 'caf\xc3\xa9'\rB = 1\r"), "café"),
        (repr(b"# caf\xc3\xa9\nA = 'caf\xc3\xa9'\n\nB = 1\n"), "café"),
        (repr(b"A = '\xe9'\n"), Refused("is not UTF-8")),
        (repr(b"\xff\xfeA\x00"), Refused("is not UTF-8")),
        (repr(b"A\x80"), Refused("is not UTF-8")),
    ),
)
