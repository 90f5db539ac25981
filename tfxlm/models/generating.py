"""`generate`: texts from language models."""

from __future__ import annotations

from typing import Any, ClassVar

from tfxlm.errors import InputError
from tfxlm.generation import GenerationOptions, token_id, token_ids
from tfxlm.models.continuing import CompiledFunctions, Run, continued
from tfxlm.models.decoding import CachedReading, Reading
from tfxlm.models.filling import MaskPredict, check_heeded
from tfxlm.models.outputs import TFGenerateOutput
from tfxlm.models.pretrained import TFPreTrainedModel
from tfxlm.models.prompts import texts_of
from tfxlm.models.text_lengths import TextLengths


class Generating(TFPreTrainedModel):
    """Language models that make texts."""

    # The position id of the first token in the generation of `transformers`, where that is not the checkpoint's.
    hf_first_position: ClassVar[int | None] = None

    def reading(self, most: int, hf_compat: bool = False) -> Reading:
        """Returns how the model reads texts token by token.

        Args:
            most: the most new tokens.
            hf_compat: whether as in `transformers`.
        """
        return CachedReading(self, most, first_position=self.hf_first_position if hf_compat else None)

    @property
    def generation_functions(self) -> CompiledFunctions:
        """What `generate` has compiled."""
        if not hasattr(self, "_generation_functions"):
            self._generation_functions = CompiledFunctions()
        return self._generation_functions

    def generate(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        *,
        langs: Any = None,
        lengths: Any = None,
        encoder_hidden_states: Any = None,
        encoder_attention_mask: Any = None,
        max_new_tokens: int | None = None,
        max_length: int | None = None,
        min_new_tokens: int | None = None,
        min_length: int | None = None,
        do_sample: bool = False,
        temperature: float = 1.0,
        top_k: int = 50,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        no_repeat_ngram_size: int = 0,
        num_beams: int = 1,
        length_penalty: float = 1.0,
        early_stopping: bool | str = False,
        num_return_sequences: int = 1,
        eos_token_id: Any = None,
        pad_token_id: int | None = None,
        seed: Any = None,
        streamer: Any = None,
        return_dict_in_generate: bool = False,
        output_scores: bool = False,
        jit_compile: bool = False,
        hf_compat: bool = False,
        mask_predict: int | None = None,
        mask_token_id: int | None = None,
    ) -> Any:
        """Goes on from texts, token by token. For causal models; masked models fill masks (`mask_predict`).

        Answers do not depend on padding, on whichever side, or on other rows: positions count tokens, and new tokens
        follow the last one of their row. A text ends with `eos_token_id`, or at its length. Everything is one compiled
        loop over a cache that has its full size from the start; inside a graph, `generate` is part of that graph.

        Args:
            input_ids: int (batch, length), the prompts; or a dict of inputs, as tokenizers make it. What a tokenizer
                puts behind a text ends it: leave that out, for a text to go on.
            attention_mask: int, float or bool (batch, length), 1 at tokens. Without it `lengths` count, and without
                them every id but the padding token's is one.
            langs: for models with language embeddings: a language code or id for all texts, codes or ids (batch,) for
                each, or ids (batch, length) for each token. New tokens have the language of the last one.
            lengths: int (batch,), tokens at the start of each row.
            encoder_hidden_states, encoder_attention_mask: for decoders with cross-attention, as in their call.
            max_new_tokens: the most new tokens of each text; 20 by default, or as many as there are positions for.
            max_length: the most tokens of each text, its prompt included, in place of that.
            min_new_tokens, min_length: the fewest, likewise.
            do_sample: whether tokens are drawn; else the likeliest is taken.
            temperature, top_k, top_p: what they are drawn from: scores are divided by the temperature, and of the
                `top_k` best tokens (0 for all) the likeliest with the share `top_p` of the probability are left.
            repetition_penalty: above 1 makes tokens that a text has already less likely.
            no_repeat_ngram_size: how long sequences of tokens are that a text has only once; 0 for any.
            num_beams: above 1 for beam search.
            length_penalty: of beam search: scores are divided by the number of new tokens to this power.
            early_stopping: of beam search: True ends it as soon as there are `num_beams` whole texts, False when no
                better ones are to be expected, "never" when there can be no better ones.
            num_return_sequences: how many texts are made of each prompt.
            eos_token_id: one or several ids that end a text; the model's by default, and [] for none.
            pad_token_id: the id behind the end; the model's by default.
            seed: integer, for draws; or int (batch,), one for each row, whose texts then are the same in any batch.
                Another one each time by default.
            streamer: an object with `put` and `end`, such as a `TextStreamer` of `transformers`: gets the prompts
                (batch, length), and then the new tokens (texts,) of each step. Not for beam search.
            return_dict_in_generate: whether to return a `TFGenerateOutput`.
            output_scores: whether that has the scores of each step.
            jit_compile: whether to compile with XLA.
            hf_compat: whether to generate as `transformers` 4 does. For XLM: what is predicted at a mask token
                (`config.mask_token_id`) behind the text comes next, in the language `config.lang_id`, and the end is
                `config.eos_token_id`. For XLM-RoBERTa: positions are counted from 0 on, not from the first one that
                it was trained with. XLM-RoBERTa-XL is generated with as it is here.
            mask_predict: for masked models: how many rounds masks are filled in. These are the mask tokens of the
                texts, and `max_new_tokens` more behind each. Options of other ways to make texts are refused. Source:
                Ghazvininejad et al., "Mask-Predict" (2019).
            mask_token_id: id of the mask token; needed where the configuration does not have it.

        Returns:
            int32 (texts, length), the prompts with new tokens behind them and padding behind these; or a
            `TFGenerateOutput`. Inside a graph, texts have room for the most new tokens.

        Raises:
            InputError: when the model is not causal, an option is wrong or contradicts another, or a prompt is empty
                or too long.
            LanguageError: when a language is unknown.
            ArgumentError: for inputs that the model does not take.
        """
        check_heeded(Generating.generate, locals())
        texts = texts_of(
            self,
            {
                "input_ids": input_ids,
                "attention_mask": attention_mask,
                "langs": langs,
                "lengths": lengths,
                "encoder_hidden_states": encoder_hidden_states,
                "encoder_attention_mask": encoder_attention_mask,
            },
        )
        config = self.config
        end = config.eos_token_id if hf_compat else config.end_token_id
        padding = config.pad_index
        if pad_token_id is not None:
            padding = token_id("pad_token_id", pad_token_id, config.vocab_size)
        options = GenerationOptions(
            do_sample=do_sample,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram_size=no_repeat_ngram_size,
            num_beams=num_beams,
            length_penalty=length_penalty,
            early_stopping=early_stopping,
            num_return_sequences=num_return_sequences,
            eos_token_ids=token_ids("eos_token_id", end if eos_token_id is None else eos_token_id, config.vocab_size),
            pad_token_id=padding,
            output_scores=output_scores,
        )
        run = Run(seed=seed, streamer=streamer, jit_compile=jit_compile, hf_compat=hf_compat)
        if mask_predict is not None:
            output = TFGenerateOutput(
                sequences=MaskPredict(mask_predict, max_new_tokens, mask_token_id).filled(self, texts, padding)
            )
        else:
            if not config.is_causal and not self.reading(1, hf_compat).reads_rows:
                raise InputError(self._advice())
            sizes = TextLengths(config.max_sequence_length, max_new_tokens, max_length, min_new_tokens, min_length)
            output = continued(self, texts, options, sizes, run)
        return output if return_dict_in_generate else output.sequences

    def _advice(self) -> str:
        """Says what to do with a model that sees what it should predict."""
        field = self.backbone_class.causal_field
        return (
            f"This {type(self).__name__} is not causal (config.{field} is False): each token sees those after it, so "
            f"none can be predicted from those before. Load a causal checkpoint with {field}=True; or fill masks with "
            "generate(..., mask_predict=10, max_new_tokens=...)"
            + ("; or give hf_compat=True for what transformers does." if self.reading(1, True).reads_rows else ".")
        )
