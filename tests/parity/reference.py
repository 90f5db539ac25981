"""Random small models of the PyTorch reference, inputs for them, and the comparison of numbers."""

from __future__ import annotations

import dataclasses
import functools
import os
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.parity.classes import KINDS, TURNS, Kind
from tests.parity.families import Family

SEED = int(os.environ.get("TFXLM_SEED", "20190122"))
SWEEP = os.environ.get("TFXLM_SWEEP", "") not in ("", "0")
CASES = 200 if SWEEP else 20

TOLERANCE = 2e-5
# Of gradients, beside the relative part: some are zero in exact arithmetic, those of key biases for example.
GRADIENT_FLOOR = 1e-6

# What our models warn of, and other tests look at.
QUIET = [pytest.mark.filterwarnings(f"ignore:.*{warning}") for warning in ("has no langs", "is not causal")]

# What cross-attention is given.
ENCODER = ("encoder_hidden_states", "encoder_attention_mask")
# Inputs with a row for each sequence.
ROWS = ("input_ids", "attention_mask", "langs", "token_type_ids", "position_ids", "inputs_embeds", "lengths")

# The models are too small for two threads to be faster, and those of TensorFlow are busy too.
torch.set_num_threads(1)


def make_reference(name: str, config: dict[str, Any], seed: int, **options: Any) -> Any:
    """Makes the PyTorch model with weights away from 0 and 1, so that every bias and normalisation counts."""
    torch.manual_seed(seed)
    kind = KINDS[name]
    model = getattr(transformers, kind.reference or name)(kind.family.config(**config), **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            fan_in = parameter.shape[-1] if parameter.dim() == 2 else 16
            parameter.add_(torch.randn_like(parameter) * fan_in**-0.5)
    kind.mend(model)
    return model


@dataclasses.dataclass
class Case:
    """A reference model, ours from its files, and what to draw inputs from.

    Args:
        name: of the class, in `KINDS`.
        reference: the PyTorch model.
        model: ours.
        rng: what inputs are drawn from.
        index: the number of the configuration.
        choices: texts of each row, where a class chooses.
        options: arguments beside the configuration that the models were made with.
    """

    name: str
    reference: Any
    model: Any
    rng: np.random.Generator
    index: int = 0
    choices: int = 1
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """What is particular to the class."""
        return KINDS[self.name]

    @property
    def family(self) -> Family:
        """What the class has in common with others."""
        return self.kind.family

    @property
    def is_body(self) -> bool:
        """Whether the class is the one without a head, which stands for others where they share it."""
        return self.name == self.family.body

    @property
    def config(self) -> Any:
        """The configuration of our model."""
        return self.model.config

    def sampled(self, options: Iterable[Any], every: int) -> list[Any]:
        """Returns one out of `every` options, in turn from configuration to configuration; in the sweep all."""
        # Each of the options meets what every second and every fourth configuration has: causal attention, and that to
        # an encoder. Classes start at different ones.
        first = self.index // 4 + list(KINDS).index(self.name)
        return list(options) if SWEEP else list(options)[first % every :: every]

    def ids(self, shape: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Draws ids (batch * choices, length), and how many of each row are real: one row is full, one padded."""
        shortest = max(4, self.kind.min_length)
        batch, length = shape or (int(self.rng.integers(2, 5)), int(self.rng.integers(shortest, 14)))
        rows = batch * self.choices
        lengths = self.rng.integers(1, length + 1, rows)
        lengths[self.rng.choice(rows, 2, replace=False)] = length, self.rng.integers(1, length)
        ids = self.rng.integers(0, self.config.vocab_size - 1, (rows, length))
        ids = ids + (ids >= self.config.pad_index)  # every id but the padding token's
        return np.where(np.arange(length) < lengths[:, None], ids, self.config.pad_index), lengths

    def grid(self, like: np.ndarray, limit: int) -> np.ndarray:
        """Draws integers below `limit` for each position."""
        return self.rng.integers(0, limit, like.shape)

    def arranged(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Gives inputs that have a row for each sequence the axes that the class takes."""
        if not self.kind.has_choices:
            return inputs
        return {
            name: value.reshape(-1, self.choices, *value.shape[1:]) if name in ROWS else value
            for name, value in inputs.items()
        }

    def drawn(self, shape: tuple[int, int] | None = None) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Draws all that a padded batch can be given with, by name, and the real positions (rows, length)."""
        ids, lengths = self.ids(shape)
        real = np.arange(ids.shape[1]) < lengths[:, None]
        config, layers = self.config, int(self.rng.integers(2)) * (self.config.num_hidden_layers,)
        inputs = {
            "input_ids": ids,
            "lengths": lengths,
            "attention_mask": real.astype(np.int64),
            "position_ids": self.grid(ids, config.max_position_embeddings),
            "inputs_embeds": self.rng.normal(size=(*ids.shape, config.hidden_size)).astype(np.float32),
            # (heads,) or (layers, heads)
            "head_mask": self.rng.choice([0, 0.5, 1], (*layers, config.num_attention_heads)).astype(np.float32),
            **self.family.draw(self, ids),
        }
        if config.has_cross_attention:
            inputs |= self._encoder(len(ids), shape[1] if shape else int(self.rng.integers(2, 9)))
        return inputs, real

    def _encoder(self, rows: int, longest: int) -> dict[str, np.ndarray]:
        lengths = self.rng.integers(1, longest + 1, rows)
        states = self.rng.normal(size=(rows, longest, self.config.hidden_size)).astype(np.float32)
        mask = np.arange(longest) < lengths[:, None]
        return dict(zip(ENCODER, (states, mask.astype(np.int64)), strict=True))

    def batch(self, shape: tuple[int, int] | None = None, labels: bool = True) -> tuple[dict[str, Any], np.ndarray]:
        """Draws a padded batch as the family has it, and labels where the class has them; and the real positions."""
        drawn, real = self.drawn(shape)
        inputs: dict[str, Any] = {name: drawn[name] for name in (*self.family.batch, *ENCODER) if name in drawn}
        if labels and self.kind.labels:
            inputs |= self.kind.labels(self, drawn["input_ids"], drawn["lengths"])
        return self.arranged(inputs), real


def make_case(name: str, index: int, folder: Path, **changes: Any) -> Case:
    """Makes random configuration number `index` of a class, which treats padding as the reference does.

    Args:
        name: of the class, in `KINDS`.
        index: number of the configuration.
        folder: where the files of the reference are left.
        **changes: fields of the configuration, by their common names.
    """
    kind = KINDS[name]
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode()), index])
    config = {**kind.family.random_config(rng, index), **changes}
    config = {**config, **kind.adapt(config), **changes}
    options = kind.options[index // 4 % len(kind.options)]
    reference = make_reference(name, config, int(rng.integers(2**31)), **options)
    reference.save_pretrained(folder)
    model = kind.model.from_pretrained(folder, **kind.family.as_reference, **options)
    choices = (3, 2, 4)[index % 3] if kind.has_choices else 1
    return Case(name, reference, model, rng, index, choices, options)


@functools.lru_cache(maxsize=2)
def made_case(name: str, index: int) -> Case:
    """Makes a case that several tests use."""
    with tempfile.TemporaryDirectory() as folder:
        return make_case(name, index, Path(folder))


def tried(name: str) -> list[int]:
    """The numbers of a class: of heads that two families share, they take turns, four configurations at a time."""
    turn = None if SWEEP else TURNS.get(name)
    return [index for index in range(CASES) if turn is None or index // 4 % 2 == turn]


def cases(names: Iterable[str] = KINDS, indices: Iterable[int] | None = None) -> Any:
    """Parametrizes a test with a `case` for each class and number, those of `tried` where none are given."""
    numbers = None if indices is None else tuple(indices)
    params = [pytest.param((name, index), id=f"{name}-{index}") for name in names for index in numbers or tried(name)]
    return pytest.mark.parametrize("case", params, indirect=True)


def to_torch(inputs: dict[str, Any]) -> dict[str, Any]:
    """Converts arrays to torch tensors."""
    return {
        name: torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
        for name, value in inputs.items()
    }


def run_reference(case: Case, inputs: dict[str, Any]) -> dict[str, Any]:
    """Runs the reference; where there is a loss, with what the class computes, but does not return."""
    found: dict[str, Any] = {}

    def keeper(name: str) -> Any:
        return lambda module, args, output: found.update({name: output})

    modules = {name: case.reference.get_submodule(path) for name, path in case.kind.unreturned.items()}
    hooks = [module.register_forward_hook(keeper(name)) for name, module in modules.items()]
    with torch.no_grad():
        outputs = case.reference.eval()(**to_torch(inputs))
    for hook in hooks:
        hook.remove()
    return {**outputs, **(found if "loss" in outputs else {})}


def close(ours: Any, reference: Any, where: np.ndarray | None = None, what: str = "") -> None:
    """Compares numbers: |difference| <= 2e-5 max(1, |reference|), where `where` is True on the leading axes."""
    left = np.asarray(ours, dtype=np.float64)
    right = np.asarray(reference.detach() if torch.is_tensor(reference) else reference, dtype=np.float64)
    assert left.shape == right.shape, f"{what}: shape {left.shape}, reference {right.shape}"
    error = np.abs(left - right) / np.maximum(1, np.abs(right))
    error = error if where is None else error[where]
    assert np.all(error <= TOLERANCE), f"{what}: off by {np.nanmax(error):.3g} (NaN: {np.isnan(error).any()})"


def compare_outputs(
    case: Case,
    ours: Any,
    reference: dict[str, Any],
    inputs: dict[str, Any],
    real: np.ndarray,
    what: str,
    without: tuple[str, ...] = (),
) -> None:
    """Compares all outputs of a call with `inputs`, those at positions at the `real` ones (rows, length)."""
    assert set(ours) == set(reference).difference(without), what
    for name in ours:
        if name in ("attentions", "cross_attentions"):
            assert len(ours[name]) == len(reference[name])
            for left, right in zip(ours[name], reference[name], strict=True):
                # (batch, heads, query, key): queries at real positions; weights on padding are part of the comparison.
                close(np.moveaxis(np.asarray(left), 1, 2), right.movedim(1, 2), real, f"{what} {name}")
        elif name == "hidden_states":
            assert len(ours.hidden_states) == len(reference[name])
            for left, right in zip(ours.hidden_states, reference[name], strict=True):
                close(left, right, real, f"{what} hidden_states")
        elif name not in case.kind.up_to_ties:
            has_positions = np.ndim(ours[name]) == 3 or name in case.kind.at_positions
            close(ours[name], reference[name], real if has_positions else None, f"{what} {name}")
    if any(name in ours for name in case.kind.up_to_ties):
        close_beam(case, ours, reference, inputs, what)


def close_beam(case: Case, ours: Any, reference: dict[str, Any], inputs: dict[str, Any], what: str) -> None:
    """Compares the best spans by the probabilities that the reference gives to them.

    Padding has equal hidden states, and so equal probabilities, of which anyone may be called the better.
    """
    head, config = case.reference.qa_outputs, case.config
    body = {name: value for name, value in to_torch(inputs).items() if name not in ("cls_index", "p_mask")}
    p_mask = torch.from_numpy(inputs["p_mask"]) if "p_mask" in inputs else None
    ours_starts, ours_ends, starts = (
        torch.tensor(np.asarray(values)).long()
        for values in (ours.start_top_index, ours.end_top_index, reference["start_top_index"])
    )
    with torch.no_grad():
        hidden = case.reference.transformer(**body, return_dict=True).last_hidden_state
        start_probs = head.start_logits(hidden, p_mask=p_mask).softmax(-1)  # (batch, length)
        states, theirs = (
            hidden.gather(1, it[..., None].expand(-1, -1, config.emb_dim)) for it in (ours_starts, starts)
        )
        end_probs = head.end_logits(
            hidden[:, :, None].expand(-1, -1, config.start_n_top, -1),
            start_states=states[:, None].expand(-1, hidden.shape[1], -1, -1),
            p_mask=None if p_mask is None else p_mask[..., None],
        ).softmax(1)  # (batch, length, start)
    close(start_probs.gather(1, ours_starts), reference["start_top_log_probs"], what=f"{what} start_top_index")
    flat, shape = tuple(reference["end_top_index"].shape), (-1, config.end_n_top, config.start_n_top)
    assert tuple(ours.end_top_index.shape) == tuple(ours.end_top_log_probs.shape) == flat, what
    ours_ends, best = ours_ends.reshape(shape), end_probs.topk(config.end_n_top, dim=1).values
    found = np.reshape(ours.end_top_log_probs, shape)
    close(found, best, what=f"{what} end_top_log_probs")
    close(end_probs.gather(1, ours_ends), best, what=f"{what} end_top_index")
    for indices in (ours_starts.T, ours_ends.movedim(1, 0)):
        assert all((indices[i] != indices[j]).all() for i in range(len(indices)) for j in range(i)), what
    # The order of the ends is the reference's own wherever it starts from the same vectors.
    alike = (states == theirs).all(-1)  # (batch, start)
    assert alike.any(), what
    where = alike[:, None].expand(best.shape).numpy()
    close(found, reference["end_top_log_probs"].reshape(shape), where, f"{what} end_top_log_probs in order")


def in_file_orientation(model: Any, path: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """Returns the name that checkpoints of the class have for a variable, and its value as they store it."""
    match = type(model).name_map.match_variable(path)
    array = array.T if match.transform.name == "TRANSPOSE" else array
    return type(model).name_map.file_name(match.tensor, bare=not type(model).has_head), array
