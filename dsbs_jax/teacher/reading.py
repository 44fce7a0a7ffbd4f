"""How the replies of an extraction are read; changing it sends no request."""

import dataclasses
from collections.abc import Sequence

from dsbs_jax.errors import UserError
from dsbs_jax.rationales.voting import KeptRationales
from dsbs_jax.replies.reader import ReplyReader
from dsbs_jax.settings import Settings, setting
from dsbs_jax.teacher.prompts import Prompt


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadingConfig(Settings):
    """How replies are read; stored replies are read again with other settings."""

    keep_reasoning: bool = setting(
        False,
        help="Use the reasoning block of a reasoning model (<think>…</think>) as the "
        "rationale. By default it is removed.",
    )
    keep_rationales: KeptRationales = setting(
        "first",
        help="Which rationales of the samples that voted for the label a row has: the "
        "first; all different ones, as `rationales`; or these with "
        "`rationale_weights`, the share of the samples that gave each of them.",
    )
    synonyms: dict[str, str] = setting(
        {}, help="Other words for the labels: {'technician': 'visit'}."
    )


def reader_of(
    prompt: Prompt, labels: Sequence[str], config: ReadingConfig
) -> ReplyReader:
    """Makes the reader of the replies to a prompt.

    If the tolerant rules read another label from an exemplar's answer than the prompt
    file gives, the labels have a special form, and the dataset's parser is used.

    Args:
        prompt: The prompt.
        labels: The label set; empty if every label counts.
        config: How replies are read.

    Raises:
        UserError: The label of a synonym is not in the label set.
    """
    known = tuple(labels) or prompt.spec.labels or ()
    for name, label in config.synonyms.items():
        if label not in known:
            raise UserError(
                f"SYNONYMS: {name!r:.40} means {label!r:.40}, expected one of "
                f"the labels {', '.join(known) or '(there is no label set)'}"
            )
    reader = ReplyReader.of_spec(
        prompt.spec, labels, config.synonyms, config.keep_reasoning
    )
    reads_all = all(
        reader.read(exemplar.answer, exemplar.input).label == exemplar.label
        for exemplar in prompt.exemplars
    )
    return dataclasses.replace(reader, is_tolerant=reads_all)
