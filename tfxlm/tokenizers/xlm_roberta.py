"""The tokenizer of XLM-RoBERTa and XLM-RoBERTa-XL: SentencePiece with the ids of fairseq."""

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from tfxlm import files
from tfxlm.configs.hub_options import Limits, pop_hub_options, pop_limited
from tfxlm.errors import InputError, TokenizerError
from tfxlm.tokenizers import arguments, originals, sentence_pieces, storage, unigram_file
from tfxlm.tokenizers.alignment import AlignedText, covered
from tfxlm.tokenizers.base import Tokenizer
from tfxlm.tokenizers.piece_ids import FAIRSEQ
from tfxlm.tokenizers.rules import templates
from tfxlm.tokenizers.sentence_pieces import SPACE, SentencePieces, word_indices
from tfxlm.tokenizers.special_tokens import AddedToken
from tfxlm.tokenizers.tokens import Tokens

_SAMPLING = ("enable_sampling", "nbest_size", "alpha")


class XLMRobertaTokenizer(Tokenizer):
    """Tokenizer of XLM-RoBERTa and XLM-RoBERTa-XL models, also under the name `XLMRobertaTokenizerFast`.

    Texts are normalised and cut into pieces by a SentencePiece model, which is the same for all languages: `lang` and
    `bypass_tokenizer` change nothing.

    Args:
        vocab_file: ``sentencepiece.bpe.model``; or the content of the file.
        bos_token: the first token in the words of `transformers`.
        eos_token: the last token in the words of `transformers`.
        sep_token: closes each text; between two texts it stands twice.
        cls_token: opens an input.
        unk_token: stands for what the model does not know.
        pad_token: fills rows up.
        mask_token: stands for masked words. Given as a str, it takes the white space before it.
        sp_model_kwargs: how to cut texts at random (subword regularisation): ``"enable_sampling"``, ``"nbest_size"``
            and ``"alpha"``, as SentencePiece has them.
        tokenizer_file: ``tokenizer.json``, in place of `vocab_file`.
        additional_special_tokens: special tokens without a role.
        special_tokens: symbols to append to the vocabulary, found as a whole in texts.
        model_max_length: most tokens the model takes; no limit if None.
        padding_side: ``"right"`` or ``"left"``.
        truncation_side: ``"right"`` or ``"left"``.
        split_special_tokens: whether special tokens inside texts are ordinary text.
        **settings: ``added_tokens_decoder`` and ``clean_up_tokenization_spaces``, as ``tokenizer_config.json`` has
            them.

    Raises:
        CheckpointNotFoundError: a file does not exist.
        TokenizerError: a file is malformed, or of another family.
        InputError: an option is not among its choices, or there is none of that name.

    Example:
        >>> from tfxlm import XLMRobertaTokenizer
        >>> tokenizer = XLMRobertaTokenizer.from_pretrained("FacebookAI/xlm-roberta-base")  # doctest: +SKIP
        >>> tokenizer("Hello world!")["input_ids"]  # doctest: +SKIP
        [0, 35378, 8999, 38, 2]

        With pieces of one's own:

        >>> import io, sentencepiece
        >>> model = io.BytesIO()
        >>> options = {"vocab_size": 12, "model_writer": model, "minloglevel": 2}
        >>> sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(["Hello world!"]), **options)
        >>> tokenizer = XLMRobertaTokenizer(model.getvalue())
        >>> tokenizer.decode(tokenizer("Hello world!")["input_ids"])
        '<s> Hello world!</s>'

    Source: Conneau et al., "Unsupervised Cross-lingual Representation Learning at Scale" (2020).
    """

    model_types: ClassVar[tuple[str, ...]] = ("xlm-roberta", "xlm-roberta-xl")
    space: ClassVar[str] = SPACE
    vocabulary_files: ClassVar[storage.Choices] = (
        {"vocab_file": "sentencepiece.bpe.model"},
        {"tokenizer_file": unigram_file.NAME},
    )
    pretraining: ClassVar[templates.Pretraining] = templates.XLM_ROBERTA_PRETRAINING
    limited_options: ClassVar[Limits] = {
        **Tokenizer.limited_options,
        "do_lower_case": (
            (False,),
            "The pieces have capital letters. Leave it out, or lower-case the texts themselves if the model was "
            "trained on such.",
        ),
    }

    def __init__(
        self,
        vocab_file: str | os.PathLike[str] | bytes | bytearray | memoryview | None = None,
        bos_token: Any = "<s>",
        eos_token: Any = "</s>",
        sep_token: Any = "</s>",
        cls_token: Any = "<s>",
        unk_token: Any = "<unk>",
        pad_token: Any = "<pad>",
        mask_token: Any = "<mask>",
        sp_model_kwargs: Mapping[str, Any] | None = None,
        *,
        tokenizer_file: str | os.PathLike[str] | None = None,
        additional_special_tokens: Sequence[Any] | None = (),
        special_tokens: Sequence[str] = (),
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        split_special_tokens: bool | None = None,
        **settings: Any,
    ) -> None:
        pop_limited(settings, {"do_lower_case": self.limited_options["do_lower_case"]}, type(self).__name__)
        settings = arguments.known_options(settings, self.option_names(), type(self).__name__)
        is_content = isinstance(vocab_file, bytes | bytearray | memoryview)
        for name, value in (("vocab_file", vocab_file), ("tokenizer_file", tokenizer_file)):
            if not (value is None or isinstance(value, str | os.PathLike) or (name == "vocab_file" and is_content)):
                expected = "a path, or the content of the file as bytes" if name == "vocab_file" else "a path"
                raise InputError(f"{name} should be {expected}, but is {arguments.kind(value)}.")
        if vocab_file is not None and tokenizer_file is not None:
            raise InputError("vocab_file and tokenizer_file are two forms of the same pieces. Pass one of them.")
        if is_content:
            source, model = "The model", bytes(vocab_file)  # type: ignore[arg-type]
        elif vocab_file is not None:
            source, model = f"'{os.fspath(vocab_file)}'", sentence_pieces.read_model(vocab_file)  # type: ignore[arg-type]
        elif tokenizer_file is not None:
            source = f"'{os.fspath(tokenizer_file)}'"
            roles = {"cls_token": cls_token, "sep_token": sep_token}
            names = {role: AddedToken.parse(token, role).content for role, token in roles.items()}
            model, added = unigram_file.read(tokenizer_file, FAIRSEQ, templates.XLM_ROBERTA, names)
            given = arguments.setting(settings, "added_tokens_decoder", Mapping, "a mapping")
            settings["added_tokens_decoder"] = {**added, **(given or {})}
        else:
            raise InputError("A tokenizer needs its model. Pass vocab_file, or tokenizer_file, or use from_pretrained.")
        self.sentence_pieces = SentencePieces(model, _sampling(sp_model_kwargs), source)
        self.cuts_at_random = bool(self.sentence_pieces.sampling.get("enable_sampling"))
        if isinstance(mask_token, str):
            mask_token = AddedToken(mask_token, lstrip=True, special=True)
        super().__init__(
            FAIRSEQ.by_piece(self.sentence_pieces.names, source),
            templates.XLM_ROBERTA,
            settings
            | {
                "bos_token": bos_token,
                "eos_token": eos_token,
                "sep_token": sep_token,
                "cls_token": cls_token,
                "unk_token": unk_token,
                "pad_token": pad_token,
                "mask_token": mask_token,
                "sp_model_kwargs": dict(self.sentence_pieces.sampling),
                "additional_special_tokens": additional_special_tokens,
                "special_tokens": special_tokens,
                "model_max_length": model_max_length,
                "padding_side": padding_side,
                "truncation_side": truncation_side,
                "split_special_tokens": split_special_tokens,
            },
            lower_case=False,
        )

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], **options: Any) -> Self:
        """Loads a tokenizer from a folder or from the hub; see `Tokenizer.from_pretrained`."""
        tokenizer = super().from_pretrained(name_or_path, **options)
        if tokenizer.settings.get("do_lower_case") and options.get("do_lower_case") is None:
            warnings.warn(
                "tokenizer_config.json has do_lower_case=True, which has no effect, as in transformers. "
                f"{cls.limited_options['do_lower_case'][1]} do_lower_case=False says that this is meant.",
                stacklevel=2,
            )
        # What there is was downloaded just now.
        hub = {**pop_hub_options(options), "local_files_only": True, "force_download": False}
        folder = storage.find_folder(name_or_path, cls.vocabulary_files, **hub)
        if (folder / storage.DICTIONARY).is_file():
            dictionary = files.inside(folder, storage.DICTIONARY)
            originals.check_dictionary(dictionary, tokenizer.sentence_pieces.names[len(FAIRSEQ.own) :])
        return tokenizer

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size})"

    @property
    def sp_model_kwargs(self) -> dict[str, Any]:
        """How texts are cut at random."""
        return dict(self.sentence_pieces.sampling)

    def save_vocabulary(
        self, save_directory: str | os.PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Writes ``sentencepiece.bpe.model``; arguments as in `save_pretrained`."""
        path = storage.prefixed(save_directory, filename_prefix, self.vocabulary_files[0]["vocab_file"])
        with files.atomic_file(path) as temporary:
            temporary.write_bytes(self.sentence_pieces.model)
        return (str(path),)

    def _save_files(self, save_directory: str | os.PathLike[str], filename_prefix: str | None) -> tuple[str, ...]:
        """Writes ``tokenizer.json``, too, where the format can say the same."""
        paths = super()._save_files(save_directory, filename_prefix)
        content = unigram_file.make_content(
            self.sentence_pieces.model, self._pieces_to_ids, self._template, self.special
        )
        if content is None:
            return paths
        path = storage.prefixed(save_directory, filename_prefix, unigram_file.NAME)
        files.write_json(path, content, indent=None)
        return (*paths, str(path))

    def _pieces(self, text: str, lang: str | None, bypass: bool) -> list[str]:
        return self.sentence_pieces.pieces(text)

    def _trace(self, text: AlignedText, lang: str | None, bypass: bool) -> Tokens:
        pieces = self.sentence_pieces.pieces(text.text)
        places = self.sentence_pieces.places(text.text, pieces)
        offsets = [covered(text.spans, start, end) for start, end in places]
        return Tokens(self.convert_tokens_to_ids(pieces), word_indices(pieces), offsets)


def _sampling(given: Any) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise TokenizerError(f"sp_model_kwargs should be a mapping, but is {arguments.kind(given)}. Leave it out.")
    unknown = [name for name in given or () if name not in _SAMPLING]
    if unknown:
        raise TokenizerError(
            f"sp_model_kwargs may have {', '.join(_SAMPLING)}, but has {', '.join(map(repr, unknown))}, which would "
            "change what an id stands for. Leave it out."
        )
    return dict(given or {})
