"""A small SavedModel with one signature per thing a server has to get right."""

from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

VOCABULARY = 10


def _spec(dtype: tf.DType, shape: tuple[int | None, ...], name: str) -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name=name)


_ECHO_SPECS = (
    _spec(tf.bool, (None,), "flag"),
    _spec(tf.int8, (None,), "tiny"),
    _spec(tf.uint8, (None,), "byte"),
    _spec(tf.int64, (None,), "big"),
    _spec(tf.uint32, (None,), "unsigned"),
    _spec(tf.uint64, (None,), "huge"),
    _spec(tf.float16, (None,), "half"),
    _spec(tf.bfloat16, (None,), "brain"),
    _spec(tf.float64, (None,), "double"),
    _spec(tf.string, (None,), "word"),
)


def _parsed(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    features = {
        "x": tf.io.FixedLenFeature([], tf.float32, 0.0),
        "name": tf.io.FixedLenFeature([], tf.string, "none"),
        "times": tf.io.FixedLenFeature([], tf.int64, 1),
    }
    return tf.io.parse_example(serialized, features)


class TinyModel(tf.Module):
    """Sums embeddings of the real positions, per language; further signatures exercise types and shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.words = tf.Variable(tf.random.stateless_normal((VOCABULARY, 3), seed=(1, 2)))
        self.languages = tf.Variable(tf.random.stateless_normal((2, 3), seed=(3, 4)))

    @tf.function(
        input_signature=[
            _spec(tf.int32, (None, None), "input_ids"),
            _spec(tf.int32, (None,), "lengths"),
            _spec(tf.int32, (None, None), "langs"),
        ]
    )
    def classify(self, input_ids: tf.Tensor, lengths: tf.Tensor, langs: tf.Tensor) -> dict[str, tf.Tensor]:
        check = tf.debugging.assert_less(
            input_ids, VOCABULARY, message="input_ids must be below 10, the size of the vocabulary."
        )
        with tf.control_dependencies([check]):
            input_ids = tf.identity(input_ids)
        mask = tf.sequence_mask(lengths, tf.shape(input_ids)[1], dtype=tf.float32)
        states = tf.gather(self.words, input_ids) + tf.gather(self.languages, langs)
        scores = tf.nn.softmax(tf.reduce_sum(states * mask[..., None], axis=1))
        return {"scores": scores, "label": tf.gather(["no", "yes", "peut-être"], tf.argmax(scores, axis=1))}

    @tf.function(input_signature=[_spec(tf.string, (None,), "text")])
    def upper(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"upper": tf.strings.upper(text)}

    @tf.function(input_signature=[_spec(tf.float32, (None,), "x")])
    def half_plus_three(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x / 2.0 + 3.0}

    @tf.function(input_signature=[_spec(tf.float32, (), "x")])
    def scalars(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"double": x * 2.0, "triple": x * 3.0}

    @tf.function(input_signature=[_spec(tf.float32, (), "x")])
    def one_scalar(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"double": x * 2.0}

    @tf.function(input_signature=[_spec(tf.float32, (None, 2), "pairs")])
    def uneven(self, pairs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"total": tf.reduce_sum(pairs, axis=1), "columns": tf.reduce_sum(pairs, axis=0)}

    @tf.function(input_signature=[_spec(tf.string, (None,), "raw")])
    def binary(self, raw: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"same_bytes": raw, "same": raw}

    @tf.function(input_signature=[_spec(tf.string, (None,), "inputs")])
    def classes(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Of two classes: how far a feature is from 0 and from 1; the other feature names the first class."""
        features = _parsed(inputs)
        scores = tf.stack([features["x"], 1.0 - features["x"]], axis=1)
        labels = tf.stack([features["name"], tf.fill(tf.shape(features["name"]), "other")], axis=1)
        return {"classes": labels, "scores": scores}

    @tf.function(input_signature=[_spec(tf.string, (None,), "inputs")])
    def values(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = _parsed(inputs)
        return {"outputs": features["x"] * tf.cast(features["times"], tf.float32)}

    @tf.function(input_signature=[_spec(tf.string, (None,), "inputs")])
    def wide(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": tf.zeros([tf.shape(inputs)[0], 2])}

    @tf.function(input_signature=[_spec(tf.string, (None,), "inputs")])
    def flat(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.zeros([tf.shape(inputs)[0]])}

    @tf.function(input_signature=[_spec(tf.float32, (None,), "x")])
    def share(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers with one number for all rows, though the signature does not say so."""
        return {"sum": tf.reshape(tf.reduce_sum(x), [-1])}

    @tf.function(input_signature=list(_ECHO_SPECS))
    def echo(self, flag, tiny, byte, big, unsigned, huge, half, brain, double, word) -> dict[str, tf.Tensor]:
        values = (flag, tiny, byte, big, unsigned, huge, half, brain, double, word)
        return {f"same_{spec.name}": tf.identity(value) for spec, value in zip(_ECHO_SPECS, values, strict=True)}


def save_tiny_model(folder: Path) -> Path:
    """Writes the model to a version folder and returns it."""
    model = TinyModel()
    signatures = {
        "serving_default": model.classify,
        "upper": model.upper,
        "half_plus_three": model.half_plus_three,
        "scalars": model.scalars,
        "one_scalar": model.one_scalar,
        "uneven": model.uneven,
        "binary": model.binary,
        "echo": model.echo,
        "share": model.share,
        "classes": model.classes,
        "values": model.values,
        "wide": model.wide,
        "flat": model.flat,
    }
    tf.saved_model.save(model, str(folder), signatures=signatures)
    methods = {"classes": "classify", "values": "regress", "wide": "regress", "flat": "classify", "upper": "classify"}
    write_methods(folder / "saved_model.pb", methods)
    return folder


def write_methods(file: Path, methods: dict[str, str]) -> None:
    """Says what signatures are for: TensorFlow itself writes `predict` for all."""
    saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for name, method in methods.items():
        saved_model.meta_graphs[0].signature_def[name].method_name = f"tensorflow/serving/{method}"
    file.write_bytes(saved_model.SerializeToString())


class PlusModel(tf.Module):
    """Adds a number."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = tf.Variable(float(number))

    @tf.function(input_signature=[_spec(tf.float32, (None,), "x")])
    def plus(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x + self.number}


def save_plus_model(folder: Path, number: float) -> Path:
    """Writes a version that adds `number`, as a whole: the folder appears when it is complete."""
    model = PlusModel(number)
    scratch = folder.with_name(f".{folder.name}")
    tf.saved_model.save(model, str(scratch), signatures=model.plus)
    if folder.is_dir():
        folder.rmdir()
    return scratch.rename(folder)
