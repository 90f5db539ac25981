"""The client against a live server, over each transport."""

import asyncio
import inspect
import socket
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tfxlm.client import AsyncClient, Client, ModelMetadata, VersionStatus
from tfxlm.client.calls import GetMetadata, Predict
from tfxlm.client.rest import RestTransport
from tfxlm.errors import InputError, ServingError
from tfxlm.serve import Server

IDS = {
    "input_ids": np.array([[1, 2], [3, 4]]),  # int64, as tokenizers give them
    "lengths": [2, 1],
    "langs": np.array([[0, 0], [1, 1]]),
}


@pytest.fixture
def unused_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_predict_casts_and_names(client: Client) -> None:
    outputs = client.predict("tiny", IDS)
    assert list(outputs) == ["label", "scores"]
    assert outputs["scores"].dtype == np.float32
    np.testing.assert_allclose(outputs["scores"].sum(axis=1), 1.0, atol=1e-6)
    assert outputs["label"].dtype == object
    assert outputs["label"].tolist() == ["yes", "peut-être"]


def test_single_input_and_output(client: Client) -> None:
    outputs = client.predict("tiny", {"x": [1.0, 2, 5]}, signature_name="half_plus_three", version=3)
    assert outputs["y"].tolist() == [3.5, 4.0, 5.5]


def test_no_rows_at_all(server: Server) -> None:
    for options in ({"rest": server.rest_url}, {"grpc": server.grpc_address}):
        with Client(**options) as client:
            outputs = client.predict("tiny", {"x": []}, signature_name="half_plus_three")
            assert (outputs["y"].shape, outputs["y"].dtype) == ((0,), np.float32)


@pytest.mark.parametrize(
    "texts",
    [["foo", "bär"], np.array(["foo", "bär"]), [b"foo", "bär".encode()], np.array(["foo", "bär"], dtype=object)],
)
def test_text_in_every_guise(client: Client, texts: Any) -> None:
    assert client.predict("tiny", {"text": texts}, signature_name="upper")["upper"].tolist() == ["FOO", "BäR"]


def test_bytes_come_back_as_they_went(client: Client) -> None:
    raw = [b"ends with NUL\x00", b"", "ü".encode()]
    outputs = client.predict("tiny", {"raw": raw}, signature_name="binary")
    assert outputs["same_bytes"].tolist() == raw
    assert outputs["same"].tolist() == ["ends with NUL\x00", "", "ü"]
    outputs = client.predict("tiny", {"raw": [b"\xff", b"ok"]}, signature_name="binary")
    assert outputs["same"].tolist() == [b"\xff", b"ok"]  # not text: all of it stays bytes


def test_every_type(client: Client) -> None:
    inputs = {
        "flag": np.array([True, False]),
        "tiny": np.array([-128, 127], np.int8),
        "byte": np.array([0, 255], np.uint8),
        "big": np.array([-(2**63), 2**63 - 1]),
        "unsigned": np.array([0, 2**32 - 1], np.uint32),
        "huge": np.array([0, 2**64 - 1], np.uint64),
        "half": np.array([0.1, np.nan], np.float16),
        "brain": np.array([0.1, np.inf], ml_dtypes.bfloat16),
        "double": np.array([0.1, -np.inf]),
        "word": ["", "Ω"],
    }
    outputs = client.predict("tiny", inputs, signature_name="echo")
    for name, value in inputs.items():
        received = outputs[f"same_{name}"]
        if name == "word":
            assert received.tolist() == value
        else:
            assert received.dtype == value.dtype
            assert received.tobytes() == value.tobytes()


def test_scalars(server: Server) -> None:
    for options in ({"rest": server.rest_url}, {"grpc": server.grpc_address}):
        with Client(**options) as client:
            outputs = client.predict("tiny", {"x": 2}, signature_name="scalars")
            assert {name: (value.shape, float(value)) for name, value in outputs.items()} == {
                "double": ((), 4.0),
                "triple": ((), 6.0),
            }
            assert client.predict("tiny", {"x": 2}, signature_name="one_scalar")["double"] == 4.0


def test_rows_need_rows(server: Server) -> None:
    with (
        Client(rest=server.rest_url, rest_format="rows") as client,
        pytest.raises(InputError, match=r"every input needs the same number of rows; got \{'x': None\}"),
    ):
        client.predict("tiny", {"x": 2.0}, signature_name="scalars")


