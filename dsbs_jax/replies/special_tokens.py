r"""Removes the special tokens that a server leaves in a reply.

"<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nNext" -> "Yes."
"""

import re

# A special token such as <|im_end|>, with DeepSeek's wide bars too.
_TOKEN = r"<[|｜][A-Za-z0-9_/ ▁.-]{1,40}[|｜]>"
# Tokens at the start, and the role's name after them.
_START = re.compile(
    rf"\s{{0,50}}(?:(?:{_TOKEN}|<s>|</s>|<bos>|<eos>|<pad>|<start_of_turn>|<end_of_turn>"
    r"|<turn\||<\|turn>|<turn\|>|\[\|assistant\|\]|\[/INST\]|\[INST\])"
    r"\s{0,20}(?:(?:assistant|model|final|bot)(?=[\s<:]|$)[ \t]{0,9}:?\s{0,20})?)+"
)
# Tokens that end the model's turn; a made-up turn may follow.
_END = re.compile(
    r"<[|｜](?:im_end|im_start|endoftext|eot_id|eom_id|eot|end_of_text|end|return|call"
    r"|end[▁_]of[▁_]sentence|end_of_turn|endofturn|END_OF_TURN_TOKEN|END_RESPONSE"
    r"|start_header_id|start|user|User|system|observation|endofprompt|fim_suffix"
    r"|diff_marker|turn_end)[|｜]>"
    r"|</s>|<s>|<eos>|<bos>|<pad>|<end_of_turn>|<start_of_turn>|<turn\|>|<\|turn>"
    r"|\[/?INST\]|\[\|(?:endofturn|user)\|\]|<</?SYS>>"
)
_ANY = re.compile(rf"{_TOKEN}|<unk>|<mask>|<unused\d{{1,3}}>|\[unused\d{{1,3}}\]")


def without(text: str) -> str:
    """Removes tokens at the start, and everything after the model's turn."""
    if "<" not in text and "[" not in text:
        return text
    if start := _START.match(text):
        text = text[start.end() :]
    if end := _END.search(text):
        text = text[: end.start()]
    return _ANY.sub("", text)
