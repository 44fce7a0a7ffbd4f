"""Fails on phrases that docs/style.md does not allow, and names a plain alternative."""

import ast
import itertools
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Pattern: what to write instead. Patterns match whole words in any case.
PHRASES = {
    r"anew": "again",
    r"afresh": "again",
    r"of one's own": "your own, the user's",
    r"one's": "your, the user's",
    r"(is|are|was|were|be|being) said": "is reported, is printed",
    r"(is|are|was|were) told": "is reported, reads",
    r"(go|goes|going|gone|went) on": "continues, resumes",
    r"nor": "and not, or",
    r"mend(s|ed|ing)?": "fix, repair",
    r"sets? aside": "renames, moves, reserves",
    r"lies? beside|lies? there": "is next to",
    r"(stand|stands|stood|standing) (in|at|beside|for|there|here|alone|once|before"
    r"|after|on|by|together|under|above|behind|near|where|as)": "is in, means",
    r"as (it|they) stands?": "current",
    r"beside (it|them|the|its|a|an|one|each|what|others?|T5X|two|today)": "next to",
    r"what is damaged": "corrupt files",
    r"at hand": "available",
    r"to hand": "available",
    r"in vain": "without success",
    r"thereof|wherein|whereof|whereby|therein|thereby|hereby|herein|whither|hence"
    r"|thence|thither|whence|lest|albeit|alas|perchance|ere|unto|amid|amidst"
    r"|betwixt|forthwith|henceforth|hitherto|nigh|oft|save for|nought|naught|aught": (
        "a plain word, or a new sentence"
    ),
    r"(?<!there )(is|are|was) no [a-z]+": "is not a, has no",
    r"(is|are) (?-i:none)(?! of)": "does not exist, there is no",
    r"those whose": "name the noun: the rows without a label",
    r"as it came|as they come|as they came": "unchanged, in file order",
    r"in turns?": "one after another",
    r"half-?way": "partly written, interrupted",
    r"from afar|afar": "remotely",
    r"bears|bearing": "has, supports",
    r"talkative": "writes many messages",
    r"come to nothing|come to naught|comes? to (naught|nothing)": "has no result",
    r"what (it|they|that|this) comes? to": "the result",
    r"(is|are|be|was|were) had": "is available, can be read",
    r"(can|could|may|might|will|would|shall) be had": "is available",
    r"for (a person|persons)": "for readers, printed",
    r"tells? a person|tells? people": "prints",
    r"whatever (it|they|these) (is|are|says?|holds?)": "independent of",
    r"so often": "that many times",
    r"is to be [a-z]+|are to be [a-z]+": "must be, will be",
    r"not to be [a-z]+": "must not be",
    r"there is to be": "there must be",
    r"takes? part": "is used, is included",
    r"gives? way": "is replaced",
    r"makes? do|will do(?=[).,;])|do as well": "works too, is accepted",
    r"will not do": "is not accepted",
    r"knows? nothing of": "does not use",
    r"as (it|they|that|this|gin|the flags) says?": "as the settings describe",
    r"wholly": "completely",
    r"as a whole or not at all|whole or not at all": "atomically",
    r"the whole of": "all of, the complete",
    r"whole (files?|runs?|rows?|batch|checkpoints?|line|test|data|output|text|page)": (
        "complete, entire"
    ),
    r"once each": "exactly once",
    r"what else": "name the noun",
    r"patien(ce|t|tly) of|how patiently": "retries, timeouts",
    r"endures?": "continues after",
    r"forsakes?|shun(s|ned)?|befalls?|behold": "a plain verb",
    r"(should|were) (it|they|there|one|the [a-z]+) (be|have|fail|not)": "if …",
    r"had (it|they|there) been": "if …",
    r"for ever": "forever",
    r"next to no(ne)?": "almost no",
    r"made of it|made from it|makes of it": "created from",
    r"dwell(s)?|abide(s)?|hearken": "a plain verb",
    r"whatever [`'\w]+( \w+){0,3} (is|are|says|trains)": "independent of, with any",
    r"(has|have|had) not (a|an|any|more|several|enough|yet a)": "does not have",
    r"(not|never) any further": "to its end",
    r"(it|they|run|student|teacher|command) (is|are) to [a-z]+": "must, will",
    r"keeps its state|stays as it (is|was)": "is not changed",
    r"(?<=[;,:.] )right are|wrong are": "the right answers",
    r"exactly if": "if and only if",
}
COMPILED = {
    re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])", re.IGNORECASE): plain
    for pattern, plain in PHRASES.items()
}
SUFFIXES = {".py", ".md", ".ipynb", ".gin", ".sh", ".toml", ".txt", ".yml", ".jinja"}
# The style guide and this file quote the phrases.
EXEMPT = {"docs/style.md", "tests/test_style.py"}
# Exemplars of prompts, completions and licenses are data, not our prose; the reports in
# the cases quote the messages of version 0.1.
DATA = re.compile(r"^(tests/fixtures/(?!.*README)|tests/cases/.*/why\.md|LICENSE)")


