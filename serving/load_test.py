"""How much a server of models takes: sends texts of many lengths and languages, and reports what came of it.

Two kinds of load. Closed, the default: a number of clients (--concurrency) who each wait for an answer before they ask
again, which finds out how much the server can do. Open (--rate): requests come at random moments, so many a second,
whether the server keeps up or not, as from many users who know nothing of each other. Their latency is counted from
the moment when they were due, so that a server that stalls does not look better than it is.

It asks TensorFlow Serving and the embedded server alike, with tfxlm.client: over gRPC, over REST, or both in turn.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tfxlm.client import AsyncClient, Retry, Signature, Tls
from tfxlm.client.text_requests import text_tensors
from tfxlm.errors import InputError, ServingError, TFXLMError

TEXTS = Path(__file__).with_name("load_test_texts.tsv")
PERCENTILES = (50, 90, 95, 99)
# Requests that are made before the clock runs, so that making them takes no time from sending them.
POOL = 256
# More answers than this are not waited for at once, as the client itself would become slow; what comes on top is
# counted as not sent. So is what this program gets to later than it should: the load is then less than was asked for,
# which has to be said, and not more latency of the server.
MAX_OPEN = 1_000
MAX_LATE_SECONDS = 0.5

Inputs = Mapping[str, Any]
console = Console()


@dataclasses.dataclass(frozen=True)
class Text:
    """A text and the code of its language, empty where none is known."""

    lang: str
    text: str


@dataclasses.dataclass
class Tally:
    """What came of the requests to one address.

    Args:
        latencies: of the requests that were answered, in seconds.
        errors: how many failed, by kind.
        messages: what the server said first of each kind.
        unsent: how many were due that could not be sent in time.
    """

    latencies: list[float] = dataclasses.field(default_factory=list)
    errors: Counter[str] = dataclasses.field(default_factory=Counter)
    messages: dict[str, str] = dataclasses.field(default_factory=dict)
    unsent: int = 0

    def report(self, seconds: float, rows: int) -> dict[str, Any]:
        """Returns the figures: latencies in milliseconds.

        Args:
            seconds: how long requests were sent.
            rows: texts in each request.
        """
        answered = len(self.latencies)
        milliseconds = np.array(self.latencies) * 1000.0
        latency = {f"p{p}": float(np.percentile(milliseconds, p)) for p in PERCENTILES} if answered else {}
        if answered:
            latency |= {"mean": float(milliseconds.mean()), "max": float(milliseconds.max())}
        return {
            "seconds": seconds,
            "answered": answered,
            "requests_per_second": answered / seconds,
            "texts_per_second": answered * rows / seconds,
            "latency_ms": latency,
            "errors": dict(self.errors),
            "messages": self.messages,
            "unsent": self.unsent,
        }


def read_texts(path: Path, lang: str | None) -> list[Text]:
    """Reads lines of the form "code<TAB>text", or texts alone.

    Raises:
        InputError: the file is not there, not UTF-8, or has no texts.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The texts cannot be read: {error}.") from None
    rows = (line.split("\t", 1) if "\t" in line else ["", line] for line in lines if line.strip())
    texts = [Text(lang or code, text) for code, text in rows]
    if not texts:
        raise InputError(f"There are no texts in {path}; expected one a line, or code<TAB>text.")
    return texts


def make_inputs(signature: Signature, rows: Sequence[Text], others: Sequence[Text]) -> Inputs:
    """Makes a request to a signature that takes texts, whatever its task.

    Args:
        signature: what it is for.
        rows: the texts.
        others: as many others, where a row takes two texts.

    Raises:
        InputError: the signature takes something else than texts.
    """
    texts = [row.text for row in rows]
    second = [row.text for row in others]
    known: dict[str, Sequence[Any]] = {
        "text": texts,
        "text_pair": second,
        "question": second,
        "context": texts,
        "words": [text.split() for text in texts],
        "choices": [[text, "?"] for text in second],
    }
    given = {name: known[name] for name in signature.inputs if name in known}
    counts = next((name for name in signature.inputs if name.startswith("num_")), None)
    inputs: dict[str, Any] = dict(text_tensors(given, counts))
    # A pair is in one language, as an answer is in that of its question.
    inputs |= {name: [row.lang for row in rows] for name in signature.inputs if name.startswith("lang")}
    unknown = set(signature.inputs) - set(inputs)
    if unknown or not given:
        raise InputError(
            f"The load test asks with texts, but the signature takes {', '.join(signature.inputs)}. Name another one "
            "with --signature; an export without its tokenizer has none."
        )
    return inputs


