"""The client, used for real, never imports TensorFlow."""

import os
import subprocess
import sys

from tfxlm.serve import Server

SCRIPT = """
import sys

from tfxlm.client import Client

rest, grpc = sys.argv[1:]
for options in ({"rest": rest}, {"grpc": grpc}):
    with Client(**options) as client:
        client.wait_until_available("tiny")
        outputs = client.predict("tiny", {"input_ids": [[1, 2]], "lengths": [2], "langs": [[0, 1]]})
        assert outputs["scores"].shape == (1, 3), outputs
        try:
            client.predict("tiny", {"input_ids": [[1, 99]], "lengths": [2], "langs": [[0, 1]]})
        except Exception as error:
            assert error.code == "INVALID_ARGUMENT", error
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
