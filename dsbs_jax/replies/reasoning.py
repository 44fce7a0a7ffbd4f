r"""Separates the reasoning blocks of a reasoning model from its reply.

    "<think>\nNo tone.\n</think>\n\nThe line is dead. So the answer is visit."
    -> visible "The line is dead. So the answer is visit.", reasoning "No tone."

A chat template may open the block. Then only the closing tag is in the reply, and
everything before the tag is reasoning. A block that is never closed is reasoning to the
end of the reply.
"""

import dataclasses
import re
from collections.abc import Iterator

_NAMES = (
    r"(?:seed:|ant|ant_|deep|deep_|inner_|internal_)?(?:think|thinking|thought|thoughts)"
    r"|reasoning|reasoning_content|reflection|scratch_?pad|analysis"
    r"|(?:inner_)?monologue|deliberation|cot|chain_of_thought"
)
_BAR_NAMES = (
    r"(?:begin_of_|start_of_|START_|start_)?"
    r"(?:thought|thoughts|think|thinking|THINKING|reasoning)(?:_start|_begin)?"
)
_END_BAR_NAMES = (
    r"(?:end_of_|END_|end_|/)(?:thought|thoughts|think|thinking|THINKING|reasoning)"
    r"|(?:thought|thoughts|think|thinking|reasoning)_end"
)
# A tag that opens and closes an empty block.
_EMPTY = re.compile(rf"<\s{{0,9}}(?:{_NAMES})\s{{0,9}}/>", re.IGNORECASE)
# Each kind of block: its name, what opens it, what closes it. A tag of the kind "tag"
# closes any block; the other kinds are closed by a tag of their own kind only.
_OPENING = {
    "tag": (
        rf"<\s{{0,9}}(?:{_NAMES})(?:\s[^<>\n]{{0,200}})?\s{{0,9}}>"
        r"|\[(?:THINK|THINKING|THOUGHT|REASONING)\]"
        r"|◁think▷"
        rf"|<[|｜](?:{_BAR_NAMES}|inner_prefix)[|｜]>"
        r"|<unused94>(?:\s{0,9}thought\b)?|\[unused16\]"
        r"|<\|channel>\s{0,9}(?:thought|analysis)\b"
        # The channels of gpt-oss, with its special tokens and without.
        r"|<\|channel\|>\s{0,9}(?:analysis|commentary)[^<\n]{0,100}"
        r"(?:<\|constrain\|>[^<\n]{0,40})?<\|message\|>"
        r"|\A\s{0,20}(?:assistant\s?)?analysis(?=[A-Z\"'])"
        r"|\A\s{0,20}Here(?: is|'s|’s) my (?:thought|thinking|reasoning) process:"
    ),
    "fence": (
        r"^[ \t]{0,20}```[ \t]{0,20}(?:think|thinking|thoughts?|reasoning)[ \t]{0,20}$"
    ),
    "details": (
        r"<details\b[^<>\n]{0,200}\btype=[\"']?reasoning[^<>\n]{0,200}>"
        r"|<details\b[^<>\n]{0,200}>\s{0,20}<summary>[^<>\n]{0,60}"
        r"(?:think|thought|reason)[^<>\n]{0,60}</summary>"
    ),
}
_CLOSING = {
    "tag": (
        rf"<\s{{0,9}}/\s{{0,9}}(?:{_NAMES})\s{{0,9}}>"
        r"|\[/(?:THINK|THINKING|THOUGHT|REASONING)\]"
        r"|◁/think▷"
        rf"|<[|｜](?:{_END_BAR_NAMES}|inner_suffix)[|｜]>"
        r"|<unused95>|\[unused17\]|<channel\|>"
        r"|<\|channel\|>\s{0,9}final[^<\n]{0,60}(?:<\|constrain\|>[^<\n]{0,40})?<\|message\|>"
        r"|(?:<\|end\|>)?(?:<\|start\|>)?assistant\s?final(?=\W|[A-Z0-9])"
        r"|^[ \t]{0,20}Here(?: is|'s|’s) my (?:response|answer):"
    ),
    "fence": r"^[ \t]{0,20}```[ \t]{0,20}$",
    "details": r"</details>",
}
_TAG = re.compile(
    "|".join(
        [f"(?P<open_{kind}>{pattern})" for kind, pattern in _OPENING.items()]
        + [f"(?P<close_{kind}>{pattern})" for kind, pattern in _CLOSING.items()]
    ),
    re.IGNORECASE | re.MULTILINE,
)
# An answer that ends the reply after a block without a closing tag.
_LAST_ANSWER = re.compile(
    r"^[ \t]{0,20}<(answer|final_answer|final|response|output)>"
    r"(?:(?!<\1>)[\s\S]){0,5000}</\1>\s*\Z",
    re.IGNORECASE | re.MULTILINE,
)


@dataclasses.dataclass(frozen=True, slots=True)
class SplitReply:
    """A reply without its reasoning blocks.

    Attributes:
        visible: The text outside the blocks.
        reasoning: The text of the blocks, without their tags; may be empty.
        unfinished: Whether a block has no end.
    """

    visible: str
    reasoning: str
    unfinished: bool


def split(text: str) -> SplitReply:
    """Separates reasoning blocks and visible text."""
    text = _EMPTY.sub("", text)
    visible: list[str] = []
    reasoning: list[str] = []
    block: str | None = None
    position = 0
    for tag in _TAG.finditer(text):
        opens, kind = _kind(tag)
        if block is None and not opens and kind != "tag":
            continue
        if block is not None and (opens or kind not in ("tag", block)):
            continue
        part = text[position : tag.start()]
        position = tag.end()
        if opens:
            visible.append(part)
            block = kind
        elif block is not None:
            reasoning.append(part)
            block = None
        else:  # opened by the chat template
            reasoning += [*visible, part]
            visible = []
    rest = text[position:]
    if block is None:
        visible.append(rest)
    else:
        rest, answer = _last_answer(rest)
        reasoning.append(rest)
        visible.append(answer)
        block = None if answer else block
    return SplitReply(
        "".join(_joined(visible)), "\n\n".join(_texts(reasoning)), block is not None
    )


def _kind(tag: re.Match[str]) -> tuple[bool, str]:
    opens, _, kind = (tag.lastgroup or "").partition("_")
    return opens == "open", kind


def _last_answer(rest: str) -> tuple[str, str]:
    """Splits a block without a closing tag at the tagged answer that ends it."""
    tail = rest[-6000:]
    match = _LAST_ANSWER.search(tail)
    if match is None:
        return rest, ""
    begin = len(rest) - len(tail) + match.start()
    return rest[:begin], rest[begin:]


def _texts(parts: list[str]) -> Iterator[str]:
    return (part.strip() for part in parts if part.strip())


def _joined(parts: list[str]) -> Iterator[str]:
    """Yields the visible parts; a line end replaces a block between two of them."""
    previous = ""
    for part in filter(str.strip, parts):
        if previous and not (previous[-1].isspace() or part[0].isspace()):
            yield "\n"
        yield part
        previous = part
