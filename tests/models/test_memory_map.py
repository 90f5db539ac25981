"""Models whose variables are the memory map of their checkpoint."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchmarks.measure import mapped_memory
from tests.checkpoints.arrays import shifted
from tests.models.battery import perturb, random_inputs
from tests.models.families import XLM
from tests.models.test_loading import same_weights
from tfxlm import (
    TFXLMForQuestionAnswering,
    TFXLMForSequenceClassification,
    TFXLMModel,
    TFXLMRobertaForTokenClassification,
    TFXLMRobertaXLForMaskedLM,
    TFXLMWithLMHeadModel,
    XLMRobertaConfig,
    XLMRobertaXLConfig,
    convert_checkpoint,
    export_model,
)
from tfxlm.checkpoints import Lazy, write_checkpoint
from tfxlm.errors import ArgumentError, CorruptFileError, InputError, WeightMismatchError
from tfxlm.models.loading import weights_by_path

SHAPE: dict[str, Any] = {
    "vocab_size": 48, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 20, "num_labels": 3,
}  # fmt: skip
CASES = [
    (TFXLMModel, XLM.config),
    (TFXLMWithLMHeadModel, XLM.config),
    (TFXLMWithLMHeadModel, XLM.config.replace(asm=True, asm_cutoffs=[10, 20])),
    (TFXLMForQuestionAnswering, XLM.config.replace(num_labels=2)),
    (TFXLMRobertaForTokenClassification, XLMRobertaConfig(**SHAPE)),
    (TFXLMRobertaXLForMaskedLM, XLMRobertaXLConfig(**SHAPE)),
]


def outputs_of(model: Any) -> dict[str, np.ndarray]:
    inputs = random_inputs(model.config)
    return {name: np.asarray(value) for name, value in model(inputs).items() if not isinstance(value, tuple)}


def assert_same_answers(left: Any, right: Any) -> None:
    expected, found = outputs_of(left), outputs_of(right)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert np.abs(found[name] - value).max() <= 1e-6 * max(1, np.abs(value).max()), name


@pytest.fixture(scope="module")
def folder(classifier: TFXLMForSequenceClassification, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    classifier.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def mapped(folder: Path) -> TFXLMForSequenceClassification:
    return TFXLMForSequenceClassification.from_pretrained(folder, memory_map=True)


@pytest.mark.parametrize(("cls", "config"), CASES)
def test_answers_are_those_of_a_loaded_model(cls: Any, config: Any, tmp_path: Path) -> None:
    model = perturb(cls(config))
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    mapped, report = cls.from_pretrained(tmp_path, memory_map=True, output_loading_info=True)
    assert mapped.is_memory_mapped and not mapped.trainable_variables
    assert_same_answers(model, mapped)
    # All weights of this size have sizes that keep the next aligned, or are small.
    assert report.copied_bytes < 2000
    mapped.save_pretrained(tmp_path / "again")
    assert same_weights(cls.from_pretrained(tmp_path / "again"), model)


def test_graphs(folder: Path, classifier: Any) -> None:
    mapped = TFXLMForSequenceClassification.from_pretrained(folder, memory_map=True)
    inputs = random_inputs(classifier.config)
    expected, found = (model.predict(inputs, verbose=0)["logits"] for model in (classifier, mapped))
    assert np.abs(expected - found).max() <= 1e-5
    mapped.compile(metrics=["accuracy"])
    assert np.isfinite(mapped.evaluate(inputs, np.array([0, 1, 2]), verbose=0)[0])


def test_kernels_are_the_files_memory(folder: Path) -> None:
    # Written to from outside, where nobody should: the only way to see that nothing was copied.
    mapped, report = TFXLMForSequenceClassification.from_pretrained(folder, memory_map=True, output_loading_info=True)
    assert report.loaded > 20 and len(report.copied) <= 2
    kernel = weights_by_path(mapped)["transformer/encoder/block_0/attention/query/kernel"]
    tensors = load_file(folder / "model.safetensors")
    assert np.array_equal(kernel.numpy(), tensors["transformer.attentions.0.q_lin.weight"])
    data = bytearray((folder / "model.safetensors").read_bytes())
    at = data.index(kernel.numpy().tobytes())
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(at)
        file.write(np.float32(7).tobytes())
    try:
        assert kernel.numpy()[0, 0] == 7
    finally:
        (folder / "model.safetensors").write_bytes(data)


def test_the_map_lives_as_long_as_the_model(folder: Path, classifier: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    mapped = TFXLMForSequenceClassification.from_pretrained(copy, memory_map=True)
    gc.collect()
    assert_same_answers(classifier, mapped)
    mapped.save_pretrained(copy)  # takes the place of the file that it maps
    (copy / "model.safetensors").unlink()
    assert_same_answers(classifier, mapped)


def test_files_that_are_not_aligned_are_copied(
    folder: Path, classifier: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    shifted(tmp_path / "old", load_file(folder / "model.safetensors"))
    (tmp_path / "old" / "config.json").write_bytes((folder / "config.json").read_bytes())
    load = TFXLMForSequenceClassification.from_pretrained
    with caplog.at_level(logging.WARNING, logger="tfxlm"):
        mapped, report = load(tmp_path / "old", memory_map=True, output_loading_info=True)
    assert "not multiples of 64 bytes" in caplog.text and "tfxlm.convert_checkpoint(folder, new_folder)" in caplog.text
    assert report.copied_bytes > 10_000 and "transformer.attentions.0.q_lin.weight" in report.copied
    assert f"copied instead of mapped, {report.copied_bytes} bytes in all" in str(report)
    assert_same_answers(classifier, mapped)
    convert_checkpoint(tmp_path / "old", tmp_path / "new")
    caplog.clear()
    mapped, report = load(tmp_path / "new", memory_map=True, output_loading_info=True)
    assert report.copied_bytes < 100 and not caplog.records
    assert_same_answers(classifier, mapped)


def test_a_half_dtype(folder: Path, tmp_path: Path) -> None:
    convert_checkpoint(folder, tmp_path / "new", dtype="bfloat16")
    load = TFXLMForSequenceClassification.from_pretrained
    loaded, mapped = (load(tmp_path / "new", dtype="bfloat16", memory_map=mapped) for mapped in (False, True))
    expected, found = (model(random_inputs(model.config)).logits for model in (loaded, mapped))
    assert found.dtype == "bfloat16"
    assert np.abs(np.asarray(found).astype("f4") - np.asarray(expected).astype("f4")).max() < 0.05
    assert weights_by_path(mapped)["transformer/embeddings/word/embeddings"].numpy().dtype == ml_dtypes.bfloat16
    for dtype in ("float32", "mixed_bfloat16", None):
        message = r'has bfloat16, and the model would have float32\. Load with dtype="bfloat16", or .*convert_checkp'
        with pytest.raises(ArgumentError, match=message):
            load(tmp_path / "new", dtype=dtype, memory_map=True)
    assert load(tmp_path / "new", dtype="auto", memory_map=True).dtype == "bfloat16"
    # The files are those of the variables, whatever is computed with.
    assert (
        load(folder, dtype="mixed_bfloat16", memory_map=True)(random_inputs(loaded.config)).logits.dtype == "bfloat16"
    )


def test_tensors_of_another_dtype_are_copied(folder: Path, classifier: Any, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = "transformer.layer_norm1.0.weight"
    tensors[name] = tensors[name].astype(np.float64)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    mapped, report = TFXLMForSequenceClassification.from_pretrained(tmp_path, memory_map=True, output_loading_info=True)
    assert name in report.copied
    assert_same_answers(classifier, mapped)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda model: (model.compile("sgd"), model.fit(random_inputs(model.config), np.zeros(3))), "be trained"),
        (lambda model: (model.compile("sgd"), model.train_on_batch({}, None)), "be trained"),
        (lambda model: model.quantize("int8"), "be quantized"),
        (lambda model: model.enable_lora(2), "get LoRA weights"),
        (lambda model: model.load_weights("some.weights.h5"), "take other weights"),
        (lambda model: model.set_weights(model.get_weights()), "take other weights"),
    ],
)
def test_what_needs_variables_that_change(folder: Path, change: Any, what: str) -> None:
    model = TFXLMForSequenceClassification.from_pretrained(folder, memory_map=True)
    message = rf"is a memory map of its checkpoint, which cannot {what}\. Load it without memory_map=True"
    with pytest.raises(InputError, match=message):
        change(model)
    assert not model.trainable_variables and all(layer.quantization_mode is None for layer in model._flatten_layers())


def test_what_single_layers_refuse(mapped: Any) -> None:
    layer = mapped.transformer.encoder.blocks[0].attention.query
    for change, what in ((lambda: layer.quantize("int8"), "be quantized"), (lambda: layer.enable_lora(2), "get LoRA")):
        with pytest.raises(InputError, match=rf"attention/query cannot {what}.*: its kernel is the memory of a file"):
            change()
    with pytest.raises(InputError, match=r"cannot take other weights: its kernel is the memory of a file"):
        layer.load_own_variables({})
    with pytest.raises(InputError, match=r"cannot be changed: its kernel is the memory of a file"):
        mapped.prune_heads({0: [0]})


def test_a_file_of_keras_holds_a_model_like_others(mapped: Any, classifier: Any, tmp_path: Path) -> None:
    mapped.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    assert same_weights(model, classifier)
    assert len(model.trainable_variables) == len(classifier.trainable_variables) and not model.is_memory_mapped


def test_export(mapped: Any, tmp_path: Path) -> None:
    # Which compares the answers of the export with those of the model.
    version = export_model(mapped, None, tmp_path / "served")
    assert (version / "saved_model.pb").is_file()


def test_words_can_be_added(folder: Path) -> None:
    model = TFXLMForSequenceClassification.from_pretrained(folder, memory_map=True)
    model.resize_token_embeddings(model.config.vocab_size + 3)
    assert model.get_input_embeddings().embeddings.shape[0] == model.config.vocab_size
    assert np.isfinite(outputs_of(model)["logits"]).all()


def test_a_new_head(folder: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.WARNING, logger="tfxlm"):
        load = TFXLMForSequenceClassification.from_pretrained
        model = load(folder, num_labels=5, ignore_mismatched_sizes=True, memory_map=True)
    assert "new, initialised freshly" in caplog.text
    assert outputs_of(model)["logits"].shape == (3, 5)


def test_what_does_not_fit_is_reported_in_the_files_orientation(folder: Path) -> None:
    with pytest.raises(WeightMismatchError, match=r"expected \(5, 16\), found float32 \(3, 16\)"):
        TFXLMForSequenceClassification.from_pretrained(folder, num_labels=5, memory_map=True)


def test_other_devices_are_refused(folder: Path) -> None:
    load = TFXLMForSequenceClassification.from_pretrained
    with pytest.raises(ArgumentError, match=r"memory_map=True is for the CPU, .* got a device_map for gpu:0"):
        load(folder, memory_map=True, device_map="cuda:0")
    assert load(folder, memory_map=True, device_map="cpu").is_memory_mapped


def test_other_backends_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfxlm.backend.IS_TENSORFLOW", False)
    with pytest.raises(ArgumentError, match=r"memory_map=True needs Keras's TensorFlow backend, and this is"):
        TFXLMForSequenceClassification.from_pretrained(folder, memory_map=True)


def test_broken_files_are_refused_as_ever(folder: Path, tmp_path: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    for broken in (data[:-4], data[:100], b"", data[:8] + b"[" + data[9:]):
        (tmp_path / "model.safetensors").write_bytes(broken)
        with pytest.raises(CorruptFileError):
            TFXLMForSequenceClassification.from_pretrained(tmp_path, memory_map=True)


MEASURE = """
import sys
import numpy as np
from tfxlm import TFXLMModel

