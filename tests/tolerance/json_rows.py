"""Rows of JSON lines."""

from tolerance import SETTINGS_AND_FILES, Refused, Section

SECTION = Section(
    order=25,
    part=SETTINGS_AND_FILES,
    title="Rows",
    text="A line of `DATA_FILES`. The reason follows the name of the file and "
    "the number of the line.",
    columns=("the line", "label"),
    rows=(
        ('{"input": "a", "label": "x"}', "x"),
        ('{"input": "a", "label": " x "}', "x"),
        ('{"input": "a", "label": 3}', "3"),
        ('{"input": "a", "label": true}', "true"),
        ('{"input": "a", "label": "x", "note": 3}', "x"),
        ('{"input": "a"', Refused("broken JSON at column 14")),
        ("[1]", Refused("expected object, found list")),
        ('{"label": "x"}', Refused("field 'input' is missing")),
        ('{"input": " ", "label": "x"}', Refused("input is blank")),
        (
            '{"input": 3, "label": "x"}',
            Refused("field 'input' must be text, found integer"),
        ),
        ('{"input": "a", "label": ""}', Refused("label is blank")),
        (
            '{"input": "a", "label": {}}',
            Refused("field 'label' must be text, number, true, false"),
        ),
        (
            '{"input": "a", "label": "x", "rationale": ["r"]}',
            Refused("field 'rationale' must be text or null, found list"),
        ),
        (
            '{"input": "a", "label": "x", "id": true}',
            Refused("field 'id' must be integer or text or null, found true"),
        ),
        ('{"input": "a", "label": "\\ud800"}', Refused("lone surrogate")),
        ('{"input": "a"}', Refused("none of label, teacher_label and rationale")),
    ),
)
