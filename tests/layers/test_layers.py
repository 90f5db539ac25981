"""Layers against short numpy forms of the formulas they implement."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfxlm.errors import InputError
from tfxlm.layers import (
    ACTIVATIONS,
    AllRows,
    EmbeddingTable,
    FeedForward,
    MultiHeadAttention,
    NormalWithZeroRow,
    RealRows,
    SequenceSummary,
    Table,
    TiedProjection,
    TransformerBlock,
    TransformerEmbeddings,
    TransformerEncoder,
    attention_bias,
    choose_rows,
    padding_mask,
    sinusoidal_table,
)

RNG = np.random.default_rng(0)
BATCH, LENGTH, DIM, HEADS = 3, 5, 12, 3
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]], bool)
X = RNG.normal(size=(BATCH, LENGTH, DIM)).astype(np.float32)


def randomise(layer: keras.Layer) -> keras.Layer:
    """Builds a layer and gives every weight a random value, biases and normalisations too."""
    layer.build()
    for weight in layer.weights:
        weight.assign(RNG.normal(size=weight.shape) * 0.4)
    return layer


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def dense(layer: keras.layers.Dense, x: np.ndarray) -> np.ndarray:
    return x @ np.asarray(layer.kernel) + np.asarray(layer.bias)


def norm(layer: keras.layers.LayerNormalization, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.epsilon)
    return scaled * np.asarray(layer.gamma) + np.asarray(layer.beta)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def attend(layer: MultiHeadAttention, x: np.ndarray, allowed: np.ndarray, head_mask: Any = None) -> tuple[Any, Any]:
    """Attention one row and one head at a time; `allowed` is (batch, query, key)."""
    query, key, value = (dense(projection, x) for projection in (layer.query, layer.key, layer.value))
    size = layer.head_dim
    weights = np.zeros((len(x), layer.num_heads, x.shape[1], x.shape[1]))
    context = np.zeros((len(x), x.shape[1], layer.num_heads * size))
    for row in range(len(x)):
        for head in range(layer.num_heads):
            part = slice(head * size, (head + 1) * size)
            scores = query[row, :, part] @ key[row, :, part].T / math.sqrt(size)
            weights[row, head] = softmax(np.where(allowed[row], scores, -np.inf))
            weights[row, head] *= 1 if head_mask is None else head_mask[head]
            context[row, :, part] = weights[row, head] @ value[row, :, part]
    return dense(layer.output_dense, context), weights


def allowed_keys(causal: bool) -> np.ndarray:
    allowed = np.repeat(MASK[:, None, :], LENGTH, axis=1)
    return allowed & np.tril(np.ones((LENGTH, LENGTH), bool)) if causal else allowed


@pytest.mark.parametrize("head_dim", [None, 5])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal: bool, head_dim: int | None) -> None:
    layer = randomise(MultiHeadAttention(DIM, HEADS, head_dim=head_dim))
    head_mask = np.array([1, 0, 0.5], np.float32)
    rows = AllRows(tf.constant(MASK))
    bias = attention_bias(tf.constant(MASK), causal=causal)
    for mask in (None, head_mask):
        given = None if mask is None else tf.reshape(tf.constant(mask), (1, -1, 1, 1))
        output, weights, _ = layer(rows.pack(tf.constant(X)), rows=rows, bias=bias, head_mask=given)
        expected, expected_weights = attend(layer, X, allowed_keys(causal), mask)
        np.testing.assert_allclose(weights, expected_weights, atol=2e-6)
        np.testing.assert_allclose(rows.unpack(output), expected, atol=1e-5)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_block(pre_norm: bool) -> None:
    name = "pre" if pre_norm else "post"
    block = randomise(TransformerBlock(DIM, HEADS, 20, activation=ACTIVATIONS["gelu"], norm=name, norm_epsilon=1e-3))
    rows = AllRows(tf.constant(MASK))
    output = block(rows.pack(tf.constant(X)), rows=rows, bias=attention_bias(tf.constant(MASK)))[0]

    def feed_forward(x: np.ndarray) -> np.ndarray:
        return dense(block.feed_forward.output_dense, gelu(dense(block.feed_forward.intermediate, x)))

    def attention(x: np.ndarray) -> np.ndarray:
        return attend(block.attention, x, allowed_keys(False))[0]

    if pre_norm:
        x = X + attention(norm(block.attention_norm, X))
        expected = x + feed_forward(norm(block.feed_forward_norm, x))
    else:
        x = norm(block.attention_norm, X + attention(X))
        expected = norm(block.feed_forward_norm, x + feed_forward(x))
    np.testing.assert_allclose(rows.unpack(output), expected, atol=3e-5)


def test_feed_forward_with_relu() -> None:
    layer = randomise(FeedForward(DIM, 7, activation=ACTIVATIONS["relu"]))
    expected = dense(layer.output_dense, np.maximum(dense(layer.intermediate, X[0]), 0))
    np.testing.assert_allclose(layer(X[0]), expected, atol=1e-5)


def test_encoder_returns_what_it_passed_through() -> None:
    encoder = randomise(TransformerEncoder(2, DIM, [3, 1], inner_dim=8, activation="relu", norm="pre", final_norm=True))
    rows = RealRows(tf.constant(MASK))
    x, states, attentions, cross_attentions, _ = encoder(
        rows.pack(tf.constant(X)), rows=rows, bias=attention_bias(tf.constant(MASK)),
        output_hidden_states=True, output_attentions=True,
    )  # fmt: skip
    assert [weights.shape[1] for weights in attentions] == [3, 1]
    assert len(states) == 3 and cross_attentions is None
    np.testing.assert_array_equal(states[0], np.where(MASK[:, :, None], X, 0))
    np.testing.assert_array_equal(states[-1], rows.reveal(x))
    encoder.final_norm.gamma.assign(np.zeros(DIM))
    normalised = encoder(rows.pack(tf.constant(X)), rows=rows)[0]
    np.testing.assert_array_equal(normalised, np.broadcast_to(encoder.final_norm.beta, normalised.shape))
    assert encoder(rows.pack(tf.constant(X)), rows=rows)[1:] == (None, None, None, None)


def test_encoder_head_mask_for_one_layer_or_all() -> None:
    encoder = randomise(TransformerEncoder(2, DIM, HEADS, inner_dim=8, activation="relu"))
    rows = AllRows(tf.constant(MASK))
    x = rows.pack(tf.constant(X))
    same = encoder(x, rows=rows, head_mask=tf.constant([1.0, 0.0, 1.0]))[0]
    both = encoder(x, rows=rows, head_mask=tf.constant([[1.0, 0.0, 1.0]] * 2))[0]
    np.testing.assert_array_equal(same, both)
    given = tf.constant([[1.0, 1, 1], [1, 0, 1]])
    weights = encoder(x, rows=rows, head_mask=given, output_attentions=True).attentions
    assert np.all(weights[1][:, 1] == 0) and np.all(np.asarray(weights[0]).sum(-1) > 0.99)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("causal", [False, True])
def test_masked_keys_have_no_weight_and_masked_rows_stay_finite(dtype: str, causal: bool) -> None:
    mask = np.concatenate([MASK, np.zeros((1, LENGTH), bool)])
    layer = MultiHeadAttention(DIM, HEADS, dtype=keras.DTypePolicy(f"mixed_{dtype}" if dtype != "float32" else dtype))
    randomise(layer)
    rows = AllRows(tf.constant(mask))
    x = tf.cast(rows.pack(tf.constant(RNG.normal(size=(4, LENGTH, DIM)) * 5)), dtype)
    output, weights, _ = layer(x, rows=rows, bias=attention_bias(tf.constant(mask), causal=causal))
    assert weights.dtype == dtype
    weights = np.asarray(weights, np.float32)
    assert np.all(np.isfinite(weights)) and np.all(np.isfinite(np.asarray(output, np.float32)))
    assert np.all(np.moveaxis(weights[:3], -1, 1)[~mask[:3]] == 0)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=0.01)


def test_padding_mask_takes_the_first_that_is_given() -> None:
    ids = np.array([[4, 0, 2, 2], [4, 2, 4, 4]])
    mask, lengths = np.array([[1, 0, 1, 1], [2, 1, 0, 0]]), np.array([1, 4])
    given: dict[str, Any] = {"attention_mask": mask, "lengths": lengths, "input_ids": ids, "pad_token_id": 2}
    expected = [mask != 0, np.arange(4) < lengths[:, None], ids != 2, np.ones((2, 4), bool)]
    for name, answer in zip(("attention_mask", "lengths", "input_ids", None), expected, strict=True):
        np.testing.assert_array_equal(padding_mask(2, 4, **given), answer)
        given.pop(name, None)


@pytest.mark.parametrize("mask", [MASK, ~MASK, np.zeros_like(MASK), np.ones_like(MASK)])
def test_real_rows(mask: np.ndarray) -> None:
    rows = RealRows(tf.constant(mask))
    packed = rows.pack(tf.constant(X))
    # The first position is a row even where it is padding; `unpack` leaves padding undefined, `reveal` makes it zero.
    kept = mask | (np.arange(mask.size).reshape(mask.shape) == 0)
    np.testing.assert_array_equal(packed, X[kept])
    np.testing.assert_array_equal(rows.pack(tf.constant(X[..., 0])), X[..., 0][kept])
    np.testing.assert_array_equal(np.asarray(rows.unpack(packed))[mask], X[mask])
    np.testing.assert_array_equal(rows.reveal(packed), AllRows(tf.constant(mask)).reveal(tf.reshape(X, (-1, DIM))))


@pytest.mark.parametrize("norm_kind", ["post", "pre"])
@pytest.mark.parametrize("real", [MASK, ~MASK, np.zeros_like(MASK)], ids=["right", "left", "nothing"])
def test_padding_removal_changes_neither_answers_nor_gradients(norm_kind: str, real: np.ndarray) -> None:
    encoder = randomise(TransformerEncoder(2, DIM, HEADS, inner_dim=8, activation=ACTIVATIONS["gelu"], norm=norm_kind))
    x, mask, target = tf.constant(X), tf.constant(real), tf.constant(RNG.normal(size=X.shape).astype(np.float32))
    answers = []
    for remove in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(x)
            rows = choose_rows(mask, remove_padding=remove)
            output = rows.reveal(encoder(rows.pack(x), rows=rows, bias=attention_bias(mask))[0])
            loss = tf.reduce_mean(output * target)
        answers.append((output, tape.gradient(loss, [x, *[v.value for v in encoder.trainable_variables]])))
    assert type(choose_rows(mask, remove_padding=True)) is RealRows
    assert type(choose_rows(mask, remove_padding=False)) is AllRows
    np.testing.assert_allclose(answers[0][0], answers[1][0], atol=1e-5)
    for removed, kept in zip(answers[0][1], answers[1][1], strict=True):
        np.testing.assert_allclose(removed, kept, atol=1e-6)


def test_padding_stays_where_the_number_of_rows_must_be_known() -> None:
    kinds = []

    @tf.function(jit_compile=True)
    def compiled(mask: Any) -> Any:
        kinds.append(type(choose_rows(mask, remove_padding=True)))
        return mask

    @tf.function
    def graph(mask: Any) -> Any:
        kinds.append(type(choose_rows(mask, remove_padding=True)))
        return mask

    compiled(tf.constant(MASK))
    graph(tf.constant(MASK))
    assert kinds == [AllRows, RealRows]


SUMMARY_MASK = tf.constant(MASK)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("first", X[:, 0]),
        ("last", np.stack([X[0, 2], X[1, 4], X[2, 0]])),
        ("mean", np.stack([X[0, :3].mean(0), X[1].mean(0), X[2, 0]])),
        ("cls_index", np.stack([X[0, 2], X[1, 4], X[2, 0]])),
    ],
)
def test_summary_reads_real_positions(kind: str, expected: np.ndarray) -> None:
    plain = SequenceSummary(DIM, kind=kind)
    np.testing.assert_allclose(plain(tf.constant(X), SUMMARY_MASK), expected, atol=1e-6)
    longer = np.concatenate([X, RNG.normal(size=(BATCH, 2, DIM)).astype(np.float32)], axis=1)
    longer_mask = np.concatenate([MASK, np.zeros((BATCH, 2), bool)], axis=1)
    np.testing.assert_allclose(plain(tf.constant(longer), tf.constant(longer_mask)), expected, atol=1e-6)
    projected = randomise(SequenceSummary(DIM, kind=kind, projection_dim=4, activation="tanh"))
    np.testing.assert_allclose(
        projected(tf.constant(X), SUMMARY_MASK), np.tanh(dense(projected.summary, expected)), atol=1e-5
    )


@pytest.mark.parametrize(
    ("kind", "expected"), [("last", X[:, -1]), ("mean", X.mean(1)), ("cls_index", X[:, -1]), ("first", X[:, 0])]
)
def test_summary_over_padding(kind: str, expected: np.ndarray) -> None:
    layer = SequenceSummary(DIM, kind=kind, over_padding=True)
    np.testing.assert_allclose(layer(tf.constant(X), SUMMARY_MASK), expected, atol=1e-6)


def test_first_real_position() -> None:
    mask = np.array([[0, 0, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)
    expected = np.stack([X[0, 2], X[1, 0], X[2, 0]])
    np.testing.assert_array_equal(SequenceSummary(DIM, kind="first")(tf.constant(X), tf.constant(mask)), expected)
    over = SequenceSummary(DIM, kind="first", over_padding=True)
    np.testing.assert_array_equal(over(tf.constant(X), tf.constant(mask)), X[:, 0])


@pytest.mark.parametrize("kind", ["first", "last", "mean", "cls_index"])
def test_summary_with_leading_axes_and_of_no_rows(kind: str) -> None:
    layer = SequenceSummary(DIM, kind=kind)
    answer = layer(tf.constant(X[None]), SUMMARY_MASK[None])
    np.testing.assert_array_equal(answer[0], layer(tf.constant(X), SUMMARY_MASK))
    assert layer(tf.constant(X[:0]), SUMMARY_MASK[:0]).shape == (0, DIM)


def test_mean_of_a_long_half_precision_sequence() -> None:
    ones = tf.fill((1, 4000, 2), tf.constant(30.0, "float16"))
    answer = SequenceSummary(2, kind="mean", dtype="float16")(ones, tf.ones((1, 4000), bool))
    np.testing.assert_array_equal(answer, [[30, 30]])


def test_summary_of_nothing_is_finite() -> None:
    for kind in ("mean", "last", "first"):
        answer = SequenceSummary(DIM, kind=kind)(tf.constant(X[:1]), tf.zeros((1, LENGTH), bool))
        assert np.all(np.isfinite(answer))


@pytest.mark.parametrize("num_rows", [1, 255, 256, 300])
def test_tied_projection(num_rows: int) -> None:
    layer = randomise(TiedProjection(11))
    table, x = RNG.normal(size=(11, DIM)).astype(np.float32), RNG.normal(size=(num_rows, 1, DIM)).astype(np.float32)
    expected = x @ table.T + np.asarray(layer.bias)
    np.testing.assert_allclose(layer(tf.constant(x), tf.constant(table)), expected, atol=1e-5)
    dynamic = tf.function(lambda x: layer(x, tf.constant(table)), input_signature=[tf.TensorSpec([None, None, DIM])])
    np.testing.assert_allclose(dynamic(x), expected, atol=1e-5)


@pytest.mark.parametrize(("positions", "dim"), [(6, 8), (7, 5)])
def test_sinusoidal_table(positions: int, dim: int) -> None:
    table = sinusoidal_table(positions, dim)
    for position in range(positions):
        for column in range(dim):
            angle = position / 10000 ** (2 * (column // 2) / dim)
            expected = math.sin(angle) if column % 2 == 0 else math.cos(angle)
            assert table[position, column] == pytest.approx(expected, abs=1e-7)


def test_initializers() -> None:
    values = np.asarray(NormalWithZeroRow(0.5, row=3)((200, 16)))
    assert np.all(values[3] == 0) and np.all(values[[0, 1, 2, 4]] != 0)
    assert np.delete(values, 3, axis=0).std() == pytest.approx(0.5, rel=0.1)
    again = NormalWithZeroRow.from_config(NormalWithZeroRow(0.5, row=3).get_config())
    assert (again.stddev, again.row) == (0.5, 3)
    table = Table(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(Table.from_config(table.get_config())((2, 3), "float32"), [[0, 1, 2], [3, 4, 5]])


TABLES = {
    "word": EmbeddingTable(7, "input_ids must be below 7."),
    "lang": EmbeddingTable(3, "langs must be below 3."),
}


def test_embeddings() -> None:
    layer = randomise(TransformerEmbeddings(DIM, TABLES, norm_epsilon=1e-3))
    words, langs = np.array([1, 6, 0, 1]), np.array([2, 2, 0, 1])
    word, lang = (np.asarray(layer.tables[name].embeddings) for name in ("word", "lang"))
    np.testing.assert_allclose(layer(words, {}), norm(layer.norm, word[words]), atol=1e-5)
    both = layer(words, {"lang": langs, "word": langs})
    np.testing.assert_allclose(both, norm(layer.norm, word[words] + lang[langs] + word[langs]), atol=1e-5)
    given = X[0, :4]
    np.testing.assert_allclose(layer(given, {"lang": langs}), norm(layer.norm, given + lang[langs]), atol=1e-5)
    plain = randomise(TransformerEmbeddings(DIM, TABLES, norm=False))
    np.testing.assert_array_equal(plain(words, {}), np.asarray(plain.tables["word"].embeddings)[words])


def test_gradient_of_a_row_used_twice_is_one_sum() -> None:
    layer = randomise(TransformerEmbeddings(DIM, TABLES, norm=False))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.constant([1, 1, 5]), {"lang": tf.constant([2, 2, 2])}))
    gradients = tape.gradient(loss, [layer.tables[name].embeddings.value for name in ("word", "lang")])
    # Slices would be squared one by one by Adam.
    assert not any(isinstance(gradient, tf.IndexedSlices) for gradient in gradients)
    np.testing.assert_array_equal(gradients[0][:, 0], [0, 2, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(gradients[1][:, 0], [0, 0, 3])


@pytest.mark.parametrize("ids", [[0, 7], [-1, 2]])
def test_ids_out_of_range(ids: list[int]) -> None:
    layer = randomise(TransformerEmbeddings(DIM, TABLES))
    with pytest.raises(InputError, match=r"input_ids must be below 7\. Found values from (0 to 7|-1 to 2)"):
        layer(np.array(ids), {})
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"input_ids must be below 7\."):
        tf.function(lambda words: layer(words, {}))(tf.constant(ids))


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("remove_padding", [False, True])
def test_chosen_positions_are_those_of_all(norm: str, causal: bool, remove_padding: bool) -> None:
    encoder = TransformerEncoder(2, DIM, 2, inner_dim=16, activation="gelu", norm=norm, final_norm=norm == "pre")
    encoder.build()
    mask, x = tf.constant(MASK), tf.constant(X)
    positions = tf.constant(RNG.integers(0, LENGTH, (X.shape[0], 3)), tf.int32)
    positions = tf.concat([positions, positions[:, :1]], axis=1)  # one of them twice
    results = []
    # Asked for all states, the encoder cannot leave anything out.
    for ask in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(x)
            rows = choose_rows(mask, remove_padding=remove_padding)
            chosen = rows.choose(positions)
            options = {"bias": attention_bias(mask, causal=causal), "chosen": chosen, "output_hidden_states": ask}
            states = chosen.reveal(encoder(rows.pack(x), rows=rows, **options)[0])
            loss = tf.reduce_sum(states**2)
        results.append([states, *tape.gradient(loss, [x, *encoder.trainable_weights])])
    for ours, full in zip(*results, strict=True):
        np.testing.assert_allclose(ours, full, atol=2e-5)
    output = encoder(rows.pack(x), rows=rows, bias=attention_bias(mask, causal=causal)).x
    expected = np.take_along_axis(np.asarray(rows.reveal(output)), positions.numpy()[:, :, None], axis=1)
    np.testing.assert_allclose(results[0][0], expected, atol=2e-5)
