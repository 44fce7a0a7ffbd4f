"""Plans of runs on TPU pods."""

from typing import TYPE_CHECKING, Any

from dsbs_jax import settings
from dsbs_jax.planning import environment
from dsbs_jax.planning.config import PlanConfig

if TYPE_CHECKING:
    from dsbs_jax.planning.plan import Plan


def plan(**chosen: Any) -> "Plan":
    """Compiles a run's programs for a TPU slice, without a TPU.

        made = dsbs_jax.plan(size="base", topology="v5e:2x4", num_microbatches=2)
        print(made.text())

    Args:
        **chosen: The options of `dsbs-jax plan` (`PlanConfig`).

    Raises:
        UserError: libtpu is not installed, or an option is wrong.
    """
    config = settings.from_fields(PlanConfig, chosen)
    # Before JAX is imported, which reads the variables.
    environment.prepare()
    from dsbs_jax.planning import plan as plans

    return plans.make(config)
