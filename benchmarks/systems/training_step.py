"""The local engine's training step of a size, for benchmarks of its memory and time."""

from typing import Any

import jax

from dsbs_jax.local import optimizers, state, step
from dsbs_jax.local.config import OptimizerConfig, TrainableConfig
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.settings import from_values
from dsbs_jax.student import sizes
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import Transformer
from systems import workload

GIB = 2**30


class TrainingStep:
    """A training step and the shapes of its state; no weights are created.

    Attributes:
        model: The network.
        optimizer: Its optimizer.
        abstract: Shapes, types and places of the state.
        run: The step, compiled by `jax.jit`: (state, batch, key) -> (state, metrics).
    """

    def __init__(
        self,
        size: str,
        settings: dict[str, Any],
        partitioner: Partitioner,
        *,
        optimizer: OptimizerConfig | None = None,
        updated: TrainableConfig | None = None,
        microbatches: int = 1,
    ) -> None:
        """Prepares the step.

        Args:
            size: Name of the size, whose embedding has the rows of the published
                vocabulary.
            settings: Other settings of the network, for example {"REMAT": "dots"}.
            partitioner: The devices.
            optimizer: The optimizer; AdamW by default.
            updated: Which weights are trained; all by default.
            microbatches: Parts of a batch.
        """
        values = {"VOCAB_SIZE": workload.VOCAB_SIZE, **sizes.size_of(size), **settings}
        config = optimizer or OptimizerConfig()
        schedule = optimizers.make_schedule(config, total_steps=10_000)
        self._partitioner = partitioner
        self.model = Transformer(from_values(T5Config, values))
        self.optimizer = optimizers.make_optimizer(config, schedule)
        self.abstract = state.abstract_state(
            self.model, self.optimizer, partitioner, updated or TrainableConfig()
        )
        self.run: Any = step.make_train_step(
            self.model, self.optimizer, partitioner, workload.ALPHA, microbatches
        )

    def compile(self, rows: int, source: int, target: int) -> Any:
        """Compiles the step for a batch: encoder [rows, source], decoder [.., target].

        Returns:
            The program, as JAX's `Lowered.compile` returns it.
        """
        place = self._partitioner
        batch = {
            name: jax.ShapeDtypeStruct(tokens.shape, tokens.dtype, sharding=place.batch)
            for name, tokens in workload.random_rows(rows, source, target).items()
        }
        key = jax.eval_shape(lambda: jax.random.key(0))
        key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=place.replicated)
        return self.run.lower(self.abstract, batch, key).compile()


def memory_of(program: Any) -> tuple[float, float]:
    """Returns the GiB of a program's arguments and of its temporary arrays."""
    memory = program.memory_analysis()
    return memory.argument_size_in_bytes / GIB, memory.temp_size_in_bytes / GIB
