"""Compares the student with the T5, mT5 and umT5 of Transformers, same weights.

Float32 on the CPU, without dropout. Transformers ties the output layer of every T5 that
it creates from a configuration, so the tests replace the output layer of an untied
model.
"""

import copy
import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from dsbs_jax import weights
from dsbs_jax.local import optimizers, state, step
from dsbs_jax.local.config import OptimizerConfig
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.student import decoding
from dsbs_jax.student.network import Transformer
from dsbs_jax.task_ids import LABEL, RATIONALE
from dsbs_jax.weights import huggingface_config, huggingface_names, writing

REASON = "needs the extra `hf`"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)

from support.students import forward, gradients, make_batch  # noqa: E402

VOCABULARY = 48
ALPHA = 0.3
# The published kinds as Transformers configures them, small. D, H * K and the
# depths of the stacks all differ, so that a test fails if two axes are confused.
KINDS = {
    "v1.0": {
        "d_model": 24,
        "num_heads": 4,
        "d_kv": 8,
        "d_ff": 40,
        "num_layers": 2,
        "feed_forward_proj": "relu",
    },
    "v1.1": {
        "d_model": 24,
        "num_heads": 3,
        "d_kv": 10,
        "d_ff": 28,
        "num_layers": 2,
        "num_decoder_layers": 1,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    },
    "flan": {
        "d_model": 16,
        "num_heads": 2,
        "d_kv": 12,
        "d_ff": 36,
        "num_layers": 1,
        "num_decoder_layers": 2,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "n_positions": 512,
        "output_past": True,
    },
    "umt5": {
        "model_type": "umt5",
        "d_model": 20,
        "num_heads": 3,
        "d_kv": 8,
        "d_ff": 28,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    },
}
# Classes of Transformers by model type.
CLASSES = {
    "t5": (transformers.T5Config, transformers.T5ForConditionalGeneration),
    "mt5": (transformers.MT5Config, transformers.MT5ForConditionalGeneration),
    "umt5": (transformers.UMT5Config, transformers.UMT5ForConditionalGeneration),
}
COMMON = {
    "model_type": "t5",
    "vocab_size": VOCABULARY,
    "decoder_start_token_id": 0,
    "dropout_rate": 0.0,
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    """A student's config, and the same configuration for Transformers."""
    values = {**COMMON, **KINDS[request.param]}
    config, scaled = huggingface_config.read_config(values, "config.json")
    # A student is scaled if and only if it is tied.
    assert scaled == config.logits_via_embedding == (request.param == "v1.0")
    return dataclasses.replace(config, dropout_rate=0.0), values


@pytest.fixture(scope="module")
def pair(kind):
    """A student, its parameters, and the same model in PyTorch; tests share them."""
    config, values = kind
    params = random_params(config, seed=0)
    return Transformer(config), params, to_torch(config, params, values)


@pytest.fixture(scope="module")
def lively_pair(kind):
    """A pair whose answers differ between inputs and often end before the limit.

    Random students mostly repeat one token. Large attention outputs and position biases
    with small embeddings prevent that, and a large output row makes the end token
    likely.
    """
    config, values = kind
    params = random_params(config, seed=9)
    flat = traverse_util.flatten_dict(params, sep="/")
    factors = {"out/kernel": 3, "query/kernel": 2, "rel_embedding": 10}
    factors |= {"decoder_norm/scale": 2, "token_embedder/embedding": 0.3}
    for name in flat:
        for ending, factor in factors.items():
            flat[name] *= np.float32(factor if name.endswith(ending) else 1)
    if config.logits_via_embedding:
        flat[huggingface_names.EMBEDDING][decoding.EOS] *= 2
    else:
        flat[huggingface_names.OUTPUT][:, decoding.EOS] *= 2
    params = traverse_util.unflatten_dict(flat, sep="/")
    return Transformer(config), params, to_torch(config, params, values)


def random_params(config, seed):
    """Float32 parameters of about T5's scale; the norms' are not 1.

    From NumPy, whose numbers stay the same over versions.
    """
    tokens = jax.ShapeDtypeStruct((1, 2), np.int32)
    boxed = jax.eval_shape(Transformer(config).init, jax.random.key(0), tokens, tokens)
    flat = traverse_util.flatten_dict(nn.unbox(boxed)["params"], sep="/")
    rng = np.random.default_rng(seed)
    for name, leaf in sorted(flat.items()):
        values = rng.normal(size=leaf.shape)
        if name.endswith("/scale"):
            values = rng.uniform(0.5, 1.5, leaf.shape)
        elif name.endswith("/kernel"):
            values /= leaf.shape[0] ** 0.5
        elif name.endswith("/rel_embedding"):
            values /= sum(leaf.shape) ** 0.5
        if name.endswith("query/kernel"):
            values /= config.head_dim**0.5
        flat[name] = values.astype(np.float32)
    return traverse_util.unflatten_dict(flat, sep="/")


def to_torch(config, params, values):
    """A model of Transformers with exactly these parameters."""
    config_values = {k: v for k, v in values.items() if k != "model_type"}
    config_class, model_class = CLASSES[values["model_type"]]
    theirs = model_class(config_class(**config_values)).eval()
    if not config.logits_via_embedding:
        theirs.lm_head.weight = torch.nn.Parameter(
            torch.empty(config.vocab_size, config.emb_dim)
        )
    own = dict(theirs.named_parameters())
    flat = traverse_util.flatten_dict(params, sep="/")
    table = huggingface_names.tensors(config)
    assert {tensor.name for tensor in table.values()} == own.keys()
    assert flat.keys() == table.keys()
    for path, (name, transposed) in table.items():
        leaf = torch.tensor(flat[path].T if transposed else flat[path])
        assert own[name].shape == leaf.shape
        own[name].data.copy_(leaf)
    return theirs


def random_inputs(rows, longest, seed=0):
    """int32 [rows, longest]: sequences of all lengths, ended by id 1 and padded."""
    rng = np.random.default_rng(seed)
    inputs = np.zeros((rows, longest), np.int32)
    lengths = [longest, 1, *rng.integers(1, longest + 1, rows - 2)]
    for row, length in zip(inputs, lengths, strict=True):
        row[:length] = rng.integers(2, VOCABULARY, length)
        row[length - 1] = 1
    return inputs


def random_examples(rows, seed=0):
    """Makes label rows with short targets, alternating with longer rationale rows."""
    rng = np.random.default_rng(seed)
    examples = []
    for number in range(rows):
        task = (LABEL, RATIONALE)[number % 2]
        most = 3 if task == LABEL else 12
        inputs, targets = (
            [*rng.integers(2, VOCABULARY, rng.integers(1, size)).tolist(), 1]
            for size in (20, most)
        )
        examples.append((inputs, targets, task))
    return examples


def attended(tokens):
    """Converts encoder inputs, int32 [B, S], to the arguments of Transformers."""
    tokens = torch.tensor(tokens, dtype=torch.long)
    return {"input_ids": tokens, "attention_mask": (tokens != 0).long()}


def torch_loss(theirs, batch):
    """Computes the released code's loss: one forward pass for each task, weighted."""
    means = []
    for task in (LABEL, RATIONALE):
        rows = batch["decoder_task_ids"][:, 0] == task
        targets = torch.tensor(batch["decoder_target_tokens"][rows], dtype=torch.long)
        labels = targets.masked_fill(targets == 0, -100)
        inputs = attended(batch["encoder_input_tokens"][rows])
        means.append(theirs(**inputs, labels=labels).loss)
    return ALPHA * means[0] + (1 - ALPHA) * means[1]


def after_start(tokens, length):
    """Returns the tokens of `generate` as [B, length], with 0 after the end token.

    Its beam search pads with the end token.
    """
    tokens = tokens[:, 1:].numpy()
    tokens = np.pad(tokens, [(0, 0), (0, length - tokens.shape[1])])
    ends = np.cumsum(tokens == decoding.EOS, axis=1)
    return np.where((ends == 0) | ((ends == 1) & (tokens == decoding.EOS)), tokens, 0)


@pytest.mark.slow
def test_logits_are_equal(pair):
    model, params, theirs = pair
    # Longer than 128, the distance from which all positions share a bucket.
    inputs, targets = random_inputs(4, 150), random_inputs(4, 140, seed=1)
    targets[:, 0] = 0
    batch = {"encoder_input_tokens": inputs, "decoder_input_tokens": targets}
    ours = np.asarray(forward(model, params, batch))
    with torch.no_grad():
        expected = theirs(
            **attended(inputs),
            decoder_input_ids=torch.tensor(targets, dtype=torch.long),
        ).logits
    np.testing.assert_allclose(ours, expected.numpy(), rtol=0, atol=2e-5)


SMALL = {
    "v1.0": {
        "num_heads": 8,
        "d_ff": 2048,
        "num_layers": 6,
        "feed_forward_proj": "relu",
    },
    "v1.1": {
        "num_heads": 6,
        "d_ff": 1024,
        "num_layers": 8,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("version", SMALL)
def test_logits_of_the_published_small_size_are_equal(version):
    common = {**COMMON, "vocab_size": 32128, "d_model": 512, "d_kv": 64}
    values = {**common, **SMALL[version]}
    config, _ = huggingface_config.read_config(values, "config.json")
    params = random_params(config, seed=0)
    theirs = to_torch(config, params, values)
    inputs, targets = random_inputs(3, 60), random_inputs(3, 20, seed=1)
    targets[:, 0] = 0
    batch = {"encoder_input_tokens": inputs, "decoder_input_tokens": targets}
    ours = np.asarray(forward(Transformer(config), params, batch))
    with torch.no_grad():
        expected = theirs(
            **attended(inputs),
            decoder_input_ids=torch.tensor(targets, dtype=torch.long),
        ).logits
    assert expected.abs().max() > 1
    np.testing.assert_allclose(ours, expected.numpy(), rtol=0, atol=2e-4)


@pytest.mark.slow
def test_loss_and_every_gradient_are_equal(pair):
    model, params, theirs = pair
    batch = make_batch(random_examples(12), source=20, target=14)
    grads, metrics = gradients(model, params, batch, ALPHA)
    loss = torch_loss(theirs, batch)
    np.testing.assert_allclose(metrics["loss"], loss.item(), rtol=1e-5)

    own = dict(theirs.named_parameters())
    expected = dict(
        zip(own, torch.autograd.grad(loss, list(own.values())), strict=True)
    )
    flat = traverse_util.flatten_dict(jax.device_get(grads), sep="/")
    for path, (name, transposed) in huggingface_names.tensors(model.config).items():
        gradient = expected.pop(name).numpy()
        gradient = gradient.T if transposed else gradient
        # Relative to each parameter's largest entry, so that small gradients count too.
        scale = np.abs(gradient).max()
        assert scale > 1e-4, path
        np.testing.assert_allclose(
            flat[path], gradient, rtol=0, atol=2e-5 * scale, err_msg=path
        )
    assert not expected


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.slow
def test_greedy_and_beam_answers_are_equal(lively_pair, beams):
    model, params, theirs = lively_pair
    length, inputs = 14, random_inputs(200, 18)
    with torch.no_grad():
        expected = theirs.generate(
            **attended(inputs),
            num_beams=beams,
            do_sample=False,
            early_stopping=False,
            length_penalty=1.0,
            max_new_tokens=length,
            # Transformers' cache fails if the decoder is deeper than the encoder.
            use_cache=model.config.num_decoder_layers
            <= model.config.num_encoder_layers,
        )
    expected = after_start(expected, length)
    ends = expected == decoding.EOS
    lengths = np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, length + 1)
    # The answers differ, have many lengths, and some reach the limit.
    assert len(np.unique(expected, axis=0)) > 100
    assert len(np.unique(lengths)) > 8
    assert 0.3 < np.mean(lengths <= length) < 0.9
    ours = (
        decoding.greedy(model, params, inputs, length)
        if beams == 1
        else decoding.beam_search(model, params, inputs, length, num_beams=beams)
    )
    np.testing.assert_array_equal(ours.tokens, expected)


@pytest.mark.slow
def test_twenty_steps_of_adamw_have_the_same_losses(pair):
    model, params, theirs = pair
    steps, rate = 20, 3e-3
    batches = [
        make_batch(random_examples(8, seed), source=20, target=14)
        for seed in range(steps)
    ]
    ours, norms = our_curve(model, params, batches, rate)
    expected = torch_curve(copy.deepcopy(theirs), batches, rate)
    # Gradients are clipped, and the losses change enough to show an error.
    assert max(norms) > 1
    assert np.ptp(expected) > 0.4
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


def our_curve(model, params, batches, rate):
    partitioner = Partitioner(1, jax.local_devices()[:1])
    config = OptimizerConfig(learning_rate=rate)
    schedule = optimizers.make_schedule(config, len(batches))
    optimizer = optimizers.make_optimizer(config, schedule)
    params = jax.tree.map(jnp.array, params)
    now = state.TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
    train_step = step.make_train_step(model, optimizer, partitioner, ALPHA)
    losses, norms = [], []
    for batch in batches:
        now, metrics = train_step(now, batch, jax.random.key(0))
        losses.append(float(metrics["loss"]))
        norms.append(float(metrics["gradient_norm"]))
    return losses, norms


def torch_curve(theirs, batches, rate):
    optimizer = torch.optim.AdamW(
        theirs.parameters(), lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: 1 - done / len(batches)
    )
    losses = []
    for batch in batches:
        loss = torch_loss(theirs, batch)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["mt5", "umt5"])
def test_multilingual_t5_is_read_and_written(tmp_path, model_type):
    """As Transformers 5 saves it, and with the values of the published files."""
    values = {**COMMON, **KINDS["v1.1"]}
    del values["model_type"]
    config_class, model_class = CLASSES[model_type]
    torch.manual_seed(0)
    model = model_class(config_class(**values))
    model.lm_head = torch.nn.Linear(values["d_model"], VOCABULARY, bias=False)
    for name, tensor in model.named_parameters():
        if "relative_attention_bias" in name:
            tensor.data.normal_()  # zero in a new umT5
    model.eval().save_pretrained(tmp_path)
    ids = torch.tensor([[5, 6, 7, 1]])
    with torch.no_grad():
        theirs = model(input_ids=ids, decoder_input_ids=ids).logits.numpy()
    config = tmp_path / "config.json"
    saved = json.loads(config.read_text())
    assert saved["model_type"] == model_type
    for tied in (saved["tie_word_embeddings"], False):
        config.write_text(json.dumps({**saved, "tie_word_embeddings": tied}))
        reader = weights.open_checkpoint(str(tmp_path))
        student = Transformer(weights.config_of(reader))
        params = {name: reader.read(name) for name in reader.shapes()}
        params = traverse_util.unflatten_dict(params, sep="/")
        ours = student.apply({"params": params}, ids.numpy(), ids.numpy())
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    copy_folder = tmp_path / "copy"
    flat = traverse_util.flatten_dict(params, sep="/")
    writing.write_weights(copy_folder, "hf", flat, student.config)
    again = transformers.AutoModelForSeq2SeqLM.from_pretrained(copy_folder).eval()
    with torch.no_grad():
        written = again(input_ids=ids, decoder_input_ids=ids).logits.numpy()
    np.testing.assert_allclose(written, theirs, atol=1e-5)
