"""A server of one student."""

import pytest

from support.serving import FakeStudent, running

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")


@pytest.fixture
def student():
    return FakeStudent()


@pytest.fixture
def server(student):
    with running({"tickets": student}) as found:
        yield found
