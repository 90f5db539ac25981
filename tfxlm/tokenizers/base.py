"""What the tokenizers of all families share."""

import inspect
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from tfxlm import files
from tfxlm.checkpoints import is_file
from tfxlm.configs.corrections import pop_corrections
from tfxlm.configs.hub_options import Limits, pop_hub_options, pop_limited
from tfxlm.errors import InputError
from tfxlm.tokenizers import arguments, detokenize, storage
from tfxlm.tokenizers.alignment import AlignedText, covered
from tfxlm.tokenizers.batching import Batching
from tfxlm.tokenizers.rules.templates import Pretraining, Template
from tfxlm.tokenizers.special_tokens import Part
from tfxlm.tokenizers.tokens import Tokens

_UPLOAD = {"commit_message": "Upload tokenizer"}


class Tokenizer(Batching):
    """Base of the tokenizers. A family says how a text becomes pieces, and pieces a text.

    Args:
        pieces: id by piece.
        template: how special tokens frame the input.
        settings: options by name, as ``tokenizer_config.json`` holds them: those of `Batching`,
            ``"split_special_tokens"`` and ``"clean_up_tokenization_spaces"``. Others are kept and saved.
        lower_case: whether texts are lower-cased before special tokens are looked for.
        split_by_default: what ``"split_special_tokens"`` is where the settings do not say.

    Raises:
        TokenizerError: special tokens are missing, or ids contradict each other.
        InputError: an option is not among its choices.
    """

    #: Values of `model_type` in ``config.json`` whose models take this tokenizer's ids.
    model_types: ClassVar[tuple[str, ...]] = ()
    #: Name of each vocabulary file, by the argument of the constructor that takes its path. Where there are several
    #: forms, the first one that a folder has is read.
    vocabulary_files: ClassVar[storage.Choices] = ()
    #: How pre-training lays texts out.
    pretraining: ClassVar[Pretraining]
    #: Options of `from_pretrained` that are understood with some values only.
    limited_options: ClassVar[Limits] = {
        "gguf_file": ((), "Name the folder or the hub repository that has the vocabulary files."),
        "add_prefix_space": ((False,), "It is an option of byte-level tokenizers, such as GPT-2's. Leave it out."),
    }

    def __init__(
        self,
        pieces: dict[str, int],
        template: Template,
        settings: Mapping[str, Any],
        lower_case: bool,
        split_by_default: bool = False,
    ) -> None:
        super().__init__(pieces, template, settings, lower_case)
        #: What `from_pretrained` was given; empty for tokenizers made otherwise.
        self.name_or_path = ""
        self.settings = dict(settings)
        self._split_by_default = split_by_default
        split = settings.get("split_special_tokens")
        self.split_special_tokens = split_by_default if split is None else bool(split)
        self.clean_up_tokenization_spaces = bool(settings.get("clean_up_tokenization_spaces"))

    @classmethod
    def option_names(cls) -> set[str]:
        """Returns the names of what the constructor takes, entries of ``tokenizer_config.json`` included."""
        names = {"eos_token", "added_tokens_decoder", "clean_up_tokenization_spaces"}
        for family in cls.__mro__[: cls.__mro__.index(Tokenizer)]:  # a subclass may hand options on
            parameters = inspect.signature(family).parameters.values()
            names |= {one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
        return names

    def _prepare(self, text: str) -> str:
        """Returns the text in which special tokens are looked for."""
        return text

    def _prepare_aligned(self, text: str) -> AlignedText:
        """Returns the same with track of its characters."""
        return AlignedText.given(text)

    def _pieces(self, text: str, lang: str | None, bypass: bool) -> list[str]:
        """Cuts a text without special tokens into pieces."""
        raise NotImplementedError

    def _piece_ids(self, text: str, lang: str | None, bypass: bool) -> list[int]:
        """Returns the ids of `_pieces`."""
        return list(self.convert_tokens_to_ids(self._pieces(text, lang, bypass)))

    def _trace(self, text: AlignedText, lang: str | None, bypass: bool) -> Tokens:
        """Returns the ids of `_pieces` with their words and offsets."""
        raise NotImplementedError

    #: What stands for the space between words in the pieces.
    space: ClassVar[str]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Joins tokens to a text, words separated by spaces."""
        return detokenize.join_pieces(tokens, self.space)

    def save_vocabulary(
        self, save_directory: str | os.PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Writes the vocabulary files and returns their paths; arguments as in `save_pretrained`."""
        raise NotImplementedError

    def _save_files(self, save_directory: str | os.PathLike[str], filename_prefix: str | None) -> tuple[str, ...]:
        """Writes the vocabulary files, and what goes with them in a whole tokenizer."""
        return self.save_vocabulary(save_directory, filename_prefix)

    @classmethod
    def _original_files(
        cls, name_or_path: str | os.PathLike[str], options: Mapping[str, Any], hub: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """Returns the arguments that the files of another program give; None where there are none that are known."""
        return None

    @classmethod
    def _corrected(
        cls, name_or_path: str | os.PathLike[str], folder: Path, given: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Returns arguments that are true of a released tokenizer and that nobody gave; `given` are the others."""
        return {}

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], **options: Any) -> Self:
        """Loads a tokenizer from a folder or from the hub.

        Args:
            name_or_path: a folder with the vocabulary files, or a hub name; also a checkpoint of the original XLM
                (``.pth``), which has its vocabulary inside and its ``codes_*`` beside it, or of fairseq.
            **options: `revision`, `token`, `subfolder`, `local_files_only`, `cache_dir` and `force_download`, as for
                models; and arguments of the constructor, or entries of ``tokenizer_config.json``, that replace what
                the files say. `corrections`: False leaves what is not true of a released tokenizer. `use_fast`,
                `config`, `trust_remote_code` and the like are taken and mean nothing.

        Returns:
            The tokenizer.

        Raises:
            CheckpointNotFoundError: the folder, the repository or a vocabulary file does not exist.
            TokenizerError: a file is malformed or belongs to another tokenizer.
            ArgumentError: options contradict each other, or one cannot be followed.
            InputError: there is no option of a name.
        """
        names = cls.option_names()
        hub, corrections = pop_hub_options(options), pop_corrections(options)
        pop_limited(options, {name: limit for name, limit in cls.limited_options.items() if name not in names})
        folder = storage.find_folder(name_or_path, cls.vocabulary_files, **hub)
        sources = {argument for choice in cls.vocabulary_files for argument in choice}
        vocabulary: Mapping[str, Any] | None = storage.vocabulary_paths(folder, cls.vocabulary_files)
        if vocabulary is None or is_file(name_or_path):
            vocabulary = cls._original_files(name_or_path, options, hub) or vocabulary
        if vocabulary is None:
            raise storage.missing_files(folder, cls.vocabulary_files, name_or_path)
        settings = storage.read_settings(folder, cls.__name__)
        corrected = cls._corrected(name_or_path, folder, settings | options) if corrections else {}
        # A path in a file is that of the machine it was written on.
        settings = {name: value for name, value in settings.items() if name not in sources}
        # A caller's file in one form takes the place of the folder's in another.
        chosen = next((choice for choice in cls.vocabulary_files if choice.keys() & options.keys()), None)
        replaced = set() if chosen is None else sources - chosen.keys()
        settings |= {name: value for name, value in vocabulary.items() if name not in replaced} | dict(corrected)
        settings |= arguments.known_options(options, names | settings.keys(), cls.__name__)
        tokenizer = cls(**{name: value for name, value in settings.items() if name in names})
        # What a file holds besides is no option, but is written back.
        tokenizer.settings |= {name: value for name, value in settings.items() if name not in names}
        if not sources & options.keys():
            storage.check_size(folder, tokenizer._pieces_to_ids.values())
        tokenizer.name_or_path = os.fspath(name_or_path)
        return tokenizer

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        filename_prefix: str | None = None,
        push_to_hub: bool = False,
        **hub: Any,
    ) -> tuple[str, ...]:
        """Writes the vocabulary and the settings; `transformers` reads them as well.

        Args:
            save_directory: the folder; made if it does not exist.
            filename_prefix: put in front of each file name, with a hyphen.
            push_to_hub: whether to upload the files as well.
            **hub: `repo_id` (the name of the folder by default), and other options of `push_to_hub`.

        Returns:
            The paths of the files.

        Raises:
            OutputExistsError: a file stands where the folder should be.
            UploadError: the upload fails.
        """
        vocabulary_files = self._save_files(save_directory, filename_prefix)
        settings = self.settings | {
            "lang2id": self.lang2id,
            "id2lang": self.id2lang,
            "model_max_length": self.model_max_length,
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            # Left out where it follows from other settings: whoever overrides those gets what follows from them.
            "split_special_tokens": (
                None if self.split_special_tokens == self._split_by_default else self.split_special_tokens
            ),
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
        }
        paths = vocabulary_files + storage.write_settings(
            save_directory, filename_prefix, type(self).__name__, settings, self.special, self.vocab_size
        )
        if push_to_hub:
            where = {"repo_id": Path(save_directory).absolute().name, **_UPLOAD, **hub}
            files.upload_folder(save_directory, names=[Path(path).name for path in paths], **where)
        return paths

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Uploads the files of `save_pretrained` to the Hugging Face hub.

        Args:
            repo_id: name of the repository, which is made when it is missing.
            **options: `commit_message`, `private`, `token`, `revision` and `create_pr`, as for models.

        Returns:
            The address of the commit, or of the pull request.

        Raises:
            UploadError: the upload fails.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return files.upload_folder(folder, repo_id, names=["*"], **_UPLOAD | options)

    def tokenize(
        self,
        text: str,
        lang: str | None = None,
        bypass_tokenizer: bool = False,
        split_special_tokens: bool | None = None,
    ) -> list[str]:
        """Cuts a text into tokens.

        Args:
            text: the text.
            lang: language code that chooses the rules; English ones if None.
            bypass_tokenizer: whether the text is already cut into words by white space: they are taken as they are.
            split_special_tokens: whether special tokens inside the text are ordinary text; None for the tokenizer's.

        Returns:
            The tokens.

        Raises:
            InputError: `text` is not a str.
            LanguageError: the language is unknown, or needs a segmenter.
        """
        self._check(text, lang)
        tokens: list[str] = []
        prepared = text if bypass_tokenizer else self._prepare(text)
        for part, _, is_token in self._parts(prepared, split_special_tokens):
            tokens += [part] if is_token else self._pieces(part, lang, bypass_tokenizer)
        return tokens

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = True,
    ) -> str:
        """Turns ids into text.

        Args:
            token_ids: one id, or a row of ids (list, array or tensor).
            skip_special_tokens: whether to leave special tokens out.
            clean_up_tokenization_spaces: whether to take spaces before English punctuation away; None for the
                tokenizer's.
            spaces_between_special_tokens: whether spaces separate added tokens from what is beside them.

        Returns:
            The text.

        Raises:
            InputError: `token_ids` are rows of ids, or no ids.
        """
        ids = arguments.read_ids(token_ids)
        special, apart = set(self.all_special_tokens), self.tokens_apart
        parts: list[str] = []
        pending: list[str] = []
        tokens = self.convert_ids_to_tokens(ids)
        for token in (*(token for token in tokens if not (skip_special_tokens and token in special)), ""):
            if token and token not in apart:
                pending.append(token)
                continue
            parts += [part for part in (self.convert_tokens_to_string(pending), token) if part]
            pending = []
        text = (" " if spaces_between_special_tokens else "").join(parts)
        clean = clean_up_tokenization_spaces
        if clean is None:
            clean = self.clean_up_tokenization_spaces
        return detokenize.clean_up(text) if clean else text

    @property
    def tokens_apart(self) -> set[str]:
        """The tokens that are no pieces of words: they stand in a text as they are, with spaces around them."""
        special = set(self.all_special_tokens)
        beyond = {name for name in self.special.additional if self.special.ids[name] >= self.vocab_size}
        return beyond.union(name for name in self.special.ids if name not in special)

    def batch_decode(self, sequences: Any, *given: Any, **options: Any) -> list[str]:
        """Turns rows of ids into texts; further arguments as in `decode`."""
        return [self.decode(row, *given, **options) for row in arguments.listed(sequences)]

    def _check(self, text: Any, lang: str | None) -> None:
        if not isinstance(text, str):
            raise InputError(f"A text should be a str, but one is {arguments.kind(text)}. {arguments.way_out(text)}")
        self.languages.check(lang)

    def _parts(self, text: str, split_special_tokens: bool | None) -> list[Part]:
        split = self.split_special_tokens if split_special_tokens is None else split_special_tokens
        return [(text, 0, False)] if split else self.special.find(text)

    def _encode_text(self, text: Any, lang: str | None, bypass: bool, split_special_tokens: bool | None) -> list[int]:
        self._check(text, lang)
        ids: list[int] = []
        for part, _, is_token in self._parts(text if bypass else self._prepare(text), split_special_tokens):
            ids += [self.special.ids[part]] if is_token else self._piece_ids(part, lang, bypass)
        return ids

    def _trace_text(self, text: Any, lang: str | None, bypass: bool, split_special_tokens: bool | None) -> Tokens:
        self._check(text, lang)
        found = Tokens([])
        prepared = AlignedText.given(text) if bypass else self._prepare_aligned(text)
        for part, start, is_token in self._parts(prepared.text, split_special_tokens):
            end = start + len(part)
            if is_token:
                found.append(Tokens([self.special.ids[part]], [0], [covered(prepared.spans, start, end)]))
            else:
                found.append(self._trace(AlignedText(part, prepared.spans[start:end]), lang, bypass))
        return found
