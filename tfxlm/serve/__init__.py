"""The embedded server: TensorFlow Serving's REST and gRPC interface in a Python process.

For tests, notebooks and small installations; `serving/` shows how to run the stock server on the same exports.
"""

from tfxlm.errors import MissingDependencyError

try:
    import starlette
    import uvicorn
except ImportError as error:
    raise MissingDependencyError(
        f"The embedded server needs starlette and uvicorn, and {error.name} is not installed. Install them with: "
        'pip install "tfxlm[serve]"'
    ) from error

from tfxlm.serve.server import Server

__all__ = ["Server"]

del starlette, uvicorn
