"""The JSON of classify and regress requests and answers."""

import json
from typing import Any

from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow_serving.apis import classification_pb2, regression_pb2

from tfxlm.client.dtypes import DTYPES
from tfxlm.client.json_tensors import describe_json, from_json
from tfxlm.client.metadata import TensorSpec
from tfxlm.errors import InputError
from tfxlm.serve.predict_json import parse_object, read_signature_name

_TYPES = {dtype.name: dtype for dtype in DTYPES}
_INTEGERS = ("int64_list", TensorSpec(_TYPES["int64"], (None,)))
_FLOATS = ("float_list", TensorSpec(_TYPES["float32"], (None,)))
_STRINGS = ("bytes_list", TensorSpec(_TYPES["string"], (None,)))

# Type of a value -> the field of a Feature that holds such values; truth is a number, as in TensorFlow Serving.
_KINDS = {bool: _INTEGERS, int: _INTEGERS, float: _FLOATS, str: _STRINGS, dict: _STRINGS}


def read_examples(body: bytes, request: Any) -> None:
    """Reads the body of a classify or regress request.

    Args:
        body: UTF-8 JSON: `{"signature_name": ..., "context": {feature: value, ...}, "examples": [{...}, ...]}`. A value
            is a number, a string, `{"b64": ...}`, or a list of one kind of these.
        request: the empty ClassificationRequest or RegressionRequest to fill.

    Raises:
        InputError: says what is wrong, down to the example and feature.
    """
    given = parse_object(body)
    request.model_spec.signature_name = read_signature_name(given)
    examples = given.get("examples")
    if not isinstance(examples, list) or not examples:
        raise InputError(
            "A request for classes or values needs 'examples', a list with one object per example; got "
            f"{describe_json(examples) if 'examples' in given else 'none'}."
        )
    target = request.input.example_list
    if "context" in given:
        target = request.input.example_list_with_context
        _fill(target.context, given["context"], "'context'")
    for number, example in enumerate(examples):
        _fill(target.examples.add(), example, f"'examples', number {number}")


def _fill(example: example_pb2.Example, value: Any, place: str) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{place}: expected an object with the features, got {describe_json(value)}.")
    for name, content in value.items():
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(f"{place}: the feature name {name!r} is not valid Unicode text.") from None
        values = content if isinstance(content, list) else [content]
        _fill_feature(example.features.feature[name], values, f"{place}, feature {name[:40]!r}")


def _fill_feature(feature: feature_pb2.Feature, values: list[Any], place: str) -> None:
    if not values:
        return
    kinds = [_KINDS.get(type(value)) for value in values]
    kind = kinds[0]
    if kind is None or set(kinds) != {kind}:
        odd = next(value for value, it in zip(values, kinds, strict=True) if it is None or it != kind)
        raise InputError(
            f"{place}: expected whole numbers, decimal numbers, or strings, and all of one kind; got "
            f"{describe_json(odd)}."
        )
    field, spec = kind
    entries = [int(value) if isinstance(value, bool) else value for value in values]
    getattr(feature, field).value.extend(from_json(entries, spec, place).tolist())


def write_classes(response: classification_pb2.ClassificationResponse) -> bytes:
    """Writes the answer to a classify request: for each example its pairs of label and score."""
    return _dump(
        [[[one.label, one.score] for one in row.classes] for row in response.result.classifications],
    )


def write_values(response: regression_pb2.RegressionResponse) -> bytes:
    """Writes the answer to a regress request: for each example its value."""
    return _dump([one.value for one in response.result.regressions])


def _dump(results: list[Any]) -> bytes:
    return json.dumps({"results": results}, ensure_ascii=False).encode("utf-8")
