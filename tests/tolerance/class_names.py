"""Class names of anli1 and esnli, and labels with synonyms."""

from tolerance import Refused, Section

_NOT = Refused("label is none of the classes")
_TWO = Refused("two different answers")

SECTION = Section(
    order=7,
    title="Class names",
    text="The text after `So the answer is` for the classes entailment, neutral and "
    "contradiction. A label set of your own is read in the same way, and `SYNONYMS` "
    "adds other names.",
    columns=("the answer", "label"),
    rows=(
        ("contradiction.", "contradiction"),
        ("Contradiction", "contradiction"),
        ("CONTRADICTION.", "contradiction"),
        ("**contradiction**.", "contradiction"),
        ("**Contradiction.**", "contradiction"),
        ("`contradiction`", "contradiction"),
        ('"contradiction."', "contradiction"),
        ("\\boxed{\\text{contradiction}}", "contradiction"),
        (": contradiction", "contradiction"),
        ("a contradiction.", "contradiction"),
        ("an entailment", "entailment"),
        ("clearly neutral.", "neutral"),
        ("contradicts", "contradiction"),
        ("contradictory.", "contradiction"),
        ("entailed", "entailment"),
        ("contradiction. The premise says that it was closed.", "contradiction"),
        ("contradiction (not neutral).", "contradiction"),
        ("contradiction, because it was closed.", "contradiction"),
        ("contradiction because it was closed", "contradiction"),
        ("contradiction: it was closed.", "contradiction"),
        ("contradiction; it was closed", "contradiction"),
        ("contradiction - it was closed", "contradiction"),
        ("contradiction — it was closed", "contradiction"),
        ("contradiction, not neutral.", "contradiction"),
        ("contradiction rather than neutral", "contradiction"),
        ("**contradiction**. It was closed.", "contradiction"),
        ("contradiction.\nIt was closed.", "contradiction"),
        ("contradiction.\n\nPremise: Another bridge.", "contradiction"),
        ("contradiction.\n\nPremise", "contradiction"),
        ("contradiction.\n\n**Premise:** Another bridge.", "contradiction"),
        ("contradiction.\n\nHypothesis: It is open.", "contradiction"),
        ("contradiction\n\nPre", "contradiction"),
        ("contradiction or neutral.", _TWO),
        ("contradiction/neutral", _TWO),
        ("neutral and entailment", _TWO),
        ("either neutral or contradiction", _TWO),
        ("perhaps.", _NOT),
        ("not entailment", _NOT),
        ("non-neutral", _NOT),
        ("neutralish", _NOT),
        ("yes", _NOT),
        ("", Refused("no label after the marker")),
    ),
)
