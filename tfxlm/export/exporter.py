"""`export_model`: from a Keras model to a folder that TensorFlow Serving loads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfxlm.errors import ExportError, InputError
from tfxlm.export import extras
from tfxlm.export.copies import in_dtype
from tfxlm.export.forms import TextOptions, options_of, served
from tfxlm.export.golden import TOLERANCES, check_in_fresh_process, run_signatures
from tfxlm.export.running import Runner, sizes_of
from tfxlm.export.saved_model import write_saved_model
from tfxlm.export.signatures import DEFAULT, Chosen, make_signatures
from tfxlm.files import atomic_folder
from tfxlm.layers.fused_normalization import portable_graphs
from tfxlm.models import TFPreTrainedModel
from tfxlm.tokenizers.in_graph.base import CORE
from tfxlm.tokenizers.lengths import LONGEST_FIRST


def export_model(
    model: TFPreTrainedModel,
    tokenizer: Any,
    path: str | Path,
    version: int | None = None,
    signatures: Chosen | None = None,
    dtype: str | None = None,
    length_buckets: Sequence[int] | None = None,
    jit: bool | None = None,
    *,
    batch_buckets: Sequence[int] | None = None,
    lang: str | None = None,
    max_length: int | None = None,
    truncation: str = LONGEST_FIRST,
    byte_pairs: str = CORE,
    **answers: Any,
) -> Path:
    """Exports a model as the next version under `path`, after checking that the export answers as the model does.

    With a tokenizer of this package the SavedModel takes raw text: the tokenizer is in its graph. `serving_default` is
    then the first signature of the model's task, and all of these take `lang`, string (batch,), language codes, where
    the tokenizer has languages and the export was not told one. n is batch:

    | task | signature | takes | answers |
    |---|---|---|---|
    | sequence classification | `text` | `text` (n,) | `label`, `score` (n,), `scores` (n, labels) |
    | | `text_pair` | `text`, `text_pair`, `lang_pair` (n,) | the same |
    | | `classify` | `inputs` (n,), serialized `tf.Example` | `classes`, `scores` (n, labels) |
    | regression | `text`, `text_pair` | as above | `scores` (n, labels), the values themselves |
    | | `regress`, with one label | `inputs` (n,), serialized `tf.Example` | `outputs` (n,) |
    | token classification | `words` | `words` (n, words), `num_words` (n,) | `label`, `score` (n, words) |
    | | `text` | `text` (n,) | `words`, `label`, `score`, `starts`, `ends` (n, words), `num_words` (n,) |
    | question answering | `question` | `question`, `context` (n,) | `answer`, `start`, `end`, `score` (n,), |
    | | | | `no_answer` (n,), `answers`, `starts`, `ends`, `scores` (n, top_k) |
    | multiple choice | `choices` | `text` (n,), `choices` (n, choices), `num_choices` (n,) | `choice`, `score` (n,), |
    | | | | `scores` (n, choices) |
    | language modeling, not causal | `fill_mask` | `text` (n,) | `tokens`, `ids`, `scores` (n, masks, top_k) |
    | causal language modeling | `generate` | `text` (n,), for draws `seed` | `texts`, `lengths`, of beams `scores` |
    | | | | (n, texts), `ids` (n, texts, new) |
    | | `generate_ids` | `input_ids`, `langs` (n, length), `lengths` (n,), `seed` | the same without `texts` |
    | no head | `text` | `text` (n,) | `embedding` (n, dim) |
    | all | `ids` | `input_ids`, `langs` (n, length), `lengths` (n,) | by task, see below |
    | | `outputs` | the same | all that the model returns |

    Texts are strings, `num_words` and `num_choices` int32: what is behind them only fills rows up. What looks like a
    special or added token in a text is text, but for mask tokens where there are to be some. Texts are cut to
    `max_length`, but for contexts of questions:

    - Question answering cuts a context into as many windows as it needs, which share `stride` tokens, and answers with
      the best spans of all of them; one that is in two windows counts once. A score is the probability of the start
      times that of the end within a window, where the classification token takes part, too. `start` and `end` are
      characters of the context (Unicode code points), the end behind the last one: ``context[start:end]`` is the
      answer. Where a row has no more answers there are "", -1, -1 and 0. `no_answer` is the probability that there is
      none: of the head with a beam what it says of that, else that of the classification token; the least of all
      windows.
    - Words of a text are those that the tokenizer cuts it into: Moses' of XLM, and what stands between white space of
      XLM-RoBERTa. Each has the label of its first piece, and "" and 0 where that was cut off. `starts` and `ends` are
      characters of the text, as above.
    - Examples have the features `text`, `lang` where it is needed, and if there is a second text `text_pair` and
      `lang_pair` (`lang` by default). TensorFlow Serving's Classify and Regress ask with them.
    - `generate` goes on from texts, which lose their beginning where they are too long, and `texts` are what is new.
      `generate_ids` is there with a tokenizer, or with the option `generation`.
    - `tokens` are the texts of the best tokens; "", -1 and 0 where a row has fewer masks than others.

    A tokenizer that cannot stand in a graph (of another class, without languages for a model with language embeddings,
    padding on the left, or cutting at random) goes with the export as files, with a warning.

    The signatures over ids take `input_ids` int32 (batch, length), `lengths` int32 (batch,), 1 or more, and, for a
    model with language embeddings, `langs` int32 (batch, length). `ids` is the default where there is none for texts,
    and answers by task:

    - Sequence classification: as to texts.
    - Token classification: `label` and `score` (batch, length); "" and 0 at padding.
    - Multiple choice: as to texts. The inputs have an axis of choices: `input_ids` and `langs` (batch, choices,
      length), `lengths` (batch, choices). `ids` also takes `num_choices` int32 (batch,): a row's choices after those
      only fill it up, and score 0. Each has at least one token all the same.
    - Question answering: `start`, `end` (tokens, both inclusive) and `score` (batch,) of the best answer, and `starts`,
      `ends` and `scores` (batch, top_k) of the best ones; -1, -1 and 0 where a row has no more. `ids` also takes
      `p_mask` int32 (batch, length), 1 where no answer may be: the question and special tokens. A score is the
      probability of the start times that of the end, among the other positions.
    - Question answering with a beam: the same, and `no_answer` (batch,), the probability that there is none. Both
      signatures take `p_mask`, and `cls_index` int32 (batch,), where the classification token stands.
    - Language modeling: `ids` and `scores` (batch, length, top_k) of the best tokens; -1 and 0 at padding.
    - Without a head: `embedding` (batch, dim).

    Beside it, ``assets.extra`` holds the configuration, the labels, the tokenizer's files, warm-up requests (one for
    each signature, and for each bucket) and a manifest. The folder appears under its name only when it is complete.

    Args:
        model: a tfxlm model.
        tokenizer: the tokenizer, whose files go with the export, or None. (Anything with `save_pretrained` will do, but
            only those of this package can stand in a graph.)
        path: folder of the served model, for example ``exported/intent``; its name is the model's name.
        version: version number; one more than the largest there is, by default.
        signatures: what to export; all of the table by default. A list of names of the table, the first of which
            becomes ``serving_default``; or a mapping with ``"serving_default"`` of names of your own to names of the
            table, or to tuples of a `tf.function` with an `input_signature` that uses the model (and no tables), and a
            request, arrays by input, that the export is checked with.
        dtype: "float32", "bfloat16" or "float16" of the exported variables and computation; the model's own by
            default. The model stays as it is, and memory holds one copy more.
        length_buckets: lengths to which rows of ids are padded, ascending; longer texts are cut to the last one, and
            longer rows of ids refused. What answers and outputs have for each token of `ids` is then as long as the
            bucket.
        batch_buckets: numbers of rows to which batches are filled up, ascending; larger batches are refused. Windows of
            questions count as rows.
        jit: whether the model is compiled with XLA, for each length bucket that is asked for and each number of rows
            (and of choices): it needs `length_buckets`, and `batch_buckets` where batches have many sizes, as those of
            TensorFlow Serving without ``allowed_batch_sizes``. Tokenizers and answers stay outside, on the CPU; of
            generation, the whole loop is compiled. Padding is computed, too, and ids that the model does not have are
            not refused. It pays on GPU and TPU, where the server has XLA: on a CPU the stock one must be started with
            ``--xla_cpu_compilation_enabled=true``.
        lang: language code of all texts, which then do not say theirs.
        max_length: most tokens of a row of texts, special ones included; what model and tokenizer take by default.
        truncation: what is cut of pairs that are longer: "longest_first", "only_first" or "only_second".
        byte_pairs: how words of XLM are cut into pieces: "core", with core operations of TensorFlow alone, or
            "sentencepiece", with one of TensorFlow Text, which TensorFlow Serving knows: less time for single texts
            and for words of thousands of letters. Refused where the merges cannot be written as its model.
        **answers: options of the small answers. `top_k`: how many answers or tokens there are (5). Of question
            answering `max_answer_length`: the most tokens an answer has (30); `max_question_length`: the most that
            questions have, which are cut to it (64, or a quarter of a row where that is less); `stride`: tokens that
            windows share (128, or half of a window where that is less). Of embeddings `pooling`: "mean" of all tokens,
            "first" for the first one, or "summary" for what the model itself has for a text (its pooling layer, or the
            position that `summary_type` names); `normalize`: True for vectors of length 1. Of causal language models
            `generation`: options of `generate`, such as ``{"max_new_tokens": 40, "num_beams": 4}``; by default 20
            tokens are made, the likeliest ones.

    Returns:
        The version's folder, for example ``exported/intent/1``.

    Raises:
        InputError: when `version` is not a positive integer, the tokenizer cannot be saved or does not fit the model,
            an option is none of this model's or has no such value, sizes do not fit, or options of texts are given
            without texts to take.
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
    sizes = sizes_of(model, length_buckets, batch_buckets, jit)
    model = in_dtype(model, dtype)
    run = Runner(model, sizes)
    asked = TextOptions(lang, max_length, truncation, byte_pairs)
    texts = served(run, tokenizer, options, asked)
    with portable_graphs():
        made = make_signatures(run, options, texts, signatures)
    requests = {name: signature.sample for name, signature in made.items()}
    expected = run_signatures(made)
    with atomic_folder(target) as folder:
        write_saved_model(model, made, folder, texts.tokenizer if texts else None)
        extras.write_config_and_tokenizer(folder, model, tokenizer)
        extras.write_labels(folder, model)
        extras.write_warmup(folder, path.name, made)
        check_in_fresh_process(folder, requests, expected, TOLERANCES[model.compute_dtype])
        described = {"answers": options, "sizes": dataclasses.asdict(sizes), "texts": dataclasses.asdict(asked)}
        extras.write_manifest(folder, model, made, expected[DEFAULT], described)
    return target


def _next_version(path: Path) -> int:
    versions = [int(entry.name) for entry in path.iterdir() if entry.name.isdecimal()] if path.is_dir() else []
    return max(versions, default=0) + 1


def _checked(version: int) -> int:
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InputError(f"version must be a positive integer, got {version!r}.")
    return version
