import logging
import resource
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from dsbs_jax import weights
from dsbs_jax.errors import UserError
from dsbs_jax.local import checkpoints
from dsbs_jax.local.state import TrainState
from dsbs_jax.weights import digests


def make_state(step, width=4):
    value = jnp.full((3, width), float(step))
    return TrainState(
        jnp.asarray(step, jnp.int32),
        {"block": {"kernel": value}, "scale": jnp.arange(width, dtype=jnp.float32)},
        ({"mu": value + 0.5}, jnp.asarray(step, jnp.int32)),
    )


def abstract(width=4):
    sharding = SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        make_state(0, width),
    )


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def steps_in(folder):
    return sorted(int(p.name.split("_")[1]) for p in folder.glob("checkpoint_*"))


def save_all(folder, scores):
    saved = checkpoints.Checkpoints(folder)
    for step, score in scores.items():
        saved.save(make_state(step), score)
    return saved


def test_complete_state_is_restored(tmp_path):
    save_all(tmp_path / "c", {7: 50.0}).close()
    saved = checkpoints.Checkpoints(tmp_path / "c")
    assert saved.last == saved.best == 7
    assert saved.score(7) == 50.0
    assert_equal(saved.restore(7, abstract()), make_state(7))
    assert_equal(saved.restore_params(7, abstract().params), make_state(7).params)


@pytest.mark.parametrize(
    ("scores", "best", "kept"),
    [
        ({1: 10.0, 2: 30.0, 3: 20.0, 4: 5.0}, 2, [2, 3, 4]),
        ({1: 10.0, 2: 20.0, 3: 30.0}, 3, [2, 3]),
        # The earliest of equal scores: only a better score replaces the best.
        ({1: 10.0, 2: 30.0, 3: 30.0, 4: 30.0}, 2, [2, 3, 4]),
        ({1: 0.0, 2: 0.0, 3: 0.0}, 1, [1, 2, 3]),
    ],
)
def test_best_and_last_are_kept(tmp_path, scores, best, kept):
    saved = save_all(tmp_path / "c", scores)
    assert (saved.best, saved.last) == (best, max(scores))
    assert steps_in(tmp_path / "c") == kept
    saved.close()
    again = checkpoints.Checkpoints(tmp_path / "c")
    assert (again.best, again.last) == (best, max(scores))


def test_scored_checkpoint_replaces_an_unscored_one(tmp_path):
    saved = save_all(tmp_path, {1: 5.0})
    saved.save(make_state(2))
    assert (saved.best, saved.last) == (1, 2)
    assert saved.is_scored(1) and not saved.is_scored(2) and not saved.is_scored(3)
    saved.save(make_state(2), 7.0)
    saved.close()
    again = checkpoints.Checkpoints(tmp_path)
    assert (again.best, again.last) == (2, 2) and again.is_scored(2)


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def largest(folder):
    return max(
        (p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda c: damage(largest(c)), "has changed since it was written"),
        (lambda c: damage(c / "progress/_METADATA"), "progress/_METADATA has changed"),
        (lambda c: (c / "params/manifest.ocdbt").unlink(), "manifest.ocdbt is missing"),
        (
            lambda c: (c / "params/more").touch(),
            "params/more has changed since it was written",
        ),
    ],
)
def test_damaged_checkpoint_is_reported_and_renamed(tmp_path, caplog, harm, message):
    save_all(tmp_path, {1: 9.0, 2: 3.0, 3: 4.0}).close()
    harm(tmp_path / "checkpoint_3")
    assert checkpoints.newest_complete(tmp_path) == 2
    saved = checkpoints.Checkpoints(tmp_path)
    assert saved.last == 2
    (record,) = [
        r for r in caplog.records if r.name == "absl" and r.levelname == "WARNING"
    ]
    assert "checkpoint_3 is damaged (" in record.getMessage()
    assert message in record.getMessage()
    assert (tmp_path / "damaged_checkpoint_3").is_dir()
    assert_equal(saved.restore(2, abstract()), make_state(2))
    # The run reaches the same step again.
    saved.save(make_state(3), 4.0)
    assert checkpoints.newest_complete(tmp_path) == 3


