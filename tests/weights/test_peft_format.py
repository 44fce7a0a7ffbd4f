"""Adapters of this project and of Hugging Face's PEFT are the same files."""

import json

import jax
import numpy as np
import pytest
from flax import traverse_util

from dsbs_jax import weights
from dsbs_jax.errors import UserError
from dsbs_jax.student import lora
from dsbs_jax.student.network import Transformer, parameter_shapes
from dsbs_jax.weights import peft_format, writing
from dsbs_jax.weights.overlay import Arrays, OverlayReader
from support.students import (
    NETWORKS,
    forward,
    make_batch,
    make_examples,
    make_student,
)

REASON = "needs the extra `hf`"
BATCH = make_batch(make_examples())
TARGETS = ("query", "value", "out", "wi", "wi_0", "wo")


@pytest.fixture(params=sorted(NETWORKS))
def base(request, tmp_path):
    """A student and its Hugging Face folder."""
    model, params = make_student(request.param)
    flat = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    folder = tmp_path / "base"
    writing.write_weights(folder, "hf", flat, model.config)
    return model.config, folder


def make_adapters(config):
    rng = np.random.default_rng(5)
    shapes = parameter_shapes(config)
    arrays = {}
    for name in lora.kernels(shapes, TARGETS):
        inputs, outputs = shapes[name]
        for factor, shape in ((lora.A, (inputs, 3)), (lora.B, (3, outputs))):
            values = rng.normal(size=shape).astype(np.float32) * 0.2
            arrays[f"{lora.module_of(name)}/{factor}"] = values
    return arrays


@pytest.fixture
def written(base, tmp_path):
    """Adapters that this project wrote, and their reader."""
    config, folder = base
    reader = OverlayReader(
        weights.open_checkpoint(str(folder)),
        Arrays("run", make_adapters(config)),
        0.5,
        str(folder),
    )
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    peft_format.write_adapters(adapters, reader, config)
    return reader, adapters


def logits(reader):
    model = Transformer(weights.config_of(reader))
    params = {name: reader.read(name) for name in reader.shapes()}
    return forward(model, traverse_util.unflatten_dict(params, sep="/"), BATCH)


def test_written_adapters_are_read_again(written):
    reader, folder = written
    again = weights.open_checkpoint(str(folder))
    assert again.shapes() == reader.shapes()
    for name in reader.shapes():
        np.testing.assert_allclose(again.read(name), reader.read(name), rtol=1e-6)


def test_a_part_of_a_merged_weight_is_that_of_all_of_it(written):
    reader, _ = written
    name = "encoder/layers_0/attention/query/kernel"
    index = (slice(2, 9), slice(3, 5))
    assert not np.array_equal(reader.read(name), reader.base.read(name))
    np.testing.assert_allclose(reader.read(name, index), reader.read(name)[index])


def assert_same_logits(ours, theirs):
    """Compares up to 1e-5 of the largest logit."""
    atol = 1e-5 * np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


def peft_logits(model):
    import torch

    tokens = torch.tensor(BATCH["encoder_input_tokens"], dtype=torch.long)
    with torch.no_grad():
        return model(
            input_ids=tokens,
            attention_mask=(tokens != 0).long(),
            decoder_input_ids=torch.tensor(
                BATCH["decoder_input_tokens"], dtype=torch.long
            ),
        ).logits.numpy()


@pytest.mark.slow
def test_peft_reads_the_adapters(written):
    peft = pytest.importorskip("peft", reason=REASON)
    transformers = pytest.importorskip("transformers", reason=REASON)
    reader, folder = written
    base = json.loads((folder / peft_format.CONFIG).read_text())
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        base["base_model_name_or_path"]
    )
    before = peft_logits(model.eval())
    adapted = peft.PeftModel.from_pretrained(model, folder).eval()
    theirs = peft_logits(adapted)
    assert np.abs(theirs - before).max() > 0.1
    assert_same_logits(logits(reader), theirs)


@pytest.mark.slow
def test_adapters_of_peft_are_read(base, tmp_path):
    peft = pytest.importorskip("peft", reason=REASON)
    torch = pytest.importorskip("torch", reason=REASON)
    transformers = pytest.importorskip("transformers", reason=REASON)
    config, folder = base
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    settings = peft.LoraConfig(
        task_type="SEQ_2_SEQ_LM", r=4, lora_alpha=6, target_modules=["q", "k", "wo"]
    )
    adapted = peft.get_peft_model(model, settings).eval()
    torch.manual_seed(0)
    for name, tensor in adapted.named_parameters():
        if "lora_B" in name:
            tensor.data.normal_(std=0.2)
    adapted.save_pretrained(tmp_path / "theirs")
    reader = weights.open_checkpoint(str(tmp_path / "theirs"))
    assert_same_logits(logits(reader), peft_logits(adapted))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peft_type": "IA3"}, "cannot be read as plain LoRA: .*peft_type"),
        ({"use_dora": True}, "use_dora is True, expected false"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is True, expected false"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is .'lm_head'., expected"),
        ({"r": 0}, "cannot be read as plain LoRA: .*r"),
        # The tensors have rank 3. The term of the adapters would have another scale.
        ({"r": 6}, r"has shape \(.*3.*\), expected rank 6, the r of adapter_config"),
    ],
)
def test_other_adapters_are_refused(written, values, message):
    _, folder = written
    path = folder / peft_format.CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    with pytest.raises(UserError, match=message):
        weights.open_checkpoint(str(folder))


def test_adapters_of_another_student_are_refused(written):
    reader, _ = written
    arrays = {
        name: np.ones((7, *shape[1:]) if name.endswith(lora.A) else shape, np.float32)
        for name, shape in reader.trained.shapes().items()
    }
    with pytest.raises(UserError, match=r"has shape \(7, 3\), expected"):
        OverlayReader(reader.base, Arrays("run", arrays), 0.5)


def test_weights_that_were_trained_are_no_adapters(base, tmp_path):
    config, folder = base
    reader = weights.open_checkpoint(str(folder))
    name = "encoder/encoder_norm/scale"
    trained = Arrays("run", {name: 2 * reader.read(name)})
    overlay = OverlayReader(reader, trained, 1.0)
    np.testing.assert_array_equal(overlay.read(name), 2 * reader.read(name))
    with pytest.raises(UserError, match="expected a run with LORA_RANK"):
        peft_format.write_adapters(tmp_path, overlay, config)
