"""Fixtures of the data tests."""

import pytest


@pytest.fixture(scope="session")
def loaded_vocabulary(tiny_vocabulary):
    """The SentencePiece vocabulary that is trained on the tiny rows."""
    from dsbs_jax.data import vocabulary

    return vocabulary.load(str(tiny_vocabulary))
