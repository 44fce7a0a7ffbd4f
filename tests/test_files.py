import os
import stat

import pytest

from dsbs_jax import files
from dsbs_jax.errors import UserError


def test_text_and_bytes_replace_an_existing_file(tmp_path):
    path = tmp_path / "deep/file"
    files.write(path, "é")
    assert path.read_bytes() == "é".encode()
    files.write(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_file_mode_follows_the_umask(tmp_path):
    path = tmp_path / "file"
    before = os.umask(0o027)
    try:
        files.write(path, "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_rows_are_written_completely_or_not_at_all(tmp_path):
    path = tmp_path / "rows.jsonl"
    files.write_jsonl(path, [{"a": "é"}, {"a": 2}])
    assert path.read_text(encoding="utf-8") == '{"a": "é"}\n{"a": 2}\n'

    def broken():
        yield {"a": 3}
        raise UserError("in the middle")

    with pytest.raises(UserError):
        files.write_jsonl(path, broken())
    assert path.read_text(encoding="utf-8") == '{"a": "é"}\n{"a": 2}\n'


def test_no_temporary_file_remains_if_the_file_cannot_be_replaced(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        files.write(tmp_path / "taken", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]
