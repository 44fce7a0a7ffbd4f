"""Reasoning blocks; every block here holds a wrong answer."""

from tolerance import Refused, Section

END = "The line is dead. So the answer is visit."
# A block's text: an answer marker, a next question and a stop text are in it.
HM = "Hm. So the answer is remote.\n\nQ: Next?\nInput: x"

_TAGS = (
    *("think", "thinking", "thought", "thoughts", "reasoning", "reflection"),
    *(
        "scratchpad",
        "analysis",
        "seed:think",
        "antThinking",
        "inner_monologue",
        "THINK",
    ),
)
_PAIRS = (
    ("<think duration='3'>", "</think>"),
    ("< think >", "< /think >"),
    ("&lt;think&gt;", "&lt;/think&gt;"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("[unused16]", "[unused17]"),
    ("<|channel|>analysis<|message|>",
     "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|start|>assistant<|channel|>analysis<|message|>",
     "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>commentary to=functions.f <|constrain|>json<|message|>",
     "<|call|><|start|>assistant<|channel|>final<|message|>"),
    ("analysis", "assistantfinal"),
    ("Here is my thought process:\n", "\nHere is my response:\n"),
    ("```thinking\n", "\n```\n"),
    ('<details type="reasoning" done="true">\n<summary>Thought for 3 s</summary>\n',
     "\n</details>\n"),
    ("<details>\n<summary>My reasoning</summary>\n", "\n</details>\n"),
)  # fmt: skip

SECTION = Section(
    order=1,
    title="Reasoning blocks",
    text="A reasoning block is removed, and no answer is read from it. "
    "`KEEP_REASONING=True` makes it the rationale. Here … is a text with another "
    "answer and another question in it, and ANSWER is `The line is dead. So the "
    "answer is visit.`",
    columns=("the reply", "label"),
    rows=(
        *((f"<{tag}>…</{tag}>\n\nANSWER", "visit") for tag in _TAGS),
        *((f"{opening}…{closing}ANSWER", "visit") for opening, closing in _PAIRS),
        ("…\n</think>\n\nANSWER", "visit"),
        ("…[/THINK]ANSWER", "visit"),
        ("…◁/think▷ANSWER", "visit"),
        ("…</reasoning>ANSWER", "visit"),
        ("<think></think>ANSWER", "visit"),
        ("<think/>ANSWER", "visit"),
        ("<think>…<think>…</think>ANSWER", "visit"),
        ("<think>…<think>…</think>…</think>ANSWER", "visit"),
        ("<think>…</think>\n<think>…</think>\nANSWER", "visit"),
        ("ANSWER<think>…</think>", "visit"),
        ("ANSWER<think>…", "visit"),
        ("<think>…</think><answer>ANSWER</answer>", "visit"),
        ("<think>…</think>\n<response>\nANSWER\n</response>", "visit"),
        ("<Thought>…</Thought><Output>ANSWER</Output>", "visit"),
        ("<think>…", Refused("reasoning block without an end")),
        ("[THINK]…", Refused("reasoning block without an end")),
        ("<|channel|>analysis<|message|>…", Refused("reasoning block without an end")),
        ("The line is dead.\n<think>…", Refused("reasoning block without an end")),
        (
            "<think>…</think>So the answer is visit.",
            Refused("rationale only in the reasoning block"),
        ),
        ("<think>…</think>", Refused("no answer marker")),
        ("…</think>", Refused("no answer marker")),
    ),
)


def reply(row: str) -> str:
    """Returns the complete reply of a row."""
    return row.replace("ANSWER", END).replace("…", HM)
