"""Special tokens: their roles, their ids, and how they are found in a text."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tfxlm.errors import TokenizerError

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
ADDITIONAL = "additional_special_tokens"


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is found in a text as a whole, before anything else happens to the text.

    Args:
        content: the text of the token.
        lstrip: whether white space before it belongs to it.
        rstrip: whether white space after it belongs to it.
        single_word: whether it counts only with a space or an end of the text on both sides.
        normalized: whether a lower-casing tokenizer finds it in any case.
        special: whether it is left out when special tokens are skipped.
    """

    content: str
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False
    special: bool = True

    @classmethod
    def parse(cls, value: Any, where: str) -> "AddedToken":
        """Makes a token of what tokenizer files hold: its text, or a dict of fields.

        Args:
            value: the text or the dict.
            where: the place of the value, for the message.

        Raises:
            TokenizerError: it is neither.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            value = {"content": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("content"), str) or not value["content"]:
            raise TokenizerError(
                f"{where} should be a token's text or an object with its 'content', but is {value!r:.80}. Correct it "
                "or leave it out."
            )
        flags = {name: bool(value[name]) for name in cls.__slots__ if name != "content" and name in value}
        return cls(value["content"], **flags)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, as tokenizer files hold them."""
        return asdict(self)


class SpecialTokens:
    """The roles and the added tokens of one tokenizer.

    Tokens are given as tokenizer files hold them: as a text, or as an object with a "content".

    Args:
        roles: token by role, such as ``{"pad_token": "<pad>"}``; None where a role is not filled.
        additional: further special tokens.
        added: added tokens by id, as they are stored beside a vocabulary; ids may be texts, as in JSON.
        extra: tokens to append to the vocabulary.
        vocabulary: id by token.
        lower_case: whether texts are lower-cased before tokens are looked for.

    Raises:
        TokenizerError: a token is malformed, or has no id, or two.
    """

    def __init__(
        self,
        roles: Mapping[str, Any],
        additional: Iterable[Any],
        added: Mapping[Any, Any],
        extra: Iterable[Any],
        vocabulary: Mapping[str, int],
        lower_case: bool,
    ) -> None:
        by_role = {role: AddedToken.parse(token, role) for role, token in roles.items() if token is not None}
        further = [AddedToken.parse(token, ADDITIONAL) for token in additional]
        self.roles = {role: by_role[role].content if role in by_role else None for role in roles}
        self.additional = list(dict.fromkeys(token.content for token in further))
        self.tokens: dict[int, AddedToken] = {}
        self.ids: dict[str, int] = {}
        self._vocabulary = vocabulary
        self._pieces = {index: piece for piece, index in vocabulary.items()}
        self._lower_case = lower_case
        for index, token in added.items():
            self._register(AddedToken.parse(token, f"added_tokens_decoder[{index!r}]"), _token_id(index))
        self._require_ids()
        self.add([*by_role.values(), *further])
        self.add(AddedToken.parse(token, "special_tokens") for token in extra)

    def names(self) -> list[str]:
        """Returns the texts of all special tokens, each once, roles first."""
        return list(dict.fromkeys([*(name for name in self.roles.values() if name), *self.additional]))

    def role_ids(self) -> dict[str, int | None]:
        """Returns the id of each role's token; None where a role is not filled."""
        return {role: None if name is None else self.ids[name] for role, name in self.roles.items()}

    def by_role(self) -> dict[str, str | list[str]]:
        """Returns the token of each role that is filled, and the additional ones."""
        filled: dict[str, str | list[str]] = {role: name for role, name in self.roles.items() if name}
        return filled | ({ADDITIONAL: list(self.additional)} if self.additional else {})

    def add(self, tokens: Iterable[AddedToken]) -> int:
        """Makes tokens that are found as a whole; those the vocabulary lacks get the next free ids.

        Args:
            tokens: the tokens. Special ones join the additional special tokens.

        Returns:
            How many were new to the vocabulary.
        """
        new = 0
        for token in tokens:
            if self._lower_case and token.normalized and not token.special:
                token = AddedToken(**(token.to_dict() | {"content": token.content.lower()}))
            if token.special and token.content not in self.names():
                self.additional.append(token.content)
            if token.content in self.ids:
                continue
            index = self._vocabulary.get(token.content)
            if index is None:
                index = 1 + max(*self._pieces, *self.tokens)
                new += 1
            self._register(token, index)
        self._compile()
        return new

    def find(self, text: str) -> Iterator[tuple[str, bool]]:
        """Cuts a text at its added tokens.

        Args:
            text: any text.

        Yields:
            The parts that are not empty, and whether a part is an added token.
        """
        position = 0
        for match in self._pattern.finditer(text):
            if match.start() > position:
                yield text[position : match.start()], False
            yield match.group().strip() if match.group() not in self.ids else match.group(), True
            position = match.end()
        if position < len(text):
            yield text[position:], False

    def _register(self, token: AddedToken, index: int) -> None:
        known = self._vocabulary.get(token.content, self.ids.get(token.content, index))
        if known != index:
            raise TokenizerError(
                f"The added token {token.content!r} has the id {index}, but the vocabulary gives it {known}. Make "
                "tokenizer_config.json ('added_tokens_decoder') and the vocabulary agree."
            )
        owner = self.tokens[index].content if index in self.tokens else self._pieces.get(index, token.content)
        if owner != token.content:
            raise TokenizerError(
                f"The id {index} belongs to {owner!r} and to the added token {token.content!r}. Give each token "
                "an id of its own in tokenizer_config.json ('added_tokens_decoder')."
            )
        self.tokens[index] = token
        self.ids[token.content] = index

    def _require_ids(self) -> None:
        missing = [name for name in self.names() if name not in self._vocabulary and name not in self.ids]
        if missing:
            raise TokenizerError(
                f"The vocabulary has no {', '.join(missing)}. Add these special tokens to the vocabulary file, name "
                "the tokens that it has instead (for example pad_token='[PAD]', additional_special_tokens=[]), or "
                "give them ids with added_tokens_decoder={id: token}."
            )

    def _compile(self) -> None:
        # The longest first: of two tokens that begin alike, the whole one is meant.
        tokens = sorted(self.tokens.values(), key=lambda token: -len(token.content))
        self._pattern = re.compile("|".join(map(_expression, tokens)) or r"(?!)")


def _token_id(value: Any) -> int:
    try:
        if isinstance(value, (str, int)) and int(value) >= 0:
            return int(value)
    except ValueError:
        pass
    raise TokenizerError(f"added_tokens_decoder should map ids from 0 to tokens, but has the id {value!r}.")


def _expression(token: AddedToken) -> str:
    expression = re.escape(token.content)
    if token.single_word:
        expression = f"(?<![^ ]){expression}(?![^ ])"
    return (r"\s*" if token.lstrip else "") + expression + (r"\s*" if token.rstrip else "")