@dataclasses.dataclass(frozen=True)
class Target:
    """What is asked.

    Args:
        client: to one address.
        model: name of the model.
        signature: name of the signature.
        version: version, None for the newest.
        label: version label, None for none.
    """

    client: AsyncClient
    model: str
    signature: str
    version: int | None
    label: str | None

    async def ask(self, inputs: Inputs) -> Any:
        """Makes one request."""
        return await self.client.predict(
            self.model, inputs, signature_name=self.signature, version=self.version, label=self.label
        )

    async def made_for(self, texts: Sequence[Text], rows: int, chance: random.Random) -> list[Inputs]:
        """Makes requests of texts that the model takes, and tries each language once.

        Raises:
            InputError: there is no such signature, or it takes something else than texts.
            ServingError: no text is taken.
        """
        metadata = await self.client.metadata(self.model, version=self.version, label=self.label)
        if self.signature not in metadata.signatures:
            known = ", ".join(metadata.signatures)
            raise InputError(f"Model {self.model!r} has no signature {self.signature!r}; it has {known}.")
        signature = metadata.signatures[self.signature]
        refused: dict[str, ServingError] = {}
        taken: dict[str, list[Text]] = {}
        for lang in dict.fromkeys(text.lang for text in texts):
            of_lang = [text for text in texts if text.lang == lang]
            try:
                await self.ask(make_inputs(signature, of_lang[:1], of_lang[:1]))
            except ServingError as error:
                if error.code != "INVALID_ARGUMENT":
                    raise
                refused[lang] = error
            else:
                taken[lang] = of_lang
        if not taken:
            raise next(iter(refused.values()))
        if refused:
            names = ", ".join(lang or "no code" for lang in refused)
            console.print(f"Left out, as the model refuses them: {names} ({escape(str(next(iter(refused.values()))))})")
        everything = [text for of_lang in taken.values() for text in of_lang]
        pool = []
        for _ in range(POOL):
            mixed = [chance.choice(everything) for _ in range(rows)]
            pool.append(make_inputs(signature, mixed, [chance.choice(taken[text.lang]) for text in mixed]))
        return pool


Watch = Callable[[], None]


async def timed(target: Target, inputs: Inputs, due: float, tally: Tally, watch: Watch) -> None:
    """Makes one request and counts what came of it."""
    try:
        await target.ask(inputs)
    except ServingError as error:
        tally.errors[error.code] += 1
        tally.messages.setdefault(error.code, str(error))
    else:
        tally.latencies.append(time.perf_counter() - due)
    watch()


async def closed_load(
    target: Target, pool: Sequence[Inputs], seconds: float, concurrency: int, watch: Watch, chance: random.Random
) -> Tally:
    """Several clients ask again as soon as they are answered."""
    tally, end = Tally(), time.perf_counter() + seconds

    async def someone() -> None:
        while time.perf_counter() < end:
            await timed(target, chance.choice(pool), time.perf_counter(), tally, watch)

    await asyncio.gather(*(someone() for _ in range(concurrency)))
    return tally


async def open_load(
    target: Target, pool: Sequence[Inputs], seconds: float, rate: float, watch: Watch, chance: random.Random
) -> Tally:
    """Requests come at random moments (a Poisson process), whether others are answered or not."""
    tally, begin, due = Tally(), time.perf_counter(), 0.0
    under_way: set[asyncio.Task[None]] = set()
    while (due := due + chance.expovariate(rate)) < seconds:
        inputs = chance.choice(pool)
        await asyncio.sleep(max(begin + due - time.perf_counter(), 0.0))
        if len(under_way) >= MAX_OPEN or time.perf_counter() - begin - due > MAX_LATE_SECONDS:
            tally.unsent += 1
            continue
        task = asyncio.create_task(timed(target, inputs, begin + due, tally, watch))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    return tally


@asynccontextmanager
async def shown(name: str, seconds: float, tally: Callable[[], str]) -> AsyncIterator[Watch]:
    """Shows how far a run is; gives what to call after each request."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(),
    )
    begin = time.perf_counter()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(name, total=seconds, counts="")

        def watch() -> None:
            progress.update(task, completed=min(time.perf_counter() - begin, seconds), counts=tally())

        yield watch


@dataclasses.dataclass(frozen=True)
class Load:
    """How much is sent.

    Args:
        seconds: how long, after the warm-up.
        warm_up: seconds before it that do not count.
        concurrency: clients of a closed load.
        rate: requests a second of an open load; None for a closed one.
        rows: texts in each request.
        seed: of what is sent when.
    """

    seconds: float
    warm_up: float
    concurrency: int
    rate: float | None
    rows: int
    seed: int

    async def run(self, name: str, target: Target, texts: Sequence[Text]) -> dict[str, Any]:
        """Asks one target and returns the figures."""
        chance = random.Random(self.seed)
        pool = await target.made_for(texts, self.rows, chance)
        if self.warm_up > 0:
            await self._send(f"{name}: warm-up", target, pool, self.warm_up, chance)
        begin = time.perf_counter()
        tally = await self._send(name, target, pool, self.seconds, chance)
        # Answers to the last requests come after the end.
        return tally.report(max(self.seconds, time.perf_counter() - begin), self.rows)

    async def _send(
        self, name: str, target: Target, pool: Sequence[Inputs], seconds: float, chance: random.Random
    ) -> Tally:
        count = Counter[str]()

        def counts() -> str:
            count["done"] += 1
            return f"{count['done']:,} requests"

        async with shown(name, seconds, counts) as watch:
            if self.rate is None:
                return await closed_load(target, pool, seconds, self.concurrency, watch, chance)
            return await open_load(target, pool, seconds, self.rate, watch, chance)


def print_reports(reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints the figures of each address as a row, and errors by kind."""
    latencies = [f"p{p}" for p in PERCENTILES] + ["max"]
    table = Table("", "answered", "failed", "req/s", "texts/s", *latencies, caption="latencies in milliseconds")
    for name, report in reports.items():
        figures = [f"{report['latency_ms'].get(key, math.nan):.1f}" for key in latencies]
        failed = sum(report["errors"].values())
        speed = (f"{report['requests_per_second']:.1f}", f"{report['texts_per_second']:.1f}")
        table.add_row(name, f"{report['answered']:,}", f"{failed:,}", *speed, *figures)
    console.print(table)
    for name, report in reports.items():
        for code, count in report["errors"].items():
            console.print(f"{name}: {count:,} x {code}: {escape(report['messages'][code])}")
        if report["unsent"]:
            console.print(
                f"{name}: {report['unsent']:,} not sent: {MAX_OPEN:,} others were under way, or this program was slow "
                "(ask from several machines, or over gRPC)"
            )


