"""Tests of reading folders and zip files."""

import stat
import zipfile

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.released import archives


def make_zip(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def make_folder(path, entries):
    for name, content in entries.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize("make", [make_folder, make_zip])
def test_a_folder_and_its_zip_give_the_same_content(make, tmp_path):
    content = {"a/b/one.json": b"1", "a/two.json": b"", "three.json": b"3"}
    tree = archives.open_tree(make(tmp_path / "tree", content))
    assert tree.list("") == ["a", "three.json"]
    assert tree.list("a") == ["b", "two.json"]
    assert tree.list("nothing") == []
    assert {name: tree.read(name) for name in content} == content
    assert tree.is_file("a/two.json")
    assert not tree.is_file("a/b")
    with pytest.raises(UserError, match=r"tree/a/none.json: .*[Nn]o such"):
        tree.read("a/none.json")


@pytest.mark.parametrize(
    "name,problem",
    [
        ("../evil.json", "leads out of the archive"),
        ("a/../../evil.json", "leads out of the archive"),
        ("a\\..\\..\\evil.json", "leads out of the archive"),
        ("/etc/evil.json", "absolute"),
        ("\\evil.json", "absolute"),
        ("C:/evil.json", "absolute"),
    ],
)
def test_zip_with_an_entry_outside(tmp_path, name, problem):
    path = make_zip(tmp_path / "evil.zip", {"a/good.json": b"1", name: b"2"})
    with pytest.raises(UserError, match=problem) as caught:
        archives.open_tree(path)
    assert repr(name) in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["evil.zip"]


def test_zip_with_a_symbolic_link(tmp_path):
    link = zipfile.ZipInfo("a/link.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="'a/link.json' is a symbolic link"):
        archives.open_tree(tmp_path / "link.zip")


def test_zip_with_a_repeated_entry(tmp_path):
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as file:
        file.writestr("a.json", "1")
        with pytest.warns(UserWarning):
            file.writestr("a.json", "2")
    with pytest.raises(UserError, match="'a.json' occurs twice"):
        archives.open_tree(tmp_path / "twice.zip")


def test_sizes_are_limited(tmp_path, monkeypatch):
    entries = {"a.json": b"0" * 1000, "b.json": b"0" * 900}
    path = make_zip(tmp_path / "big.zip", entries)
    folder = make_folder(tmp_path / "big", entries)
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 950)
    with pytest.raises(UserError, match="'a.json' is larger than 950"):
        archives.open_tree(path)
    with pytest.raises(UserError, match="a.json: larger than 950"):
        archives.open_tree(folder).read("a.json")
    assert len(archives.open_tree(folder).read("b.json")) == 900
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 1899)
    with pytest.raises(UserError, match="1900 bytes unpacked, over 1899"):
        archives.open_tree(path)
    monkeypatch.setattr(archives, "MAX_ENTRIES", 1)
    with pytest.raises(UserError, match="2 entries"):
        archives.open_tree(path)


def test_entry_larger_than_it_declares(tmp_path):
    path = make_zip(tmp_path / "lie.zip", {"a.json": b"0" * 5000})
    declared = (5000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(declared, (10).to_bytes(4, "little")))
    with pytest.raises(UserError, match="lie.zip/a.json: "):
        archives.open_tree(path).read("a.json")


@pytest.mark.parametrize("spoil", [lambda b: b[:-30], lambda b: b"", lambda b: b"x"])
def test_damaged_zip(tmp_path, spoil):
    path = make_zip(tmp_path / "broken.zip", {"a.json": b"0" * 100})
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UserError, match="broken.zip: not a readable zip file"):
        archives.open_tree(path)


def test_links_out_of_a_folder_are_not_followed(tmp_path):
    (tmp_path / "secret.json").write_text("1")
    (tmp_path / "outside").mkdir()
    folder = make_folder(tmp_path / "folder", {"a/in.json": b"1"})
    (folder / "a/same.json").symlink_to("in.json")
    (folder / "a/out.json").symlink_to("../../secret.json")
    (folder / "away").symlink_to(tmp_path / "outside")
    tree = archives.open_tree(folder)
    assert tree.read("a/same.json") == b"1"
    for use in (
        lambda: tree.read("a/out.json"),
        lambda: tree.is_file("a/out.json"),
        lambda: tree.list("away"),
    ):
        with pytest.raises(UserError, match="a link leads out of"):
            use()


def test_the_folder_itself_may_be_a_link(tmp_path):
    make_folder(tmp_path / "folder", {"in.json": b"1"})
    (tmp_path / "link").symlink_to("folder")
    assert archives.open_tree(tmp_path / "link").read("in.json") == b"1"


def test_a_missing_path_is_reported(tmp_path):
    with pytest.raises(UserError, match="no such folder or zip file"):
        archives.open_tree(tmp_path / "nothing")
