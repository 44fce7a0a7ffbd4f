import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dsbs_jax.student import decoding, label_scoring
from support.students import forward, make_batch, make_student

# Few token ids, so that labels have common prefixes and begin each other.
bodies = st.lists(st.integers(2, 5), max_size=4).map(tuple)
label_sets = st.lists(bodies, min_size=1, max_size=12, unique=True)
sources = st.lists(st.integers(2, 11), min_size=1, max_size=7)
SMALL = {"vocab_size": 12, "num_encoder_layers": 1, "num_decoder_layers": 1}


def with_end(labels):
    return [(*body, decoding.EOS) for body in labels]


def teacher_forced(model, params, inputs, labels):
    """Scores each label alone, with the forward pass of training: [B, A]."""
    columns = []
    for label in labels:
        batch = make_batch([(source, label, 1) for source in inputs])
        logits = forward(model, params, batch)
        log_probs = np.asarray(jax.nn.log_softmax(logits))
        columns.append(
            sum(log_probs[:, t, token] for t, token in enumerate(label)).tolist()
        )
    return np.asarray(columns).T


def score(model, params, inputs, labels, nodes=None):
    """Scores labels together; `nodes` limits the nodes of a chunk's tree."""
    tokens = make_batch([(source, [1], 1) for source in inputs])["encoder_input_tokens"]
    batch = len(inputs)
    if nodes is not None:
        # The batch whose limit is that many nodes.
        batch = label_scoring.LOGIT_BYTES // (4 * model.config.vocab_size * nodes)
    trees = label_scoring.make_trees(labels, model.config, batch)
    return trees, np.asarray(label_scoring.score_labels(model, params, tokens, trees))


@pytest.fixture(scope="module", params=["t5_1_0", "t5_1_1", "umt5"])
def small(request):
    return make_student(request.param, **SMALL)


@settings(max_examples=15, deadline=None)
@given(label_sets, st.lists(sources, min_size=3, max_size=3), st.integers(1, 12))
@example([()], [[2], [3], [4, 5]], 1)
@example([(2,), (2, 3), (2, 3, 4), (5,)], [[2], [3, 3], [11] * 7], 3)
@pytest.mark.slow
def test_scores_equal_teacher_forcing_of_each_label(small, bodies, inputs, nodes):
    model, params = small
    labels = with_end(bodies)
    inputs = [[*source, 1] for source in inputs]
    _, scores = score(model, params, inputs, labels, nodes)
    expected = teacher_forced(model, params, inputs, labels)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-5)
    # The best label is the one that an exhaustive search finds.
    chosen = expected[np.arange(len(inputs)), scores.argmax(axis=1)]
    np.testing.assert_allclose(chosen, expected.max(axis=1), rtol=0, atol=2e-5)


@pytest.mark.parametrize("changes", [{"scan": True}, {"remat": True}])
@pytest.mark.slow
def test_scores_do_not_depend_on_how_layers_are_computed(changes):
    labels = with_end([(2, 3, 4), (2, 3), (7,), (9, 9, 9, 9)])
    inputs = [[5, 6, 7, 1], [8, 1]]
    model, params = make_student()
    expected = score(model, params, inputs, labels)[1]
    model, _ = make_student(**changes)
    scores = score(model, params, inputs, labels)[1]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_positions_beyond_the_exact_buckets_keep_their_distances():
    """Labels of 40 tokens reach the buckets that several distances share."""
    model, params = make_student(**SMALL)
    rng = np.random.default_rng(0)
    common = tuple(rng.integers(2, 12, 30))
    labels = with_end(common + tuple(rng.integers(2, 12, 10)) for _ in range(3))
    inputs = [[5, 6, 7, 1]]
    trees, scores = score(model, params, inputs, labels)
    assert trees.tokens.shape == (1, 31 + 3 * 10)
    batch = make_batch([(inputs[0], label, 1) for label in labels], target=41)
    log_probs = jax.nn.log_softmax(forward(model, params, batch))
    targets = batch["decoder_target_tokens"][..., None]
    expected = np.take_along_axis(log_probs, targets, axis=-1).sum(axis=(1, 2))
    np.testing.assert_allclose(scores[0], expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_bfloat16_scores_are_close():
    labels = with_end([(2, 3, 4), (2, 3), (7,)])
    inputs = [[5, 6, 7, 1], [8, 1]]
    model, params = make_student()
    expected = score(model, params, inputs, labels)[1]
    model, _ = make_student(precision="bfloat16")
    scores = score(model, params, inputs, labels)[1]
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=0.05)


@pytest.mark.slow
def test_label_of_the_end_token_alone_has_its_probability():
    model, params = make_student(**SMALL)
    trees, scores = score(model, params, [[5, 1]], [(1,)])
    assert trees.tokens.shape == (1, 1)
    first = teacher_forced(model, params, [[5, 1]], [(token,) for token in range(12)])
    np.testing.assert_allclose(np.exp(first).sum(), 1.0, atol=1e-5)
    np.testing.assert_allclose(scores[0, 0], first[0, 1], atol=1e-5)


def test_common_prefixes_are_computed_once():
    labels = [(5, 9, 1), (5, 7, 1), (8, 1)]
    config = make_student(vocab_size=48)[0].config
    trees = label_scoring.make_trees(labels, config, batch_size=4)
    assert trees.tokens.tolist() == [[0, 5, 7, 9, 8]]
    assert trees.nodes.tolist() == [[[0, 1, 2], [0, 1, 3], [0, 4, 0]]]
    assert trees.targets.tolist() == [[[5, 7, 1], [5, 9, 1], [8, 1, 0]]]
    assert trees.places.tolist() == [1, 0, 2]
    # "5 9" attends to itself and to the prefixes () and "5".
    assert trees.ancestors[0, 3].tolist() == [True, True, False, True, False]


@pytest.mark.parametrize("batch_size", [1, 64, 4096])
def test_chunks_have_balanced_sizes_within_the_limit(batch_size):
    config = make_student(vocab_size=32128)[0].config
    rng = np.random.default_rng(0)
    labels = {(*rng.integers(2, 300, 4), 1) for _ in range(100)}
    trees = label_scoring.make_trees(sorted(labels), config, batch_size)
    chunks, nodes = trees.tokens.shape
    if nodes > 5:
        assert 4 * batch_size * nodes * 32128 <= label_scoring.LOGIT_BYTES
    # Sets with more nodes than a chunk are split, with little padding.
    used = len({label[:n] for label in labels for n in range(5)})
    assert chunks * nodes < 1.5 * used + 5 * chunks
    assert sorted(trees.places) == sorted(set(trees.places))
