"""The address of the teacher's server, its key, and the limits of retries."""

import dataclasses
import os
import re
import urllib.parse
from typing import Annotated

import httpx2
from msgspec import Meta

from dsbs_jax.errors import UserError
from dsbs_jax.settings import PositiveInt, Settings, setting

_Seconds = Annotated[float, Meta(ge=0.001)]
_URL_FORMAT = "expected http(s)://host[:port]/path"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointConfig(Settings):
    """Address of an OpenAI-compatible server, and the limits of retries."""

    base_url: str = setting(help="The server's address: 'http://localhost:8000/v1'.")
    api_key_variable: str = setting(
        "OPENAI_API_KEY",
        help="Environment variable of the key; not needed by a server without keys.",
    )
    stream: bool = setting(
        False, help="Let the server stream replies, for proxies that end idle requests."
    )
    timeout: _Seconds = setting(
        120.0, help="Seconds for one attempt, from connecting to the last byte."
    )
    max_attempts: PositiveInt = setting(8, help="Attempts per request.")
    backoff: _Seconds = setting(
        1.0,
        help="Seconds before the second attempt, doubled before each further one and "
        "then reduced by a random 0 to 50 %.",
    )
    max_backoff: _Seconds = setting(
        60.0, help="Maximum seconds of BACKOFF; the server may ask for more."
    )
    max_wait: _Seconds = setting(
        600.0, help="Maximum seconds the server may ask to wait before the run aborts."
    )

    def __post_init__(self) -> None:
        """Checks the address and the variable's name without printing a key."""
        super().__post_init__()
        check_url("BASE_URL", self.base_url)
        check_variable("API_KEY_VARIABLE", self.api_key_variable)

    def key(self) -> str | None:
        """Reads the key from the environment; None without one.

        Raises:
            UserError: The value is not a key. The message does not contain it.
        """
        key = os.environ.get(self.api_key_variable, "").strip()
        if not key.isascii() or not key.isprintable():
            raise UserError(
                f"environment variable {self.api_key_variable}: expected a key of "
                "visible ASCII characters"
            )
        return key or None


def check_variable(macro: str, name: str) -> None:
    """Raises UserError unless a setting names an environment variable."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        # The value may be the key itself, so the message does not contain it.
        raise UserError(
            f"{macro} is not a valid name, expected the name of an environment variable"
        )


def check_url(macro: str, url: str) -> None:
    """Raises UserError unless a setting is a server's address without credentials."""
    try:
        parts = urllib.parse.urlsplit(url)
        parts.port  # noqa: B018  An invalid port raises ValueError.
        httpx2.URL(url)
    except (ValueError, httpx2.InvalidURL) as error:
        raise UserError(f"{macro} is not a URL, {_URL_FORMAT}") from error
    if parts.username or parts.password or parts.query or parts.fragment:
        # These parts may be secret: they would be written to config.gin, and the
        # message does not contain them.
        raise UserError(
            f"{macro} holds credentials, a query or a fragment, {_URL_FORMAT} and the "
            "key in an environment variable"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{macro} is {url!r}, {_URL_FORMAT}")