def test_metadata_and_status(client: Client) -> None:
    metadata = client.metadata("tiny")
    assert isinstance(metadata, ModelMetadata)
    assert (metadata.name, metadata.version) == ("tiny", 3)
    signature = metadata.signatures["serving_default"]
    assert {name: str(spec) for name, spec in signature.inputs.items()} == {
        "input_ids": "int32 of shape (any, any)",
        "langs": "int32 of shape (any, any)",
        "lengths": "int32 of shape (any,)",
    }
    assert signature.outputs["label"].dtype.is_string
    assert metadata.signatures["uneven"].inputs["pairs"].shape == (None, 2)
    assert "__saved_model_init_op" not in metadata.signatures
    assert client.status("tiny") == (VersionStatus(3, "AVAILABLE", "OK", ""),)
    assert client.status("tiny", version=3) == client.status("tiny")
    client.wait_until_available("tiny", timeout=30)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ({"model": "other"}, "NOT_FOUND", r"Model 'other' is not served here; served are: 'tiny'"),
        ({"model": "a/b c"}, "NOT_FOUND|INVALID_ARGUMENT", r"not served here|nothing at"),
        ({"version": 4}, "NOT_FOUND", r"no version 4 here; served: 3"),
        ({"label": "stable"}, "INVALID_ARGUMENT", r"Version label 'stable' is unknown"),
    ],
)
def test_errors_of_the_server(client: Client, arguments: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(ServingError, match=message) as caught:
        client.predict(**{"model": "tiny", "inputs": IDS, **arguments})
    assert caught.value.code in code.split("|")


def test_errors_of_the_graph(client: Client) -> None:
    with pytest.raises(ServingError, match=r"input_ids must be below 10") as caught:
        client.predict("tiny", {**IDS, "input_ids": [[1, 2], [3, 10]]})
    assert caught.value.code == "INVALID_ARGUMENT"
    with pytest.raises(ServingError, match=r"'lengths' must be int32 of shape \(any,\); got shape \(2, 1\)"):
        client.predict("tiny", {**IDS, "lengths": [[2], [1]]})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """The types of the calls that were sent over REST."""
    types: list[type] = []
    send = RestTransport.send
    monkeypatch.setattr(RestTransport, "send", lambda link, call, _: types.append(type(call)) or send(link, call, _))
    return types


def test_metadata_is_asked_for_once_and_again_before_a_refusal(server: Server, asked: list[type]) -> None:
    with Client(rest=server.rest_url) as client:
        for _ in range(3):
            client.predict("tiny", IDS)
        assert asked == [GetMetadata, Predict, Predict, Predict]
        with pytest.raises(InputError, match="no signature 'newer'"):
            client.predict("tiny", IDS, signature_name="newer")
        assert asked[4:] == [GetMetadata]


class Typed(tf.Module):
    """Adds one to numbers of a type."""

    def __init__(self, dtype: tf.DType) -> None:
        super().__init__()
        self.add = tf.function(lambda x: {"y": x + 1}, input_signature=[tf.TensorSpec((None,), dtype, name="x")])


def test_a_signature_that_changed_is_asked_for_once_more(tmp_path: Path, make: Any) -> None:
    for version, dtype in ((1, tf.float32), (2, tf.int32)):
        model = Typed(dtype)
        tf.saved_model.save(model, str(tmp_path / f"v{version}"), signatures=model.add)
    folder = tmp_path / "typed"
    folder.mkdir()
    (tmp_path / "v1").rename(folder / "1")
    polls = {"file_system_poll_wait_seconds": 0.05}
    with (
        Server({"typed": folder}, rest_port=0, grpc_port=0, **polls) as server,
        make(rest=server.rest_url) as over_rest,
        make(grpc=server.grpc_address) as over_grpc,
    ):
        clients = (over_rest, over_grpc)
        for client in clients:
            assert client.predict("typed", {"x": [1]})["y"].dtype == np.float32
        (tmp_path / "v2").rename(folder / "2")
        over_rest.wait_until_available("typed", version=2)
        for client in clients:
            outputs = client.predict("typed", {"x": [1]})
            assert (outputs["y"].dtype, outputs["y"].tolist()) == (np.int32, [2])


def test_a_refusal_of_what_has_not_changed_is_not_repeated(server: Server, asked: list[type]) -> None:
    with Client(rest=server.rest_url) as client:
        for _ in range(2):
            with pytest.raises(ServingError, match=r"input_ids must be below 10") as caught:
                client.predict("tiny", {**IDS, "input_ids": [[1, 2], [3, 10]]})
            assert caught.value.code == "INVALID_ARGUMENT"
        assert asked == [GetMetadata, Predict, Predict, GetMetadata]


def test_grpc_first_and_rest_when_grpc_is_not_there(server: Server, unused_address: str) -> None:
    with Client(rest=server.rest_url, grpc=unused_address) as client:
        assert client.predict("tiny", {"x": [1.0]}, signature_name="half_plus_three")["y"].tolist() == [3.5]
    with Client(rest=f"http://{unused_address}", grpc=server.grpc_address) as client:
        assert client.predict("tiny", {"x": [1.0]}, signature_name="half_plus_three")["y"].tolist() == [3.5]


def test_both_clients_have_the_same_methods_and_say_what_they_give() -> None:
    for name in ("predict", "classify", "regress", "multi_inference", "reload_config", "classify_text", "embed"):
        waiting, awaited = getattr(Client, name), getattr(AsyncClient, name)
        assert waiting.__name__ == name
        assert waiting.__doc__ == awaited.__doc__
        assert "Returns:" in waiting.__doc__ or "Raises:" in waiting.__doc__
        assert inspect.signature(waiting) == inspect.signature(awaited)
        assert inspect.iscoroutinefunction(awaited)
        assert not inspect.iscoroutinefunction(waiting)
    assert inspect.signature(Client.status).return_annotation == tuple[VersionStatus, ...]


def test_many_calls_are_under_way_at_once(server: Server) -> None:
    async def ask(**address: str) -> list[float]:
        async with AsyncClient(**address) as client:
            calls = (client.predict("tiny", {"x": [x]}, signature_name="half_plus_three") for x in range(20))
            return [outputs["y"][0] for outputs in await asyncio.gather(*calls)]

    for address in ({"rest": server.rest_url}, {"grpc": server.grpc_address}):
        assert asyncio.run(ask(**address)) == [3 + x / 2 for x in range(20)]
