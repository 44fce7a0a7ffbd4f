"""The tolerant rules lose hardly any of the answers that the paper's parsers read."""

import pytest

from dsbs_jax.released.reader import open_release
from dsbs_jax.replies import specs
from dsbs_jax.replies.problems import AMBIGUOUS_CHOICE, NOT_A_CHOICE, NOT_ARITHMETIC
from dsbs_jax.replies.reader import ReplyReader

# Reasons for which a label that the paper's parser reads is refused.
INTENDED = {AMBIGUOUS_CHOICE, NOT_A_CHOICE, NOT_ARITHMETIC}


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["cqa", "svamp", "esnli"])
def test_released_completions_read_tolerantly(official_dir, dataset):
    release = open_release(official_dir)
    raw = release.read_raw(dataset, "test")
    texts = release._completions(dataset, "test", "palm", len(raw.records))
    spec, accepts = raw.released.spec, specs.for_new_rows(raw.released.spec).metric
    reader = ReplyReader.of_spec(spec)
    right = expected = 0
    for text, record in zip(texts, raw.records, strict=True):
        strict, parsed = spec.parse(text), reader.read(text, record.input)
        expected += spec.metric.accepts(record.label, strict.label or "")
        right += accepts.accepts(record.label, parsed.label or "")
        if strict.problem is None and parsed.problem:
            assert parsed.problem in INTENDED, text
    assert right >= expected
