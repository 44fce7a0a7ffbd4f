import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from dsbs_jax.data.feature_converter import DistillationFeatureConverter  # noqa: E402
from dsbs_jax.errors import UserError  # noqa: E402
from dsbs_jax.local import datasets, step  # noqa: E402
from dsbs_jax.pods import models  # noqa: E402
from dsbs_jax.student.config import T5Config  # noqa: E402
from dsbs_jax.student.network import Transformer  # noqa: E402
from dsbs_jax.task_ids import LABEL, RATIONALE  # noqa: E402


def local_student(model):
    """Creates the local engine's network with the dimensions of a T5X model."""
    config = model.module.config
    return Transformer(
        T5Config(
            vocab_size=config.vocab_size,
            emb_dim=config.emb_dim,
            num_heads=config.num_heads,
            head_dim=config.head_dim,
            num_encoder_layers=config.num_encoder_layers,
            num_decoder_layers=config.num_decoder_layers,
            mlp_dim=config.mlp_dim,
            mlp_activations=config.mlp_activations,
            logits_via_embedding=config.logits_via_embedding,
            dropout_rate=config.dropout_rate,
        )
    )


def init(model, batch):
    shapes = {name: value.shape for name, value in batch.items()}
    types = {name: jnp.int32 for name in batch}
    return model.get_initial_variables(jax.random.key(0), shapes, types)["params"]


@pytest.fixture(scope="module")
def make_batch(tiny_data):
    """Returns a training batch: (pack)."""

    def make(pack=False):
        batches = datasets.training_batches(tiny_data(), 16, pack=pack, seed=1)
        return jax.tree.map(jnp.asarray, next(batches))

    return make


def assert_close(actual, expected, rtol=1e-5, atol=1e-5):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol, atol), actual, expected
    )


SIZES = {
    "v1.1": {},
    "v1.0": {"MLP_ACTIVATIONS": ("relu",), "LOGITS_VIA_EMBEDDING": True},
}


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("version", SIZES)
def test_engines_agree_on_loss_task_means_and_gradients(
    make_pod_model, make_batch, version, pack
):
    model = make_pod_model(ALPHA=0.3, **SIZES[version])
    batch = make_batch(pack)
    params = init(model, batch)
    (loss, metrics), grads = jax.jit(
        jax.value_and_grad(lambda p, b: model.loss_fn(p, b, None), has_aux=True)
    )(params, batch)
    expected_grads, expected = jax.jit(step.gradients, static_argnums=(0, 3))(
        local_student(model), params, batch, 0.3
    )
    assert_close(loss, expected["loss"])
    for name in ("label_loss", "rationale_loss", "label_tokens", "rationale_tokens"):
        assert expected[name] > 0
        assert_close(metrics[name].compute(), expected[name])
    assert_close(grads, expected_grads)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads)) > 1e-2


@pytest.mark.parametrize(("alpha", "task"), [(1.0, LABEL), (0.0, RATIONALE)])
def test_alpha_0_or_1_gives_the_gradient_of_one_task_alone(
    make_pod_model, make_batch, alpha, task
):
    model = make_pod_model(ALPHA=alpha)
    batch = make_batch()
    of_task = np.asarray(batch["decoder_task_ids"] == task).any(axis=1)
    assert 0 < of_task.sum() < len(of_task)
    params = init(model, batch)
    gradient = jax.jit(jax.grad(lambda p, b: model.loss_fn(p, b, None)[0]))
    alone = {name: value[of_task] for name, value in batch.items()}
    assert_close(gradient(params, batch), gradient(params, alone))


def test_a_task_without_tokens_has_a_mean_of_0(make_pod_model, make_batch):
    model = make_pod_model()
    batch = make_batch()
    batch["decoder_task_ids"] = jnp.minimum(batch["decoder_task_ids"], LABEL)
    _, metrics = model.eval_fn(init(model, batch), batch)
    assert metrics["rationale_loss"].compute() == 0
    assert metrics["label_loss"].compute() > 0
    assert all(np.isfinite(metrics[n].compute()) for n in ("loss", "accuracy"))


def test_merged_means_are_weighted_by_tokens(make_pod_model, make_batch):
    model = make_pod_model()
    batch = make_batch()
    params = init(model, batch)
    halves = [
        {name: value[part] for name, value in batch.items()}
        for part in (np.s_[:5], np.s_[5:])
    ]
    _, expected = model.eval_fn(params, batch)
    parts = [model.eval_fn(params, half)[1]["rationale_loss"] for half in halves]
    merged = parts[0].merge(parts[1]).compute()
    assert_close(merged, expected["rationale_loss"].compute())
    unweighted = np.mean([part.compute() for part in parts])
    assert abs(unweighted - merged) > 1e-4


def test_the_model_uses_the_projects_feature_converter(make_pod_model):
    assert make_pod_model().FEATURE_CONVERTER_CLS is DistillationFeatureConverter


def test_alpha_out_of_range_is_an_error(make_pod_model):
    with pytest.raises(UserError, match="ALPHA is 1.5, expected 0 to 1"):
        make_pod_model(ALPHA=1.5)


@pytest.mark.parametrize("term", ["label_smoothing", "z_loss"])
def test_a_term_that_the_objective_does_not_have_is_an_error(make_pod_model, term):
    model = make_pod_model()
    with pytest.raises(UserError, match=f"has no {term}|, {term}"):
        models.DistillationModel(
            model.module, None, None, None, alpha=0.5, **{term: 0.1}
        )
