import pathlib
import shutil

import pytest

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures"


@pytest.fixture(scope="session")
def release_dir():
    """A small release of all five datasets and both teachers; not to be changed."""
    return FIXTURES / "release"


@pytest.fixture
def release_copy(release_dir, tmp_path):
    """A copy of the small release to spoil."""
    return pathlib.Path(shutil.copytree(release_dir, tmp_path / "release"))
