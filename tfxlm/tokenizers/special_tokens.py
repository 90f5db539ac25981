"""Special tokens: their roles, their ids, and how they are found in a text."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tfxlm.errors import TokenizerError

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
ADDITIONAL = "additional_special_tokens"

#: A part of a text, where it starts, and whether it is an added token.
Part = tuple[str, int, bool]


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is found in a text as a whole, before anything else happens to the text.

    Args:
        content: the text of the token.
        lstrip: whether white space before it belongs to it.
        rstrip: whether white space after it belongs to it.
        single_word: whether it counts only with a space or an end of the text on both sides.
        normalized: whether a lower-casing tokenizer lower-cases it, and so finds it in any case; None for all but
            special tokens.
        special: whether it is left out when special tokens are skipped.
    """

    content: str
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool | None = None
    special: bool = False

    def __post_init__(self) -> None:
        if self.normalized is None:
            object.__setattr__(self, "normalized", not self.special)

    @classmethod
    def parse(cls, value: Any, where: str, special: bool = True) -> "AddedToken":
        """Makes a token of its text, or of an object or a mapping with its fields.

        Args:
            value: the text, the object (the one of the `tokenizers` library as well) or the mapping, as tokenizer
                files hold it.
            where: the place of the value, for the message.
            special: whether it is a special token where `value` does not say.

        Raises:
            TokenizerError: it is none of these.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            fields: dict[str, Any] = {"content": value}
        elif isinstance(value, Mapping):
            fields = {name: value[name] for name in cls.__slots__ if name in value}
        else:
            fields = {name: getattr(value, name) for name in cls.__slots__ if hasattr(value, name)}
        content = fields.pop("content", None)
        if not isinstance(content, str) or not content:
            raise TokenizerError(
                f"{where} should be a token's text or an object with its 'content', but is {value!r:.80}. Correct it "
                "or leave it out."
            )
        flags = {"special": special} | {name: bool(flag) for name, flag in fields.items() if flag is not None}
        return cls(content, **flags)

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
        self.add(token for token in (*by_role.values(), *further) if token.content not in self.ids)
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
            tokens: the tokens. Special ones join the additional special tokens. The options of a token that is there
                already are those it is given with.

        Returns:
            How many were new to the vocabulary.
        """
        new = 0
        for token in tokens:
            if self._lower_case and token.normalized and not token.special:
                token = replace(token, content=token.content.lower())
            if token.special and token.content not in self.names():
                self.additional.append(token.content)
            index = self._vocabulary.get(token.content, self.ids.get(token.content))
            if index is None:
                index = 1 + max(*self._pieces, *self.tokens)
                new += 1
            self._register(token, index)
        self._compile()
        return new

    def find(self, text: str) -> list[Part]:
        """Cuts a text at its added tokens.

        Args:
            text: any text.

        Returns:
            For each part that is not empty its text, its start and whether it is an added token. What lies between
            two parts is white space that belongs to a token.
        """
        if not (matches := list(self._pattern.finditer(text))):
            return [(text, 0, False)] if text else []
        parts: list[tuple[str, int]] = []
        position = 0
        for match in matches:
            parts += [(text[position : match.start()], position), (match.group(), match.start())]
            position = match.end()
        parts = [(part, start) for part, start in (*parts, (text[position:], position)) if part]
        if self._neighbours_matter:
            parts = self._join(parts)
        return [(part, start, part in self.ids) for part, start in parts if part]

    def cases(self, text: str) -> list[tuple[str, bool]]:
        """Says where a text is to be lower-cased.

        Args:
            text: any text.

        Returns:
            The parts of the text, and whether a part keeps its capitals: as a special token, or as an added token
            that is lower case.
        """
        parts = self._capitals.split(text) if self._capitals else [text]
        return [(part, index % 2 == 1) for index, part in enumerate(parts)]

    def _join(self, parts: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """Gives tokens the white space beside them, and joins tokens to their neighbours that are only parts of words.

        The order of the questions is that of `transformers`.
        """
        joined = parts.copy()
        for index, (text, start) in enumerate(joined):
            if text not in self.ids:
                continue
            token = self.tokens[self.ids[text]]
            left, left_start = joined[index - 1] if index else ("", 0)
            right, right_start = joined[index + 1] if index + 1 < len(joined) else ("", 0)
            if token.rstrip and right:
                joined[index + 1] = right.lstrip(), right_start + len(right) - len(right.lstrip())
            if token.lstrip and left:
                joined[index - 1] = left.rstrip(), left_start
            if token.single_word and left and left[-1] != " ":
                joined[index - 1] = joined[index - 1][0] + text, left_start
                joined[index] = "", start
            elif token.single_word and right and right[0] != " ":
                joined[index + 1] = text + joined[index + 1][0], start
                joined[index] = "", start
        return joined

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
        tokens = sorted(self.ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, tokens)) or r"(?!)")
        self._neighbours_matter = any(
            token.lstrip or token.rstrip or token.single_word for token in self.tokens.values()
        )
        plain = (token.content for token in self.tokens.values() if token.normalized and not token.special)
        kept = [re.escape(name) for name in (*self.names(), *plain)]
        self._capitals = re.compile(f"({'|'.join(kept)})") if kept else None


def _token_id(value: Any) -> int:
    try:
        if isinstance(value, (str, int)) and int(value) >= 0:
            return int(value)
    except ValueError:
        pass
    raise TokenizerError(f"added_tokens_decoder should map ids from 0 to tokens, but has the id {value!r}.")
