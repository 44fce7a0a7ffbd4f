import dataclasses
import errno
import json
import multiprocessing
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsbs_jax.errors import UserError
from dsbs_jax.teacher.budget import Spending
from dsbs_jax.teacher.store import DAMAGED, LOG, Store, StoredReply

# Any characters, including lone surrogates and control characters.
TEXT = st.text(st.characters(exclude_categories=()))


def stored(number=0, text="so"):
    return StoredReply(
        f"key{number}", f"n{number}", 0, text, "stop", Spending(1, 20, 3)
    )


def reopened(folder):
    store = Store(folder)
    store.close()
    return store


def filled(folder, count=5):
    store = Store(folder)
    for number in range(count):
        store.add(stored(number))
    store.close()
    return folder / LOG


@given(text=TEXT, id=TEXT, reason=st.none() | TEXT)
@settings(max_examples=50)
def test_any_text_is_read_back_unchanged(tmp_path_factory, text, id, reason):
    folder = tmp_path_factory.mktemp("store")
    entry = StoredReply("key", id, 3, text, reason, Spending(2, 5, 7))
    store = Store(folder)
    store.add(entry)
    store.add_spent(Spending(1))
    store.close()
    again = reopened(folder)
    assert again.replies == {"key": entry}
    assert again.spent == store.spent == Spending(3, 5, 7)
    assert not again.damaged


def test_truncated_log_loses_only_the_cut_line(tmp_path):
    content = filled(tmp_path / "complete").read_bytes()
    ends = [n + 1 for n, byte in enumerate(content) if byte == 10]
    for cut in range(0, len(content), 7):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / LOG).write_bytes(content[:cut])
        store = Store(folder)
        complete = sum(end <= cut for end in ends)
        assert list(store.replies) == [f"key{n}" for n in range(complete)]
        is_whole = cut == 0 or cut in ends
        assert len(store.damaged) == (0 if is_whole else 1)
        # A new line does not join the rest of the cut line.
        store.add(stored(9))
        store.close()
        again = reopened(folder)
        assert len(again.replies) == complete + 1 and not again.damaged


@given(position=st.integers(0, 10**6), byte=st.integers(0, 255))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_changed_byte_is_detected_and_its_line_moved(tmp_path_factory, position, byte):
    folder = tmp_path_factory.mktemp("store")
    path = filled(folder)
    content = bytearray(path.read_bytes())
    position %= len(content)
    if content[position] == byte:
        return
    old, content[position] = content[position], byte
    path.write_bytes(content)
    store = reopened(folder)
    expected = {f"key{n}": stored(n) for n in range(5)}
    if {old, byte} <= set(b" \t\r") and store.replies == expected:
        return  # white space between JSON values has no meaning
    assert store.replies.items() <= expected.items()
    # A missing or additional line end damages at most two lines.
    assert 3 <= len(store.replies) < 5 and store.damaged
    assert (folder / DAMAGED).stat().st_size
    again = reopened(folder)
    assert again.replies == store.replies and not again.damaged


def test_damaged_lines_are_numbered_and_kept_unchanged(tmp_path):
    path = filled(tmp_path)
    lines = path.read_bytes().split(b"\n")
    changed = lines[2].replace(b"so", b"no")
    path.write_bytes(b"\n".join([*lines[:2], changed, b"", b"[1]", *lines[3:]]))
    store = reopened(tmp_path)
    assert store.damaged == [
        "line 3: wrong checksum",
        "line 4: not valid JSON",
        "line 5: not an entry of the log",
    ]
    assert (tmp_path / DAMAGED).read_bytes() == changed + b"\n\n[1]\n"
    assert path.read_bytes() == b"\n".join([*lines[:2], *lines[3:]])


def hold(folder, ready, end):
    store = Store(folder)
    ready.set()
    end.wait()
    store.close()


def test_second_process_cannot_open_the_store_until_the_first_ends(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, end = context.Event(), context.Event()
    other = context.Process(target=hold, args=(str(tmp_path), ready, end))
    other.start()
    assert ready.wait(60)
    with pytest.raises(UserError, match="another process is writing to it"):
        Store(tmp_path)
    # The lock also ends if the process is killed.
    other.kill()
    other.join()
    Store(tmp_path).close()


def test_full_disk_leaves_no_partial_line(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.add(stored(0))
    write = os.write

    def full(fd, data):
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[:30])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        store.add(stored(1))
    monkeypatch.undo()
    assert list(store.replies) == ["key0"]
    store.add(stored(2))
    store.close()
    again = reopened(tmp_path)
    assert list(again.replies) == ["key0", "key2"] and not again.damaged


def test_reply_is_on_the_disk_when_add_returns(tmp_path, monkeypatch):
    calls = []
    fsync, write = os.fsync, os.write
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("sync"), fsync(fd)))
    store = Store(tmp_path)
    calls.clear()

    def in_pieces(fd, data):
        calls.append("write")
        return write(fd, data[:10])

    monkeypatch.setattr(os, "write", in_pieces)
    store.add(stored())
    assert calls[-1] == "sync" and calls.count("sync") == 1
    store.close()
    assert reopened(tmp_path).replies == {"key0": stored()}


def test_optional_fields_are_stored_only_if_they_are_known(tmp_path):
    plain = StoredReply("k1", "a", 0, "x", None, Spending(1, 2, 3))
    full = dataclasses.replace(
        plain,
        key="k2",
        reasoning="\ud83d Hm.",
        problem="the model refused: no",
        tokens=0,
        max_tokens=256,
        changes=("without stop", "without seed"),
    )
    opened = Store(tmp_path)
    opened.add(plain, full)
    opened.close()
    first, second = map(json.loads, opened.path.read_text().splitlines())
    # The fields of version 0.1.
    names = {"key", "id", "sample", "text", "finish_reason", "spent", "checksum"}
    assert set(first) == names
    new = {"reasoning", "problem", "tokens", "max_tokens", "changes"}
    assert set(second) == names | new
    again = Store(tmp_path)
    again.close()
    assert again.replies == {"k1": plain, "k2": full} and not again.damaged
    assert again.spent == Spending(2, 4, 6)


@pytest.mark.parametrize("lost", [1, 30, 200])
def test_replies_of_one_request_are_damaged_one_by_one(tmp_path, lost):
    """A power loss can leave a part of a write."""
    replies = [
        StoredReply(f"k{n}", "a", n, "x" * 100, "stop", Spending(int(n == 0), 5, 5))
        for n in range(3)
    ]
    opened = Store(tmp_path)
    opened.add(*replies)
    opened.close()
    content = opened.path.read_bytes()
    opened.path.write_bytes(content[:-lost])
    again = Store(tmp_path)
    again.close()
    assert again.replies == {reply.key: reply for reply in replies[:2]}
    assert len(again.damaged) == 1
