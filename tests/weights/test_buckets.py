"""Checkpoints in a bucket of an emulator of Google Cloud Storage."""

import numpy as np
import pytest
from etils import epath

from dsbs_jax import weights
from dsbs_jax.weights import orbax_format, t5x_native
from dsbs_jax.weights.reader import Parameters
from support import gcs_emulator

pytestmark = pytest.mark.slow

READ = """
import sys
import numpy as np
from dsbs_jax import weights
from dsbs_jax.errors import UserError

target, *names = sys.argv[1:]
for name in names:
    reader = weights.open_checkpoint(f"gs://bucket/{name}")
    arrays = {key: reader.read(key) for key in reader.shapes()}
    np.savez(f"{target}/{name}.npz", **arrays)
for missing in ("gs://bucket/missing", "gs://missing/run"):
    try:
        weights.open_checkpoint(missing)
    except UserError as error:
        print(error, file=sys.stderr)
"""

LIBRARIES = """
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from etils import epath

top = epath.Path("gs://bucket/top")
(top / "old").mkdir(parents=True)
(top / "old/file").write_text("text")
(top / "old").rename(top / "new")
assert [path.name for path in top.iterdir()] == ["new"]
assert (top / "new/file").read_text() == "text"

array = np.arange(12, dtype=np.float32).reshape(3, 4)
kvstore = {"driver": "ocdbt", "base": "gs://bucket/arrays/"}
for number in range(2):
    spec = {"driver": "zarr", "kvstore": {**kvstore, "path": f"{number}/"}}
    opened = tensorstore.open(spec, create=True, dtype=array.dtype, shape=array.shape)
    opened.result()[...] = array + number
for number in range(2):
    spec = {"driver": "zarr", "kvstore": {**kvstore, "path": f"{number}/"}}
    read = tensorstore.open(spec).result().read().result()
    np.testing.assert_array_equal(read, array + number)

options = ocp.CheckpointManagerOptions(max_to_keep=2)
with ocp.CheckpointManager("gs://bucket/saved", options=options) as manager:
    for step in range(3):
        manager.save(step, args=ocp.args.StandardSave({"w": array + step}))
with ocp.CheckpointManager("gs://bucket/saved", options=options) as manager:
    assert manager.all_steps() == [1, 2]
    read = manager.restore(2, args=ocp.args.StandardRestore())
    np.testing.assert_array_equal(read["w"], array + 2)
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """An empty bucket."""
    with gcs_emulator.serve("bucket", tmp_path_factory.mktemp("server")) as bucket:
        yield bucket


def test_runs_and_checkpoints_of_t5x_are_read_from_a_bucket(
    bucket, train_tiny, tmp_path
):
    train_tiny(tmp_path / "run")
    params = Parameters(weights.open_checkpoint(str(tmp_path / "run")))
    for name, form in {"native": t5x_native, "orbax": orbax_format}.items():
        (tmp_path / name).mkdir()
        form.write_checkpoint(epath.Path(tmp_path / name / "checkpoint_0"), params)
    names = ("run", "native", "orbax")
    for name in names:
        bucket.upload(tmp_path / name, name)
    messages = bucket.run("-c", READ, tmp_path, *names)
    for name in names:
        with np.load(tmp_path / f"{name}.npz") as read:
            assert set(read) == set(params)
            for key in read:
                np.testing.assert_array_equal(read[key], params[key])
    for address in ("gs://bucket/missing", "gs://missing/run"):
        assert f"checkpoint {address}: expected a run folder" in messages


def test_the_libraries_of_checkpoints_write_to_a_bucket_and_read_it(bucket):
    pytest.importorskip("google.cloud.storage", reason="the extra t5x is not installed")
    bucket.run("-c", LIBRARIES)
