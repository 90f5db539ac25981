"""`serving/load_test.py` against a live server."""

import asyncio
import importlib.util
import json
import random
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.example_files import ROOT
from tfxlm.client import Client
from tfxlm.errors import InputError, ServingError
from tfxlm.serve import Server


@pytest.fixture(scope="module")
def load_test() -> ModuleType:
    spec = importlib.util.spec_from_file_location("load_test", ROOT / "serving" / "load_test.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their own module up by name
    spec.loader.exec_module(module)
    return module


def run(load_test: ModuleType, *arguments: Any) -> Any:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(load_test.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("load", [("--concurrency", 2), ("--rate", 100)], ids=["closed", "open"])
def test_figures_of_both_protocols(
    load_test: ModuleType, server: Server, tmp_path: Path, load: tuple[str, int]
) -> None:
    report = tmp_path / "report.json"
    result = run(
        load_test, "--model", "texts", "--grpc", server.grpc_address, "--rest", server.rest_url, *load,
        "--duration", 0.3, "--warm-up", 0.1, "--rows", 3, "--json", report,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "p99" in result.output
    reports = json.loads(report.read_text(encoding="utf-8"))
    assert list(reports) == ["gRPC", "REST"]
    for figures in reports.values():
        assert figures["answered"] > 0
        assert (figures["errors"], figures["unsent"]) == ({}, 0)
        latency = figures["latency_ms"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"] <= latency["max"]
        assert figures["texts_per_second"] == pytest.approx(3 * figures["requests_per_second"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "absent"], "Model 'absent' is not served here"),
        (["--model", "texts", "--signature", "absent"], "Model 'texts' has no signature 'absent'; it has"),
        (["--model", "tiny"], "The load test asks with texts, but the signature takes input_ids, langs, lengths"),
        (["--model", "texts", "--texts", "absent.tsv"], "The texts cannot be read"),
    ],
)
def test_what_cannot_be_asked(load_test: ModuleType, server: Server, arguments: list[str], message: str) -> None:
    result = run(load_test, *arguments, "--grpc", server.grpc_address)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_an_address_is_needed(load_test: ModuleType) -> None:
    result = run(load_test, "--model", "texts")
    assert result.exit_code == 2
    assert "Give --grpc HOST:PORT, --rest URL, or both" in result.output


def test_requests_fit_the_signature_of_every_task(load_test: ModuleType, server: Server) -> None:
    texts = [load_test.Text("en", "one two three"), load_test.Text("de", "vier")]
    with Client(grpc=server.grpc_address) as client:
        for name, signature in client.metadata("texts").signatures.items():
            outputs = client.predict("texts", load_test.make_inputs(signature, texts, texts[::-1]), signature_name=name)
            assert {len(output) for output in outputs.values()} == {2}, name


class Selective:
    """A target's client that refuses a language."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def metadata(self, *args: Any, **options: Any) -> Any:
        return await self.client.metadata(*args, **options)

    async def predict(self, model: str, inputs: Any, **options: Any) -> Any:
        if "xx" in inputs["lang"]:
            raise ServingError("lang must be a language of the model", "INVALID_ARGUMENT")
        return await self.client.predict(model, inputs, **options)


def test_languages_that_the_model_refuses_are_left_out(
    load_test: ModuleType, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    async def pool_of(texts: list[Any]) -> list[Any]:
        async with load_test.AsyncClient(grpc=server.grpc_address) as client:
            target = load_test.Target(Selective(client), "texts", "serving_default", None, None)
            return await target.made_for(texts, 2, random.Random(0))

    good, bad = load_test.Text("en", "good"), load_test.Text("xx", "bad")
    pool = asyncio.run(pool_of([good, bad]))
    assert {lang for inputs in pool for lang in inputs["lang"]} == {"en"}
    assert "Left out, as the model refuses them: xx (lang must be" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(ServingError, match=r"lang must be a language of the model"):
        asyncio.run(pool_of([bad]))


def test_errors_are_counted_by_kind(load_test: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    codes = iter(["RESOURCE_EXHAUSTED", "UNAVAILABLE", "RESOURCE_EXHAUSTED", None])

    async def ask(inputs: Any) -> None:
        code = next(codes)
        if code:
            raise ServingError(f"said {code}", code)

    async def ask_all() -> Any:
        tally = load_test.Tally()
        for _ in range(4):
            await load_test.timed(SimpleNamespace(ask=ask), {}, 0.0, tally, lambda: None)
        return tally.report(2.0, 5)

    report = asyncio.run(ask_all())
    assert report["errors"] == {"RESOURCE_EXHAUSTED": 2, "UNAVAILABLE": 1}
    assert (report["answered"], report["requests_per_second"], report["texts_per_second"]) == (1, 0.5, 2.5)
    load_test.print_reports({"gRPC": report, "REST": load_test.Tally(unsent=7).report(1.0, 1)})
    printed = capsys.readouterr().out
    assert "gRPC: 2 x RESOURCE_EXHAUSTED: said RESOURCE_EXHAUSTED" in printed
    assert "REST: 7 not sent" in printed


def test_texts_with_and_without_codes(load_test: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "texts"
    path.write_text("en\tHello\tyou\n\nBonjour\n", encoding="utf-8")
    assert load_test.read_texts(path, None) == [load_test.Text("en", "Hello\tyou"), load_test.Text("", "Bonjour")]
    assert [text.lang for text in load_test.read_texts(path, "fr")] == ["fr", "fr"]
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"There are no texts in .*; expected one a line, or code<TAB>text"):
        load_test.read_texts(path, None)
    built_in = load_test.read_texts(load_test.TEXTS, None)
    lengths = [len(text.text) for text in built_in]
    assert len({text.lang for text in built_in}) == 14
    assert min(lengths) < 20 and max(lengths) > 200


def test_requests_that_are_late_are_not_sent(load_test: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that cannot keep up says so, and does not take it for latency of the server."""
    asked: list[Any] = []

    async def ask(inputs: Any) -> None:
        asked.append(inputs)

    def send() -> Any:
        target = SimpleNamespace(ask=ask)
        return asyncio.run(load_test.open_load(target, [{}], 0.2, 500, lambda: None, random.Random(0)))

    on_time = send()
    assert (len(on_time.latencies), on_time.unsent) == (len(asked), 0)
    due = len(asked)
    monkeypatch.setattr(load_test, "MAX_LATE_SECONDS", -1.0)
    asked.clear()
    assert (send().unsent, asked) == (due, [])
