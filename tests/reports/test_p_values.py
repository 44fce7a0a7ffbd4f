import pytest

from dsbs_jax.reports import p_values


@pytest.mark.parametrize(
    ("value", "number", "statement"),
    [
        (0.02134, "0.0213", "p = 0.0213"),
        (1.0, "1.0000", "p = 1.0000"),
        (9e-5, "< 0.0001", "p < 0.0001"),
        (0.0, "< 0.0001", "p < 0.0001"),
    ],
)
def test_p_values_are_never_zero(value, number, statement):
    assert p_values.number(value) == number
    assert p_values.statement(value) == statement
