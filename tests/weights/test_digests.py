import json
import os
import shutil

import jax
import numpy as np
import pytest
import tensorflow as tf
from tolerance import damaged_checkpoints

from dsbs_jax.errors import UserError
from dsbs_jax.weights import (
    arrays,
    check_finite,
    digests,
    load_params,
    open_checkpoint,
)
from support import buckets


@pytest.fixture
def checkpoint(tmp_path):
    """Two files of a checkpoint, and its digests."""
    folder = tmp_path / "run/checkpoints/checkpoint_2"
    for name in ("params/d/a", "progress/b", "metrics/metrics"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"the content of {name}".encode())
    digests.write(folder)
    return folder


def test_unchanged_files_have_no_damage(checkpoint):
    assert digests.find_damage(checkpoint) is None
    digests.check(checkpoint, "params")


def append(path):
    path.write_bytes(path.read_bytes() + b"!")


def flip(path):
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


HARMS = {
    "a file is removed": lambda c: (c / "params/d/a").unlink(),
    "a file is longer": lambda c: append(c / "params/d/a"),
    "one bit of a file differs": lambda c: flip(c / "params/d/a"),
    "a file is empty": lambda c: (c / "params/d/a").write_bytes(b""),
    "a file is new": lambda c: (c / "params/d/new").touch(),
    "a folder is removed": lambda c: shutil.rmtree(c / "params"),
}


@pytest.mark.parametrize(("harm", "message"), damaged_checkpoints.SECTION.refused)
def test_each_kind_of_damage_is_named(checkpoint, harm, message):
    HARMS[harm](checkpoint)
    assert message in digests.find_damage(checkpoint)
    with pytest.raises(UserError, match=f"checkpoint_2 is damaged .*{message}"):
        digests.check(checkpoint, "params")
    assert digests.find_damage(checkpoint, ("progress",)) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", "\x00"])
def test_digests_that_cannot_be_read_are_damage(checkpoint, content):
    (checkpoint.parent / "digests/checkpoint_2.json").write_text(content)
    assert "checkpoint_2.json" in digests.find_damage(checkpoint)


def test_a_result_is_not_kept_after_a_change(checkpoint):
    digests.check(checkpoint, "params")
    flip(checkpoint / "params/d/a")
    with pytest.raises(UserError, match="is damaged"):
        digests.check(checkpoint, "params")


def test_digests_of_removed_checkpoints_are_removed(checkpoint):
    shutil.rmtree(checkpoint)
    digests.remove_old(checkpoint.parent)
    assert list((checkpoint.parent / "digests").iterdir()) == []


