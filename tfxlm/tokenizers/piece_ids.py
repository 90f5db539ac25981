"""Which ids the pieces of a SentencePiece model have."""

from collections.abc import Sequence
from dataclasses import dataclass

from tfxlm.errors import TokenizerError


@dataclass(frozen=True, slots=True)
class PieceIds:
    """How ids follow from the order of a model's pieces.

    Args:
        first: tokens with the ids from 0.
        own: pieces that the model begins with, which `first` has in its own order.
        last: the token after all pieces.
    """

    first: tuple[str, ...]
    own: tuple[str, ...]
    last: str

    def by_piece(self, names: Sequence[str], source: str) -> dict[str, int]:
        """Returns the id of each piece and token, in the order of ids.

        Args:
            names: the pieces of the model.
            source: what the model is called in messages.

        Raises:
            TokenizerError: the model does not begin with `own`.
        """
        found = names[: len(self.own)]
        if tuple(found) != self.own:
            raise TokenizerError(
                f"{source} begins with the pieces {', '.join(map(repr, found))}, but here models begin with "
                f"{', '.join(map(repr, self.own))}. It belongs to another family: use the tokenizer of that one."
            )
        ids = {name: index for index, name in enumerate(self.first)}
        shift = len(self.first) - len(self.own)
        # A model may have pieces of the names of tokens: the names stand for the tokens.
        for index, name in enumerate(names[len(self.own) :], start=len(self.first)):
            ids.setdefault(name, index)
        ids.pop(self.last, None)
        return ids | {self.last: len(names) + shift}


#: fairseq puts its own four tokens first, and the mask last.
FAIRSEQ = PieceIds(first=("<s>", "<pad>", "</s>", "<unk>"), own=("<unk>", "<s>", "</s>"), last="<mask>")
