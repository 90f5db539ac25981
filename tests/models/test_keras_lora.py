"""LoRA in every class: what learns, what outputs become, files, and checkpoints with the sum."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.models.cases import BY_NAME, LANGUAGE_MODELS, Case
from tests.models.test_keras_fit import plain
from tests.models.test_keras_saving import assert_same, fit
from tfxlm.errors import InputError
from tfxlm.layers import Dense, Embedding
from tfxlm.models.layer_states import quick_replacement

RANK = 2


def adaptable(model: Any) -> list[Any]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, Dense | Embedding)]


def adapted(case: Case) -> Any:
    """Compiled, with LoRA in every dense layer and table."""
    model = case.model()
    for layer in adaptable(model):
        layer.enable_lora(RANK)
    return case.compiled(keras.optimizers.SGD(0.1, momentum=0.9), model=model, run_eagerly=case.is_eager)


def assert_close(left: Any, right: Any) -> None:
    for name, value in left.items():
        np.testing.assert_allclose(value, right[name], rtol=1e-5, atol=1e-5)


def test_every_layer(case: Case, tmp_path: Path) -> None:
    """LoRA changes nothing at first, learns alone, and goes on from files as if there had been none."""
    inputs, _ = case.data()
    plain_model, model = case.model(), adapted(case)
    assert_close(model(inputs), plain_model(inputs))
    fixed = {weight.path: weight.numpy() for weight in model.weights if weight.name in ("kernel", "embeddings")}
    assert len(fixed) == len(adaptable(model))
    trainable = {weight.path for weight in model.trainable_weights}
    assert not trainable & set(fixed)
    assert sum("/lora_" in path for path in trainable) == 2 * len(fixed)
    losses = fit(case, model, 3)
    assert losses[-1] < losses[0]
    for weight in model.weights:
        assert weight.path not in fixed or np.array_equal(weight, fixed[weight.path])
    outputs = model(inputs)
    # Keras's files.
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(again, model)
    merged = case.model()
    merged.load_weights(tmp_path / "model.weights.h5")
    assert_close(merged(inputs), outputs)
    assert fit(case, again, 1) == fit(case, model, 1)
    assert_same(again, model)
    # Checkpoints have no place for two weights.
    model.save_pretrained(tmp_path)
    assert_close(type(model).from_pretrained(tmp_path, **case.options)(inputs), model(inputs))


def test_backbones(case: Case) -> None:
    """What `enable_lora` of a model leaves to learn: LoRA, the biases beside it, and the head."""
    model = case.model()
    model.enable_lora(RANK, lora_alpha=4)
    body = model.base_model.trainable_weights
    assert {weight.name for weight in body} == {"lora_kernel_a", "lora_kernel_b", "bias"}
    assert {weight.path.split("/")[-2] for weight in body} == {"query", "value"}
    head = [weight for weight in model.weights if f"/{model.base_model_prefix}/" not in weight.path]
    assert len(model.trainable_weights) == len(body) + len(head)
    assert model.num_parameters(only_trainable=True) == 2 * (2 * 16 * RANK + 16) + sum(
        int(np.prod(weight.shape)) for weight in head
    )
    inputs, labels = case.data()
    case.compiled(keras.optimizers.SGD(0.1), model=model, run_eagerly=case.is_eager)
    losses = [model.train_on_batch(inputs, plain(labels)) for _ in range(3)]
    assert losses[-1] < losses[0]


def test_lora_in_a_model_that_was_trained() -> None:
    """Graphs and the optimizer from before know nothing of new weights, and would go on with those that are frozen."""
    case = BY_NAME["TFXLMForTokenClassification"]
    inputs, _ = case.data()
    model = case.compiled(keras.optimizers.Adam(1e-2))
    fit(case, model, 1)
    model.predict(inputs, verbose=0)
    with pytest.warns(UserWarning, match=r"new variables, which its optimizer does not know. Call compile\(\) again"):
        model.enable_lora(RANK)
    before = {weight.path: weight.numpy() for weight in model.weights}
    with pytest.raises(ValueError, match=r"You must call `compile\(\)`"):
        fit(case, model, 1)
    losses = fit(case, case.compiled(keras.optimizers.Adam(1e-2), model=model), 3)
    assert losses[-1] < losses[0]
    learning = {weight.path for weight in model.trainable_weights}
    assert sum(path.endswith("/lora_kernel_b") for path in learning) == 2
    for weight in model.weights:
        assert np.array_equal(weight, before[weight.path]) == (weight.path not in learning), weight.path
    assert_close(model.predict(inputs, verbose=0), model(inputs))


def test_no_such_layer() -> None:
    with pytest.raises(InputError, match=r"No layer's path contains 'q_proj'\. The layers that take LoRA are: .*query"):
        BY_NAME["TFXLMModel"].model().enable_lora(RANK, layers="q_proj")


@pytest.mark.parametrize("case", LANGUAGE_MODELS, ids=str)
def test_the_tied_table_has_lora_at_both_ends(case: Case) -> None:
    """The output layer multiplies with the table that the words are looked up in, LoRA included."""
    model, merged = case.model(), case.model()
    table = model.get_input_embeddings()
    table.enable_lora(RANK, lora_alpha=3)
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(37, RANK)), rng.normal(size=(RANK, 16))
    table.lora_embeddings_a.assign(factors[0])
    table.lora_embeddings_b.assign(factors[1])
    weight = merged.get_input_embeddings().embeddings
    weight.assign(weight + 1.5 * (factors[0] @ factors[1]))
    inputs, labels = case.data()
    assert_close(model(inputs | labels), merged(inputs | labels))


def test_weights_of_layers_with_lora() -> None:
    """A layer without LoRA takes up the sum; one that is quantized cannot."""
    layers = [Dense(3, name="dense") for _ in range(3)]
    for layer in layers:
        layer.build((None, 4))
    adapted, merged, quantized = layers
    adapted.enable_lora(RANK, lora_alpha=4, b_initializer="ones")
    store: dict[str, Any] = {}
    adapted.save_own_variables(store)
    merged.load_own_variables(store)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(merged(x), adapted(x), rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(merged.kernel) - np.asarray(store["0"])).max() > 0.1
    with quick_replacement():
        quantized.quantize("int8")
    with pytest.raises(InputError, match=r"has LoRA weights for dense, which is quantized .* layer.enable_lora\(2\)"):
        quantized.load_own_variables(store | {"2": np.ones(3)})


def test_what_an_application_has_frozen_stays_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with quick_replacement():
            pass
        assert frozen > 0 and gc.get_freeze_count() > frozen // 2  # some of it may have ended meanwhile
    finally:
        gc.unfreeze()
