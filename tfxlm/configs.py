"""Model configurations: every documented field with its true default, checked when made and frozen in use.

Fields and defaults follow ``transformers``' configuration classes as their code has them (where the documentation
differs, the code counts). Fields that are not known here are kept in `PreTrainedConfig.extra` and written back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from tfxlm.errors import ConfigError
from tfxlm.files import read_json, resolve_folder, write_json

CONFIG_FILE = "config.json"

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")

# Names under which a field is stored in files besides its own name.
_FILE_NAMES = {"_name_or_path": "name_or_path", "torch_dtype": "dtype"}


def _expect(condition: bool, field: str, expected: str, value: Any) -> None:
    if not condition:
        raise ConfigError(f"Invalid configuration: {field} must be {expected}, got {value!r}.")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _one_of(*choices: Any) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in choices), "one of " + ", ".join(repr(choice) for choice in choices)


_POSITIVE = (lambda value: _is_int(value) and value > 0), "a positive integer"
_INDEX = (lambda value: _is_int(value) and value >= 0), "an integer of 0 or more"
_OPTIONAL_INDEX = (lambda value: value is None or (_is_int(value) and value >= 0)), "an integer of 0 or more, or None"
_RATE = (
    lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
), "a number in [0, 1)"
_NOT_NEGATIVE = (
    lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
), "a number of 0 or more"
_FLAG = (lambda value: isinstance(value, bool)), "True or False"


def _int_keys(mapping: Any, field: str) -> dict[int, str]:
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"Invalid configuration: {field} must map ids to names, got {mapping!r}.")
    try:
        return {int(key): str(name) for key, name in mapping.items()}
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Invalid configuration: {field} must map integers to names, got {mapping!r}.") from error


def _int_values(mapping: Any, field: str) -> dict[str, int]:
    if not isinstance(mapping, Mapping) or not all(_is_int(value) for value in mapping.values()):
        raise ConfigError(f"Invalid configuration: {field} must map names to integers, got {mapping!r}.")
    return {str(name): value for name, value in mapping.items()}


@dataclasses.dataclass(init=False, repr=False)
class PreTrainedConfig:
    """What the configurations of all families share.

    Args:
        num_labels: number of labels of a classification head; 2 unless given here or by `id2label`.
        id2label: label names by id, for example ``{0: "no", 1: "yes"}``.
        label2id: the inverse of `id2label`; made from it when absent.
        problem_type: "regression", "single_label_classification", "multi_label_classification", or None to let the
            number of labels and the dtype of the labels decide.
        output_attentions, output_hidden_states, return_dict: what a call returns when it does not say so itself.
        tie_word_embeddings: whether a language modeling head shares the word embeddings.
        pruned_heads: removed attention heads by layer.
        architectures: class names stored with a checkpoint.
        name_or_path: where the configuration came from.
        dtype: the dtype stored with a checkpoint (`torch_dtype` is accepted).
        eos_token_id: end-of-sequence id for generation.
        **extra: unknown fields; kept and written back.

    Raises:
        ConfigError: when a value is invalid, or two names of one field disagree.
    """

    model_type: ClassVar[str] = ""
    aliases: ClassVar[Mapping[str, str]] = {}
    checks: ClassVar[Mapping[str, tuple[Callable[[Any], bool], str]]] = {}

    id2label: dict[int, str] = dataclasses.field(default_factory=dict, kw_only=True)
    label2id: dict[str, int] = dataclasses.field(default_factory=dict, kw_only=True)
    problem_type: str | None = dataclasses.field(default=None, kw_only=True)
    output_attentions: bool = dataclasses.field(default=False, kw_only=True)
    output_hidden_states: bool = dataclasses.field(default=False, kw_only=True)
    return_dict: bool = dataclasses.field(default=True, kw_only=True)
    tie_word_embeddings: bool = dataclasses.field(default=True, kw_only=True)
    pruned_heads: dict[int, list[int]] = dataclasses.field(default_factory=dict, kw_only=True)
    architectures: list[str] | None = dataclasses.field(default=None, kw_only=True)
    name_or_path: str = dataclasses.field(default="", kw_only=True)
    dtype: str | None = dataclasses.field(default=None, kw_only=True)
    eos_token_id: int | None = dataclasses.field(default=None, kw_only=True)

    extra: dict[str, Any] = dataclasses.field(default_factory=dict, init=False, compare=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        fields = {field.name: field for field in dataclasses.fields(self) if field.init}
        positional = [name for name, field in fields.items() if not field.kw_only]
        if len(args) > len(positional):
            raise ConfigError(
                f"{type(self).__name__} takes at most {len(positional)} positional arguments, got {len(args)}."
            )
        given = dict(zip(positional, args, strict=False))
        num_labels = kwargs.pop("num_labels", None)
        kwargs.pop("model_type", None)
        extra = {}
        for name, value in kwargs.items():
            field_name = self._field_name(name)
            if field_name not in fields:
                extra[name] = value
            elif field_name in given and given[field_name] != value:
                raise ConfigError(
                    f"Invalid configuration: {name!r} and {field_name!r} are one field, but {value!r} and "
                    f"{given[field_name]!r} were given. Give one of them."
                )
            else:
                given[field_name] = value
        for name, field in fields.items():
            default = field.default if field.default is not dataclasses.MISSING else field.default_factory  # type: ignore[misc]
            fresh = default() if callable(default) else default
            self._set(name, given.get(name, fresh))
        self._set("extra", extra)
        self._set_labels(num_labels)
        self._set("pruned_heads", {int(k): sorted(map(int, v)) for k, v in (self.pruned_heads or {}).items()})
        self.validate()

    @classmethod
    def _field_name(cls, name: str) -> str:
        return cls.aliases.get(name, _FILE_NAMES.get(name, name))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _set_labels(self, num_labels: int | None) -> None:
        id2label = _int_keys(self.id2label or {}, "id2label")
        if not id2label and self.label2id:
            id2label = {index: name for name, index in _int_values(self.label2id, "label2id").items()}
        if num_labels is not None:
            _expect(*_with_value("num_labels", _POSITIVE, num_labels))
            if id2label and len(id2label) != num_labels:
                raise ConfigError(
                    f"Invalid configuration: num_labels is {num_labels}, but id2label names {len(id2label)} labels. "
                    "Give one of them, or make them agree."
                )
        if not id2label:
            id2label = {index: f"LABEL_{index}" for index in range(2 if num_labels is None else num_labels)}
        _expect(
            sorted(id2label) == list(range(len(id2label))), "id2label", "a mapping of 0, 1, 2, ... to names", id2label
        )
        self._set("id2label", dict(sorted(id2label.items())))
        self._set("label2id", {name: index for index, name in self.id2label.items()})

    def __setattr__(self, name: str, value: Any) -> None:
        raise ConfigError(
            f"{type(self).__name__} is frozen, so {name!r} cannot be set. "
            f"Make a changed copy with config.replace({name}={value!r})."
        )

    def __getattr__(self, name: str) -> Any:
        # Reached only for names that are no attributes: aliases, then unknown fields that were kept.
        field_name = self._field_name(name)
        if field_name != name:
            return getattr(self, field_name)
        extra = self.__dict__.get("extra", {})
        if name in extra:
            return extra[name]
        raise AttributeError(f"{type(self).__name__} has no field {name!r}.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.to_dict().items())})"

    @property
    def num_labels(self) -> int:
        """Number of labels of a classification head."""
        return len(self.id2label)

    @property
    def use_return_dict(self) -> bool:
        """Whether calls return an output object rather than a tuple."""
        return self.return_dict

    def validate(self) -> None:
        """Checks every field.

        Raises:
            ConfigError: naming the field, what it must be, and what it is.
        """
        for field, check in {**PreTrainedConfig.checks, **self.checks}.items():
            _expect(*_with_value(field, check, getattr(self, field)))

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with changed fields; `num_labels` alone renames the labels to LABEL_0, LABEL_1, ..."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.init}
        values |= self.extra
        names = {self._field_name(name) for name in changes}
        if changes.get("num_labels", self.num_labels) != self.num_labels or names & {"id2label", "label2id"}:
            values["id2label"], values["label2id"] = {}, {}
        values |= {self._field_name(name): value for name, value in changes.items()}
        return type(self)(**values)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON types, as ``config.json`` holds them (with `model_type`)."""
        values: dict[str, Any] = {"model_type": self.model_type}
        for field in dataclasses.fields(self):
            if field.init:
                values[field.name] = getattr(self, field.name)
        del values["name_or_path"]
        dtype = values.pop("dtype")
        if dtype is not None:
            values["torch_dtype"] = dtype
        for name in ("id2label", "pruned_heads"):
            values[name] = {str(key): value for key, value in values[name].items()}
        if all(name == f"LABEL_{index}" for index, name in self.id2label.items()) and self.num_labels == 2:
            del values["id2label"], values["label2id"]
        return values | self.extra

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> Self:
        """Makes a configuration from the content of a ``config.json``; keyword arguments replace its fields."""
        config = cls(**{str(name): value for name, value in values.items()})
        return config.replace(**overrides) if overrides else config

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, **options: Any) -> Self:
        """Reads ``config.json`` from a folder or the Hugging Face hub.

        Args:
            name_or_path: folder, or name of a hub repository.
            **options: `revision`, `token`, `subfolder`, `local_files_only`, `cache_dir`; anything else replaces a
                field of the configuration.

        Raises:
            CheckpointNotFoundError: when there is no such folder, repository or file.
            CorruptFileError: when the file is not a JSON object.
            ConfigError: when the file describes another kind of model, or a field is invalid.
        """
        hub = {name: options.pop(name) for name in HUB_OPTIONS if name in options}
        folder = resolve_folder(name_or_path, patterns=[CONFIG_FILE], **hub)
        values = read_json(folder / CONFIG_FILE)
        stored = values.get("model_type", cls.model_type)
        if stored != cls.model_type:
            raise ConfigError(
                f"{folder / CONFIG_FILE} has model_type {stored!r}, but {cls.__name__} reads {cls.model_type!r}. "
                "Use the class of that family."
            )
        return cls.from_dict({**values, "name_or_path": str(name_or_path)}, **options)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes ``config.json`` into `folder`, making the folder when it is missing."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_json(Path(folder) / CONFIG_FILE, self.to_dict())


