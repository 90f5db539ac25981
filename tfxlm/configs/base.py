"""What the configurations of all families share: fields, checks, and the way to ``config.json`` and back."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from tfxlm.checkpoints import is_file, read_origin
from tfxlm.configs.checks import (
    FLAG,
    INDEX,
    OPTIONAL_NAMES,
    POSITIVE,
    Rule,
    check,
    expect,
    heads_by_layer,
    int_keys,
    int_values,
    is_int,
    one_of,
)
from tfxlm.configs.corrections import correct_config, pop_corrections
from tfxlm.configs.families import FAMILIES, family_of
from tfxlm.configs.frozen import frozen, thawed
from tfxlm.configs.hub_options import pop_hub_options
from tfxlm.errors import ConfigError, InputError
from tfxlm.files import inside, json_text, make_folder, read_json, resolve_folder, write_json

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.json"

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")

# Names under which a field is stored in files besides its own name.
_FILE_NAMES = {"_name_or_path": "name_or_path", "torch_dtype": "dtype"}

# Fields that scripts for `transformers` give while loading, and that nothing reads: kept as any unknown field is.
_KEPT = ("finetuning_task", "task_specific_params", "torchscript", "use_bfloat16", "use_cache")


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
        chunk_size_feed_forward: has no effect: in ``transformers`` it trades speed for memory, not numbers.
        **extra: unknown fields; kept and written back.

    Raises:
        ConfigError: when a value is invalid, or two names of one field disagree, or `id2label` and `label2id` do.

    Example:
        >>> from tfxlm import PreTrainedConfig, XLMConfig
        >>> isinstance(XLMConfig(), PreTrainedConfig)
        True
    """

    model_type: ClassVar[str] = ""
    aliases: ClassVar[Mapping[str, str]] = {}
    checks: ClassVar[Mapping[str, Rule]] = {}
    # Fields left out of ``config.json`` while they have their defaults: empty ones, and those of ours.
    unwritten_defaults: ClassVar[tuple[str, ...]] = ("architectures", "pruned_heads", "chunk_size_feed_forward")
    # Fields that may change when a model has been made already.
    free_fields: ClassVar[frozenset[str]] = frozenset(
        (
            *("id2label", "label2id", "problem_type", "output_attentions", "output_hidden_states", "return_dict"),
            *("architectures", "name_or_path", "dtype", "chunk_size_feed_forward", "extra"),
            *("bos_token_id", "eos_token_id"),
        )
    )

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
    chunk_size_feed_forward: int = dataclasses.field(default=0, kw_only=True)

    extra: dict[str, Any] = dataclasses.field(default_factory=dict, init=False)

    # A field of a file may be called `self`, too.
    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        fields = {field.name: field for field in dataclasses.fields(self) if field.init}
        positional = [name for name, field in fields.items() if not field.kw_only]
        if len(args) > len(positional):
            raise ConfigError(
                f"{type(self).__name__} takes at most {len(positional)} positional arguments, got {len(args)}."
            )
        given = dict(zip(positional, args, strict=False))
        names = {field_name: field_name for field_name in given}  # under which each value came
        num_labels = kwargs.pop("num_labels", None)
        kwargs.pop("model_type", None)
        extra = {}
        for name, value in kwargs.items():
            field_name = self._field_name(name)
            if field_name not in fields:
                extra[name] = value
            elif field_name in given and given[field_name] != value:
                raise ConfigError(
                    f"Invalid configuration: {names[field_name]!r} and {name!r} are one field, but "
                    f"{given[field_name]!r} and {value!r} were given. Give one of them."
                )
            else:
                given[field_name], names[field_name] = value, name
        for name, field in fields.items():
            self._set(name, given[name] if name in given else _default(field))
        self._set("extra", extra)
        self._set_labels(num_labels)
        self._set("pruned_heads", heads_by_layer(self.pruned_heads or {}, "pruned_heads"))
        self.validate()

    @classmethod
    def _field_name(cls, name: str) -> str:
        return cls.aliases.get(name, _FILE_NAMES.get(name, name))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, frozen(value))

    def _set_labels(self, num_labels: int | None) -> None:
        id2label = int_keys(self.id2label or {}, "id2label")
        label2id = int_values(self.label2id or {}, "label2id")
        if id2label and label2id and label2id != {name: index for index, name in id2label.items()}:
            raise ConfigError(
                f"Invalid configuration: id2label {id2label} and label2id {label2id} disagree. Give one of them, or "
                "make them agree."
            )
        id2label = id2label or {index: name for name, index in label2id.items()}
        if num_labels is not None:
            check("num_labels", POSITIVE, num_labels)
            if id2label and len(id2label) != num_labels:
                raise ConfigError(
                    f"Invalid configuration: num_labels is {num_labels}, but id2label names {len(id2label)} labels. "
                    "Give one of them, or make them agree."
                )
        if not id2label:
            id2label = {index: f"LABEL_{index}" for index in range(2 if num_labels is None else num_labels)}
        expect(
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
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._stored().items())})"

    @property
    def num_labels(self) -> int:
        """Number of labels of a classification head."""
        return len(self.id2label)

    # Families say more of this kind, whatever their fields are called: `is_causal`, `max_sequence_length`, `pad_index`.

    @property
    def has_cross_attention(self) -> bool:
        """Whether blocks attend to the hidden states of an encoder, too."""
        return False

    @property
    def uses_lang_embeddings(self) -> bool:
        """Whether the model adds language embeddings."""
        return False

    @property
    def use_return_dict(self) -> bool:
        """Whether calls return an output object rather than a tuple."""
        return self.return_dict

    def validate(self) -> None:
        """Checks every field.

        Raises:
            ConfigError: naming the field, what it must be, and what it is.
        """
        for field, rule in {**PreTrainedConfig.checks, **self.checks}.items():
            check(field, rule, getattr(self, field))

    def _check_heads(self) -> None:
        # In messages, fields have the names that the family has for them.
        size, heads, layers = map(self._field_name, ("hidden_size", "num_attention_heads", "num_hidden_layers"))
        num_heads, num_layers = getattr(self, heads), getattr(self, layers)
        expect(getattr(self, size) % num_heads == 0, size, f"a multiple of {heads} ({num_heads})", getattr(self, size))
        for layer, pruned in self.pruned_heads.items():
            expect(
                0 <= layer < num_layers and all(0 <= head < num_heads for head in pruned) and len(pruned) < num_heads,
                "pruned_heads",
                f"heads below {heads} ({num_heads}) of layers below {layers} ({num_layers}), not all of a layer",
                self.pruned_heads,
            )

    def _expect_word_ids(self, *names: str) -> None:
        for name in names:
            index = getattr(self, name)
            expect(index < self.vocab_size, name, f"below vocab_size ({self.vocab_size})", index)

    def replace(self, /, **changes: Any) -> Self:
        """Returns a copy with changed fields; `num_labels` alone renames the labels to LABEL_0, LABEL_1, ...

        Raises:
            ConfigError: when a value is invalid, or a name is no field: a misspelt option must not pass unnoticed.
        """
        known = {field.name for field in dataclasses.fields(self) if field.init} | {"num_labels", *_KEPT, *self.extra}
        for name in changes:
            if self._field_name(name) not in known:
                close = difflib.get_close_matches(name, known | set(self.aliases), n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise ConfigError(f"{type(self).__name__} has no field {name!r}.{hint}")
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.init}
        values |= self.extra
        names = {self._field_name(name) for name in changes}
        if changes.get("num_labels", self.num_labels) != self.num_labels or names & {"id2label", "label2id"}:
            values["id2label"], values["label2id"] = {}, {}
        values |= {self._field_name(name): value for name, value in changes.items()}
        return type(self)(**values)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON types, as ``config.json`` holds them (with `model_type`).

        Raises:
            ConfigError: when a field holds a function, which no file can.
        """
        values = self._stored()
        for name, value in values.items():
            if callable(value):
                raise ConfigError(
                    f"{CONFIG_FILE} cannot hold {name}={value!r}, which is a function. Name an activation instead: "
                    f'config.replace({name}="gelu"). To keep a model that has the function, save its weights alone '
                    "(model.save_weights) and load them into a model made with the function."
                )
        return values

    def to_json_string(self) -> str:
        """Returns what ``config.json`` holds as text.

        Raises:
            ConfigError: as `to_dict`.
        """
        return json_text(self.to_dict())

    def _stored(self) -> dict[str, Any]:
        values: dict[str, Any] = {"model_type": self.model_type}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.init and (field.name not in self.unwritten_defaults or value != _default(field)):
                values[field.name] = value
        del values["name_or_path"]
        dtype = values.pop("dtype")
        if dtype is not None:
            values["torch_dtype"] = dtype
        if all(name == f"LABEL_{index}" for index, name in self.id2label.items()) and self.num_labels == 2:
            del values["id2label"], values["label2id"]
        return thawed(values | self.extra)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], /, **overrides: Any) -> Self:
        """Makes a configuration from the content of a ``config.json``; keyword arguments replace its fields."""
        fields = {str(name): value for name, value in values.items()}
        count, names = fields.get("num_labels"), fields.get("id2label")
        if is_int(count) and isinstance(names, Mapping) and names and len(names) != count:
            logger.warning(
                "The configuration says num_labels = %d, but id2label names %d labels, which counts.", count, len(names)
            )
            del fields["num_labels"]
        config = cls(**fields)
        return config.replace(**overrides) if overrides else config

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """Reads ``config.json`` from a folder or the Hugging Face hub.

        Args:
            pretrained_model_name_or_path: folder, or name of a hub repository; or a file of another program, ``.pth``
                of the original XLM or ``model.pt`` of fairseq, of whose settings the configuration is made.
            **options: `revision`, `token`, `subfolder`, `local_files_only`, `cache_dir`, `force_download`;
                `corrections`: False leaves fields as they are stored that are wrong in a released checkpoint
                (`tfxlm.presets`); anything else replaces a field of the configuration.

        Raises:
            CheckpointNotFoundError: when there is no such folder, repository or file.
            CorruptFileError: when the file is not a JSON object.
            UnsafeFileError, UnsupportedFileError: when a file of another program asks for more than weights, or has
                another layout.
            ConfigError: when the file describes another kind of model, or a field is invalid.
            ArgumentError: when options contradict each other, or one cannot be followed.
            InputError: when `pretrained_model_name_or_path` is neither a path nor a name.
        """
        values = read_config(pretrained_model_name_or_path, options)
        model_type, evidence = family_of(values)
        if model_type not in (None, cls.model_type):
            stem = FAMILIES.get(str(model_type))
            way_out = (
                f"Use {stem}Config and the models named TF{stem}..., or AutoConfig and the models named TFAuto..."
                if stem
                else f"The families here are {', '.join(map(repr, FAMILIES))}."
            )
            raise ConfigError(
                f"The {CONFIG_FILE} of {values['name_or_path']} has {evidence}, but {cls.__name__} reads "
                f"{cls.model_type!r}. {way_out}"
            )
        return cls.from_dict(values, **options)

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Writes ``config.json`` into a folder, making it when it is missing.

        Raises:
            OutputExistsError: when `save_directory` is a file.
        """
        make_folder(save_directory)
        write_json(Path(save_directory) / CONFIG_FILE, self.to_dict())


