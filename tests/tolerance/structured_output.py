"""Replies with structured output."""

from tolerance import Refused, Section

_TWO = Refused("two different answers")
_CUT = Refused("cut off before the answer was complete")
_OBJECT = '{"rationale": "The line is dead.", "label": "visit"}'

SECTION = Section(
    order=8,
    title="Structured output",
    text="The reply with `STRUCTURED=True`. The label's field defines the label. "
    f"OBJECT is `{_OBJECT}`.",
    columns=("the reply", "label"),
    rows=(
        ("OBJECT", "visit"),
        ("```json\nOBJECT\n```", "visit"),
        ("```\nOBJECT\n```", "visit"),
        ("```json\nOBJECT", "visit"),
        ("Here is the answer:\nOBJECT", "visit"),
        ("OBJECT\n\nI hope that this helps.", "visit"),
        ("<think>\n{\"label\": \"remote\"}\n</think>\n\nOBJECT", "visit"),
        ("[OBJECT]", "visit"),
        ("OBJECT OBJECT", "visit"),
        ("OBJECT<|im_end|>", "visit"),
        ('{"answer": OBJECT}', "visit"),
        ('{"response": {"data": OBJECT}}', "visit"),
        ('{"label": "visit", "rationale": "The line is dead."}', "visit"),
        ('{"rationale": "The line is dead.", "label": "visit", "score": 0.9}', "visit"),
        ('{"Rationale": "The line is dead.", "Label": "visit"}', "visit"),
        ('{"reasoning": "The line is dead.", "answer": "visit"}', "visit"),
        ('{"explanation": "The line is dead.", "final_answer": "visit"}', "visit"),
        ('{"reason": "The line is dead.", "category": "visit"}', "visit"),
        ('{"rationale": ["The line", "is dead."], "label": "visit"}', "visit"),
        ('{"rationale": "The line is dead.", "label": ["visit"]}', "visit"),
        ('{"rationale": "The line is dead.", "label": {"value": "visit"}}', "visit"),
        ('{"rationale": "The line is dead.", "label": "visit\\n"}', "visit"),
        ('{"rationale": "The line is dead.", "label": " **Visit.** "}', "Visit"),
        ('{"rationale": "The line is dead.", "label": 3}', "3"),
        ('{"rationale": "The line is dead.", "label": 8.0}', "8.0"),
        ('{"rationale": "The line is dead.", "label": true}', "true"),
        ("{'rationale': 'The line is dead.', 'label': 'visit'}", "visit"),
        ("{'rationale': 'It\\'s dead.', 'label': 'visit'}", "visit"),
        ("{'rationale': 'It's dead.', 'label': 'visit'}", "visit"),
        ('{"rationale": "He said "dead" twice.", "label": "visit"}', "visit"),
        ('{rationale: "The line is dead.", label: "visit"}', "visit"),
        ("{rationale: The line is dead., label: visit}", "visit"),
        ('{"rationale": "The line is dead.", "label": "visit",}', "visit"),
        ('{"rationale": "The line is dead." "label": "visit"}', "visit"),
        ('{"rationale": "The line is dead.",\n "label": "visit" // sure\n}', "visit"),
        ('{"rationale": "The line\nis dead.", "label": "visit"}', "visit"),
        ("{“rationale”: “The line is dead.”, “label”: “visit”}", "visit"),
        ('{"rationale": "The line is dead.", "label": "visit"', "visit"),
        ('"{\\"rationale\\": \\"The line is dead.\\", \\"label\\": \\"no\\"}"', "no"),
        (
            '{"rationale": "No signal arrives. So the answer is no.", "label": "no"}',
            "no",
        ),
        ('{"rationale": "By the FAQ: dead.\\n\\nQ: x", "label": "visit"}', "visit"),
        ("The line is dead. So the answer is visit.", "visit"),
        ("The line is dead.\nSo the answer is \\boxed{visit}.", "visit"),
        ("The set {a, b} is dead. So the answer is visit.", "visit"),
        ('{"rationale": "x", "label": "visit", "label": "remote"}', _TWO),
        ('{"rationale": "x", "label": ["visit", "remote"]}', _TWO),
        ('OBJECT {"rationale": "x", "label": "remote"}', _TWO),
        ('{"rationale": "x", "label": null}', Refused("JSON without a label")),
        ('{"rationale": "x"}', Refused("JSON without a label")),
        ('{"rationale": "x", "label": {"a": 1, "b": 2}}',
         Refused("label in JSON is not a text or a number")),
        ('{"rationale": "x", "label": ""}', Refused("no label after the marker")),
        ('{"label": "visit"}', Refused("blank rationale")),
        ('{"rationale": "The line is dead.", "label": "vis', _CUT),
        ('{"rationale": "The line is', _CUT),
        ('"{\\"rationale\\": \\"The line is', _CUT),
        ("{rationale: The line is dead. So the answer is vis",
         Refused("JSON without a label")),
        ("Here is the answer: {", _CUT),
        ('{"label": "visit", "rationale": "The line is', _CUT),
        ("I cannot do that.", Refused("no answer marker")),
    ),
)  # fmt: skip


def reply(row: str) -> str:
    """Returns the complete reply of a row."""
    return row.replace("OBJECT", _OBJECT)