def megabytes(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) * 1.024e-3

ids = np.arange(5, 10)[None]
TFXLMModel.from_pretrained(sys.argv[2], memory_map=True)(input_ids=ids)  # what starting up takes
before = megabytes("RssAnon")
model, report = TFXLMModel.from_pretrained(sys.argv[1], memory_map=True, output_loading_info=True)
answer = model(input_ids=ids)
print(megabytes("RssAnon") - before, report.copied_bytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc/self/status")
def test_a_memory_map_takes_no_memory_of_its_own(tmp_path: Path, base: TFXLMModel) -> None:
    base.save_pretrained(tmp_path / "small")
    config = XLM.config.replace(vocab_size=20_000, emb_dim=1024, n_layers=9, n_heads=8, max_position_embeddings=64)
    config.save_pretrained(tmp_path / "large")
    from tfxlm.backend import deferred_variables

    with deferred_variables():
        template = TFXLMModel(config)
    tensors = []
    for path, weight in weights_by_path(template).items():
        match = template.name_map.match_variable(path)
        shape = match.transform.shape(tuple(weight.shape))
        name = template.name_map.file_name(match.tensor, bare=True)
        tensors.append(Lazy(name, shape, np.dtype("float32"), lambda shape=shape: np.full(shape, 0.01, np.float32)))
    files = write_checkpoint(tmp_path / "large", tensors)
    assert sum(path.stat().st_size for path in files) > 200e6
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "large"), str(tmp_path / "small")],
        capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    grown, copied = map(float, result.stdout.split())
    assert grown < 60 and copied < 1e5


