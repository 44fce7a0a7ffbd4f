"""Models by name, and their replacement under load."""

import asyncio
import concurrent.futures
import threading

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.serving.models import names_of
from support.serving import FakeStudent, running, until


def test_name_is_the_last_part_of_the_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    paths = ["runs/tickets/", "hub:me/spam", "/a/b.c", "~/x", "."]
    assert [*names_of(paths)] == ["tickets", "spam", "b.c", "x", "here"]
    assert [*names_of(paths).values()] == paths


def test_two_students_of_one_name_are_refused():
    message = "runs/a and other/a/ have the same name 'a'"
    with pytest.raises(UserError, match=message):
        names_of(["runs/a", "b", "other/a/"])


class Versions:
    """Loads a new student each time: version 1, 2, ..."""

    def __init__(self):
        self.loaded, self.fails = [], False
        self.released = threading.Event()
        self.released.set()

    def __getitem__(self, path):
        assert self.released.wait(30)
        if self.fails:
            raise UserError(f"{path}: student.json is damaged")
        self.loaded.append(FakeStudent(version=len(self.loaded) + 1))
        return self.loaded[-1]

    def __iter__(self):
        yield "runs/tickets"

    def values(self):
        return self.loaded


@pytest.fixture
def versions():
    return Versions()


@pytest.fixture
def server(versions):
    with running(versions) as found:
        yield found


def version_of(server):
    response = server.predict("line", explain=True)
    assert response.status_code == 200
    (answer,) = response.json()["predictions"]
    return int(answer["predicted_rationale"].split()[1].rstrip(":"))


def reload(server):
    asyncio.run(server.service.store.reload())


def test_reload_replaces_the_student(server):
    assert version_of(server) == 1
    reload(server)
    assert version_of(server) == 2
    series = 'dsbs_model_loads_total{model="tickets",result="ok"}'
    assert server.metric(series) == 2


def test_failed_reload_keeps_the_student(server, versions, caplog):
    versions.fails = True
    reload(server)
    assert version_of(server) == 1
    (record,) = [r for r in caplog.records if "reload failed" in r.getMessage()]
    assert record.fields["model"] == "tickets"
    assert record.fields["reason"] == "runs/tickets: student.json is damaged"
    series = 'dsbs_model_loads_total{model="tickets",result="failed"}'
    assert server.metric(series) == 1
    versions.fails = False
    reload(server)
    assert version_of(server) == 2


def test_old_student_answers_while_the_new_one_loads(server, versions):
    versions.released.clear()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reloading = pool.submit(reload, server)
        assert version_of(server) == 1
        versions.released.set()
        reloading.result()
    assert version_of(server) == 2


def test_accepted_request_is_answered_by_the_old_student(server, versions):
    (old,) = versions.loaded
    old.released.clear()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(version_of, server)
        until(old.started.is_set)
        second = pool.submit(version_of, server)
        batcher = server.service.store.get(None).batcher
        until(lambda: batcher.queue_length == 1)
        reload(server)
        old.released.set()
        assert (first.result(), second.result()) == (1, 1)
    assert version_of(server) == 2


def test_no_request_fails_while_students_are_replaced(server):
    done, versions = threading.Event(), set()

    def requests():
        while not done.is_set():
            versions.add(version_of(server))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(requests) for _ in range(4)]
        try:
            for version in range(2, 12):
                reload(server)
                # The clients may not have sent a request since the last one.
                until(lambda version=version: version in versions)
        finally:
            done.set()
        for client in clients:
            client.result()
    assert versions >= set(range(2, 12))
