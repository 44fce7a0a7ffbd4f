from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.rationales.quality import TextLengths
from dsbs_jax.reports.data_quality import Lengths
from dsbs_jax.reports.quantiles import quantile


@given(st.lists(st.integers(0, 99), min_size=1), st.floats(0, 1))
def test_quantile(values, fraction):
    found = quantile(sorted(values), fraction)
    assert found in values
    not_longer = sum(value <= found for value in values)
    assert not_longer >= fraction * len(values) - 1e-9
    shorter = sum(value < found for value in values)
    assert shorter <= fraction * len(values)


@given(st.lists(st.integers(0, 99), min_size=1))
def test_the_table_of_rows_and_the_card_agree(lengths):
    texts = TextLengths(10, sorted(lengths))
    table = Lengths.of("x" * n for n in lengths)
    assert table == Lengths(*map(texts.quantile, (0.5, 0.95, 1)))
