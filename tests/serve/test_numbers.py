"""The same numbers over REST, over gRPC and from a direct call, bit for bit."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.serve.conftest import Post
from tfxlm.client import Client
from tfxlm.client.dtypes import dtype_of_array
from tfxlm.client.json_tensors import from_json
from tfxlm.client.metadata import TensorSpec
from tfxlm.serve import Server
from tfxlm.serve.predict_json import write_answer


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(7)
    return {
        "input_ids": generator.integers(0, 10, (16, 12)),
        "lengths": generator.integers(1, 13, 16),
        "langs": generator.integers(0, 2, (16, 12)),
    }


def test_rest_grpc_and_direct_calls_agree(
    server: Server, post: Post, tiny_folder: Path, inputs: dict[str, np.ndarray]
) -> None:
    loaded = tf.saved_model.load(str(tiny_folder / "10"))
    direct = loaded.signatures["serving_default"](**{k: tf.constant(v, tf.int32) for k, v in inputs.items()})
    expected = direct["scores"].numpy()
    for options in ({"rest": server.rest_url}, {"rest": server.rest_url, "rest_format": "rows"},
                    {"grpc": server.grpc_address}):  # fmt: skip
        with Client(**options) as client:
            outputs = client.predict("tiny", inputs)
        assert outputs["scores"].dtype == np.float32
        assert outputs["scores"].tobytes() == expected.tobytes()
        assert outputs["label"].tolist() == [label.decode() for label in direct["label"].numpy()]
    # Read as plain JSON, without a cast to float32, the numbers are the same too.
    _, answer = post({"inputs": {name: array.tolist() for name, array in inputs.items()}})
    assert answer["outputs"]["scores"] == expected.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_every_finite_float_survives_the_json(dtype: type) -> None:
    bits = np.random.default_rng(11).integers(0, 256, 80_000, dtype=np.uint8)
    array = bits.view(dtype)
    edges = np.array([0.0, -0.0, 0.1, np.finfo(dtype).max, np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal])
    array = np.concatenate([array[np.isfinite(array)], edges.astype(dtype)])
    answer = json.loads(write_answer({"x": array}, "inputs"))["outputs"]
    assert from_json(answer, TensorSpec(dtype_of_array(array), (None,)), "x").tobytes() == array.tobytes()
