"""Settings of a plan."""

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.planning.config import PlanConfig


def test_microbatches_divide_the_batch():
    with pytest.raises(UserError, match="BATCH_SIZE is 128, expected a multiple of"):
        PlanConfig(size="small", topology="v5e:2x4", num_microbatches=3)
