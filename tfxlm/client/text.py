"""Questions about texts as methods, one for each task, written once for `Client` and `AsyncClient`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from tfxlm.client import text_tasks as tasks
from tfxlm.client.calls import Predict
from tfxlm.client.casting import cast_inputs
from tfxlm.client.core import Core, Link, model_ref
from tfxlm.client.metadata import ModelMetadata, Signature
from tfxlm.client.steps import Operation, Steps
from tfxlm.client.text_requests import (
    Languages,
    Task,
    TextOptions,
    TextRequest,
    Texts,
    checked_seeds,
    language_inputs,
    languages,
    nested_rows,
    pair_languages,
    seed_inputs,
    text_rows,
    text_tensors,
)
from tfxlm.client.text_results import (
    Outputs,
    one_of,
    read_answers,
    read_choices,
    read_filled,
    read_found_words,
    read_generated,
    read_labelled,
    read_labelled_words,
    stacked,
)
from tfxlm.client.transport import decode_text
from tfxlm.errors import InputError


class TextOperations(Core[Link]):
    """What models can be asked about texts.

    The signature is found by what it takes and gives, whatever its name. All methods take the options of
    `tfxlm.client.TextRequest`: `batch_size`, `tokenizer`, `is_cut`, `version`, `label` and `timeout`. Languages are
    given as one code for all texts, or as one for each; a model without languages is given none.
    """

    @Operation
    def classify_text(
        self,
        model: str,
        texts: Texts,
        *,
        text_pair: Texts | None = None,
        lang: Languages = None,
        lang_pair: Languages = None,
        **options: Unpack[TextOptions],
    ) -> Steps[Any]:
        """Classifies texts, or pairs of texts.

        Args:
            model: name under which the model is served.
            texts: one text or many.
            text_pair: the second text of each pair; a single text goes with each of many.
            lang: language codes of the texts.
            lang_pair: language codes of the second texts; those of the first by default.
            **options: those of `TextRequest`.

        Returns:
            A `Labelled`, or a list with one for each text.

        Raises:
            InputError: the model does not classify texts, or an argument does not fit.
            LanguageError: languages are missing or not taken, or a text is not cut into words.
            ServingError: the server answered with an error or was not reached.
        """
        task = tasks.CLASSIFY if text_pair is None else tasks.CLASSIFY_PAIRS
        rows, is_one = _one_or_two(texts, text_pair)
        langs = pair_languages(lang, lang_pair, text_pair)
        found = yield from self._ask_texts(model, task, rows, langs, options, lambda outputs, _: read_labelled(outputs))
        return one_of(found, is_one)

    @Operation
    def regress_text(
        self,
        model: str,
        texts: Texts,
        *,
        text_pair: Texts | None = None,
        lang: Languages = None,
        lang_pair: Languages = None,
        **options: Unpack[TextOptions],
    ) -> Steps[np.ndarray]:
        """Asks a regression for the numbers of texts, or of pairs of texts; arguments are those of `classify_text`.

        Returns:
            float32 (texts, numbers); (numbers,) for one text.

        Raises:
            InputError: the model is no regression, or an argument does not fit.
            LanguageError: languages are missing or not taken, or a text is not cut into words.
            ServingError: the server answered with an error or was not reached.
        """
        task = tasks.REGRESS if text_pair is None else tasks.REGRESS_PAIRS
        rows, is_one = _one_or_two(texts, text_pair)
        langs = pair_languages(lang, lang_pair, text_pair)
        found = yield from self._ask_texts(model, task, rows, langs, options, lambda outputs, _: outputs["scores"])
        return stacked(found, is_one)

    @Operation
    def label_words(
        self, model: str, words: Any, *, lang: Languages = None, **options: Unpack[TextOptions]
    ) -> Steps[Any]:
        """Labels words, as for named entities.

        Args:
            model: name under which the model is served.
            words: the words of one text, or of many.
            lang: language codes of the texts.
            **options: those of `TextRequest`.

        Returns:
            A tuple with a `LabelledWord` for each word, or a list of such tuples.

        Raises:
            InputError: the model does not label words, or an argument does not fit.
            LanguageError: languages are missing or not taken.
            ServingError: the server answered with an error or was not reached.
        """
        rows, is_one = nested_rows(words, "words")
        found = yield from self._ask_texts(
            model,
            tasks.LABEL_WORDS,
            {"words": rows},
            {"lang": lang},
            options,
            lambda outputs, sent: read_labelled_words(outputs, sent["words"]),
        )
        return one_of(found, is_one)

    @Operation
    def label_text(
        self, model: str, texts: Texts, *, lang: Languages = None, **options: Unpack[TextOptions]
    ) -> Steps[Any]:
        """Finds the words of texts and labels them; arguments are those of `embed`.

        Returns:
            A tuple with a `LabelledWord` for each word, or a list of such tuples.

        Raises:
            InputError: the model does not do this, or an argument does not fit.
            LanguageError: languages are missing or not taken, or a text is not cut into words.
            ServingError: the server answered with an error or was not reached.
        """
        rows, is_one = text_rows(text=texts)
        found = yield from self._ask_texts(
            model, tasks.LABEL_TEXT, rows, {"lang": lang}, options, lambda outputs, _: read_found_words(outputs)
        )
        return one_of(found, is_one)

    @Operation
    def answer(
        self, model: str, question: Texts, context: Texts, *, lang: Languages = None, **options: Unpack[TextOptions]
    ) -> Steps[Any]:
        """Answers questions from contexts.

        Args:
            model: name under which the model is served.
            question: one question or many; a single one goes with each of many contexts.
            context: one context or many; a single one goes with each of many questions.
            lang: language codes of the questions and contexts.
            **options: those of `TextRequest`.

        Returns:
            An `Answer`, or a list of them.

        Raises:
            InputError: the model does not answer questions, or an argument does not fit.
            LanguageError: languages are missing or not taken, or a text is not cut into words.
            ServingError: the server answered with an error or was not reached.
        """
        rows, is_one = text_rows(question=question, context=context)
        found = yield from self._ask_texts(
            model,
            tasks.ANSWER,
            rows,
            {"lang": lang},
            options,
            lambda out, sent: read_answers(out, sent["context"]),
        )
        return one_of(found, is_one)

    @Operation
    def choose(
        self, model: str, prompt: Texts, choices: Any, *, lang: Languages = None, **options: Unpack[TextOptions]
    ) -> Steps[Any]:
        """Chooses what goes best with a prompt.

        Args:
            model: name under which the model is served.
            prompt: one prompt or many.
            choices: the choices, or a list of choices for each prompt; a single list goes with each of many prompts.
            lang: language codes of the prompts and choices.
            **options: those of `TextRequest`.

        Returns:
            A `Choice`, or a list of them.

        Raises:
            InputError: the model does not choose, or an argument does not fit.
            LanguageError: languages are missing or not taken, or a text is not cut into words.
            ServingError: the server answered with an error or was not reached.
        """
        prompts, is_one_prompt = text_rows(text=prompt)
        rows, is_one_row = nested_rows(choices, "choices")
        count = len(rows) if is_one_prompt else len(prompts["text"])
        if not is_one_row and len(rows) != count:
            raise InputError(f"Each prompt needs its choices: got {count} prompts and {len(rows)} lists of choices.")
        texts: dict[str, list[Any]] = {
            "text": prompts["text"] * (count if is_one_prompt else 1),
            "choices": rows * (count if is_one_row else 1),
        }
        found = yield from self._ask_texts(
            model,
            tasks.CHOOSE,
            texts,
            {"lang": lang},
            options,
            lambda out, sent: read_choices(out, sent["choices"]),
        )
        return one_of(found, is_one_prompt and is_one_row)

    @Operation
    def fill_mask(
        self,
        model: str,
        texts: Texts,
        *,
        top_k: int | None = None,
        lang: Languages = None,
        **options: Unpack[TextOptions],
    ) -> Steps[Any]:
        """Finds tokens for the masks in texts.

        Args:
            model: name under which the model is served.
            texts: one text or many, with the tokenizer's mask token (`"<special1>"` of XLM, `"<mask>"` of XLM-RoBERTa).
            top_k: how many tokens for each mask; as many as the export gives by default.
            lang: language codes of the texts.
            **options: those of `TextRequest`.

        Returns:
            For each mask of a text a tuple of `FilledMask`, the best first; or a list of such for each text.

        Raises:
            InputError: the model does not fill masks or gives fewer tokens, or an argument does not fit.
            LanguageError: languages are missing or not taken, or a text is not cut into words.
            ServingError: the server answered with an error or was not reached.
        """
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
            raise InputError(f"top_k must be a whole number of 1 or more, got {top_k!r}.")
        rows, is_one = text_rows(text=texts)

        def read(outputs: Outputs, sent: Mapping[str, Any]) -> list[Any]:
            del sent
            given = outputs["ids"].shape[-1]
            if top_k is not None and top_k > given:
                raise InputError(
                    f"Model {model!r} gives {given} tokens for each mask, top_k={top_k} asks for more. Export it with "
                    f"export_model(..., top_k={top_k})."
                )
            return read_filled(outputs, top_k)

        found = yield from self._ask_texts(model, tasks.FILL_MASK, rows, {"lang": lang}, options, read)
        return one_of(found, is_one)

    @Operation
    def generate_text(
        self,
        model: str,
        texts: Texts,
        *,
        seed: int | Sequence[int] | None = None,
        lang: Languages = None,
        **options: Unpack[TextOptions],
    ) -> Steps[Any]:
        """Goes on from texts, as the options say that the model was exported with.

        Args:
            model: name under which the model is served.
            texts: one text or many.
            seed: of the draws, for all texts or for each; drawn anew by default.
            lang: language codes of the texts.
            **options: those of `TextRequest`.

        Returns:
            A tuple of `Generated`, the best first, as many as the export gives; or a list of such for each text.

        Raises:
            InputError: the model does not generate or draws nothing, or an argument does not fit.
            LanguageError: languages are missing or not taken, or a text is not cut into words.
            ServingError: the server answered with an error or was not reached.
        """
        rows, is_one = text_rows(text=texts)
        seeds = checked_seeds(seed, len(rows["text"]))

        def numbers(signature: Signature, part: slice, count: int) -> dict[str, np.ndarray]:
            return seed_inputs(model, signature, None if seeds is None else seeds[part], count)

        found = yield from self._ask_texts(
            model, tasks.GENERATE, rows, {"lang": lang}, options, lambda outputs, _: read_generated(outputs), numbers
        )
        return one_of(found, is_one)

    @Operation
    def embed(
        self, model: str, texts: Texts, *, lang: Languages = None, **options: Unpack[TextOptions]
    ) -> Steps[np.ndarray]:
        """Turns texts into vectors.

        Args:
            model: name under which the model is served.
            texts: one text or many.
            lang: language codes of the texts.
            **options: those of `TextRequest`.

        Returns:
            Float (texts, dim); (dim,) for one text.

        Raises:
            InputError: the model does not embed texts, or an argument does not fit.
            LanguageError: languages are missing or not taken, or a text is not cut into words.
            ServingError: the server answered with an error or was not reached.
        """
        rows, is_one = text_rows(text=texts)
        found = yield from self._ask_texts(
            model, tasks.EMBED, rows, {"lang": lang}, options, lambda outputs, _: outputs["embedding"]
        )
        return stacked(found, is_one)

    def _ask_texts(
        self,
        model: str,
        task: Task,
        texts: Mapping[str, list[Any]],
        langs: Mapping[str, Languages],
        options: TextOptions,
        read: Callable[[Outputs, Mapping[str, Any]], Any],
        numbers: Callable[[Signature, slice, int], Mapping[str, np.ndarray]] = lambda *_: {},
    ) -> Steps[list[Any]]:
        """Asks about rows of texts, some at a time.

        Args:
            model: name under which the model is served.
            task: what it is asked.
            texts: rows by input.
            langs: language codes by input.
            options: of the call.
            read: from outputs, and the rows that were sent, to what the rows give.
            numbers: of a signature, for a part of the rows, so many: what it takes beside them.
        """
        request = TextRequest.of(options)
        ref = model_ref(model, request.version, request.label)
        count = len(next(iter(texts.values())))
        codes = {name: languages(given, name, count) for name, given in langs.items()}
        is_settled = request.is_cut or request.tokenizer is not None
        found: list[Any] = []
        for first in range(0, count, request.batch_size):
            part = slice(first, first + request.batch_size)
            part_codes = {name: None if given is None else given[part] for name, given in codes.items()}
            of_texts = {name: part_codes.get(lang) for name, lang in task.inputs.items() if lang is not None}
            sent = request.cut({name: rows[part] for name, rows in texts.items()}, of_texts)
            tensors = text_tensors(sent, task.counts)

            def fit(
                metadata: ModelMetadata,
                tensors: Mapping[str, Any] = tensors,
                part_codes: Mapping[str, Sequence[str] | None] = part_codes,
                part: slice = part,
            ) -> Predict:
                name, signature = task.find(metadata)
                rows = min(request.batch_size, count - part.start)
                inputs = {**tensors, **language_inputs(model, signature, part_codes, is_settled)}
                inputs |= numbers(signature, part, rows)
                return Predict(ref, name, *cast_inputs(metadata, name, inputs))

            outputs = yield from self._predict(ref, fit, self._deadline(request.timeout))
            found.extend(read({name: decode_text(array, name) for name, array in outputs.items()}, sent))
        return found


def _one_or_two(texts: Texts, text_pair: Texts | None) -> tuple[dict[str, list[str]], bool]:
    return text_rows(text=texts) if text_pair is None else text_rows(text=texts, text_pair=text_pair)