HUB_OPTIONS = ("revision", "token", "subfolder", "local_files_only", "cache_dir")


def _with_value(field: str, check: tuple[Callable[[Any], bool], str], value: Any) -> tuple[bool, str, str, Any]:
    test, expected = check
    return test(value), field, expected, value


PreTrainedConfig.checks = {
    "problem_type": _one_of(None, *PROBLEM_TYPES),
    "output_attentions": _FLAG,
    "output_hidden_states": _FLAG,
    "return_dict": _FLAG,
}


@dataclasses.dataclass(init=False, repr=False, eq=True)
class XLMConfig(PreTrainedConfig):
    """Configuration of an XLM model (Lample and Conneau, 2019, "Cross-lingual Language Model Pretraining").

    Args:
        vocab_size: number of word ids (alias `n_words`).
        emb_dim: width of the hidden states (alias `hidden_size`).
        n_layers: number of blocks (aliases `n_layer`, `num_hidden_layers`).
        n_heads: attention heads per block (aliases `n_head`, `num_attention_heads`).
        dropout: dropout rate after embeddings, attention and feed-forward.
        attention_dropout: dropout rate of attention weights.
        gelu_activation: exact GELU when True, else ReLU.
        sinusoidal_embeddings: whether positions start as a fixed sinusoidal table.
        causal: whether a position attends to itself and what is left of it only.
        asm: whether the language modeling head is an adaptive softmax (`asm_cutoffs`, `asm_div_value`).
        n_langs: number of languages.
        use_lang_emb: whether language embeddings are added (only when `n_langs` > 1).
        max_position_embeddings: longest sequence, in tokens.
        embed_init_std, init_std: standard deviations of freshly initialised embeddings and kernels.
        layer_norm_eps: epsilon of every layer normalisation.
        bos_index, eos_index, pad_index, unk_index, mask_index: ids of the special tokens.
        is_encoder: must be True; XLM decoders with cross-attention were never released.
        summary_type: which vector stands for a sequence: "first", "last", "mean" or "cls_index".
        summary_use_proj, summary_activation, summary_proj_to_labels, summary_first_dropout, summary_last_dropout: the
            layers after that vector.
        summary_over_padding: reproduces a quirk of ``transformers``: "last" and "mean" also read padding.
        start_n_top, end_n_top: beam sizes of the question answering head.
        mask_token_id, lang_id, pad_token_id, bos_token_id: used by generation.
        lang2id, id2lang: languages by code and by id.
        asm_cutoffs, asm_div_value: clusters of the adaptive softmax.

    Example:
        >>> from tfxlm import XLMConfig
        >>> XLMConfig(emb_dim=64, n_heads=4, n_layer=2).num_hidden_layers
        2
    """

    model_type: ClassVar[str] = "xlm"
    aliases: ClassVar[Mapping[str, str]] = {
        "n_words": "vocab_size",
        "hidden_size": "emb_dim",
        "n_layer": "n_layers",
        "num_hidden_layers": "n_layers",
        "n_head": "n_heads",
        "num_attention_heads": "n_heads",
    }

    vocab_size: int = 30145
    emb_dim: int = 2048
    n_layers: int = 12
    n_heads: int = 16
    dropout: float = 0.1
    attention_dropout: float = 0.1
    gelu_activation: bool = True
    sinusoidal_embeddings: bool = False
    causal: bool = False
    asm: bool = False
    n_langs: int = 1
    use_lang_emb: bool = True
    max_position_embeddings: int = 512
    embed_init_std: float = 2048**-0.5
    layer_norm_eps: float = 1e-12
    init_std: float = 0.02
    bos_index: int = 0
    eos_index: int = 1
    pad_index: int = 2
    unk_index: int = 3
    mask_index: int = 5
    is_encoder: bool = True
    summary_type: str = "first"
    summary_use_proj: bool = True
    summary_activation: str | None = None
    summary_proj_to_labels: bool = True
    summary_first_dropout: float = 0.1
    start_n_top: int = 5
    end_n_top: int = 5
    mask_token_id: int | None = 0
    lang_id: int | None = 0
    pad_token_id: int | None = 2
    bos_token_id: int | None = 0
    summary_last_dropout: float = dataclasses.field(default=0.0, kw_only=True)
    summary_over_padding: bool = dataclasses.field(default=False, kw_only=True)
    lang2id: dict[str, int] = dataclasses.field(default_factory=dict, kw_only=True)
    id2lang: dict[int, str] = dataclasses.field(default_factory=dict, kw_only=True)
    asm_cutoffs: list[int] | None = dataclasses.field(default=None, kw_only=True)
    asm_div_value: float = dataclasses.field(default=4.0, kw_only=True)

    checks: ClassVar[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
        **dict.fromkeys(
            ("vocab_size", "emb_dim", "n_layers", "n_heads", "n_langs", "max_position_embeddings"), _POSITIVE
        ),
        **dict.fromkeys(("start_n_top", "end_n_top"), _POSITIVE),
        **dict.fromkeys(
            ("dropout", "attention_dropout", "summary_first_dropout", "summary_last_dropout"), _RATE
        ),
        **dict.fromkeys(("embed_init_std", "init_std", "layer_norm_eps"), _NOT_NEGATIVE),
        **dict.fromkeys(
            (
                "gelu_activation",
                "sinusoidal_embeddings",
                "causal",
                "asm",
                "use_lang_emb",
                "summary_use_proj",
                "summary_proj_to_labels",
                "summary_over_padding",
            ),
            _FLAG,
        ),
        **dict.fromkeys(("bos_index", "eos_index", "pad_index", "unk_index", "mask_index"), _INDEX),
        **dict.fromkeys(("mask_token_id", "lang_id", "pad_token_id", "bos_token_id", "eos_token_id"), _OPTIONAL_INDEX),
        "is_encoder": (lambda value: value is True, "True (XLM decoders were never released)"),
        # "attn" is documented by the reference but was never implemented anywhere.
        "summary_type": _one_of("first", "last", "mean", "cls_index"),
    }

    def validate(self) -> None:
        """Checks every field and their agreement; see `PreTrainedConfig.validate`."""
        super().validate()
        self._set("id2lang", _int_keys(self.id2lang or {}, "id2lang"))
        self._set("lang2id", _int_values(self.lang2id or {}, "lang2id"))
        if self.lang2id and not self.id2lang:
            self._set("id2lang", {index: name for name, index in self.lang2id.items()})
        if self.id2lang and not self.lang2id:
            self._set("lang2id", {name: index for index, name in self.id2lang.items()})
        _expect(self.emb_dim % self.n_heads == 0, "emb_dim", f"a multiple of n_heads ({self.n_heads})", self.emb_dim)
        _expect(self.pad_index < self.vocab_size, "pad_index", f"below vocab_size ({self.vocab_size})", self.pad_index)
        largest = max(self.lang2id.values(), default=0)
        if self.uses_lang_embeddings:
            _expect(largest < self.n_langs, "lang2id", f"ids below n_langs ({self.n_langs})", self.lang2id)
        if self.asm:
            cutoffs = self.asm_cutoffs or []
            _expect(
                bool(cutoffs) and all(_is_int(c) for c in cutoffs) and cutoffs == sorted(set(cutoffs)),
                "asm_cutoffs",
                "an increasing list of word ids when asm is True",
                self.asm_cutoffs,
            )

    @property
    def uses_lang_embeddings(self) -> bool:
        """Whether the model adds language embeddings: `use_lang_emb` and more than one language."""
        return self.use_lang_emb and self.n_langs > 1

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON types; see `PreTrainedConfig.to_dict`."""
        values = super().to_dict()
        values["id2lang"] = {str(index): name for index, name in self.id2lang.items()}
        return _without_empty(values, ("id2lang", "lang2id", "asm_cutoffs", "pruned_heads", "architectures"))


def _without_empty(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value or name not in set(names)}
