import dataclasses

import pytest

from dsbs_jax.teacher.request_queue import RequestQueue


@dataclasses.dataclass(frozen=True)
class Row:
    number: int


def take_all(queue, refusals=0):
    taken = []
    while (request := queue.take(refusals)) is not None:
        taken.append(request.number)
    return taken


def test_requests_keep_the_order_of_the_file():
    queue = RequestQueue(map(Row, range(5)))
    assert queue.take() == Row(0)
    queue.put_first([Row(10), Row(11)])
    assert take_all(queue) == [10, 11, 1, 2, 3, 4]
    assert queue.take() is None


@pytest.mark.parametrize("total", [24, 100, 1000, 100_000])
@pytest.mark.parametrize("share", [0.1, 0.3])
@pytest.mark.parametrize("place", [0.0, 0.4, 0.7, 1.0])
def test_refusals_soon_lead_to_the_part_that_the_server_accepts(total, share, place):
    """Twenty consecutive refusals abort a run by default."""
    queue = RequestQueue(map(Row, range(total)))
    length = round(share * total)
    first = round(place * (total - length))
    accepted = range(first, first + length)
    refusals = 0
    while queue.take(refusals).number not in accepted:
        refusals += 1
    assert refusals < 20


def test_each_request_is_taken_once():
    queue = RequestQueue(map(Row, range(50)))
    taken = [queue.take(refusals).number for refusals in range(50)]
    assert sorted(taken) == list(range(50)) and queue.take(50) is None