@pytest.fixture(scope="module")
def trained(train_tiny, tmp_path_factory):
    """A run folder with checkpoints 2 and 4."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train_tiny(folder, TRAIN_STEPS=4)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize(
    "item", ["params/_METADATA", "params/manifest.ocdbt", "params"]
)
def test_every_checkpoint_that_is_opened_is_checked(trained, tmp_path, number, item):
    run = shutil.copytree(trained, tmp_path / "run")
    path = run / f"checkpoints/checkpoint_{number}" / item
    if path.is_dir():
        path = max(path.glob("d/*"), key=lambda p: p.stat().st_size)
    flip(path)
    with pytest.raises(UserError, match=rf"checkpoint_{number} is damaged"):
        open_checkpoint(str(run / f"checkpoints/checkpoint_{number}"))


@pytest.mark.slow
def test_the_best_checkpoint_of_a_run_is_checked(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    best = json.loads((run / "results.json").read_text())["best"]["step"]
    (run / f"checkpoints/checkpoint_{best}/metrics/metrics").unlink()
    for path in (run, run / "checkpoints"):
        with pytest.raises(UserError, match=f"checkpoint_{best} is damaged .*metrics"):
            open_checkpoint(str(path))


@pytest.mark.slow
def test_a_checkpoint_that_a_run_still_writes_is_not_read(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "checkpoints/digests/checkpoint_4.json").unlink()
    assert open_checkpoint(str(run)).location.endswith("checkpoint_2")


class ArrayInMemory:
    """A reader of one parameter."""

    location = "runs/weights"

    def __init__(self, array):
        self.array = array

    def shapes(self):
        return {"block/kernel": self.array.shape}

    def read(self, name, index=()):
        return self.array[index]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(value):
    array = np.ones((3, 2), np.float32)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    leaf = jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
    abstract = {"block": {"kernel": leaf}}
    loaded = load_params(ArrayInMemory(array), abstract)
    np.testing.assert_array_equal(loaded["block"]["kernel"], array)
    array[1, 1] = value
    message = "runs/weights: parameter block/kernel has 1 of 6 values that are not fini"
    with pytest.raises(UserError, match=message):
        load_params(ArrayInMemory(array), abstract)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ([1.0, np.nan], "w has 1 of 2 values that are not finite .the first is nan"),
        ([np.inf, 1.0, np.inf], "w has 2 of 3 values .*the first is inf"),
        ([-np.inf], "w has 1 of 1 values .*the first is -inf"),
        ([np.inf, -np.inf], "w has 2 of 2 values"),
    ],
)
def test_values_that_are_not_finite_are_counted(array, message):
    with pytest.raises(UserError, match=message):
        check_finite(np.asarray(array, np.float32), "w")


@pytest.mark.parametrize("array", [[], [0.0], [1e38, 1e38, 1e38], [-1e38] * 9])
def test_finite_values_are_accepted(array):
    check_finite(np.asarray(array, np.float32), "w")


@pytest.fixture
def bucket(checkpoint, monkeypatch):
    """A bucket with the run of `checkpoint`."""
    return buckets.install(checkpoint.parents[2], monkeypatch)


CHECKPOINTS = f"{buckets.BUCKET}/run/checkpoints"
IN_BUCKET = f"{CHECKPOINTS}/checkpoint_2"


@pytest.mark.parametrize(("harm", "message"), damaged_checkpoints.SECTION.refused)
def test_each_kind_of_damage_is_named_in_a_bucket(checkpoint, bucket, harm, message):
    assert digests.find_damage(IN_BUCKET) is None
    HARMS[harm](checkpoint)
    assert message in digests.find_damage(IN_BUCKET)
    assert digests.find_damage(IN_BUCKET, ("progress",)) is None
    with pytest.raises(UserError, match=f"^{IN_BUCKET} is damaged .{message}"):
        digests.check(IN_BUCKET, "params")


def test_only_the_checked_items_of_a_bucket_are_read_once(bucket):
    for _ in range(3):
        digests.check(IN_BUCKET, "params")
    assert bucket.gfile.reads.count(f"{IN_BUCKET}/params/d/a") == 1
    assert f"{IN_BUCKET}/progress/b" not in bucket.gfile.reads


def test_a_read_of_a_bucket_that_fails_names_the_file(bucket, monkeypatch):
    opened = bucket.open

    def fail(path, mode):
        if path.endswith("params/d/a"):
            raise tf.errors.UnavailableError(None, None, "the network is gone")
        return opened(path, mode)

    monkeypatch.setattr(bucket, "open", fail)
    with pytest.raises(UserError, match="params/d/a cannot be read: the network"):
        digests.check(IN_BUCKET, "params")


def test_a_checkpoint_without_digests_in_a_bucket_is_not_complete(checkpoint, bucket):
    shutil.copytree(checkpoint, checkpoint.with_name("checkpoint_3"))
    assert not digests.is_complete(f"{CHECKPOINTS}/checkpoint_3")
    shutil.rmtree(checkpoint.parent / "digests")
    assert digests.is_complete(f"{CHECKPOINTS}/checkpoint_3")
    digests.check(IN_BUCKET, "params")
    assert bucket.gfile.reads == []


def test_the_identity_of_weights_in_a_bucket_changes_with_their_digests(
    checkpoint, bucket
):
    before = digests.identity(IN_BUCKET)
    assert digests.identity(f"{IN_BUCKET}/params") == before
    (checkpoint.parent / "digests/checkpoint_2.json").write_text("{}")
    assert digests.identity(IN_BUCKET) != before


@pytest.mark.slow
def test_a_run_in_a_bucket_is_checked_when_it_is_opened(trained, tmp_path, monkeypatch):
    local = shutil.copytree(trained, tmp_path / "run")
    buckets.install(tmp_path, monkeypatch)

    # TensorStore reads buckets itself, so it gets the local folder.
    def local_url(path, url=arrays.url):
        return url(os.fspath(path).replace(buckets.BUCKET, str(tmp_path)))

    monkeypatch.setattr(arrays, "url", local_url)
    expected = open_checkpoint(str(local))
    reader = open_checkpoint(f"{buckets.BUCKET}/run")
    best = reader.location.rpartition("/")[2]
    assert reader.location == f"{CHECKPOINTS}/{best}"
    name = next(iter(expected.shapes()))
    np.testing.assert_array_equal(reader.read(name), expected.read(name))
    append(local / f"checkpoints/{best}/params/manifest.ocdbt")
    with pytest.raises(UserError, match=f"{best} is damaged .params/manifest.ocdbt ha"):
        open_checkpoint(f"{buckets.BUCKET}/run")
    (local / f"checkpoints/digests/{best}.json").unlink()
    other = open_checkpoint(f"{buckets.BUCKET}/run").location
    assert other.startswith(CHECKPOINTS) and other != reader.location
