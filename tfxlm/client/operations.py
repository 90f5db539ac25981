"""TensorFlow Serving's interface as methods, written once for `Client` and `AsyncClient`."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

from tfxlm.client import messages
from tfxlm.client.calls import (
    Classify,
    GetMetadata,
    GetStatus,
    MultiInference,
    Predict,
    Regress,
    Reload,
    ScoredClass,
)
from tfxlm.client.casting import cast_inputs
from tfxlm.client.core import Core, Link, model_ref
from tfxlm.client.examples import read_examples
from tfxlm.client.metadata import ModelMetadata, VersionStatus
from tfxlm.client.retries import Deadline
from tfxlm.client.steps import Operation, Pause, Steps
from tfxlm.client.transport import decode_text
from tfxlm.errors import InputError, ServingError

_POLL_SECONDS = 0.1


class ServingOperations(Core[Link]):
    """What a server of TensorFlow Serving's kind can be asked."""

    @Operation
    def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        signature_name: str = "serving_default",
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Steps[dict[str, np.ndarray]]:
        """Runs a model.

        The signature's data types are asked for once per model; values are cast to them where nothing is lost, so
        the int64 ids of a tokenizer can be sent to an int32 input as they are.

        Args:
            model: name under which the model is served.
            inputs: one array-like per input of the signature: numbers, text or bytes of any shape.
            signature_name: signature to call.
            version: version to ask; the newest by default.
            label: version label to ask, instead of a version.
            timeout: seconds to wait for an answer, retries included.

        Returns:
            One array per output. Strings are object arrays of `str`; of `bytes` when the output's name ends with
            `_bytes` or they are not UTF-8.

        Raises:
            InputError: the inputs do not fit the signature.
            ServingError: the server answered with an error (its `code` is the canonical name) or was not reached.
        """
        ref, deadline = model_ref(model, version, label), self._deadline(timeout)

        def fit(metadata: ModelMetadata) -> Predict:
            return Predict(ref, signature_name, *cast_inputs(metadata, signature_name, inputs))

        outputs = yield from self._predict(ref, fit, deadline)
        return {name: decode_text(array, name) for name, array in outputs.items()}

    @Operation
    def classify(
        self,
        model: str,
        examples: Sequence[Mapping[str, Any]],
        *,
        context: Mapping[str, Any] | None = None,
        signature_name: str = "classify",
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Steps[list[tuple[ScoredClass, ...]]]:
        """Asks a signature of the Classify kind, which takes rows of features (`tf.train.Example`).

        Args:
            model: name under which the model is served.
            examples: the features of each row by name: text, bytes, numbers, or lists of one kind of them.
            context: features that all rows share.
            signature_name: signature to call: that of exports by default; `"serving_default"` of an Estimator.
            version: version to ask; the newest by default.
            label: version label to ask, instead of a version.
            timeout: seconds to wait for an answer, retries included.

        Returns:
            The classes of each row with their scores, in the model's order.

        Raises:
            InputError: a row holds what no example can.
            ServingError: the server answered with an error or was not reached.
        """
        call = Classify(model_ref(model, version, label), signature_name, read_examples(examples, context))
        return (yield from self._ask(call, self._deadline(timeout)))

    @Operation
    def regress(
        self,
        model: str,
        examples: Sequence[Mapping[str, Any]],
        *,
        context: Mapping[str, Any] | None = None,
        signature_name: str = "regress",
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Steps[np.ndarray]:
        """Asks a signature of the Regress kind; arguments and errors are those of `classify`.

        Returns:
            A number for each row, float32 (rows,).
        """
        call = Regress(model_ref(model, version, label), signature_name, read_examples(examples, context))
        return (yield from self._ask(call, self._deadline(timeout)))

    @Operation
    def multi_inference(
        self,
        model: str,
        tasks: Mapping[str, str],
        examples: Sequence[Mapping[str, Any]],
        *,
        context: Mapping[str, Any] | None = None,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Steps[dict[str, Any]]:
        """Asks several signatures of a model about the same rows, at once. TensorFlow Serving has this over gRPC only.

        Args:
            model: name under which the model is served.
            tasks: the kind of each signature, `"classify"` or `"regress"`, by its name.
            examples: rows, as for `classify`.
            context: features that all rows share.
            version: version to ask; the newest by default.
            label: version label to ask, instead of a version.
            timeout: seconds to wait for an answer, retries included.

        Returns:
            What `classify` and `regress` return, by signature.

        Raises:
            InputError: an unknown kind, rows that hold what no example can, or a client without gRPC.
            ServingError: the server answered with an error or was not reached.
        """
        wrong = {name: kind for name, kind in tasks.items() if kind not in MultiInference.METHODS}
        if wrong or not tasks:
            raise InputError(
                f"tasks must map names of signatures to {' or '.join(map(repr, MultiInference.METHODS))}, got "
                f"{dict(tasks)}."
            )
        call = MultiInference(model_ref(model, version, label), dict(tasks), read_examples(examples, context))
        return (yield from self._ask(call, self._deadline(timeout)))

    @Operation
    def metadata(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: float | None = None
    ) -> Steps[ModelMetadata]:
        """Asks for the signatures of a model.

        Args:
            model: name under which the model is served.
            version: version to ask about; the newest by default.
            label: version label to ask about, instead of a version.
            timeout: seconds to wait for an answer, retries included.

        Raises:
            ServingError: there is no such model, or the server was not reached.
        """
        ref = model_ref(model, version, label)
        self._metadata[ref] = yield from self._ask(GetMetadata(ref), self._deadline(timeout))
        return self._metadata[ref]

    @Operation
    def status(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: float | None = None
    ) -> Steps[tuple[VersionStatus, ...]]:
        """Asks for the states of a model's versions.

        Args:
            model: name under which the model is served.
            version: version to ask about; all by default.
            label: version label to ask about, instead of a version.
            timeout: seconds to wait for an answer, retries included.

        Raises:
            ServingError: there is no such model, or the server was not reached.
        """
        call = GetStatus(model_ref(model, version, label))
        return (yield from self._ask(call, self._deadline(timeout)))

    @Operation
    def wait_until_available(self, model: str, timeout: float = 60.0, *, version: int | None = None) -> Steps[None]:
        """Waits until a model can be asked.

        Args:
            model: name under which the model is, or will be, served.
            timeout: seconds to wait at most.
            version: version to wait for; any by default.

        Raises:
            ServingError: it was not available in time (code `DEADLINE_EXCEEDED`), or the request is refused.
        """
        deadline, call = Deadline.after(timeout), GetStatus(model_ref(model, version, None))
        while True:
            try:
                attempt = Deadline.after(max(deadline.end - time.monotonic(), _POLL_SECONDS))
                statuses = yield from self._ask_once(call, attempt)
                if any(status.state == "AVAILABLE" for status in statuses):
                    return
                last = ", ".join(f"version {s.version} is {s.state} {s.error_message}".rstrip() for s in statuses)
            except ServingError as error:
                if error.code not in ("UNAVAILABLE", "NOT_FOUND", "DEADLINE_EXCEEDED"):
                    raise
                last = str(error)
            if not deadline.allows(_POLL_SECONDS):
                raise ServingError(
                    f"Model {model!r} was not available within {timeout:g} seconds; last answer: {last}",
                    "DEADLINE_EXCEEDED",
                )
            yield Pause(_POLL_SECONDS)

    @Operation
    def reload_config(self, config: str | os.PathLike[str], *, timeout: float | None = None) -> Steps[None]:
        """Gives the server another model configuration, which takes the place of its own. Over gRPC only.

        It returns when the server serves what the configuration asks for. A server that reads its configuration file
        again and again goes back to that with the next reading.

        Args:
            config: a `models.config` as text, or the path of one as a `Path`; folders in it are the server's.
            timeout: seconds to wait for an answer, retries included; models have to be loaded in this time.

        Raises:
            InputError: the text is not a model configuration, or the client has no gRPC address.
            ServingError: the server refuses it, or was not reached.
        """
        text = config if isinstance(config, str) else Path(config).read_text(encoding="utf-8")
        message = messages.ModelServerConfig()
        try:
            text_format.Parse(text, message, descriptor_pool=messages.POOL)
        except text_format.ParseError as error:
            raise InputError(
                f"config is not a model configuration in text form: {error}. Expected model_config_list {{ config {{ "
                "name: ... base_path: ... model_platform: 'tensorflow' } }; a file is given as Path('models.config')."
            ) from None
        yield from self._ask(Reload(message), self._deadline(timeout))
        self._metadata.clear()
