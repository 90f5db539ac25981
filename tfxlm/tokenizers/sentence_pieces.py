"""SentencePiece models: texts become pieces, and pieces have places in the text."""

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from tfxlm import files
from tfxlm.errors import CheckpointNotFoundError, TokenizerError
from tfxlm.tokenizers.alignment import Span

#: Stands for a space in pieces.
SPACE = "▁"
MAX_MODEL_BYTES = 64 * 1024 * 1024  # the released model has a twelfth of this

_HALF_PAIRS = re.compile("[\ud800-\udfff]")
#: How many characters begin with a byte that is a piece: none with one that continues a character.
_BYTE_SIZES: Mapping[str, int] = {f"<0x{byte:02X}>": int(byte & 0xC0 != 0x80) for byte in range(256)}


def read_model(path: str | os.PathLike[str]) -> bytes:
    """Reads the file of a SentencePiece model; `SentencePieces` says whether it is one.

    Args:
        path: the file.

    Raises:
        CheckpointNotFoundError: there is no such file.
        TokenizerError: it is too large, or something else in its place.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointNotFoundError(f"There is no file '{path}'. Name the file that the tokenizer came with.")
    with path.open("rb") as file:
        model = file.read(MAX_MODEL_BYTES + 1)
    if len(model) > MAX_MODEL_BYTES:
        raise TokenizerError(f"'{path}' is larger than {MAX_MODEL_BYTES} bytes: it is not the model of a tokenizer.")
    if placeholder := files.describe_placeholder(model):
        raise TokenizerError(f"'{path}' is {placeholder}")
    return model


class SentencePieces:
    """A SentencePiece model.

    Args:
        model: the content of its file.
        sampling: how to cut texts at random: ``"enable_sampling"``, ``"nbest_size"``, ``"alpha"``; empty for the best
            way.
        source: what the model is called in messages.

    Raises:
        TokenizerError: `model` is not one, or the values of `sampling` are wrong.
    """

    def __init__(self, model: bytes, sampling: Mapping[str, Any], source: str) -> None:
        self.model = model
        self.sampling = dict(sampling)
        self._source = source
        self._load()

    def _load(self) -> None:
        self._processor = sentencepiece.SentencePieceProcessor(**self.sampling)
        try:
            self._processor.LoadFromSerializedProto(self.model)
            self.names: list[str] = self._processor.id_to_piece(list(range(len(self._processor))))
        except (RuntimeError, TypeError, ValueError, OSError) as error:
            raise TokenizerError(
                f"{self._source} is not a SentencePiece model, or a damaged one ({error}). Restore the file."
            ) from error
        #: Index in `names` of what stands for all that the model does not know.
        self.unknown: int = self._processor.unk_id()
        try:
            self._processor.encode("a b")
        except (RuntimeError, TypeError, ValueError) as error:
            raise TokenizerError(
                f"{self.sampling} are no options of SentencePiece's sampling ({error}). Correct sp_model_kwargs."
            ) from error
        falls_back_on_bytes = self._processor.is_byte(self._processor.piece_to_id("<0x00>"))
        self._byte_sizes = _BYTE_SIZES if falls_back_on_bytes else {}
        self._vanishing: dict[str, bool] = {}

    @property
    def is_plain_unigram(self) -> bool:
        """Whether the best pieces are those of the best sum of scores, and there is no other way to them."""
        model, _ = self._content()
        return self.is_plain and model.trainer_spec.model_type == model.trainer_spec.UNIGRAM

    @property
    def is_plain(self) -> bool:
        """Whether all pieces are text that the model was trained on, with spaces in front of words."""
        model, piece = self._content()
        plain = {piece.NORMAL, piece.UNKNOWN, piece.CONTROL}
        return not model.trainer_spec.treat_whitespace_as_suffix and plain >= {one.type for one in model.pieces}

    @property
    def normal(self) -> frozenset[int]:
        """Indices in `names` of the pieces that are text."""
        model, piece = self._content()
        return frozenset(index for index, one in enumerate(model.pieces) if one.type == piece.NORMAL)

    def _content(self) -> tuple[Any, Any]:
        """Returns the model as a message, and the class of its pieces."""
        from sentencepiece import sentencepiece_model_pb2

        messages: Any = sentencepiece_model_pb2  # made while importing, so that no type checker knows them
        return messages.ModelProto.FromString(self.model), messages.ModelProto.SentencePiece

    def __getstate__(self) -> dict[str, Any]:
        return {"model": self.model, "sampling": self.sampling, "_source": self._source}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load()

    def pieces(self, text: str) -> list[str]:
        """Cuts a text into pieces. Characters that the model does not know are pieces as they are.

        Args:
            text: the text. Halves of surrogate pairs, which are no characters, become U+FFFD.
        """
        return self._processor.encode(_whole(text), out_type=str)

    def normalised(self, text: str) -> str:
        """Returns a text as pieces are looked for in it."""
        return self._processor.normalize(_whole(text))

    def places(self, text: str, pieces: Sequence[str]) -> list[Span]:
        """Says where the pieces of a text stand in it.

        A piece stands for the characters that its letters were made of, also where several became one or one several,
        which then share it. White space stands for nothing: `SPACE` alone has an empty span.

        Args:
            text: the text.
            pieces: what `pieces` returned for it.
        """
        whole = _whole(text)
        if not self._byte_sizes and self._processor.normalize(whole).replace(SPACE, " ") == f" {text}":
            # The shortest way for most texts: nothing moved but by the space in front.
            ends = itertools.accumulate(map(len, pieces), initial=-1)
            next(ends)
            return [(end - len(piece.lstrip(SPACE)), end) for piece, end in zip(pieces, ends, strict=True)]
        _, origins = self._processor.normalize(whole, with_offsets=True)
        spans: list[Span] = []
        position = 0  # in the normalised text; `origins` has a place in the given one for each, and the end
        for piece in pieces:
            size = self._byte_sizes.get(piece, len(piece))
            first = position + len(piece) - len(piece.lstrip(SPACE)) if piece[0] == SPACE else position
            position += size
            if first < position:
                end = origins[position]
                if end - origins[position - 1] != 1:  # several characters became one, or one several
                    end = self._end(text, origins, position)
                spans.append((origins[first], end))
            elif size:
                spans.append((origins[first], origins[first]))
            else:
                spans.append(spans[-1])
        return spans

    def _end(self, text: str, origins: Sequence[int], position: int) -> int:
        """Returns the end of what became the character before a position, what became nothing left out."""
        start = origins[position - 1]
        while position < len(origins) - 1 and origins[position] == start:  # several became of it
            position += 1
        end = origins[position]
        while end - 1 > start and self._vanishes(text[end - 1]):
            end -= 1
        return end

    def _vanishes(self, char: str) -> bool:
        if char not in self._vanishing:
            self._vanishing[char] = not self._processor.normalize(_whole(char)).strip(SPACE)
        return self._vanishing[char]


def word_indices(pieces: Sequence[str]) -> list[int]:
    """Returns for each piece the index of its word.

    A space stands before its word, in one piece with it or in one of its own; some models put it behind.
    """
    words: list[int] = []
    word, after_space = -1, True
    for piece in pieces:
        if after_space or piece[0] == SPACE:
            word += 1
        words.append(word)
        after_space = piece[-1] == SPACE and piece != SPACE
    return words


def _whole(text: str) -> str:
    return text if text.isascii() else _HALF_PAIRS.sub("\ufffd", text)