async def run_all(
    addresses: Mapping[str, Mapping[str, Any]],
    options: Mapping[str, Any],
    asked: tuple[Any, ...],
    load: Load,
    texts: list[Text],
) -> dict[str, Any]:
    """Asks each address in turn."""
    reports = {}
    async with AsyncExitStack() as stack:
        for name, address in addresses.items():
            client = await stack.enter_async_context(AsyncClient(**address, **options))
            reports[name] = await load.run(name, Target(client, *asked), texts)
    return reports


def main(
    model: Annotated[str, typer.Option(metavar="NAME", help="Name under which the model is served.")],
    grpc: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="gRPC address, as 127.0.0.1:8500.")] = None,
    rest: Annotated[str | None, typer.Option(metavar="URL", help="REST address, as http://127.0.0.1:8501.")] = None,
    signature: Annotated[str, typer.Option(metavar="NAME", help="Signature to ask.")] = "serving_default",
    version: Annotated[int | None, typer.Option(metavar="N", help="Version to ask; the newest by default.")] = None,
    label: Annotated[str | None, typer.Option(metavar="NAME", help="Version label to ask, such as canary.")] = None,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, help="Closed load: clients that ask one after another.")
    ] = 8,
    rate: Annotated[float | None, typer.Option(metavar="N", min=0.001, help="Open load: requests a second.")] = None,
    duration: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How long, after the warm-up.")] = 30.0,
    warm_up: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.0, help="How long before, which does not count.")
    ] = 2.0,
    rows: Annotated[int, typer.Option(metavar="N", min=1, help="Texts in each request.")] = 1,
    texts: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Texts, one a line, with code<TAB> before each or without; some in 14 languages by default.",
            show_default=False,
        ),
    ] = TEXTS,
    lang: Annotated[str | None, typer.Option(metavar="CODE", help="Language code of all texts.")] = None,
    append: Annotated[str, typer.Option(metavar="TEXT", help='Put after each text, as " <mask>" to fill masks.')] = "",
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.001, help="How long to wait for an answer.")
    ] = 30.0,
    attempts: Annotated[
        int, typer.Option(metavar="N", min=1, help="How often a request is made that finds the server busy.")
    ] = 1,
    ca: Annotated[Path | None, typer.Option(metavar="FILE", help="Encrypt, and trust these authorities (PEM).")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of what is sent when.")] = 0,
    as_json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there too.")] = None,
) -> None:
    """Find out how much a server of models takes.

    Sends texts of many lengths and languages for some time, and prints throughput, percentiles of latency, and errors
    by kind. A closed load (--concurrency) asks again when it is answered, and finds the server's limit; an open one
    (--rate) asks so many times a second at random moments, and finds the latency that users see at that rate. With
    --grpc and --rest both are asked, one after the other.

    Ends with status 1 when nothing was answered.
    """
    addresses = {name: {name.lower(): address} for name, address in (("gRPC", grpc), ("REST", rest)) if address}
    if not addresses:
        raise typer.BadParameter("Give --grpc HOST:PORT, --rest URL, or both.")
    try:
        given = [dataclasses.replace(text, text=text.text + append) for text in read_texts(texts, lang)]
        options = {
            "timeout": timeout,
            "retry": Retry(attempts=attempts),
            "tls": Tls(root_certificates=ca) if ca is not None else None,
        }
        load = Load(duration, warm_up, concurrency, rate, rows, seed)
        asked = (model, signature, version, label)
        reports = asyncio.run(run_all(addresses, options, asked, load, given))
    except TFXLMError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    print_reports(reports)
    if as_json is not None:
        as_json.write_text(json.dumps(reports, indent=2), encoding="utf-8")
    if not any(report["answered"] for report in reports.values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    app()
