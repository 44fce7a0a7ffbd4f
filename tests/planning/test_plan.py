"""Plans of wrong runs; the error comes before libtpu is needed."""

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.planning import plan
from dsbs_jax.planning.config import PlanConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_microbatches": 3}, "BATCH_SIZE is 128, expected a multiple of"),
        ({"remat": "ful"}, "REMAT is 'ful', expected"),
        ({"precision": "float16"}, "PRECISION is 'float16', expected"),
        ({"size": "smal"}, "size is 'smal', expected one of"),
    ],
)
def test_wrong_run_is_one_error(changes, message):
    config = PlanConfig(**{"size": "small", "topology": "v5e:2x4"} | changes)
    with pytest.raises(UserError, match=message):
        plan.make(config)


@pytest.mark.parametrize("step", ["decode", "both"])
def test_only_the_training_step_of_t5x_is_compiled(step):
    with pytest.raises(UserError, match=f"STEP is '{step}', expected 'train' with"):
        PlanConfig(size="small", topology="v5e:2x4", engine="t5x", step=step)
