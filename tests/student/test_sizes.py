"""Tests of the sizes by name."""

import pytest

from dsbs_jax import cli, gin_files
from dsbs_jax.errors import UserError
from dsbs_jax.student.sizes import SIZES, size_of


def test_every_size_is_that_of_its_gin_file():
    paths = (cli.config_dir() / "sizes").glob("*.gin")
    names = {path.stem for path in paths}
    assert names == {*SIZES, "pretrained"}
    for name, size in SIZES.items():
        path = cli.config_dir() / "sizes" / f"{name}.gin"
        assert gin_files.read([str(path)]).values == size


def test_unknown_size_lists_the_known_ones():
    with pytest.raises(UserError, match="size is 'smal', expected one of micro, tiny"):
        size_of("smal")
