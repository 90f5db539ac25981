"""`export_model`: from a Keras model to a folder that TensorFlow Serving loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfxlm.errors import ExportError, InputError
from tfxlm.export import extras
from tfxlm.export.golden import TOLERANCES, check_in_fresh_process, golden_request, run_signatures
from tfxlm.export.saved_model import write_saved_model
from tfxlm.export.signatures import DEFAULT, input_specs, make_signatures
from tfxlm.files import atomic_folder
from tfxlm.models import TFPreTrainedModel


def export_model(model: TFPreTrainedModel, tokenizer: Any, path: str | Path, *, version: int | None = None) -> Path:
    """Exports a model as the next version under `path`, after checking that the export answers as the model does.

    The SavedModel has two signatures, both of `input_ids` int32 (batch, length), `lengths` int32 (batch,) and, for a
    model with language embeddings, `langs` int32 (batch, length); every row has at least one token:

    - `serving_default`, small answers: `label` (batch,), `score` (batch,) and `scores` (batch, num_labels) of a
      classifier; `scores` alone, the values themselves, of a regression (`problem_type` "regression", or one label);
      `ids` and `scores` (batch, length, 5) of the best tokens of a language model; `embedding` (batch, dim), the mean
      hidden state, of a model without a head.
    - `outputs`: everything the model returns, such as `logits`.

    Beside it, ``assets.extra`` holds the configuration with the labels, the tokenizer's files, warm-up requests and a
    manifest. The folder appears under its name only when it is complete.

    Args:
        model: a tfxlm model; its dtype is kept.
        tokenizer: the tokenizer whose files go with it (anything with `save_pretrained`), or None.
        path: folder of the served model, for example ``exported/intent``; its name is the model's name.
        version: version number; one more than the largest there is, by default.

    Returns:
        The version's folder, for example ``exported/intent/1``.

    Raises:
        InputError: when `version` is not a positive integer, or the tokenizer cannot be saved or does not fit the
            model.
        OutputExistsError: when that version exists already, or `path` is a file.
        ExportError: when the class has no signatures, its answers have no labels, or the export, reloaded in a fresh
            process, does not answer as the model does. Nothing is left behind then.

    Example:
        >>> import tfxlm  # doctest: +SKIP
        >>> tfxlm.export_model(model, tokenizer, "exported/intent")
        PosixPath('exported/intent/1')
    """
    if not isinstance(model, TFPreTrainedModel):
        raise ExportError(f"export_model exports tfxlm models, got {type(model).__name__}.")
    extras.check_tokenizer(model, tokenizer)
    path = Path(path)
    target = path / str(_next_version(path) if version is None else _checked(version))
    signatures, specs = make_signatures(model), input_specs(model)
    request = golden_request(model, specs)
    expected = run_signatures(signatures, request)
    with atomic_folder(target) as folder:
        write_saved_model(model, signatures, specs, folder)
        extras.write_config_and_tokenizer(folder, model, tokenizer)
        extras.write_warmup(folder, path.name, signatures, request)
        check_in_fresh_process(folder, request, expected, TOLERANCES[model.compute_dtype])
        extras.write_manifest(folder, model, request, expected[DEFAULT])
    return target


def _next_version(path: Path) -> int:
    versions = [int(entry.name) for entry in path.iterdir() if entry.name.isdecimal()] if path.is_dir() else []
    return max(versions, default=0) + 1


def _checked(version: int) -> int:
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InputError(f"version must be a positive integer, got {version!r}.")
    return version
