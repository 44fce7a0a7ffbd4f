"""Replies that continue with a next question, which is cut off."""

from tolerance import Refused, Section

_NONE = Refused("no answer marker")

SECTION = Section(
    order=6,
    title="Text after the answer",
    text="The complete reply to the input `Lena: no tone`, with a prompt of rule "
    "`default`. A next question is recognized at the start of a line, by a complete "
    "word; an answer that is complete before the next question counts.",
    columns=("the reply", "label"),
    rows=(
        ("Dead. So the answer is visit.\n\nQ: Tom: all works\nA: It does.", "visit"),
        ("Dead. So the answer is visit.\nQ: Tom", "visit"),
        ("Dead. So the answer is visit.\n\n**Q:** Tom", "visit"),
        ("Dead. So the answer is visit.\n\nQ2: Tom", "visit"),
        ("Dead. So the answer is visit.\n\nQuestion: Tom\nAnswer: remote.", "visit"),
        ("Dead. So the answer is visit.\n\nQuestion 2: Tom\nAnswer: remote.", "visit"),
        ("Dead. So the answer is visit.\n\n### Question\nTom", "visit"),
        ("Dead. So the answer is visit.\n\nInput: Tom", "visit"),
        ("Dead. So the answer is visit.\nInput: Tom", "visit"),
        ("Dead. So the answer is visit.\n\nUser: Tom", "visit"),
        ("Dead. So the answer is visit.\n\nHuman: Tom\n\nAssistant: remote", "visit"),
        ("Dead. So the answer is visit.\n\nProblem: Tom\nAnswer: remote", "visit"),
        ("Dead. So the answer is visit.\n\nExample 3:\nAnswer: remote", "visit"),
        ("Dead. So the answer is visit.\n\nPremise: Tom\nAnswer: remote", "visit"),
        ("Dead. So the answer is visit.\n\nNext ticket:", "visit"),
        ("Dead. So the answer is visit.\n\nLet me know if you need more.", "visit"),
        ("Dead. So the answer is visit.\n\nQ", "visit"),
        ("Dead. So the answer is visit.\n\n---\n\nQ: Tom", "visit"),
        ("Dead. So the answer is visit.\n---\nQ: Tom", "visit"),
        ("Dead. So the answer is visit.\n\n\n\nI hope this helps!", "visit"),
        ("The FAQ: dead. So the answer is visit.", "visit"),
        ("UserInput: says dead. So the answer is visit.", "visit"),
        ("See the Q: and A: pages. So the answer is visit.", "visit"),
        ("The Input: line is dead. So the answer is visit.", "visit"),
        ("Inputs: none.\nSo the answer is visit.", "visit"),
        ("Problem: dead.\nSo the answer is visit.", "visit"),
        ("Q: Lena: no tone\nA: Dead. So the answer is visit.", "visit"),
        ("Lena: no tone\n\nDead. So the answer is visit.", "visit"),
        ("Question: Lena: no tone\nAnswer: Dead. So the answer is visit.", "visit"),
        ("A: Dead. So the answer is visit.", "visit"),
        ("Dead.\n\nQ: Tom: all works\nA: It does. So the answer is remote.", _NONE),
        ("Q: Tom: all works\nA: It does. So the answer is remote.", _NONE),
        ("Dead.\n\nUser: Tom\n\nAssistant: So the answer is remote.", _NONE),
        ("Dead. So the answer is visit.\nAnd more", Refused("label runs on")),
    ),
)
