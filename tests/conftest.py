"""Where the tests find real data, and how they do without it."""

import os
import pathlib

import pytest

# The authors' data and T5X's own numbers are not part of the repository; a folder
# beside the checkout, or one named by this variable, may hold them.
SHARED = pathlib.Path(
    os.environ.get(
        "DSBS_SHARED_DIR", pathlib.Path(__file__).resolve().parents[1] / "../shared"
    )
)


def _folder_or_skip(name):
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{name} data is not at hand (DSBS_SHARED_DIR={SHARED})")
    return folder


@pytest.fixture(scope="session")
def official_dir():
    """The authors' released data, unpacked."""
    return _folder_or_skip("official")


@pytest.fixture(scope="session")
def t5x_reference_dir():
    """Tiny students saved and evaluated by T5X."""
    return _folder_or_skip("t5x_reference")
