"""A cell of a table: the settings that its runs share; only the seed differs."""

import dataclasses
from collections.abc import Mapping

from dsbs_jax.data import methods
from dsbs_jax.data.methods import PRETRAIN, AnyMethod
from dsbs_jax.experiments.paper import generated

# Texts of a batch of pretraining, for each training row of a batch of the other runs.
TEXTS_OF_A_PAIR = 4


@dataclasses.dataclass(frozen=True, order=True)
class Cell:
    """The settings that all runs of a table cell share; only the seed differs.

    Attributes:
        dataset: Name of the dataset.
        size: Name of the student's size.
        method: The training method.
        teacher: Name of the teacher, or "" for a method without one.
        fraction: Proportion of the training rows.
        alpha: Weight of the label loss.
        steps: Updates, if they are not those of the grid's STEPS; otherwise 0.
        variant: Name of other settings in the grid's VARIANTS, or "".
    """

    dataset: str
    size: str
    method: AnyMethod
    teacher: str = ""
    fraction: float = 1.0
    alpha: float = 1.0
    steps: int = 0
    variant: str = ""

    @property
    def two_tasks(self) -> bool:
        """Whether a batch has two examples of each row."""
        return methods.info_of(self.method).two_tasks

    @property
    def source(self) -> str:
        """Name of the dataset whose rows are read."""
        return generated.name_of(self.dataset, self.teacher)

    @property
    def is_pretraining(self) -> bool:
        """Whether the runs pretrain a student, and so have no scores."""
        return self.method == PRETRAIN

    @property
    def has_default_alpha(self) -> bool:
        """Whether alpha is that of the method's gin file."""
        return self.alpha == methods.info_of(self.method).alpha

    def updates(self, steps: Mapping[str, int]) -> int:
        """Returns the updates of a run, from the grid's STEPS by size."""
        return self.steps or steps[self.size]

    @property
    def name(self) -> str:
        """Name without spaces: "cqa-base-step_by_step-palm-12.5pct-alpha0.3"."""
        parts = [self.dataset, self.size, self.method]
        parts += [self.teacher] if self.teacher else []
        parts += [f"{100 * self.fraction:g}pct"] if self.fraction < 1 else []
        parts += [] if self.has_default_alpha else [f"alpha{self.alpha:g}"]
        parts += [self.variant] if self.variant else []
        parts += [f"{self.steps}steps"] if self.steps else []
        return "-".join(parts)
