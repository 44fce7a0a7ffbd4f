"""Checkpoints of T5X's scalable network, which T5X writes and reads itself."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
import seqio
from flax import traverse_util

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from fixtures.t5x import make  # noqa: E402
from t5x import models, optimizers  # noqa: E402
from t5x.examples.scalable_t5 import network  # noqa: E402

from dsbs_jax import weights  # noqa: E402
from dsbs_jax.student.network import Transformer  # noqa: E402
from support.students import forward  # noqa: E402


@pytest.fixture(scope="module", params=[True, False], ids=["scanned", "unscanned"])
def scalable(request, tmp_path_factory):
    """T5X's model, its parameters, and the folder that T5X wrote them to."""
    config = network.T5Config(
        vocab_size=make.VOCABULARY,
        emb_dim=16,
        num_heads=2,
        head_dim=6,
        num_encoder_layers=2,
        num_decoder_layers=3,
        mlp_dim=24,
        mlp_activations=("gelu", "linear"),
        dropout_rate=0.0,
        dtype="float32",
        scan_layers=request.param,
    )
    vocabulary = seqio.PassThroughVocabulary(make.VOCABULARY, eos_id=1)
    model = models.EncoderDecoderModel(
        network.Transformer(config),
        vocabulary,
        vocabulary,
        optimizers.wrap_optax_optimizer(optax.sgd)(0.1),
    )
    folder = tmp_path_factory.mktemp("scalable")
    return model, make.write_checkpoints(model, folder), folder


@pytest.mark.parametrize("form", ["native", "orbax"])
@pytest.mark.parametrize("scan", [True, False], ids=["SCAN_LAYERS", "layers"])
def test_our_network_computes_t5xs_logits(scalable, form, scan):
    """The layers of T5X's scalable network are those of umT5."""
    model, params, folder = scalable
    reader = weights.open_checkpoint(str(folder / form))
    config = weights.config_of(reader)
    assert config.relative_bias_in_layers
    assert (config.num_heads, config.head_dim) == (2, 6)
    assert (config.num_encoder_layers, config.num_decoder_layers) == (2, 3)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = {
        name: jax.ShapeDtypeStruct(shape, np.float32, sharding=device)
        for name, shape in reader.shapes().items()
    }
    loaded = weights.load_params(
        reader, traverse_util.unflatten_dict(abstract, sep="/")
    )
    student = Transformer(dataclasses.replace(config, scan=scan))
    for batch in make.make_batches(seed=5):
        expected = model._compute_logits(params, batch)
        # T5X also masks padding of the decoder, whose logits nothing reads.
        rows = np.asarray(batch["decoder_target_tokens"]) > 0
        logits = np.asarray(forward(student, loaded, batch))
        np.testing.assert_allclose(logits[rows], expected[rows], atol=2e-5)
