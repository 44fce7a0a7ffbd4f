import pytest

from dsbs_jax import hub
from dsbs_jax.errors import UserError


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("google/t5-v1_1-base", "write hub:google/t5-v1_1-base"),
        ("runs/own/model", ""),
        ("/data/model", ""),
        ("../model", ""),
    ],
)
def test_hint_for_paths_that_look_like_a_repository(
    path, expected, tmp_path, monkeypatch
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    hint = hub.hint(path)
    assert expected in hint
    assert bool(hint) == bool(expected)


def test_hint_for_paths_in_a_folder_is_the_nearest_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("rows.jsonl", "test.csv"):
        (tmp_path / name).touch()
    (tmp_path / "data").mkdir()
    assert hub.hint("rwos.jsonl") == "; did you mean rows.jsonl?"
    # The folder exists, so that the path is not a repository id.
    assert hub.hint("data/rows.jsonl") == ""


def test_only_addresses_with_the_prefix_are_on_the_hub():
    assert hub.is_address("hub:google/t5-v1_1-base")
    assert not hub.is_address("google/t5-v1_1-base")


def test_malformed_repository_id_is_an_error():
    message = "hub:not//an id: cannot be downloaded: "
    with pytest.raises(UserError, match=message):
        hub.download_file("hub:not//an id", "spiece.model")
    with pytest.raises(UserError, match=message):
        hub.download_files("hub:not//an id", ["*.json"])
