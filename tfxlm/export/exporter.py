"""`export_model`: from a Keras model to a folder that TensorFlow Serving loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfxlm.errors import ExportError, InputError
from tfxlm.export import extras
from tfxlm.export.answers import options_of
from tfxlm.export.continuations import Generation
from tfxlm.export.golden import TOLERANCES, check_in_fresh_process, run_signatures
from tfxlm.export.saved_model import write_saved_model
from tfxlm.export.signatures import DEFAULT, make_signatures
from tfxlm.export.texts import served
from tfxlm.files import atomic_folder
from tfxlm.models import TFPreTrainedModel


def export_model(
    model: TFPreTrainedModel,
    tokenizer: Any,
    path: str | Path,
    *,
    version: int | None = None,
    lang: str | None = None,
    generation: Mapping[str, Any] | None = None,
    **answers: int,
) -> Path:
    """Exports a model as the next version under `path`, after checking that the export answers as the model does.

    With a tokenizer of this package the SavedModel takes raw text: the tokenizer is in its graph. `serving_default`
    then takes strings, and `lang`, string (batch,), language codes, where the tokenizer has languages:

    - Sequence classification and models without a head: `text` (batch,). The signature `text_pair` of a classifier
      takes `text_pair` (batch,), and `lang_pair` (batch,), too.
    - Token classification: `words` (batch, words) and `num_words` int32 (batch,), what is behind which fills the row
      up; `label` and `score` (batch, words) are those of each word's first piece, and "" and 0 where it was cut off.
    - Multiple choice: `text` (batch,), `choices` (batch, choices) and `num_choices` int32 (batch,).
    - Causal language modeling: `generate` takes `text` (batch,) to go on from, and `seed` int32 (batch,) where tokens
      are drawn; `texts` (batch, texts), what is new of each, `ids` int32 (batch, texts, new), `lengths` (batch, texts),
      and `scores` of beam search. `generate_ids` takes ids. A text that is too long loses its beginning.
    - Language modeling that is not causal: `text` (batch,) with mask tokens; `tokens` (the text of each), `ids` and
      `scores` (batch, masks, top_k), and "", -1 and 0 where a row has fewer masks than others.

    Texts are cut to the model's length. What looks like another special or added token in a text is text. A tokenizer
    that cannot stand in a graph (of another class, without languages for a model with language embeddings, padding on
    the left, or cutting at random) goes with the export as files, with a warning.

    The signatures over ids are called `ids`, which is the default where there is none for texts, and `outputs`, which
    gives everything that the model returns, such as `logits`. Both take `input_ids` int32 (batch, length), `lengths`
    int32 (batch,), 1 or more, and, for a model with language embeddings, `langs` int32 (batch, length). By task:

    - Sequence classification: `label` (batch,), `score` (batch,) and `scores` (batch, num_labels); of a regression
      (`problem_type` "regression", or one label) `scores` alone, the values themselves.
    - Token classification: `label` and `score` (batch, length); "" and 0 at padding.
    - Multiple choice: `choice` and `score` (batch,), `scores` (batch, choices). The inputs have an axis of choices:
      `input_ids` and `langs` (batch, choices, length), `lengths` (batch, choices). `ids` also takes
      `num_choices` int32 (batch,): a row's choices after those only fill it up, and score 0. Each has at least one
      token all the same.
    - Question answering: `start`, `end` (both inclusive) and `score` (batch,) of the best answer, and `starts`, `ends`
      and `scores` (batch, top_k) of the best ones; -1, -1 and 0 where a row has no more. `ids` also takes
      `p_mask` int32 (batch, length), 1 where no answer may be: the question and special tokens. A score is the
      probability of the start times that of the end.
    - Question answering with a beam: the same, and `no_answer` (batch,), the probability that there is none. Both
      signatures take `p_mask`, and `cls_index` int32 (batch,), where the classification token stands.
    - Language modeling: `ids` and `scores` (batch, length, top_k) of the best tokens; -1 and 0 at padding.
    - Without a head: `embedding` (batch, dim), the mean hidden state.

    Beside it, ``assets.extra`` holds the configuration with the labels, the tokenizer's files, warm-up requests and a
    manifest. The folder appears under its name only when it is complete.

    Args:
        model: a tfxlm model; its dtype is kept.
        tokenizer: the tokenizer, whose files go with the export, or None. (Anything with `save_pretrained` will do, but
            only those of this package can stand in a graph.)
        path: folder of the served model, for example ``exported/intent``; its name is the model's name.
        version: version number; one more than the largest there is, by default.
        lang: language code of all texts, which then do not say theirs.
        generation: how a causal language model generates: options of `generate`, such as ``{"max_new_tokens": 40,
            "num_beams": 4}``. Without them 20 tokens are made of each text, the likeliest ones; without a tokenizer
            nothing is generated then.
        **answers: options of the small answers: `top_k`, how many answers or tokens there are (5), and
            `max_answer_length`, the most tokens an answer to a question has (30).

    Returns:
        The version's folder, for example ``exported/intent/1``.

    Raises:
        InputError: when `version` is not a positive integer, the tokenizer cannot be saved or does not fit the model,
            an option is none of this model's answers, or `lang` is given without texts to take.
        LanguageError: when `lang` is unknown, or the tokenizer's languages are not the model's.
        OutputExistsError: when that version exists already, or `path` is a file.
        ExportError: when the class has no signatures, its answers have no labels, or the export, reloaded in a fresh
            process, does not answer as the model does. Nothing is left behind then.

    Example:
        >>> from tfxlm import TFXLMForSequenceClassification, XLMTokenizer, export_model
        >>> tokenizer = XLMTokenizer.from_pretrained("examples/checkpoint")
        >>> model = TFXLMForSequenceClassification.from_pretrained("examples/checkpoint", num_labels=6)
        >>> export_model(model, tokenizer, "exported/intent").as_posix()
        'exported/intent/1'
    """
    if not isinstance(model, TFPreTrainedModel):
        raise ExportError(f"export_model exports tfxlm models, got {type(model).__name__}.")
    extras.check_tokenizer(model, tokenizer)
    path = Path(path)
    target = path / str(_next_version(path) if version is None else _checked(version))
    options = options_of(model, answers)
    chosen = Generation.of(model, generation)
    texts = served(model, tokenizer, options, lang, chosen)
    signatures = make_signatures(model, options, texts, None if texts is None and generation is None else chosen)
    requests = {name: signature.sample for name, signature in signatures.items()}
    expected = run_signatures(signatures)
    with atomic_folder(target) as folder:
        write_saved_model(model, signatures, folder, texts.tokenizer if texts else None)
        extras.write_config_and_tokenizer(folder, model, tokenizer)
        extras.write_warmup(folder, path.name, signatures)
        check_in_fresh_process(folder, requests, expected, TOLERANCES[model.compute_dtype])
        extras.write_manifest(folder, model, options, requests[DEFAULT], expected[DEFAULT])
    return target


def _next_version(path: Path) -> int:
    versions = [int(entry.name) for entry in path.iterdir() if entry.name.isdecimal()] if path.is_dir() else []
    return max(versions, default=0) + 1


def _checked(version: int) -> int:
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InputError(f"version must be a positive integer, got {version!r}.")
    return version
