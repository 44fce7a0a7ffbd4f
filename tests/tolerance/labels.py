"""Labels that a student cannot predict."""

from tolerance import SETTINGS_AND_FILES, Refused, Section

SECTION = Section(
    order=31,
    part=SETTINGS_AND_FILES,
    title="Labels that a student cannot predict",
    text="A label, with a small English vocabulary and `MAX_DECODE_LENGTH = 8`. "
    "A label that cannot be predicted is refused in a closed label set. For "
    "open answers, a warning gives the number of training rows with such "
    "labels; they are refused if all rows have such labels.",
    columns=("the label", "label that is predicted"),
    rows=(
        ("red", "red"),
        ("blue", "blue"),
        ("green", "green"),
        ("red²", Refused("reads back from the vocabulary as 'red2'")),
        ("½ red", Refused("characters that the vocabulary lacks: '½'")),
        ("① red", Refused("reads back from the vocabulary as '1 red'")),
        ("ｒed", Refused("reads back from the vocabulary as 'red'")),
        ("red  blue", Refused("reads back from the vocabulary as 'red blue'")),
        ("red\tblue", Refused("reads back from the vocabulary as 'red blue'")),
        ("red\nblue", Refused("reads back from the vocabulary as 'red blue'")),
        (
            "белый",
            Refused("characters that the vocabulary lacks: 'б', 'е', 'л', 'ы', 'й'"),
        ),
        ("红", Refused("characters that the vocabulary lacks: '红'")),
        ("أحمر", Refused("characters that the vocabulary lacks")),
        ("לבן", Refused("characters that the vocabulary lacks")),
        ("red 🔴", Refused("characters that the vocabulary lacks: '🔴'")),
        ("naïve", Refused("characters that the vocabulary lacks: 'ï'")),
        (
            "red red red red red red red red red red ",
            Refused("tokens with the end token, expected at most MAX_DECODE_LENGTH, 8"),
        ),
        ("1234567890", Refused("expected at most MAX_DECODE_LENGTH, 8")),
    ),
)
