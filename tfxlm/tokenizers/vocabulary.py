"""Tokens and their ids: what every tokenizer knows before it sees a text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tfxlm.errors import InputError, TokenizerError
from tfxlm.tokenizers.arguments import kind, listed, setting
from tfxlm.tokenizers.languages import Languages
from tfxlm.tokenizers.special_tokens import ADDITIONAL, ROLES, AddedToken, SpecialTokens


class _Role:
    """What a role's special token has."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._role = name.removesuffix("_id")

    def _assign(self, instance: "Vocabulary", token: Any) -> None:
        if str(token) not in instance.get_vocab():
            raise TokenizerError(
                f"{self._role} cannot be set to {token!r}, which the vocabulary does not have. For a new token call "
                f"add_special_tokens({{{self._role!r}: ...}}) and give the model a row for it."
            )
        instance.add_special_tokens({self._role: str(token)})


class _RoleToken(_Role):
    """The text of a role's special token."""

    def __get__(self, instance: "Vocabulary", owner: type) -> str | None:
        return instance.special.roles[self._role]

    def __set__(self, instance: "Vocabulary", value: Any) -> None:
        self._assign(instance, value)


class _RoleId(_Role):
    """The id of a role's special token."""

    def __get__(self, instance: "Vocabulary", owner: type) -> int | None:
        return instance.special.role_ids()[self._role]

    def __set__(self, instance: "Vocabulary", value: Any) -> None:
        self._assign(instance, instance._tokens.get(value, value))


