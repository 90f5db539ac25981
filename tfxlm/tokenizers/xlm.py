"""The tokenizer of XLM: Moses' word rules, letter case, and byte-pair encoding."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from tfxlm import files
from tfxlm.configs.corrections import correct_letters
from tfxlm.errors import InputError
from tfxlm.tokenizers import arguments, bpe_files, originals, storage
from tfxlm.tokenizers.alignment import AlignedText, covered
from tfxlm.tokenizers.base import Tokenizer
from tfxlm.tokenizers.bpe import END_OF_WORD, BytePairEncoder, Merge
from tfxlm.tokenizers.encoding import BatchEncoding
from tfxlm.tokenizers.framing import Framing
from tfxlm.tokenizers.languages import Lang
from tfxlm.tokenizers.lengths import choose
from tfxlm.tokenizers.letter_case import ACCENTS, LOWER_CASE, LetterCase, lower_each
from tfxlm.tokenizers.rules import moses, templates
from tfxlm.tokenizers.segmenters import SEGMENTERS
from tfxlm.tokenizers.tokens import Tokens
from tfxlm.tokenizers.words import READY, Words, words_of

SPECIAL_SYMBOLS = tuple(f"<special{index}>" for index in range(10))
#: Ids 0 to 13 of every released vocabulary.
FIRST_TOKENS = ("<s>", "</s>", "<pad>", "<unk>", *SPECIAL_SYMBOLS)

#: What a non-printing character becomes.
NON_PRINTING: Mapping[str, str] = {"hf": "", "fair": " "}


class XLMTokenizer(Tokenizer):
    """Tokenizer of XLM models.

    Texts are brought to uniform punctuation, cut into words by Moses' rules for their language, lower-cased without
    accents if the vocabulary is, and cut into pieces by byte-pair encoding. Chinese (``"zh"``), Japanese (``"ja"``)
    and Thai (``"th"``) are cut into words by rjieba (or jieba), KyTea and PyThaiNLP, which the extras of those names
    install; texts that are cut already need none of them (`bypass_tokenizer`).

    Args:
        vocab_file: ``vocab.json``, the id of each piece; or the mapping itself.
        merges_file: ``merges.txt``, the pairs to merge, best first; or the list itself.
        unk_token: stands for pieces outside the vocabulary.
        bos_token: opens an input with ``preprocessing="hf"``.
        sep_token: closes each text, and opens an input with ``preprocessing="fair"``.
        pad_token: fills rows up.
        cls_token: first token in the words of `transformers`.
        mask_token: stands for masked words.
        additional_special_tokens: special tokens without a role.
        lang2id: id by language code, the languages of the model.
        id2lang: language code by id; one of the two is enough.
        do_lowercase_and_remove_accent: whether the vocabulary is lower-cased and has no accents.
        preprocessing: ``"hf"`` gives the ids of `transformers`: it lower-cases before it cuts words, deletes
            non-printing characters, opens inputs with `bos_token`, and finds special tokens inside texts. ``"fair"``
            follows the original: words are cut first, non-printing characters separate them, inputs open with
            `sep_token`, and special tokens inside texts are ordinary text.
        case: with ``"fair"``, ``"none"``, ``"ascii"`` or ``"unicode"``; by `do_lowercase_and_remove_accent` if None.
        accents: with ``"fair"``, ``"keep"`` or ``"strip"``; by `do_lowercase_and_remove_accent` if None.
        special_tokens: symbols to append to the vocabulary, found as a whole in texts.
        model_max_length: most tokens the model takes; no limit if None.
        padding_side: ``"right"`` or ``"left"``.
        truncation_side: ``"right"`` or ``"left"``.
        split_special_tokens: whether special tokens inside texts are ordinary text; by `preprocessing` if None.
        **settings: ``eos_token``, ``added_tokens_decoder`` and ``clean_up_tokenization_spaces``, as
            ``tokenizer_config.json`` has them.

    Raises:
        CheckpointNotFoundError: a file does not exist.
        TokenizerError: a file is malformed, or the vocabulary lacks a special token.
        InputError: an option is not among its choices, or there is none of that name.

    Example:
        >>> from tfxlm import XLMTokenizer
        >>> tokenizer = XLMTokenizer.from_pretrained("examples/checkpoint")  # a folder, or a name on the hub
        >>> batch = tokenizer(["Hello world!"], lang="en", padding=True, return_tensors="np")
        >>> batch.input_ids.shape, sorted(batch)
        ((1, 6), ['attention_mask', 'input_ids', 'langs'])

    Source: Lample and Conneau, "Cross-lingual Language Model Pretraining" (2019).
    """

    model_types: ClassVar[tuple[str, ...]] = ("xlm",)
    space: ClassVar[str] = END_OF_WORD
    vocabulary_files: ClassVar[storage.Choices] = ({"vocab_file": "vocab.json", "merges_file": "merges.txt"},)
    pretraining: ClassVar[templates.Pretraining] = templates.XLM_PRETRAINING

    def __init__(
        self,
        vocab_file: str | os.PathLike[str] | Mapping[str, int],
        merges_file: str | os.PathLike[str] | Sequence[Merge],
        unk_token: Any = "<unk>",
        bos_token: Any = "<s>",
        sep_token: Any = "</s>",
        pad_token: Any = "<pad>",
        cls_token: Any = "</s>",
        mask_token: Any = "<special1>",
        additional_special_tokens: Sequence[Any] | None = SPECIAL_SYMBOLS,
        lang2id: Mapping[str, int] | None = None,
        id2lang: Mapping[Any, str] | None = None,
        do_lowercase_and_remove_accent: bool = True,
        *,
        preprocessing: str = "hf",
        case: str | None = None,
        accents: str | None = None,
        special_tokens: Sequence[str] = (),
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        split_special_tokens: bool | None = None,
        **settings: Any,
    ) -> None:
        settings = arguments.known_options(settings, self.option_names(), type(self).__name__)
        template = choose("preprocessing", preprocessing, templates.XLM)
        if preprocessing == "hf" and (case is not None or accents is not None):
            raise InputError(
                "case and accents belong to preprocessing='fair'; with 'hf', do_lowercase_and_remove_accent decides. "
                "Pass preprocessing='fair', or leave them out."
            )
        self.preprocessing = preprocessing
        self.do_lowercase_and_remove_accent = do_lowercase_and_remove_accent
        self.case = case or ("unicode" if do_lowercase_and_remove_accent else "none")
        self.accents = accents or ("strip" if do_lowercase_and_remove_accent else "keep")
        choose("case", self.case, LOWER_CASE)
        choose("accents", self.accents, dict.fromkeys(ACCENTS))
        self.lowers_first = preprocessing == "hf" and do_lowercase_and_remove_accent
        pieces = dict(vocab_file) if isinstance(vocab_file, Mapping) else bpe_files.read_vocabulary(vocab_file)
        merges = bpe_files.read_merges(merges_file) if isinstance(merges_file, (str, os.PathLike)) else merges_file
        self.encoder = BytePairEncoder(merges, pieces, unknown_id=0)  # until `_refresh` knows all ids
        super().__init__(
            pieces,
            template,
            settings
            | {
                "unk_token": unk_token,
                "bos_token": bos_token,
                "sep_token": sep_token,
                "pad_token": pad_token,
                "cls_token": cls_token,
                "mask_token": mask_token,
                "additional_special_tokens": additional_special_tokens,
                "special_tokens": special_tokens,
                "lang2id": lang2id,
                "id2lang": id2lang,
                "do_lowercase_and_remove_accent": do_lowercase_and_remove_accent,
                "preprocessing": preprocessing,
                "model_max_length": model_max_length,
                "padding_side": padding_side,
                "truncation_side": truncation_side,
                "split_special_tokens": split_special_tokens,
                "case": case,
                "accents": accents,
            },
            lower_case=self.lowers_first,
            split_by_default=preprocessing == "fair",
        )
        self._make_rules()

    @classmethod
    def from_fastbpe(
        cls,
        codes_file: str | os.PathLike[str],
        vocab_file: str | os.PathLike[str],
        *,
        vocab_size: int | None = None,
        **options: Any,
    ) -> Self:
        """Makes a tokenizer of the files that the original XLM checkpoints came with.

        Args:
            codes_file: fastBPE codes, rows ``left right count``.
            vocab_file: fastBPE vocabulary, rows ``piece count``, without special tokens.
            vocab_size: number of ids the model has, special tokens included; the list may be longer. None for all.
            **options: arguments of the constructor.

        Returns:
            The tokenizer. Ids 0 to 13 are the special tokens.

        Raises:
            CheckpointNotFoundError: a file does not exist.
            TokenizerError: a file is malformed.
            InputError: `vocab_size` does not fit the list.
        """
        pieces = bpe_files.read_fastbpe_vocabulary(vocab_file, FIRST_TOKENS, vocab_size)
        return cls(pieces, bpe_files.read_merges(codes_file), **options)

    @classmethod
    def _original_files(
        cls, name_or_path: str | os.PathLike[str], options: Mapping[str, Any], hub: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        given = {name: options[name] for name in ("merges_file", "preprocessing") if name in options}
        return originals.xlm_files(name_or_path, FIRST_TOKENS, **given, **hub)

    @classmethod
    def _corrected(
        cls, name_or_path: str | os.PathLike[str], folder: Path, given: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        model = storage.read_optional(folder / storage.MODEL_FILE)
        return correct_letters(os.fspath(name_or_path), model, given, str(given.get("preprocessing") or "hf"))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(vocab_size={self.vocab_size}, languages={list(self.languages.ids)}, "
            f"preprocessing={self.preprocessing!r})"
        )

    def cut_words(self, text: str, lang: str) -> str:
        """Returns a text with spaces between the words that rjieba (or jieba), KyTea or PyThaiNLP find in it.

        Exported models take Chinese, Japanese and Thai texts like this, and do the rest; for them the ids are those
        of the text. (But for spaces that a segmenter gives as words of their own: a cased tokenizer makes unknown
        tokens of them, as in `transformers`, and here they are lost.) Texts in other languages come back as they are.

        Args:
            text: the text.
            lang: its language code.

        Raises:
            InputError: `text` is not a str.
            LanguageError: the language is unknown, or needs a segmenter that is not installed.
        """
        self._check(text, lang)
        return self._words(lang, False).cut(self._prepare(text)) if lang in SEGMENTERS else text

    def words(self, text: str, lang: str | None = None) -> list[str]:
        """Returns the words that byte-pair encoding cuts into pieces: normalised, in the letter case of the vocabulary.

        Args:
            text: the text. Special tokens inside it are ordinary text.
            lang: language code that chooses the rules; English ones if None.

        Raises:
            InputError: `text` is not a str.
            LanguageError: the language is unknown, or needs a segmenter that is not installed.
        """
        self._check(text, lang)
        return self._words(lang, False)(self._prepare(text))

    def build_tlm_inputs(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int], lang: Lang = None
    ) -> BatchEncoding:
        """Frames a sentence and its translation for translation language modeling (TLM), as the original does.

        The frame is ``</s> A </s></s> B </s>`` whatever `preprocessing` is: each sentence stands as it would alone,
        with positions from 0 and its own language.

        Args:
            token_ids_0: ids of the sentence, without special tokens.
            token_ids_1: ids of its translation.
            lang: a tuple of their language codes; None for no `langs`.

        Returns:
            `input_ids`, `attention_mask`, `position_ids`, and `langs` where `lang` is given and the tokenizer has
            languages: lists of one number per token, which `pad` makes batches of.

        Raises:
            LanguageError: a language is unknown.

        Source: Lample and Conneau, "Cross-lingual Language Model Pretraining" (2019), section 3.4.
        """
        frame, sizes = self._translation_framing, (len(token_ids_0), len(token_ids_1))
        encoding = BatchEncoding({"input_ids": frame.ids(token_ids_0, token_ids_1)})
        encoding["attention_mask"] = [1] * len(encoding["input_ids"])
        encoding["position_ids"] = frame.positions(*sizes)
        langs = self.languages.per_row(lang, [True])[0]
        if lang is not None and self.languages.ids:
            lang_ids = [self.languages.id_of(str(code)) for code in langs]
            encoding["langs"] = [lang_ids[segment] for segment in frame.segments(*sizes)]
        return encoding

    def save_vocabulary(
        self, save_directory: str | os.PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Writes ``vocab.json`` and ``merges.txt``; arguments as in `save_pretrained`."""
        vocabulary, merges = (
            storage.prefixed(save_directory, filename_prefix, name) for name in self.vocabulary_files[0].values()
        )
        files.write_json(vocabulary, dict(sorted(self._pieces_to_ids.items(), key=lambda entry: entry[1])))
        bpe_files.write_merges(merges, self.encoder.merges)
        return str(vocabulary), str(merges)

    def _prepare(self, text: str) -> str:
        if not self.lowers_first:
            return text
        if self._tokens_are_lower:
            return lower_each(text)
        return "".join(part if keep else lower_each(part) for part, keep in self.special.cases(text))

    def _prepare_aligned(self, text: str) -> AlignedText:
        aligned = AlignedText.given(text)
        prepared = self._prepare(text)
        if len(prepared) == len(text):  # no letter becomes shorter
            return AlignedText(prepared, aligned.spans)
        cases = self.special.cases(text)
        sizes = [1 if keep else len(lower_each(char)) for part, keep in cases for char in part]
        return aligned.resized(prepared, sizes)

    def _pieces(self, text: str, lang: str | None, bypass: bool) -> list[str]:
        return [piece for word in self._words(lang, bypass)(text) for piece in self.encoder.pieces(word)]

    def _piece_ids(self, text: str, lang: str | None, bypass: bool) -> list[int]:
        return self.encoder.encode(self._words(lang, bypass)(text))

    def _trace(self, text: AlignedText, lang: str | None, bypass: bool) -> Tokens:
        words, spans = self._words(lang, bypass).aligned(text)
        found = Tokens(self.encoder.encode(words))
        position = 0
        for index, word in enumerate(words):
            sizes = self.encoder.sizes(word)
            found.words += [index] * len(sizes)
            for size in sizes:
                found.offsets.append(covered(spans, position, position + size))
                position += size
        return found

    def _words(self, lang: str | None, bypass: bool) -> Words:
        if bypass:
            return READY
        lang = moses.DEFAULT_LANGUAGE if lang is None else lang
        if lang not in self._words_by_language:
            self._words_by_language[lang] = words_of(
                lang, NON_PRINTING[self.preprocessing], self._letters, keep_spaces=self.preprocessing == "hf"
            )
        return self._words_by_language[lang]

    def _refresh(self) -> None:
        super()._refresh()
        self._tokens_are_lower = all(name == lower_each(name) for name in self.special.ids)
        self._translation_framing = Framing(templates.XLM_TRANSLATION, self.special.role_ids())
        self.encoder.renew(self._ids, self._unknown_id)

    def _make_rules(self) -> None:
        self._letters = LetterCase(self.case, self.accents)
        self._words_by_language: dict[str, Words] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Compiled rules cannot be pickled, and are made again in no time.
        return {name: value for name, value in self.__dict__.items() if name not in ("_letters", "_words_by_language")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_rules()
