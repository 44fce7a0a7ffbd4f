"""The plan of a run on a TPU slice: fit, costs and bounds of its compiled programs."""

import dataclasses
from collections.abc import Sequence

import jax

from dsbs_jax.errors import UserError
from dsbs_jax.local.config import check_microbatches
from dsbs_jax.planning import programs, report, state_memory
from dsbs_jax.planning import search as searching
from dsbs_jax.planning.chips import Slice, slice_of
from dsbs_jax.planning.config import PlanConfig
from dsbs_jax.planning.program_plan import ProgramPlan
from dsbs_jax.planning.state_memory import StateMemory
from dsbs_jax.student import operations
from dsbs_jax.student.sizes import size_of


@dataclasses.dataclass(frozen=True)
class Plan:
    """The plan of a run.

    Attributes:
        config: The run.
        slice: The slice.
        programs: The plans of its compiled programs.
        tried: The runs that the search compiled.
        state: The memory of the training state; None if only decoding is planned, or
            the engine is T5X.
    """

    config: PlanConfig
    slice: Slice
    programs: Sequence[ProgramPlan]
    tried: Sequence[searching.Candidate] = ()
    state: StateMemory | None = None

    @property
    def fits(self) -> bool:
        """Whether every program fits."""
        return all(program.fits for program in self.programs)

    def text(self) -> str:
        """Returns the plan to print."""
        return report.text(
            self.config, self.slice, self.programs, self.tried, self.state
        )

    def program(self, name: str) -> ProgramPlan:
        """Returns the plan of the program "train" or "decode"."""
        return next(one for one in self.programs if one.name == name)


def make(config: PlanConfig) -> Plan:
    """Compiles the programs of a run for a slice, and counts their costs.

    With `config.search`, the plan is that of the best run that the search compiled; if
    no run fits, that of the last one.

    Raises:
        UserError: libtpu is not installed, or a setting of the run is wrong.
    """
    check_microbatches(config.batch_size, config.num_microbatches)
    # These check the settings of the student and of training.
    programs.model_of(config)
    programs.optimizer_of(config)
    programs.trainable_of(config)
    topology = slice_of(config.topology)
    heads = size_of(config.size)["NUM_HEADS"]
    devices = programs.devices_of(topology)
    tried: list[searching.Candidate] = []
    if config.search:
        tried = searching.search(
            config, len(devices), heads, lambda run: _train(run, topology, devices)
        )
        if not tried:
            raise UserError(
                f"BATCH_SIZE is {config.batch_size}, which no mesh of "
                f"{len(devices)} chips divides"
            )
        chosen = searching.best(tried) or tried[-1]
        config, made = chosen.config, [chosen.train]
    elif config.step != "decode":
        made = [_train(config, topology, devices)]
    else:
        made = []
    if config.step != "train":
        made.append(_decode(config, topology, devices))
    memory = None
    if config.step != "decode" and config.engine == "local":
        memory = state_memory.of(programs.abstract_state(config, devices))
    return Plan(config, topology, made, tried, memory)


def _train(
    config: PlanConfig, topology: Slice, devices: list[jax.Device]
) -> ProgramPlan:
    needed = config.batch_size * operations.training_operations(
        size_of(config.size), config.input_length, config.target_length
    )
    compiled = programs.train_step(config, devices)
    return ProgramPlan("train", topology, compiled, _mesh(config, devices), needed)


def _decode(
    config: PlanConfig, topology: Slice, devices: list[jax.Device]
) -> ProgramPlan:
    needed = config.batch_size * operations.forward_operations(
        size_of(config.size), config.input_length, config.max_decode_length
    )
    compiled = programs.decode_step(config, devices)
    return ProgramPlan("decode", topology, compiled, _mesh(config, devices), needed)


def _mesh(config: PlanConfig, devices: list[jax.Device]) -> dict[str, int]:
    partitions = config.num_partitions
    return {"data": len(devices) // partitions, "model": partitions}
