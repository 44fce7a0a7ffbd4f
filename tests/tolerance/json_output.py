"""JSON that is written."""

from tolerance import SETTINGS_AND_FILES, Section

SECTION = Section(
    order=27,
    part=SETTINGS_AND_FILES,
    title="Values that JSON does not have",
    text="A value of an output file, and the JSON that is written.",
    columns=("the value", "JSON"),
    rows=(
        ('{"a": NaN}', '{"a": null}'),
        ("[Infinity, -Infinity, 1.5]", "[null, null, 1.5]"),
        ('{"a": {"b": [NaN, "NaN"]}}', '{"a": {"b": [null, "NaN"]}}'),
        ('{"a": "\\ud83e"}', '{"a": "\\ud83e"}'),
        ('{"a": "\\ud83e", "b": NaN}', '{"a": "\\ud83e", "b": null}'),
        ('{"a": "ë – 🦊"}', '{"a": "ë – 🦊"}'),
        ('{"a": "\u2028"}', '{"a": "\u2028"}'),
    ),
)
