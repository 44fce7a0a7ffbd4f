import base64
import html.parser
import re

from hypothesis import example, given
from hypothesis import strategies as st

from dsbs_jax.reports import page
from dsbs_jax.reports.page import (
    Column,
    Heading,
    Paragraph,
    Picture,
    Table,
    TextFields,
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
    "{{ 7 * 7 }}{% for x in range(9) %}y{% endfor %}{# z #}",
]
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(), st.text("<>|`\\[]()!*_&;#\n\r-"))


def blocks(text):
    return [
        Heading(text),
        Paragraph(text),
        Table(
            [Column(text), Column("count", numeric=True)], [[text, text], [text, "2"]]
        ),
        Picture("card.png", b"\x89PNG", text),
        TextFields([("input", text), (text, text)]),
    ]


class Reader(html.parser.HTMLParser):
    """Collects tags, attributes and text as a browser does."""

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


HARMLESS = Reader(page.as_html("word", blocks("word")))


@given(TEXT)
@example(HOSTILE[0])
@example(HOSTILE[1])
@example(HOSTILE[4])
@example(HOSTILE[8])
@example(HOSTILE[11])
@example(HOSTILE[14])
def test_text_does_not_change_the_structure_of_the_html(text):
    rendered = page.as_html(text, blocks(text))
    rendered.encode("utf-8")
    reader = Reader(rendered)
    assert reader.tags == HARMLESS.tags
    assert reader.attributes == HARMLESS.attributes
    # The page shows the text itself.
    shown = page.visible(text)
    if shown.strip():
        assert shown in reader.texts


def cells(line):
    return re.split(r"(?<!\\)(?:\\\\)*\|", line)


@given(TEXT)
@example(HOSTILE[5])
@example(HOSTILE[9])
@example(HOSTILE[14])
@example("\\|")
def test_text_does_not_change_the_structure_of_the_markdown(text):
    rendered = page.as_markdown(text, blocks(text))
    rendered.encode("utf-8")
    harmless = page.as_markdown("word", blocks("word"))
    lines = rendered.split("\n")
    assert len(rendered.splitlines()) == len(lines) - 1 == harmless.count("\n")
    for line, plain in zip(lines, harmless.split("\n"), strict=True):
        assert len(cells(line)) == len(cells(plain))
        assert line[:2] == plain[:2] or plain == "word"
    # Each character that could begin markup follows a backslash.
    bare = re.sub(r"\\.", "", "\n".join(lines[1:]))
    expected = re.sub(r"\\.", "", "\n".join(harmless.split("\n")[1:]))
    for character in "<[]`*_~$!@&":
        assert bare.count(character) == expected.count(character), character
    assert "://" not in bare and "www." not in bare


def test_invisible_characters_are_written_as_escape_sequences():
    assert page.visible("a\x1b[0m\u202eb\tc\x7f\ud800") == (
        "a\\x1b[0m\\u202eb c\\x7f\\ud800"
    )
    assert page.visible("é 漢 🙂\nnext") == "é 漢 🙂\nnext"
    assert len(page.visible("x" * 5000)) == page.MAX_TEXT + 1


def test_tables():
    columns = [Column("name"), Column("count", numeric=True)]
    table = Table(columns, [["a|b", 1234], ["c\nd", "2"]])
    assert page.as_markdown("T", [table]).splitlines()[2:] == [
        "| name | count |",
        "| --- | ---: |",
        "| a\\|b | 1,234 |",
        "| c ⏎ d | 2 |",
    ]
    rendered = page.as_html("T", [table])
    assert '<tr><td>a|b</td><td class="number">1,234</td></tr>' in rendered


def test_fields_are_a_quoted_list():
    fields = TextFields([("input", "2 * 2"), ("label", "4")])
    assert page.as_markdown("T", [fields]).splitlines()[2:] == [
        "> - **input** 2 \\* 2",
        "> - **label** 4",
    ]
    rendered = page.as_html("T", [fields])
    assert "<dl><dt>input</dt><dd>2 * 2</dd><dt>label</dt><dd>4</dd></dl>" in rendered


def test_a_picture_is_a_file_for_markdown_and_embedded_in_html():
    picture = Picture("card.png", b"\x89PNG", "Plots")
    assert "![Plots](card.png)" in page.as_markdown("T", [picture])
    data = base64.b64encode(b"\x89PNG").decode()
    rendered = page.as_html("T", [picture])
    assert f'src="data:image/png;base64,{data}"' in rendered


def test_the_html_page_may_load_nothing_and_run_no_script():
    rendered = page.as_html("T", blocks("word"))
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert f'http-equiv="Content-Security-Policy" content="{policy}"' in rendered
    # Before the policy there is nothing that the browser could load.
    assert "src" not in rendered.partition("Content-Security-Policy")[0]
    assert "http://" not in rendered and "https://" not in rendered


def test_text():
    columns = [Column("name"), Column("count", numeric=True)]
    blocks = [
        Paragraph("word " * 30),
        Table(columns, [["a\nb", 1234], ["c", "2"]]),
        Table(columns, []),
        Picture("x.png", b"", "a picture"),
        TextFields([("input", "one\ntwo\x1b")]),
    ]
    lines = page.as_text("T", blocks).splitlines()
    assert lines[:2] == ["T", "="]
    assert max(map(len, lines)) <= 88
    assert "a ⏎ b     1,234" in lines
    assert lines[-1] == "input: one ⏎ two\\x1b"
    assert "a picture" not in lines


@given(TEXT)
def test_text_has_no_control_characters(text):
    rendered = page.as_text(text, blocks(text))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", rendered)
