"""Slices and their published figures."""

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.planning.chips import CHIPS, slice_of


def test_a_slice_has_its_chips():
    found = slice_of("v4:2x2x4")
    assert (found.kind, found.shape, found.chips) == ("v4", (2, 2, 4), 16)
    assert found.chip is CHIPS["v4"]


@pytest.mark.parametrize(
    "name, message",
    [
        ("v4", "TOPOLOGY is 'v4', expected one of v4, v5e, v5p, v6e, a colon"),
        ("v9:2x2", "TOPOLOGY is 'v9:2x2', expected one of"),
        ("v5e:2x2x2", "expected 2 positive dimensions"),
        ("v4:4x4", "expected 3 positive dimensions"),
        ("v5e:0x4", "expected 2 positive dimensions"),
    ],
)
def test_a_wrong_name_is_an_error(name, message):
    with pytest.raises(UserError, match=message):
        slice_of(name)
