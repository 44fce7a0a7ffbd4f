import base64
import html.parser
import re

from hypothesis import example, given
from hypothesis import strategies as st

from dsbs_jax.rationales.card import documents
from dsbs_jax.rationales.card.documents import (
    Example,
    Heading,
    Paragraph,
    Picture,
    Table,
)

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><b>',
    "'; --",
    "</title></style></body>",
    "| a | b |\n| --- | --- |",
    "[click](javascript:alert(1))",
    "![x](http://example.com/x.png)",
    "`code` **bold** _x_ ~~y~~ $x$ &lt; <!-- -->",
    "line\nline\r\nline\n# heading\n> quote\n---\n- item",
    "http://example.com www.example.com a@example.com",
    "\x00\x1b[31mred\x07\x7f\x9b\u202eback\u2066\ud800\u2028",
    "\\",
    "x" * 5000,
]
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(), st.text("<>|`\\[]()!*_&;#\n\r-"))


def page(text):
    return [
        Heading(text),
        Paragraph(text),
        Table(["name", "#count"], [[text, text], [text, "2"]]),
        Picture("card.png", b"\x89PNG", text),
        Example([("input", text), ("label", text)]),
    ]


class Reader(html.parser.HTMLParser):
    """Collects tags, attributes and text as a browser would."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(name for name, _ in attrs)

    def handle_endtag(self, tag):
        self.tags.append(f"/{tag}")

    def handle_comment(self, data):
        self.tags.append("comment")

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data)


HARMLESS = Reader(documents.web_page("word", page("word")))


@given(TEXT)
@example(HOSTILE[0])
@example(HOSTILE[1])
@example(HOSTILE[4])
@example(HOSTILE[8])
@example(HOSTILE[11])
def test_no_text_changes_the_structure_of_the_html(text):
    made = documents.web_page(text, page(text))
    made.encode("utf-8")
    found = Reader(made)
    assert found.tags == HARMLESS.tags
    assert found.attributes == HARMLESS.attributes
    # What is shown is the text.
    shown = documents.visible(text)
    if shown.strip():
        assert shown in found.texts


def cells(line):
    return re.split(r"(?<!\\)(?:\\\\)*\|", line)


@given(TEXT)
@example(HOSTILE[5])
@example(HOSTILE[9])
@example("\\|")
def test_no_text_changes_the_structure_of_the_markdown(text):
    made = documents.markdown(text, page(text))
    made.encode("utf-8")
    harmless = documents.markdown("word", page("word"))
    lines = made.split("\n")
    assert len(made.splitlines()) == len(lines) - 1 == harmless.count("\n")
    for line, plain in zip(lines, harmless.split("\n"), strict=True):
        assert len(cells(line)) == len(cells(plain))
        assert line[:2] == plain[:2] or plain == "word"
    # Whatever could begin markup has a backslash before it.
    bare = re.sub(r"\\.", "", "\n".join(lines[1:]))
    expected = re.sub(r"\\.", "", "\n".join(harmless.split("\n")[1:]))
    for character in "<[]`*_~$!@&":
        assert bare.count(character) == expected.count(character), character
    assert "://" not in bare and "www." not in bare


def test_what_cannot_be_seen_is_spelled_out():
    assert documents.visible("a\x1b[0m\u202eb\tc\x7f\ud800") == (
        "a\\x1b[0m\\u202eb c\\x7f\\ud800"
    )
    assert documents.visible("é 漢 🙂\nnext") == "é 漢 🙂\nnext"
    assert len(documents.visible("x" * 5000)) == documents.MAX_TEXT + 1


def test_tables_read_as_tables():
    table = Table(["name", "#count"], [["a|b", "1"], ["c\nd", "2"]])
    assert documents.markdown("T", [table]).splitlines()[2:] == [
        "| name | count |",
        "| --- | ---: |",
        "| a\\|b | 1 |",
        "| c ⏎ d | 2 |",
    ]
    made = documents.web_page("T", [table])
    assert '<tr><td>a|b</td><td class="number">1</td></tr>' in made


def test_pictures_lie_beside_the_markdown_and_inside_the_html():
    picture = Picture("card.png", b"\x89PNG", "Plots")
    assert "![Plots](card.png)" in documents.markdown("T", [picture])
    data = base64.b64encode(b"\x89PNG").decode()
    made = documents.web_page("T", [picture])
    assert f'src="data:image/png;base64,{data}"' in made
    assert "default-src 'none'" in made