class Vocabulary:
    """Pieces, special tokens and languages with their ids.

    Args:
        pieces: id by piece.
        settings: options by name; used are the special tokens (``"pad_token"``, ...,
            ``"additional_special_tokens"``, ``"special_tokens"``, ``"added_tokens_decoder"``), ``"lang2id"`` and
            ``"id2lang"``.
        lower_case: whether texts are lower-cased before special tokens are looked for.

    Raises:
        TokenizerError: special tokens are missing, or ids contradict each other.
    """

    bos_token, bos_token_id = _RoleToken(), _RoleId()
    eos_token, eos_token_id = _RoleToken(), _RoleId()
    unk_token, unk_token_id = _RoleToken(), _RoleId()
    sep_token, sep_token_id = _RoleToken(), _RoleId()
    pad_token, pad_token_id = _RoleToken(), _RoleId()
    cls_token, cls_token_id = _RoleToken(), _RoleId()
    mask_token, mask_token_id = _RoleToken(), _RoleId()

    def __init__(self, pieces: dict[str, int], settings: Mapping[str, Any], lower_case: bool) -> None:
        self._pieces_to_ids = pieces
        self._ids: dict[str, int] = {}
        lang2id, id2lang, added = (
            setting(settings, name, Mapping, "a mapping") for name in ("lang2id", "id2lang", "added_tokens_decoder")
        )
        additional, extra = (
            setting(settings, name, (list, tuple), "a list of tokens") for name in (ADDITIONAL, "special_tokens")
        )
        if settings.get("unk_token") is None:
            raise TokenizerError("A tokenizer needs an unk_token for what it does not know. Name one.")
        self.languages = Languages(lang2id, id2lang)
        self.special = SpecialTokens(
            roles={role: settings.get(role) for role in ROLES},
            additional=additional or (),
            added=added or {},
            extra=extra or (),
            vocabulary=pieces,
            lower_case=lower_case,
        )
        self._refresh()

    @property
    def vocab_size(self) -> int:
        """Number of entries of the vocabulary, added tokens beyond it not counted."""
        return len(self._pieces_to_ids)

    def __len__(self) -> int:
        return len(self._ids)

    def get_vocab(self) -> dict[str, int]:
        """Returns the id of every piece and added token."""
        return self._pieces_to_ids | self.special.ids

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Ids of the tokens that are found as a whole."""
        return {token.content: index for index, token in self.added_tokens_decoder.items()}

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The tokens that are found as a whole, by id."""
        return dict(sorted(self.special.tokens.items()))

    @property
    def additional_special_tokens(self) -> list[str]:
        """Special tokens without a role."""
        return list(self.special.additional)

    @property
    def special_tokens_map(self) -> dict[str, str | list[str]]:
        """Special tokens by role."""
        return self.special.by_role()

    @property
    def all_special_tokens(self) -> list[str]:
        """All special tokens, each once."""
        return self.special.names()

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return [self.special.ids[name] for name in self.special.names()]

    @property
    def lang2id(self) -> dict[str, int] | None:
        """Id by language code; None if no languages are listed."""
        return dict(self.languages.ids) or None

    @property
    def id2lang(self) -> dict[int, str] | None:
        """Language code by id; None if no languages are listed."""
        return {index: lang for lang, index in self.languages.ids.items()} or None

    def get_added_vocab(self) -> dict[str, int]:
        """Returns `added_tokens_encoder`."""
        return self.added_tokens_encoder

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Makes tokens that are found as a whole. The model's word table must grow to ``len(tokenizer)`` rows.

        Args:
            new_tokens: a token or a list of them: texts, `AddedToken` objects (those of the `tokenizers` library as
                well), or mappings with their fields.
            special_tokens: whether they are special tokens.

        Returns:
            How many were new to the vocabulary.

        Raises:
            TokenizerError: one is no token.
        """
        several = isinstance(new_tokens, Iterable) and not isinstance(new_tokens, (str, Mapping))
        new = self.special.add(self._new_tokens(new_tokens if several else [new_tokens], special_tokens))
        self._refresh()
        return new

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_additional_special_tokens: bool = True
    ) -> int:
        """Gives roles to tokens; those the vocabulary lacks are added to it. See `add_tokens`.

        Args:
            special_tokens_dict: token by role, such as ``{"pad_token": "[PAD]"}``, and a list of tokens under
                ``"additional_special_tokens"``.
            replace_additional_special_tokens: whether that list takes the place of the one before, whose tokens are
                then added tokens like others; otherwise it continues it.

        Returns:
            How many were new to the vocabulary.

        Raises:
            InputError: there is no role of a name.
            TokenizerError: one is no token.
        """
        unknown = [role for role in special_tokens_dict if role not in (*ROLES, ADDITIONAL)]
        if unknown:
            raise InputError(
                f"There is no special token {', '.join(map(repr, unknown))}. Choose from: "
                f"{', '.join((*ROLES, ADDITIONAL))}; a token without a role is one of {ADDITIONAL!r}."
            )
        further = special_tokens_dict.get(ADDITIONAL, ())
        if isinstance(further, (str, Mapping)) or not isinstance(further, Iterable):
            raise InputError(f"{ADDITIONAL} should be a list of tokens, but is {kind(further)}. Put it into a list.")
        by_role = {
            role: [AddedToken.parse(token, role) for token in (given if role == ADDITIONAL else [given])]
            for role, given in special_tokens_dict.items()
        }
        names = [token.content for token in by_role.get(ADDITIONAL, ())]
        kept = [] if names and replace_additional_special_tokens else self.special.additional
        self.special.additional = list(dict.fromkeys([*kept, *names]))
        self.special.roles |= {role: tokens[0].content for role, tokens in by_role.items() if role != ADDITIONAL}
        return self.add_tokens([token for tokens in by_role.values() for token in tokens], special_tokens=True)

    def set_special_tokens(self, special_tokens: Iterable[str]) -> int:
        """Adds symbols such as ``"__classify__"`` as special tokens; see `add_tokens`."""
        return self.add_tokens(special_tokens, special_tokens=True)

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """Looks up one token or several; unknown ones get the id of the unknown token.

        Raises:
            InputError: `tokens` is neither a str nor a list of them.
        """
        if isinstance(tokens, str):
            return self._ids.get(tokens, self._unknown_id)
        if not isinstance(tokens, Iterable) or isinstance(tokens, Mapping | bytes | bytearray):
            raise InputError(f"Tokens should be a str or a list of str, but are {kind(tokens)}.")
        return [self._ids.get(token, self._unknown_id) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Returns the token of an id, or the tokens of a row of ids (list, array or tensor)."""
        ids = listed(ids)
        unknown = str(self.unk_token)
        if isinstance(ids, int):
            return self._tokens.get(ids, unknown)
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        return [self._tokens.get(index, unknown) for index in ids if index not in skipped]

    def _new_tokens(self, given: Iterable[Any], special: bool) -> Iterator[AddedToken]:
        for one in given:
            # A text says nothing about a token that is there already, be it since a moment.
            if not isinstance(one, str) or (one and one not in self.special.ids):
                token = AddedToken.parse(one, "A new token", special or one in self.special.names())
                yield replace(token, special=True) if special else token

    def _refresh(self) -> None:
        self._ids.update(self.get_vocab())  # in place: a family may hold on to it
        self._tokens = {index: token for token, index in self._ids.items()}
        self._unknown_id = self.special.ids[str(self.unk_token)]
