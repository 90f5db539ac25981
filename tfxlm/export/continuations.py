"""Served generation: texts, or ids, that a causal model goes on from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfxlm.errors import InputError
from tfxlm.export.inputs import Tensors, real_positions
from tfxlm.export.running import Runner
from tfxlm.export.served import Served
from tfxlm.generation import GenerationOptions, token_id, token_ids
from tfxlm.models import TFPreTrainedModel
from tfxlm.models.continuing import Run, generated
from tfxlm.models.prompts import Texts
from tfxlm.models.text_lengths import DEFAULT_NEW_TOKENS, TextLengths
from tfxlm.tokenizers.in_graph import GraphDetokenizer

# Options of `generate` that say how long texts get.
_LENGTHS = ("max_new_tokens", "min_new_tokens")
_OPTIONS = (
    *("do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "no_repeat_ngram_size", "num_beams"),
    *("length_penalty", "early_stopping", "num_return_sequences", "pad_token_id"),
)


@dataclasses.dataclass(frozen=True)
class Generation:
    """How a served model generates.

    Args:
        options: how tokens are chosen.
        lengths: how long texts get.
    """

    options: GenerationOptions
    lengths: TextLengths

    @classmethod
    def of(cls, model: TFPreTrainedModel, given: Mapping[str, Any] | None) -> Generation:
        """Reads options as `generate` has them.

        Raises:
            InputError: one is unknown or wrong, or leaves no room for prompts.
        """
        config, given = model.config, given or {}
        known = (*_LENGTHS, "eos_token_id", *_OPTIONS)
        unknown = [name for name in given if name not in known]
        if unknown:
            raise InputError(f"Served generation has no option {', '.join(unknown)}. It has: {', '.join(known)}.")
        chosen = {name: given[name] for name in _OPTIONS if name in given}
        if "pad_token_id" in chosen:
            token_id("pad_token_id", chosen["pad_token_id"], config.vocab_size)
        ends = token_ids("eos_token_id", given.get("eos_token_id", config.end_token_id), config.vocab_size)
        longest = config.max_sequence_length
        sizes = {"max_new_tokens": min(DEFAULT_NEW_TOKENS, longest // 2)}
        sizes |= {name: given[name] for name in _LENGTHS if name in given}
        lengths = TextLengths(longest, **sizes)
        if lengths.most >= longest:
            raise InputError(
                f"max_new_tokens={lengths.most} leaves no room for prompts: the model reads {longest} tokens."
            )
        options = GenerationOptions(**{"pad_token_id": config.pad_index, "eos_token_ids": ends} | chosen)
        return cls(options, lengths)

    @property
    def longest_prompt(self) -> int:
        """The most tokens of a prompt."""
        return self.lengths.longest - self.lengths.most

    @property
    def numbers(self) -> tuple[str, ...]:
        """The numbers that are sent with each row: a seed, where tokens are drawn."""
        return numbers({"generation": {"do_sample": self.options.do_sample}})

    def new_tokens(
        self, run: Runner, ids: tf.Tensor, mask: tf.Tensor, langs: tf.Tensor | None, given: Tensors
    ) -> Tensors:
        """Generates.

        Args:
            run: runs the model, in the sizes that it is exported for; rows are as long as a bucket.
            ids: int32 (batch, length).
            mask: boolean (batch, length), True at tokens.
            langs: int32 (batch, length), or None.
            given: what is sent; of it the seeds.

        Returns:
            `ids` int32 (batch, texts, new) and `lengths` (batch, texts); of beam search, `scores` (batch, texts), too.
        """
        rows = {"input_ids": ids, "attention_mask": tf.cast(mask, tf.int32), "langs": langs, "seed": given.get("seed")}
        rows = {name: value for name, value in rows.items() if value is not None}
        return run.in_buckets(lambda rows: self._new_tokens(run, rows), rows)

    def _new_tokens(self, run: Runner, rows: Tensors) -> Tensors:
        given = Texts(rows["input_ids"], rows["attention_mask"] == 1, rows.get("langs"), {})
        how = Run(seed=rows.get("seed"), jit_compile=run.sizes.jit)
        made = generated(run.model, given, self.options, self.lengths, how)
        texts = [-1, self.options.num_return_sequences]
        found = {
            "ids": tf.reshape(made.tokens, [*texts, self.lengths.most]),
            "lengths": tf.reshape(made.lengths, texts),
        }
        return found | ({"scores": tf.reshape(made.text_scores, texts)} if self.options.num_beams > 1 else {})


def of_ids(generation: Generation, run: Runner, given: Tensors) -> Tensors:
    """Goes on from ids (batch, length), as the signatures over ids take them."""
    rows = run.padded(given)
    return generation.new_tokens(run, rows["input_ids"], real_positions(rows), rows.get("langs"), rows)


def numbers(answers: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the numbers that are sent with each text, by the options of the answers."""
    return ("seed",) if (answers["generation"] or {}).get("do_sample") else ()


def of_texts(served: Served, given: Tensors, *, generation: Mapping[str, Any] | None = None) -> Tensors:
    """Goes on from texts: what is sent, `text` and `lang`, to the same as `of_ids` with `texts` (batch, texts).

    A text that is too long loses its beginning, for it is the end that is gone on from.

    Args:
        served: the model and its tokenizer.
        given: what is sent.
        generation: options of `generate`.
    """
    chosen, tokenizer, lang = Generation.of(served.model, generation), served.tokenizer, given.get("lang")
    before, after = tokenizer.around_text
    # The frame is cut again, behind: what ends a text counts there.
    whole = chosen.longest_prompt if tokenizer.max_length is None else tokenizer.max_length - after
    longest = min(chosen.longest_prompt, whole) - before
    if longest < 1:
        raise InputError(
            f"Texts have no room: max_new_tokens={chosen.lengths.most} and the special tokens take all "
            f"{chosen.lengths.longest} positions. Give a smaller max_new_tokens, or a larger max_length."
        )
    pieces = tokenizer.piece_ids(given["text"], lang)[:, -longest:]
    inputs = tokenizer.frame(pieces, None, lang, lang)
    # What ends a text is left out, for it to go on.
    mask = tf.sequence_mask(inputs.lengths - after, tf.shape(inputs.input_ids)[1])
    langs = inputs.langs if getattr(served.model.config, "uses_lang_embeddings", False) else None
    found = chosen.new_tokens(served.run, inputs.input_ids, mask, langs, given)
    shape = tf.shape(found["lengths"])
    ids = tf.reshape(found["ids"], [-1, chosen.lengths.most])
    texts = GraphDetokenizer(served.source)(ids, tf.reshape(found["lengths"], [-1]))
    return {"texts": tf.reshape(texts, shape), **found}
