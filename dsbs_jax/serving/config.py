"""Settings of the server, from which the options of `dsbs-jax serve` are made."""

import dataclasses
from typing import Annotated, Literal

from msgspec import Meta

from dsbs_jax.errors import UserError
from dsbs_jax.settings import (
    NonNegativeFloat,
    PositiveInt,
    Settings,
    Text,
    setting,
)

# At most a day.
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AddressConfig(Settings):
    """Address and shutdown."""

    host: Text = setting(
        "127.0.0.1",
        help="Address to listen on. 0.0.0.0 is every address of the machine.",
    )
    port: Annotated[int, Meta(ge=0, le=65_535)] = setting(
        8000, help="Port to listen on; 0 chooses a free one."
    )
    shutdown_delay: NonNegativeFloat = setting(
        0.0,
        help="Seconds between SIGTERM and the end of listening, in which /readyz "
        "answers 503 and a load balancer can choose other servers.",
    )
    shutdown_timeout: PositiveInt = setting(
        25, help="Seconds after the end of listening for requests in progress."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueueConfig(Settings):
    """Computation and the queue."""

    engine: Literal["auto", "jax", "ctranslate2"] = setting(
        "auto",
        help="What computes the answers; auto is the faster one of each student.",
    )
    max_batch_size: PositiveInt = setting(
        16, help="Inputs of several requests that are computed at a time."
    )
    batch_window_ms: NonNegativeFloat = setting(
        5.0, help="Milliseconds that an input waits for others, unless a batch is full."
    )
    queue_size: PositiveInt = setting(
        256,
        help="Inputs that wait for a student. A request that does not fit gets 429.",
    )
    request_timeout: Seconds = setting(
        30.0,
        help="Seconds to receive a request's body, and then to answer it. Afterwards "
        "it gets 408 or 504.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LimitConfig(Settings):
    """Limits of a request."""

    max_inputs: PositiveInt = setting(64, help="Inputs of a request.")
    max_characters: PositiveInt = setting(20_000, help="Characters of an input.")
    max_body_bytes: PositiveInt = setting(2_000_000, help="Bytes of a request's body.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccessConfig(Settings):
    """Access and logs."""

    api_key_variable: Text | None = setting(
        None,
        help="Environment variable of a key that requests must have as bearer token.",
    )
    cors_origin: tuple[Text, ...] = setting(
        (), help="Origins of other web pages that may use the server; * is every one."
    )
    log_inputs: bool = setting(
        False, help="Write the inputs of requests to the log, which may be private."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerConfig(AddressConfig, QueueConfig, LimitConfig, AccessConfig):
    """The server."""

    def __post_init__(self) -> None:
        """Checks the values, also together."""
        super().__post_init__()
        if self.max_inputs > self.queue_size:
            raise UserError(
                f"MAX_INPUTS is {self.max_inputs}, expected at most QUEUE_SIZE, which "
                f"is {self.queue_size}: a request must fit in the queue"
            )


# The options of the command by the titles of their groups.
GROUPS: dict[str, type[Settings]] = {
    "Address and shutdown": AddressConfig,
    "Computation and the queue": QueueConfig,
    "Limits of a request": LimitConfig,
    "Access and logs": AccessConfig,
}
