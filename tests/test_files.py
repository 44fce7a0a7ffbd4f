import json
import math
import os
import pathlib
import stat

import pytest
from tolerance import Refused, json_output, output_files, paths

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


@pytest.mark.parametrize(("path", "expected"), paths.SECTION.accepted)
def test_home_folder_is_expanded(monkeypatch, tmp_path, path, expected):
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = expected.replace("HOME", str(tmp_path))
    assert files.local_path(path) == pathlib.Path(expected)


@pytest.mark.parametrize(("path", "reason"), paths.SECTION.refused)
def test_path_that_is_not_on_this_machine(path, reason):
    with pytest.raises(UserError) as error:
        files.local_path(path)
    assert reason in str(error.value)


@pytest.mark.parametrize(("path", "expected"), output_files.SECTION.rows)
def test_output_file_is_checked(monkeypatch, tmp_path, path, expected):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("folder").mkdir()
    pathlib.Path("file").touch()
    if not isinstance(expected, Refused):
        assert files.check_output_file(path) == pathlib.Path(expected)
        return
    with pytest.raises(UserError) as error:
        files.check_output_file(path)
    assert expected in str(error.value)


def test_empty_path_is_an_error():
    for check in (files.check_output_file, files.check_output_folder):
        with pytest.raises(UserError, match="a path is empty, expected the path of a"):
            check("")


def test_output_that_can_be_written_is_not_created(tmp_path):
    file = files.check_output_file(tmp_path / "new/deep/answers.jsonl")
    folder = files.check_output_folder(tmp_path / "other/deep")
    assert (file, folder) == (
        tmp_path / "new/deep/answers.jsonl",
        tmp_path / "other/deep",
    )
    assert list(tmp_path.iterdir()) == []


def test_output_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="folder is a folder, expected the path of a"):
        files.check_output_file(tmp_path / "folder")
    for check in (files.check_output_file, files.check_output_folder):
        with pytest.raises(UserError, match="file is a file, expected a folder"):
            check(tmp_path / "file/below")
    with pytest.raises(UserError, match="file is a file, expected a folder"):
        files.check_output_folder(tmp_path / "file")


def test_json_of_a_tuple():
    assert files.json_text({"a": (math.nan, "NaN")}) == '{"a": [null, "NaN"]}'


@pytest.mark.parametrize(("value", "text"), json_output.SECTION.rows)
def test_json_has_no_nan_and_no_half_characters(tmp_path, value, text):
    value = json.loads(value)
    assert files.json_text(value) == text

    def refuse(name):
        raise AssertionError(name)

    json.loads(text, parse_constant=refuse)
    files.write_jsonl(tmp_path / "rows.jsonl", [{"value": value}])
    files.write_json(tmp_path / "value.json", value)
    assert json.loads((tmp_path / "value.json").read_bytes()) == json.loads(text)
