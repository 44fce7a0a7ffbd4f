r"""Rewrites typed or typeset arithmetic in plain characters.

"$1,234 × 2" -> "1234 * 2", "\frac{１}{２}" -> "((1)/(2))", "5²" -> "5^(2)"

Units and other words stay; `arithmetic_text` reads them.
"""

import re
import unicodedata

_OPERATORS = {
    **dict.fromkeys("−–—‐‑‒﹣－˗➖", "-"),
    **dict.fromkeys("×✕✖⋅·∙•∗＊⨯✱⁎", "*"),
    **dict.fromkeys("÷∕⁄／➗", "/"),
    **dict.fromkeys("＋﹢➕", "+"),
    **dict.fromkeys("＝≈≃≅≒", "="),
    **dict.fromkeys("（［｛[{⟨❨", "("),
    **dict.fromkeys("）］｝]}⟩❩", ")"),
    **dict.fromkeys("％﹪", "%"),
    **dict.fromkeys("＾", "^"),
    **dict.fromkeys("\u00a0\u202f\u2007\u2008\u2009\u200a", "\u202f"),
    **dict.fromkeys("’‘ʼ＇", "'"),
}
_TABLE = str.maketrans(_OPERATORS)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+")
_FRACTION = re.compile(r"(\d)?\s?([¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])")
_LATEX = (
    (
        re.compile(
            r"\\(?:left|right|big|Big|bigg|displaystyle|mathrm|,|;|!|:|quad|qquad|\s)"
        ),
        " ",
    ),
    (re.compile(r"\\(?:times|cdot|ast|bullet)(?![A-Za-z])"), "*"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\\(?:pm|mp)(?![A-Za-z])"), "±"),
    (re.compile(r"\\(?:approx|simeq|equiv)(?![A-Za-z])"), "="),
    (re.compile(r"\\(?:lbrace|lbrack|\{)"), "("),
    (re.compile(r"\\(?:rbrace|rbrack|\})"), ")"),
    (re.compile(r"\\([%$€£#&_])"), r"\1"),
    (re.compile(r"\\[()\[\]]"), " "),
    (re.compile(r"\{,\}"), ","),
)
_FRAC = re.compile(r"\\[dtc]?frac\s?\{([^{}]{1,80})\}\s?\{([^{}]{1,80})\}")
_SHORT_FRAC = re.compile(r"\\[dtc]?frac\s?(\d)\s?(\d)")
_ROOT = re.compile(
    r"(?:\\sqrt\s?\{([^{}]{1,80})\}|√\s?\(?(\d{1,20})\)?|sqrt\((\d{1,20})\))"
)
_TEXT = re.compile(
    r"\\(?:text|mathrm|textbf|mathbf|mbox|operatorname)\s?\{([^{}]{0,80})\}"
)
_GROUPED = re.compile(r"(?<![\d.,'])\d{1,3}(?:[,'\u202f_]\d{3})+(?![\d,'])")
_INDIAN = re.compile(r"(?<![\d.,])\d{1,2}(?:,\d{2})+,\d{3}(?![\d,])")
_EUROPEAN = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+,\d{1,4}(?![\d,.])")
_CURRENCY = r"(?:US\$|A\$|C\$|[$€£¥₹₽₩₺₫]|\b(?:USD|EUR|GBP|CHF|INR|JPY|Rs)\b\.?)"
_DECIMAL_COMMA = re.compile(
    rf"({_CURRENCY}[ \u202f]?\d{{1,9}}),(\d{{2}})(?!\d)"
    rf"|(?<![\d.,])(\d{{1,9}}),(\d{{2}})(?=[ \u202f]?{_CURRENCY})"
)
_SIGN_OF_CURRENCY = re.compile(_CURRENCY)
_TIMES_LETTER = re.compile(r"(?<=[\d)\s])[xX](?=[\s\d(.$€£-])")
_COLON = re.compile(r"(?<=[\d)]) : (?=[\d(])")
_ZERO_DIGITS = re.compile(r"(\d)\s{0,2}(?:\*\*|\^)\s{0,2}\(?(-?\d{1,3})\)?")


def plain(text: str) -> str:
    """Rewrites operators, digits, brackets, separators and LaTeX."""
    text = _FRACTION.sub(_vulgar_fraction, text)
    text = _SUPERSCRIPT.sub(lambda m: f"^({m[0].translate(_SUPERSCRIPTS)})", text)
    text = "".join(map(_plain_digit, text))
    text = text.replace("$$", " ")
    text = _TEXT.sub(r" \1 ", text)
    for _ in range(4):  # fractions within fractions
        text = _FRAC.sub(r"((\1)/(\2))", _SHORT_FRAC.sub(r"(\1/\2)", text))
        text = _ROOT.sub(_root, text)
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    text = text.translate(_TABLE)
    text = _DECIMAL_COMMA.sub(lambda m: f"{m[1] or m[3]}.{m[2] or m[4]}", text)
    text = _EUROPEAN.sub(lambda m: m[0].replace(".", "").replace(",", "."), text)
    for pattern in (_GROUPED, _INDIAN):
        text = pattern.sub(lambda m: re.sub(r"[,'\u202f_]", "", m[0]), text)
    text = _SIGN_OF_CURRENCY.sub(" ", text)
    text = _COLON.sub(" / ", _TIMES_LETTER.sub("*", text))
    return text.replace("**", "^").replace("\u202f", " ")


def has_currency(text: str) -> bool:
    """Returns whether a text has a sign of a currency."""
    return _SIGN_OF_CURRENCY.search(text) is not None


def _plain_digit(character: str) -> str:
    """Returns the ASCII digit of a decimal digit of any script."""
    if character.isascii() or not character.isdecimal():
        return character
    return str(unicodedata.decimal(character))


def _vulgar_fraction(match: re.Match[str]) -> str:
    """Rewrites "2½" as "2&(1/2)"; "&" joins the parts of a mixed number."""
    numerator, _, denominator = unicodedata.normalize("NFKC", match[2]).partition("⁄")
    fraction = f"({numerator}/{denominator})"
    return f"{match[1]}&{fraction}" if match[1] else fraction


def _root(match: re.Match[str]) -> str:
    return f" sqrt({match[1] or match[2] or match[3]})"
