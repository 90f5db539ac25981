"""The error tree of tfxlm.

Every error raised on purpose derives from `TFXLMError` and from the built-in exception a caller would expect,
so both ``except tfxlm.errors.TFXLMError`` and ``except ValueError`` work. A message says what happened, what was
expected, what came, and the way out.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class TFXLMError(Exception):
    """Base class of all errors raised by tfxlm.

    Example:
        >>> from tfxlm import TFXLMError, XLMConfig
        >>> try:
        ...     XLMConfig(emb_dim=0)
        ... except TFXLMError as error:
        ...     print(type(error).__name__)
        ConfigError
    """

    # Keras wraps errors from inside layers in a page about the call, which buries the message; not those marked so.
    _keras_call_info_injected = True


class ConfigError(TFXLMError, ValueError):
    """A configuration value is invalid, or a frozen configuration was assigned to."""


class InputError(TFXLMError, ValueError):
    """A call argument has a wrong value, shape or dtype."""


class ArgumentError(InputError, TypeError):
    """A call has an argument that the function does not take, too many of them, or one given twice."""


class LanguageError(InputError):
    """A language is unknown to the model or tokenizer, or is missing where it is needed."""


class TokenizerError(TFXLMError, ValueError):
    """A tokenizer file is malformed or tokenizer options contradict each other."""


class CheckpointError(TFXLMError):
    """Base class of everything that can be wrong with a checkpoint."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """A folder, file or hub repository that should hold a checkpoint does not."""


class CorruptFileError(CheckpointError, ValueError):
    """A file is truncated, malformed or contradicts itself."""


class UnsupportedFileError(CheckpointError, ValueError):
    """A file is whole, but its format or layout is not one that can be read."""


class UnsafeFileError(CheckpointError, ValueError):
    """A file asks for something that loading weights never needs, such as running code or leaving its folder."""


class WeightMismatchError(CheckpointError, ValueError):
    """Names or shapes in a checkpoint do not fit the model."""


class UploadError(TFXLMError, OSError):
    """Files could not be uploaded to the hub."""


class OutputExistsError(TFXLMError, FileExistsError):
    """A file or folder that should be written exists already."""


class TrainingError(TFXLMError, ArithmeticError):
    """A training cannot go on: its loss or gradient is not finite."""


class ExportError(TFXLMError, RuntimeError):
    """An export could not be written, or its reloaded copy does not answer as the model does."""


class ServingError(TFXLMError, RuntimeError):
    """A served model answered with an error, or could not be reached.

    Attributes:
        code: name of the canonical status code, for example ``"INVALID_ARGUMENT"``.
        is_transient: whether the same request may well succeed later: the server is busy, starting, or out of reach.
        retry_after: seconds after which the server asks to be tried again, None where it does not say.
    """

    def __init__(
        self, message: str, code: str = "UNKNOWN", *, is_transient: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.is_transient = is_transient
        self.retry_after = retry_after


class MissingDependencyError(TFXLMError, ImportError):
    """An optional package is not installed; the message holds the install command."""


@contextmanager
def explain_missing(feature: str, install: str) -> Iterator[None]:
    """Says how to install what the imports inside the block lack.

    Args:
        feature: what needs them, as the subject of a sentence: ``"The embedded server"``.
        install: what to give to pip: ``"tfxlm[serve]"``.

    Raises:
        MissingDependencyError: when a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "tfxlm":
            raise  # a fault of ours, which no installation mends
        raise MissingDependencyError(
            f'{feature} needs {package}, which is not installed. Install it with: pip install "{install}"'
        ) from error
