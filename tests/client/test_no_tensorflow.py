"""The client, used for real, never imports TensorFlow."""

import os
import subprocess
import sys

from tfxlm.serve import Server

SCRIPT = """
import asyncio
import sys

from tfxlm.client import AsyncClient, Client, ServingError

assert "tfxlm.tokenizers" not in sys.modules  # only texts in some languages need it

rest, grpc = sys.argv[1:]


def refusal(call, *arguments):
    try:
        answer = call(*arguments)
    except ServingError as error:
        return error.code, str(error)
    raise AssertionError(f"answered: {answer}")


for options in ({"rest": rest}, {"grpc": grpc}):
    with Client(**options) as client:
        client.wait_until_available("tiny")
        outputs = client.predict("tiny", {"input_ids": [[1, 2]], "lengths": [2], "langs": [[0, 1]]})
        assert outputs["scores"].shape == (1, 3), outputs
        wrong = {"input_ids": [[1, 99]], "lengths": [2], "langs": [[0, 1]]}
        code, message = refusal(client.predict, "tiny", wrong)
        assert code == "INVALID_ARGUMENT" and "input_ids must be below 10" in message, (code, message)
        for call in (client.classify, client.regress):
            code, message = refusal(call, "tiny", [{"x": 1.0}])
            assert code == "INVALID_ARGUMENT" and "no signature " in message, (code, message)


async def embed():
    async with AsyncClient(grpc=grpc) as client:
        return await client.embed("texts", "ab")


assert asyncio.run(embed()).tolist() == [2, 2.5, 0]

from tfxlm.tokenizers import XLMTokenizer
from tfxlm.tokenizers.segmenters import SEGMENTERS

vocabulary = {"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, **{f"<special{i}>": 4 + i for i in range(10)}}
tokenizer = XLMTokenizer(vocabulary, [], lang2id={"zh": 0, "th": 1})
with Client(grpc=grpc) as client:
    for lang, text in (("zh", "今天天气很好"), ("th", "วันนี้")):
        words = client.label_text("texts", text, lang=lang, tokenizer=tokenizer)
        assert [one.word for one in words] == SEGMENTERS[lang].load()(text), words

heavy = sorted(
    name for name in sys.modules
    if name.split(".")[0] in ("tensorflow", "tensorflow_serving", "keras", "torch", "starlette")
    or name.startswith(("tfxlm.models", "tfxlm.serve", "tfxlm.export"))
)
assert not heavy, heavy
print("done")
"""


def test_real_calls_without_tensorflow(server: Server) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, server.rest_url, server.grpc_address],
        capture_output=True, text=True, env=environment, check=False, timeout=120,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
