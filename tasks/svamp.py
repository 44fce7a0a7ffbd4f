"""SVAMP word problems, answered by an equation; ASDiv adds unlabelled ones.

`svamp_asdiv_palm_distill` and `svamp_asdiv_palm_step_by_step_unlabeled` train on both,
in proportion to their sizes, with the teacher's labels (paper, section 4.2).
"""

from dsbs_jax.data import metrics, registration
from dsbs_jax.released.source import ReleasedSource

registration.register(
    "svamp",
    ReleasedSource("svamp", carved=True),
    teachers=("palm", "gpt_neox"),
    metric=metrics.equation_accuracy,
    shuffle_buffer=800,
)
registration.register(
    "asdiv",
    ReleasedSource("asdiv", carved=False, has_validation=False),
    teachers=("palm",),
    metric=metrics.equation_accuracy,
    shuffle_buffer=2_305,
)
for method in ("distill", "step_by_step_unlabeled", "single_task_unlabeled"):
    registration.add_mixture("svamp", method, "palm", also=("asdiv",))