def test_no_complete_checkpoint(tmp_path):
    save_all(tmp_path, {1: 9.0}).close()
    damage(largest(tmp_path / "checkpoint_1"))
    assert checkpoints.newest_complete(tmp_path) is None
    assert checkpoints.newest_complete(tmp_path / "nowhere") is None
    assert not (tmp_path / "nowhere").exists()


def test_digests_are_removed_with_their_checkpoints(tmp_path):
    save_all(tmp_path, {step: float(step) for step in range(1, 6)}).close()
    names = sorted(path.name for path in (tmp_path / "digests").iterdir())
    assert names == ["checkpoint_4.json", "checkpoint_5.json"]


def test_new_folder_has_no_checkpoint(tmp_path):
    saved = checkpoints.Checkpoints(tmp_path / "new")
    assert saved.last is None and saved.best is None


def test_partly_written_checkpoint_is_ignored(tmp_path):
    save_all(tmp_path / "c", {1: 1.0}).close()
    half = tmp_path / "c/checkpoint_2.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "params").mkdir()
    saved = checkpoints.Checkpoints(tmp_path / "c")
    assert saved.last == 1
    saved.save(make_state(2), 2.0)
    assert saved.last == 2
    assert_equal(saved.restore(2, abstract()), make_state(2))


def test_checkpoint_of_another_size_is_refused(tmp_path):
    saved = save_all(tmp_path / "c", {1: 1.0})
    message = (
        r"c/checkpoint_1: parameter block/kernel has shape \(3, 4\), expected \(3, 8\)"
    )
    with pytest.raises(UserError, match=message):
        saved.restore(1, abstract(8))
    with pytest.raises(UserError, match=message):
        weights.load_params(
            weights.open_checkpoint(str(tmp_path / "c")), abstract(8).params
        )


def test_paths_that_name_a_run(tmp_path):
    save_all(tmp_path / "run/checkpoints", {1: 9.0, 2: 3.0}).close()
    expected = {
        "run": 1,
        "run/checkpoints": 1,
        "run/checkpoints/checkpoint_2": 2,
        "run/checkpoints/checkpoint_1": 1,
    }
    for path, step in expected.items():
        source = weights.open_checkpoint(str(tmp_path / path))
        params = weights.load_params(source, abstract().params)
        assert_equal(params, make_state(step).params)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "expected a run folder, .* found nothing"),
        ("empty", "found none of them"),
        ("run/checkpoints/checkpoint_5", "found nothing"),
    ],
)
def test_missing_checkpoint_is_named(tmp_path, path, message):
    (tmp_path / "empty").mkdir()
    save_all(tmp_path / "run/checkpoints", {1: 9.0}).close()
    with pytest.raises(UserError, match=message):
        weights.open_checkpoint(str(tmp_path / path))
    # Looking for a checkpoint creates no file.
    assert not (tmp_path / "nowhere").exists()
    assert not list((tmp_path / "empty").iterdir())


def test_folder_without_permission_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"MODEL_DIR .*file/run: cannot be written \("):
        checkpoints.prepare_folder(tmp_path / "file/run", abstract())


def test_full_disk_is_noticed_before_training(tmp_path, monkeypatch):
    def usage(_):
        return checkpoints.shutil._ntuple_diskusage(100, 50, 50)

    monkeypatch.setattr(checkpoints.shutil, "disk_usage", usage)
    with pytest.raises(UserError, match="MiB free, expected at least"):
        checkpoints.prepare_folder(tmp_path / "run", abstract())
    monkeypatch.undo()
    checkpoints.prepare_folder(tmp_path / "run", abstract())
    assert not list((tmp_path / "run").iterdir())


def test_full_disk_is_noticed_before_each_checkpoint(tmp_path, monkeypatch):
    saved = save_all(tmp_path, {1: 1.0})
    usage = checkpoints.shutil._ntuple_diskusage(100, 50, 50)
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="MiB free, expected at least"):
        saved.save(make_state(2), score=2.0)
    saved.close()
    assert steps_in(tmp_path) == [1]


