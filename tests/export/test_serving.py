"""One export, asked in every way: REST, gRPC, a process without tfxlm, the C++ runtime without Python TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.export.support import C_API, WITHOUT_TFXLM, ask_process, config, requests
from tfxlm import Client, Server, TFXLMForSequenceClassification, export_model
from tfxlm.errors import InputError, ServingError


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "intent"
    return export_model(TFXLMForSequenceClassification(config()), None, folder)


def test_all_ways_give_equal_numbers(exported: Path, tmp_path: Path) -> None:
    answers: dict[str, dict[str, Any]] = {}
    with (
        Server({"intent": exported.parent}, rest_port=0, grpc_port=0) as server,
        Client(rest=server.rest_url) as columns,
        Client(rest=server.rest_url, rest_format="rows") as rows,
        Client(grpc=server.grpc_address) as grpc,
    ):
        for way, client in {"REST, columns": columns, "REST, rows": rows, "gRPC": grpc}.items():
            answers[way] = {
                f"{signature}/{name}": value
                for signature in ("serving_default", "outputs")
                for name, value in client.predict("intent", requests(), signature_name=signature).items()
            }
    for way, command in {"saved_model.load": WITHOUT_TFXLM, "C API": C_API}.items():
        answers[way] = ask_process(command, exported, tmp_path)
    expected = answers.pop("gRPC")
    assert set(expected) == {f"serving_default/{n}" for n in ("label", "score", "scores")} | {"outputs/logits"}
    for way, answer in answers.items():
        for name, value in expected.items():
            if name == "serving_default/label":
                if way != "C API":  # which reads numbers only
                    assert list(answer[name]) == list(value), way
            else:
                np.testing.assert_array_equal(answer[name].astype(np.float32), value, err_msg=f"{way}: {name}")


def test_bad_requests_get_clear_errors_and_the_server_lives(exported: Path) -> None:
    good = requests()
    with Server({"intent": exported.parent}, rest_port=0, grpc_port=0) as server:
        for client in (Client(rest=server.rest_url), Client(grpc=server.grpc_address)):
            with client:
                expected = client.predict("intent", good)["scores"]
                for change, message in (
                    (
                        {"input_ids": good["input_ids"] + 100},
                        r"input_ids must be in \[0, vocab_size = 60\): use the checkpoint's own tokenizer",
                    ),
                    ({"langs": good["langs"] - 9}, r"langs must be language ids in \[0, n_langs = 4\)"),
                    ({"lengths": good["lengths"][:1]}, r"lengths must have shape \(batch,\)"),
                    ({"lengths": good["lengths"] * 0}, r"lengths must be at least 1 and at most the length of input"),
                    (
                        {name: array[:, :0] for name, array in good.items() if name != "lengths"},
                        r"input_ids must have shape \(batch, length\) with a length of at least 1",
                    ),
                ):
                    with pytest.raises(ServingError, match=message) as caught:
                        client.predict("intent", {**good, **change})
                    assert caught.value.code == "INVALID_ARGUMENT"
                    assert "Traceback" not in str(caught.value)
                too_long = {name: np.tile(array, (1, 2)) for name, array in good.items() if name != "lengths"}
                with pytest.raises(ServingError, match="max_position_embeddings = 16"):
                    client.predict("intent", {**too_long, "lengths": good["lengths"] * 2})
                with pytest.raises(InputError, match="langs"):
                    client.predict("intent", {name: good[name] for name in ("input_ids", "lengths")})
                np.testing.assert_array_equal(client.predict("intent", good)["scores"], expected)
