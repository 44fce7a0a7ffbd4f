import sys

import pytest

from dsbs_jax.errors import UserError


@pytest.fixture
def without_t5x(monkeypatch):
    for name in list(sys.modules):
        if name == "dsbs_jax.pods" or name.startswith("dsbs_jax.pods."):
            monkeypatch.delitem(sys.modules, name)
    # None in sys.modules makes an import fail, as for a missing package.
    monkeypatch.setitem(sys.modules, "t5x", None)


@pytest.mark.parametrize(
    "module", ["datasets", "initial_checkpoint", "models", "trainer", "optimizers"]
)
def test_without_t5x_the_error_names_what_to_install(without_t5x, module):
    with pytest.raises(UserError, match="T5X cannot be imported.*extra `t5x`"):
        __import__(f"dsbs_jax.pods.{module}")
