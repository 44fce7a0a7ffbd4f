"""The process of the server: socket, signals, loading and the end.

| signal | effect |
| --- | --- |
| SIGTERM, SIGINT | `/readyz` answers 503. After `shutdown_delay` the port is closed, and requests in progress are answered. The exit status is 143 or 130. |
| a second one | The process ends at once, with the same status. |
| SIGHUP | The models are loaded again while the old ones answer. |

Before the event loop runs, `dsbs_jax.interruption` handles the signals.
"""  # noqa: E501 (a table)

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import typing
from collections.abc import Iterator, Sequence

import uvicorn

from dsbs_jax.data.tables import ColumnMap
from dsbs_jax.errors import UserError, reason
from dsbs_jax.serving import request_log
from dsbs_jax.serving.answering import Service
from dsbs_jax.serving.app import create_app
from dsbs_jax.serving.config import ServerConfig
from dsbs_jax.serving.metrics import Metrics
from dsbs_jax.serving.models import ModelStore

_log = logging.getLogger(__name__)


def run(
    paths: Sequence[str], config: ServerConfig, columns: ColumnMap
) -> typing.NoReturn:
    """Serves students until a signal arrives, and ends the process.

    Args:
        paths: Paths as `Student.load` takes them.
        config: The settings.
        columns: The columns of an input.

    Raises:
        UserError: A setting is wrong, the address cannot be used, or a student cannot
            be loaded.
    """
    key = _key(config.api_key_variable)
    metrics = Metrics()
    store = ModelStore(paths, config, metrics)
    with _listen(config.host, config.port) as listener:
        request_log.set_up()
        process = _Process(Service(config, columns, store, metrics), key, listener)
        asyncio.run(process.run())
    process.end()


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(f"--api_key_variable: the variable {variable} is not set")
    return key


def _listen(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound to an address.

    Raises:
        UserError: The address cannot be used.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address, family=family)
        # Connections inherit it. asyncio sets it for other kinds of sockets only.
        # Without it, the body of a response waits for the client's acknowledgment of
        # the headers, which the client may delay by 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        cause = reason(error).partition(" (while")[0]
        raise UserError(
            f"cannot listen on {host}:{port}: {cause}; choose another --host or --port"
        ) from error


def uvicorn_config(service: Service, api_key: str | None = None) -> uvicorn.Config:
    """Returns uvicorn's settings for a server.

    Args:
        service: What the routes share.
        api_key: The key that requests must have, if any.
    """
    return uvicorn.Config(
        create_app(service, api_key),
        # The other implementations are optional, and differ in details.
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=service.config.shutdown_timeout,
    )


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does nothing; uvicorn would raise the signals again at the end."""
        yield


class _Process:
    """A server from the first request to the last.

    Attributes:
        signal: The signal that ends the server; 0 before one arrives.
    """

    def __init__(
        self, service: Service, api_key: str | None, listener: socket.socket
    ) -> None:
        """Takes what the routes share, the key, and the bound socket."""
        self._service, self._listener = service, listener
        self._reload = asyncio.Event()
        self.signal = 0
        self._server = _Uvicorn(uvicorn_config(service, api_key))

    async def run(self) -> None:
        """Listens, loads the models, and answers until a signal arrives.

        Raises:
            UserError: A student cannot be loaded.
        """
        self._handle_signals()
        host, port = self._listener.getsockname()[:2]
        _log.info("listening", extra={"fields": {"host": host, "port": port}})
        serving = asyncio.create_task(self._server.serve([self._listener]))
        loading = asyncio.create_task(self._load())
        await asyncio.wait([serving, loading], return_when=asyncio.FIRST_COMPLETED)
        if loading.done():  # a student cannot be loaded
            self._server.should_exit = True
        loading.cancel()
        await serving
        with contextlib.suppress(asyncio.CancelledError):
            await loading

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Background jobs of a shell ignore SIGINT.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)

    def _stop(self, number: int) -> None:
        """Ends the server after the requests in progress, or at once."""
        if self.signal:
            _log.warning("stopped at the second signal")
            self.end()
        self.signal, self._service.is_stopping = number, True
        name = signal.Signals(number).name
        _log.info("stopping", extra={"fields": {"signal": name}})
        delay = self._service.config.shutdown_delay
        asyncio.get_running_loop().call_later(delay, self._close)

    def _close(self) -> None:
        self._server.should_exit = True

    async def _load(self) -> None:
        """Loads the models, and again after each SIGHUP."""
        await self._service.store.load()
        _log.info("ready")
        while True:
            await self._reload.wait()
            self._reload.clear()
            await self._service.store.reload()

    def end(self) -> typing.NoReturn:
        """Ends the process, also while a thread computes or loads.

        The exit status is that of a process that the signal ends, as shells report it.
        """
        _log.info("stopped")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(128 + self.signal)
