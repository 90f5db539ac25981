"""What pre-training is told: a file of settings, checked before anything is made."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from tfxlm.configs.checks import (
    FLAG,
    INDEX,
    NOT_NEGATIVE,
    POSITIVE,
    POSITIVE_NUMBER,
    RATE,
    Rule,
    expect,
    is_flag,
    is_number,
    one_of,
)
from tfxlm.errors import ConfigError
from tfxlm.files import parse_value, read_settings

SCHEDULES = ("inverse_sqrt", "linear", "cosine", "constant")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
STRATEGIES = ("mirrored", "multi_worker", "tpu")

TEXT: Rule = (lambda value: isinstance(value, str) and bool(value.strip())), "a text"
OPTIONAL_TEXT: Rule = (lambda value: value is None or TEXT[0](value)), "a text, or null"
FIELDS: Rule = (
    (lambda value: isinstance(value, Mapping) and all(isinstance(name, str) for name in value)),
    "a mapping of fields of the model's configuration to values",
)
SHARE: Rule = (lambda value: is_number(value) and 0 <= value <= 1), "a number in [0, 1]"
OPTIONAL_FLAG: Rule = (lambda value: value is None or is_flag(value)), "True, False or null"
OPTIONAL_POSITIVE: Rule = (lambda value: value is None or POSITIVE[0](value)), "a positive integer, or null"
OPTIONAL_MOMENTUM: Rule = (
    (lambda value: value is None or (is_number(value) and 0 < value < 1)),
    "a number in (0, 1), or null",
)
SHARES: Rule = (
    (lambda value: isinstance(value, list | tuple) and len(value) == 3 and all(map(is_number, value))),
    "a list of three numbers",
)
NAMES: Rule = (
    (lambda value: isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)),
    "a list of texts",
)


def _field(rule: Rule, default: Any = dataclasses.MISSING, *, free: bool = False) -> Any:
    """Describes a field.

    Args:
        rule: what its value must be.
        default: of the field; MISSING where it must be given.
        free: whether a run that is resumed may have another value.
    """
    made = {"default_factory": default} if callable(default) else {"default": default}
    return dataclasses.field(metadata={"rule": rule, "free": free}, **made)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingConfig:
    """Settings of pre-training. Steps are batches; where `accumulate` is more than 1, so many make one update.

    Args:
        store: folder that `tfxlm prepare` made.
        output: folder of the run: `checkpoints/`, `logs/` and, at the end, `model/` and `results.json`. Several workers
            must share it.
        objectives: what to learn, such as ``"mlm:en,de clm:fr tlm*0.5:en-de"``.
        steps: number of batches in all.
        tokenizer: folder or hub name of the tokenizer; that of the store by default.
        model: fields of the configuration of a new model, such as ``{"emb_dim": 256, "n_layers": 4}``. Vocabulary,
            languages and special ids are the tokenizer's.
        checkpoint: folder or hub name of a model to go on from, in place of a new one.
        batch_size: rows of a batch, those of all devices together.
        length: tokens of a row.
        alpha: a language is chosen by its share of the tokens to this power.
        packed_pairs, whole_sentences, mask_share, word_mask_keep_rand, frequency_smoothing: see `PretrainingData`.
        seed: of weights, dropout, batches and masks.
        learning_rate: the highest.
        schedule: how it falls after warm-up: "inverse_sqrt", "linear" (to 0), "cosine" (to 0) or "constant".
        warmup_steps: steps in which it rises from 0.
        weight_decay: decoupled, of kernels and embeddings, not of biases and normalisations.
        beta_1, beta_2, epsilon: of AdamW.
        clip_norm: largest norm of the gradient as a whole; 0 for no limit.
        accumulate: batches whose gradients are averaged for one update.
        ema: momentum of an average of the weights, which is what is evaluated and saved; null for none.
        precision: "float32", "mixed_bfloat16" or "mixed_float16".
        xla: whether steps are compiled with XLA.
        strategy: "mirrored" (the devices of this machine), "multi_worker" (TF_CONFIG names the workers) or "tpu"; null
            for one device.
        devices: of "mirrored", such as ["gpu:0", "gpu:1"]; all by default. Of "tpu" the name of the TPU.
        evaluate_every: steps between evaluations on held-out text; 0 for none.
        evaluation_batches: most batches of each language in an evaluation; null for all.
        monitor: held-out loss that counts as better or worse: "mean" of all, or one such as "mlm:de". Where it is
            another one when a run is resumed, the best is found anew.
        patience: evaluations without a better one after which training stops; 0 for never.
        final: whether `model/` is "last" or "best" by `monitor`.
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: how many of the last ones are kept, beside the best.
        log_every: steps between lines of progress, and points of TensorBoard.
        tensorboard: whether `logs/` is written.

    Raises:
        ConfigError: a value is not what it must be, or two contradict each other; the message names the field.

    Example:
        >>> from tfxlm.training import PretrainingConfig
        >>> config = PretrainingConfig(store="store", output="run", objectives="mlm:en,de tlm:en-de", steps=1000)
        >>> config.replace(learning_rate="1e-3").learning_rate
        0.001
    """

    store: str = _field(TEXT, free=True)
    output: str = _field(TEXT, free=True)
    objectives: str = _field(TEXT)
    steps: int = _field(POSITIVE, free=True)
    tokenizer: str | None = _field(OPTIONAL_TEXT, None, free=True)
    model: Mapping[str, Any] = _field(FIELDS, dict)
    checkpoint: str | None = _field(OPTIONAL_TEXT, None, free=True)
    batch_size: int = _field(POSITIVE, 32)
    length: int = _field(POSITIVE, 256)
    alpha: float = _field(SHARE, 0.7)
    packed_pairs: bool = _field(FLAG, True)
    whole_sentences: bool | None = _field(OPTIONAL_FLAG, None)
    mask_share: float = _field(RATE, 0.15)
    word_mask_keep_rand: tuple[float, float, float] = _field(SHARES, (0.8, 0.1, 0.1))
    frequency_smoothing: float = _field(SHARE, 0.0)
    seed: int = _field(INDEX, 0)
    learning_rate: float = _field(POSITIVE_NUMBER, 1e-4, free=True)
    schedule: str = _field(one_of(*SCHEDULES), "inverse_sqrt", free=True)
    warmup_steps: int = _field(INDEX, 4000, free=True)
    weight_decay: float = _field(NOT_NEGATIVE, 0.01, free=True)
    beta_1: float = _field(RATE, 0.9, free=True)
    beta_2: float = _field(RATE, 0.98, free=True)
    epsilon: float = _field(POSITIVE_NUMBER, 1e-6, free=True)
    clip_norm: float = _field(NOT_NEGATIVE, 1.0, free=True)
    accumulate: int = _field(POSITIVE, 1)
    ema: float | None = _field(OPTIONAL_MOMENTUM, None)
    precision: str = _field(one_of(*PRECISIONS), "float32")
    xla: bool = _field(FLAG, False, free=True)
    strategy: str | None = _field(one_of(None, *STRATEGIES), None, free=True)
    devices: tuple[str, ...] = _field(NAMES, (), free=True)
    evaluate_every: int = _field(INDEX, 1000, free=True)
    evaluation_batches: int | None = _field(OPTIONAL_POSITIVE, None, free=True)
    monitor: str = _field(TEXT, "mean", free=True)
    patience: int = _field(INDEX, 0, free=True)
    final: str = _field(one_of("last", "best"), "last", free=True)
    checkpoint_every: int = _field(POSITIVE, 1000, free=True)
    keep_checkpoints: int = _field(POSITIVE, 3, free=True)
    log_every: int = _field(POSITIVE, 50, free=True)
    tensorboard: bool = _field(FLAG, True, free=True)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = _as_number(field, getattr(self, field.name))
            keeps, expected = field.metadata["rule"]
            expect(keeps(value), field.name, expected, value)
            value = tuple(value) if isinstance(value, list) else dict(value) if isinstance(value, Mapping) else value
            object.__setattr__(self, field.name, value)
        expect(not (self.model and self.checkpoint), "model", "left out where there is a checkpoint", self.model)
        expect(self.warmup_steps <= self.steps, "warmup_steps", f"at most steps = {self.steps}", self.warmup_steps)
        watches = self.patience or self.final == "best"
        what = "more than 0 where patience or final='best' needs evaluations"
        expect(not watches or self.evaluate_every > 0, "evaluate_every", what, self.evaluate_every)
        if self.devices:
            what = "left out, as strategy is " + repr(self.strategy)
            expect(self.strategy in ("mirrored", "tpu"), "devices", what, self.devices)
        if self.accumulate > 1:
            # Keras decides about an update inside of a condition, where devices cannot talk to each other.
            what = "1 where there is a strategy: make batch_size as large as the update should be"
            expect(self.strategy is None, "accumulate", what, self.accumulate)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], origin: str = "The settings") -> Self:
        """Makes settings of values by field.

        Args:
            values: by field.
            origin: what messages call them.

        Raises:
            ConfigError: a field does not exist, is missing, or has a wrong value.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in values:
            if name not in fields:
                near = difflib.get_close_matches(str(name), fields, 1)
                hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(fields)}."
                raise ConfigError(f"{origin} have no field {name!r}. {hint}")
        missing = [name for name, field in fields.items() if _is_required(field) and name not in values]
        if missing:
            raise ConfigError(f"{origin} lack {', '.join(missing)}, without which there is nothing to do.")
        return cls(**values)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], changes: Iterable[str] = ()) -> Self:
        """Reads settings from a file.

        Args:
            path: a file in YAML, TOML or JSON, by its ending.
            changes: of fields, such as ``"steps=100"`` or ``"model.emb_dim=128"``; values are YAML.

        Raises:
            CheckpointNotFoundError: there is no such file.
            ConfigError: it cannot be read, or a field or a change is wrong.
        """
        values = read_settings(Path(path))
        for change in changes:
            name, equals, text = change.partition("=")
            if not equals:
                raise ConfigError(f"A change must be like field=value, got {change!r}.")
            *parents, last = name.strip().split(".")
            place = values
            for parent in parents:
                place = place.setdefault(parent, {})
                if not isinstance(place, dict):
                    raise ConfigError(f"The change {change!r} is of a field inside {parent!r}, which has no fields.")
            place[last] = parse_value(change, text)
        return cls.from_dict(values, f"The settings in '{path}'")

    def to_dict(self) -> dict[str, Any]:
        """Returns the values by field, as JSON has them."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def replace(self, **changes: Any) -> Self:
        """Returns settings with other values of some fields."""
        return type(self).from_dict({**self.to_dict(), **changes})

    def fixed(self) -> dict[str, Any]:
        """Returns the values that a run which is resumed must have had from its start."""
        free = {field.name for field in dataclasses.fields(self) if field.metadata["free"]}
        return {name: value for name, value in self.to_dict().items() if name not in free}


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _as_number(field: dataclasses.Field[Any], value: Any) -> Any:
    """Returns a number for a text that is one: YAML takes 1e-3 for a text, and who writes 1e4 may mean an integer."""
    kind = str(field.type).partition(" ")[0]
    if kind not in ("int", "float"):
        return value
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if kind == "int" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