def tracked_files():
    """Paths of the files in git, relative to the checkout."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("the checkout is not a git repository")
    return listed.stdout.splitlines()


def prose(path):
    """Yields (line number, text) of the lines that are checked."""
    text = (ROOT / path).read_text()
    for number, line in enumerate(text.splitlines(), 1):
        # Only the comments of prompts are ours; the exemplars are data.
        if path.endswith(".txt") and not line.startswith("#"):
            continue
        yield number, line


def is_checked(path):
    return (
        pathlib.Path(path).suffix in SUFFIXES
        and path not in EXEMPT
        and not DATA.match(path)
    )


def phrases(line, next_line=""):
    """Yields the phrases that begin in a line; they may end in the next one."""
    joined = f"{line} {next_line.lstrip(' #*')}"
    for pattern, plain in COMPILED.items():
        match = pattern.search(joined)
        if match and match.start() < len(line):
            yield match.group(), plain


def problems(path):
    """Describes each phrase of a file that the style guide does not allow."""
    lines = list(prose(path))
    for (number, line), (_, next_line) in itertools.pairwise([*lines, (0, "")]):
        for phrase, plain in phrases(line, next_line):
            yield f"{path}:{number}: {phrase!r}; write: {plain}"


def test_prose_is_plain_english():
    listed = [p for path in tracked_files() if is_checked(path) for p in problems(path)]
    assert not listed, f"{len(listed)} phrases:\n" + "\n".join(listed[:100])


@pytest.mark.parametrize(
    ("line", "matches"),
    [
        ("# Starts this process anew, once", True),
        ("# renews the lease, a new process", False),
        ('"a file of one\'s own"', True),
        ("# What is damaged is said", True),
        ("# The run goes on from the last checkpoint", True),
        ("# Restarts the process once", False),
        ("# a normal distribution, the author", False),
        ("# nor is there another", True),
        ("# recommended, amended", False),
    ],
)
def test_patterns_match_whole_words(line, matches):
    assert any(phrases(line)) == matches


def test_phrases_are_found_across_lines():
    assert list(phrases("# The run goes", "# on as before")) == [
        ("goes on", "continues, resumes")
    ]


def indented_names(text):
    """Yields each field or argument that is written as text of the one before it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            found = [
                item.target for item in node.body if isinstance(item, ast.AnnAssign)
            ]
            names = {target.id for target in found if isinstance(target, ast.Name)}
        elif isinstance(node, ast.FunctionDef):
            names = {arg.arg for arg in node.args.args + node.args.kwonlyargs}
        else:
            continue
        lines = (ast.get_docstring(node) or "").splitlines()
        matches = (re.match(r" {5,}(\w+): ", line) for line in lines)
        yield from (f"{node.name}: {m[1]}" for m in matches if m and m[1] in names)


def test_each_field_of_a_docstring_is_an_entry_of_its_own():
    sources = (ROOT / "dsbs_jax").rglob("*.py")
    assert [name for path in sources for name in indented_names(path.read_text())] == []


def test_a_field_in_the_text_of_another_is_found():
    text = '''
class Spec:
    """A spec.

    Attributes:
        a: First, with
            b: in its text.
    """

    a: int
    b: int
'''
    assert [*indented_names(text)] == ["Spec: b"]
