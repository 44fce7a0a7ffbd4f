"""The order of an extraction's requests."""

import collections
from collections.abc import Iterable

from dsbs_jax.teacher.request_plan import Request

# Multiples of this, modulo 1, are spread evenly (the golden ratio's square, inverted).
_STEP = 0.381966011


class RequestQueue:
    """Requests in the order of the file; another order while the server refuses rows.

    A sorted file can begin with many rows that a server refuses, for example those of
    one topic. Therefore each refusal before the first reply takes the next request from
    another place of the file, until the server has answered one.
    """

    def __init__(self, requests: Iterable[Request]) -> None:
        """Takes the requests in the order of the file."""
        self._requests = collections.deque(requests)

    def take(self, refusals: int = 0) -> Request | None:
        """Removes and returns the next request, or None if none is left.

        Args:
            refusals: Number of refused requests if the server has answered none so far,
                otherwise 0.
        """
        if not self._requests:
            return None
        place = int((refusals * _STEP) % 1 * len(self._requests))
        request = self._requests[place]
        del self._requests[place]
        return request

    def put_first(self, requests: Iterable[Request]) -> None:
        """Adds requests that are sent next, in their order."""
        self._requests.extendleft(reversed([*requests]))