PreTrainedConfig.checks = {
    "problem_type": one_of(None, *PROBLEM_TYPES),
    "output_attentions": FLAG,
    "output_hidden_states": FLAG,
    "return_dict": FLAG,
    "tie_word_embeddings": FLAG,
    "architectures": OPTIONAL_NAMES,
    "chunk_size_feed_forward": INDEX,
}


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def read_config(name_or_path: str | Path, options: dict[str, Any]) -> dict[str, Any]:
    """Reads ``config.json`` from a folder or the Hugging Face hub, or makes it of the checkpoint of another program.

    Args:
        name_or_path: folder, file with weights, or name of a hub repository.
        options: those about files are taken out of it.

    Returns:
        The content of the file, and `name_or_path`.

    Raises:
        CheckpointNotFoundError, CorruptFileError, UnsafeFileError, UnsupportedFileError, ArgumentError, InputError: see
            `PreTrainedConfig.from_pretrained`.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise InputError(
            f"from_pretrained needs a folder or the name of a hub repository, got {name_or_path!r}. For a new "
            "configuration, call its class, such as XLMConfig(...)."
        )
    hub, corrections = pop_hub_options(options), pop_corrections(options)
    given = Path(name_or_path).expanduser()
    named = is_file(given)
    folder = given.parent if named else resolve_folder(name_or_path, patterns=[CONFIG_FILE], **hub)
    path = given if named and given.name.endswith(CONFIG_FILE) else inside(folder, CONFIG_FILE)
    # A checkpoint that is named speaks for itself if it can; in a folder, the configuration comes first.
    is_original = path != given if named else not path.is_file()
    origin = read_origin(name_or_path, **hub) if is_original else None
    values = dict(read_json(path) if origin is None else origin.config)
    values.pop("_name_or_path", None)  # where the file was before
    if corrections:
        values = correct_config(name_or_path, values)
    return {**values, "name_or_path": str(name_or_path)}
