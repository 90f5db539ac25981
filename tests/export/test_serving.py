"""Exports, asked in every way: REST, gRPC, a process without tfxlm, the C++ runtime without Python TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from tests.export.conftest import Exports
from tests.export.support import (
    ASKED_IN_ALL_WAYS,
    C_API,
    CLASSES,
    WITHOUT_TFXLM,
    Exported,
    ask_process,
    export,
    make_model,
    requests,
)
from tests.models.families import SWEEP
from tfxlm.client import Client
from tfxlm.errors import InputError, ServingError
from tfxlm.export import golden
from tfxlm.models import (
    TFXLMForMultipleChoice,
    TFXLMForQuestionAnswering,
    TFXLMForSequenceClassification,
    TFXLMRobertaXLModel,
)
from tfxlm.serve import Server

SIGNATURES = ("serving_default", "outputs")

HALF = [(kind, "bfloat16") for kind in (CLASSES if SWEEP else (TFXLMForSequenceClassification, TFXLMRobertaXLModel))]
HALF += [(TFXLMForQuestionAnswering, "float16"), (TFXLMForSequenceClassification, "mixed_float16")]

Answers = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def server(exports: Exports) -> Iterator[Server]:
    """All classes, side by side."""
    models = {kind.__name__: exports(kind).folder.parent for kind in ASKED_IN_ALL_WAYS}
    with Server(models, rest_port=0, grpc_port=0) as running:
        yield running


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[type, str], Exported]:
    folder = tmp_path_factory.mktemp("half")
    return {
        (kind, dtype): export(make_model(kind, dtype, num_hidden_layers=1), folder / f"{kind.__name__}-{dtype}")
        for kind, dtype in HALF
    }


@pytest.fixture(scope="module")
def answers(
    server: Server, exports: Exports, half: dict[Any, Exported], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[Any, Answers]]:
    """Answers by way of asking and model; to golden samples too."""
    asked = {kind: exports(kind) for kind in ASKED_IN_ALL_WAYS}
    found: dict[str, dict[Any, Answers]] = {}
    with (
        Client(rest=server.rest_url) as columns,
        Client(rest=server.rest_url, rest_format="rows") as rows,
        Client(grpc=server.grpc_address) as grpc,
    ):
        for way, client in {"REST, columns": columns, "REST, rows": rows, "gRPC": grpc}.items():
            found[way] = {
                kind: {
                    f"{signature}/{name}": value
                    for signature in SIGNATURES
                    for name, value in client.predict(
                        kind.__name__, it.request(signature), signature_name=signature
                    ).items()
                }
                for kind, it in asked.items()
            }
    own = [(it.folder, {signature: it.request(signature) for signature in SIGNATURES}) for it in asked.values()]
    given = ask_process(WITHOUT_TFXLM, own, tmp_path_factory.mktemp("asked"))
    found["saved_model.load"] = dict(zip(asked, given, strict=True))
    samples = {**asked, **half}
    given = ask_process(
        C_API, [*own, *((it.folder, it.samples) for it in samples.values())], tmp_path_factory.mktemp("asked")
    )
    found["C API"] = dict(zip(asked, given, strict=False))
    found["samples"] = dict(zip(samples, given[len(own) :], strict=True))
    return found


@pytest.mark.parametrize("kind", ASKED_IN_ALL_WAYS, ids=lambda kind: kind.__name__)
def test_all_ways_give_equal_answers(kind: type, answers: dict[str, dict[Any, Answers]]) -> None:
    expected = answers["gRPC"][kind]
    assert {name.partition("/")[0] for name in expected} == set(SIGNATURES)
    for way in ("REST, columns", "REST, rows", "saved_model.load", "C API"):
        answer = answers[way][kind]
        assert set(answer) == set(expected), way
        for name, value in expected.items():
            np.testing.assert_array_equal(answer[name].astype(value.dtype), value, err_msg=f"{way}: {name}")


@pytest.mark.parametrize("key", [*ASKED_IN_ALL_WAYS, *HALF], ids=str)
def test_golden_samples_are_answered_in_a_fresh_process(
    key: Any, answers: dict[str, dict[Any, Answers]], half: dict[Any, Exported], exports: Exports
) -> None:
    it = half[key] if key in half else exports(key)
    golden._compare(it.expected, answers["samples"][key], it.tolerance)


@pytest.mark.parametrize(("kind", "dtype"), HALF, ids=str)
def test_half_precision_stays_close_to_the_model(
    kind: type, dtype: str, half: dict[Any, Exported], answers: dict[str, dict[Any, Answers]]
) -> None:
    """By what is no index: with another rounding, another of two equal answers may come first."""
    it = half[kind, dtype]
    outputs = it.model(it.samples["outputs"])
    found = answers["samples"][kind, dtype]
    for name, value in outputs.items():
        if "top" not in name and name != "cls_logits":
            expected = value.numpy().astype(np.float32)
            np.testing.assert_allclose(found[f"outputs/{name}"], expected, rtol=it.tolerance, atol=it.tolerance)


def test_bad_requests_get_clear_errors_and_the_server_lives(server: Server) -> None:
    model, good = TFXLMForSequenceClassification.__name__, requests()
    good = {name: good[name] for name in ("input_ids", "lengths", "langs")}
    for client in (Client(rest=server.rest_url), Client(grpc=server.grpc_address)):
        with client:
            expected = client.predict(model, good)["scores"]
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
                    client.predict(model, {**good, **change})
                assert caught.value.code == "INVALID_ARGUMENT"
                assert "Traceback" not in str(caught.value)
            too_long = {name: np.tile(array, (1, 2)) for name, array in good.items() if name != "lengths"}
            with pytest.raises(ServingError, match="max_position_embeddings = 16"):
                client.predict(model, {**too_long, "lengths": good["lengths"] * 2})
            with pytest.raises(InputError, match="langs"):
                client.predict(model, {name: good[name] for name in ("input_ids", "lengths")})
            np.testing.assert_array_equal(client.predict(model, good)["scores"], expected)


def test_requests_of_another_class_are_refused_by_name(server: Server) -> None:
    flat, grid = requests(), requests(choices=3)
    with Client(grpc=server.grpc_address) as client:
        for model, request, message in (
            (TFXLMForMultipleChoice, {name: flat[name] for name in ("input_ids", "lengths", "langs")}, "num_choices"),
            (TFXLMForQuestionAnswering, {name: flat[name] for name in ("input_ids", "lengths", "langs")}, "p_mask"),
            (TFXLMForSequenceClassification, {"input_ids": flat["input_ids"], "lengths": flat["lengths"]}, "langs"),
        ):
            with pytest.raises(InputError, match=f"missing: .*{message}"):
                client.predict(model.__name__, request)
        with pytest.raises(ServingError, match=r"Input 'input_ids' must be int32 of shape \(any, any\); got"):
            request = {name: grid[name] for name in ("input_ids", "lengths", "langs")}
            client.predict(TFXLMForSequenceClassification.__name__, request)