def test_checkpoint_that_cannot_be_written_ends_in_one_error(tmp_path):
    saved = save_all(tmp_path, {1: 1.0})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(UserError, match="checkpoint_2: cannot be written"):
            saved.save(make_state(2), score=2.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    saved.close()
    again = checkpoints.Checkpoints(tmp_path)
    assert again.last == 1


def test_an_older_checkpoint_that_is_damaged_is_reported_and_renamed(tmp_path, caplog):
    save_all(tmp_path, {1: 9.0, 2: 3.0, 3: 4.0}).close()
    (tmp_path / "checkpoint_1/metrics/metrics").unlink()
    assert checkpoints.newest_complete(tmp_path) == 3
    assert "checkpoint_1 is damaged (metrics/metrics is missing)" in caplog.text
    saved = checkpoints.Checkpoints(tmp_path)
    assert (saved.best, saved.last) == (3, 3)


def test_a_checkpoint_is_complete_when_its_digests_are_written(tmp_path, caplog):
    save_all(tmp_path, {1: 9.0, 2: 3.0}).close()
    (tmp_path / "digests/checkpoint_2.json").unlink()
    assert checkpoints.newest_complete(tmp_path) == 1
    assert "checkpoint_2 is damaged (it has no digests" in caplog.text


def test_the_first_checkpoint_without_digests_is_not_complete(tmp_path):
    save_all(tmp_path, {1: 9.0}).close()
    (tmp_path / "digests/checkpoint_1.json").unlink()
    assert checkpoints.newest_complete(tmp_path) is None


def test_checkpoints_that_were_copied_without_digests_are_read(tmp_path):
    save_all(tmp_path, {1: 9.0, 2: 3.0}).close()
    shutil.rmtree(tmp_path / "digests")
    assert checkpoints.newest_complete(tmp_path) == 2


def test_a_copy_without_digests_that_trains_on_keeps_its_checkpoints(tmp_path):
    save_all(tmp_path, {1: 9.0, 2: 3.0}).close()
    before = digests.of_files(tmp_path / "digests")
    shutil.rmtree(tmp_path / "digests")
    # A run that was killed while it wrote the digests.
    (tmp_path / "digests.new").mkdir()
    saved = save_all(tmp_path, {3: 1.0})
    assert before.items() <= digests.of_files(tmp_path / "digests").items()
    assert saved.best == 1
    saved.restore_params(1, abstract().params)


def test_a_checkpoint_that_is_damaged_while_the_run_trains_is_named(tmp_path):
    saved = save_all(tmp_path, {1: 9.0})
    damage(largest(tmp_path / "checkpoint_1/params"))
    with pytest.raises(UserError, match=r"checkpoint_1 is damaged \(params/.* changed"):
        saved.restore_params(1, abstract().params)


def test_the_state_of_another_optimizer_is_one_error(tmp_path):
    saved = save_all(tmp_path, {1: 9.0})
    other = abstract()
    other = other.replace(opt_state={"nu": other.params["scale"]})
    with pytest.raises(UserError, match="checkpoint_1: the state of the optimizer"):
        saved.restore(1, other)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf])
def test_parameters_that_are_not_finite_are_not_saved(tmp_path, value):
    saved = save_all(tmp_path, {1: 9.0, 2: 8.0})
    state = make_state(3)
    bad = state.params["block"]["kernel"].at[1, 2].set(value)
    state = state.replace(params={**state.params, "block": {"kernel": bad}})
    message = "parameter block/kernel is not finite after step 3; the checkpoint of st"
    with pytest.raises(UserError, match=message):
        saved.save(state, 10.0)
    assert steps_in(tmp_path) == [1, 2]
    with pytest.raises(UserError, match="no checkpoint was saved"):
        checkpoints.Checkpoints(tmp_path / "new").save(state, 10.0)


def test_messages_of_libraries_return_after_a_save(tmp_path):
    hook = threading.excepthook
    save_all(tmp_path, {1: 9.0})
    assert threading.excepthook is hook
    assert logging.getLogger("library").isEnabledFor(logging.ERROR)