def test_new_values_of_embeddings_and_bias_leave_the_file(tmp_path: Path, language_model: TFXLMWithLMHeadModel) -> None:
    language_model.save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    plain, mapped = (TFXLMWithLMHeadModel.from_pretrained(tmp_path, memory_map=way) for way in (False, True))
    rng = np.random.default_rng(0)
    table, bias = rng.normal(size=(37, 16)).astype(np.float32), rng.normal(size=37).astype(np.float32)
    for model in (plain, mapped):
        model.set_input_embeddings(table)
        model.set_bias({"bias": bias})
    inputs = random_inputs(plain.config)
    np.testing.assert_allclose(mapped(inputs).logits, plain(inputs).logits, atol=1e-5)
    np.testing.assert_array_equal(mapped.get_input_embeddings().embeddings, table)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    again = TFXLMWithLMHeadModel.from_pretrained(tmp_path, memory_map=True)
    np.testing.assert_array_equal(
        again.get_input_embeddings().embeddings, language_model.get_input_embeddings().embeddings
    )


# Opens the files of a model like one that is mapped, and holds them until it is told to stop.
OTHER_PROCESS = """
import sys
from tfxlm.checkpoints import open_checkpoint
with open_checkpoint(sys.argv[1], copy_on_write=True) as checkpoint:
    views = [checkpoint.view(name, 64) for name in checkpoint]
    total = sum(float(view.sum()) for view in views if view is not None)
    print(total, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux says whose pages are whose")
def test_pages_are_shared_between_processes(tmp_path: Path) -> None:
    config = XLMRobertaConfig(**{**SHAPE, "vocab_size": 20_000})
    TFXLMRobertaForTokenClassification(config).save_pretrained(tmp_path)
    model = TFXLMRobertaForTokenClassification.from_pretrained(tmp_path, memory_map=True)
    size = (tmp_path / "model.safetensors").stat().st_size / 1e6
    outputs_of(model)
    for weight in model.weights:
        keras.ops.sum(weight)
    resident, own = mapped_memory(str(tmp_path))
    assert resident >= 0.9 * size and own == pytest.approx(resident, rel=0.02)
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        resident, own = mapped_memory(str(tmp_path))
        other.communicate()
    assert own == pytest.approx(resident / 2, rel=0.05)
