"""The heads in a checkpoint: which are there, whether they are whole, and which classes take all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from tfxlm.checkpoints import NameMap
from tfxlm.checkpoints.maps.roberta import CROSS_ATTENTION, POOLER, RELATIVE_POSITIONS
from tfxlm.checkpoints.name_map import BACKBONE
from tfxlm.inspection.texts import some

Shape = tuple[int, ...]
# Sizes of a tensor: numbers, or the names that `_sizes` has for those that the configuration gives.
_Sizes = tuple[int | str, ...]

# What the body has with or without a head.
_OF_BODY = (BACKBONE, CROSS_ATTENTION, RELATIVE_POSITIONS, POOLER)


def _dense(name: str, rows: int | str, columns: int | str = "dim", *, bias: bool = True) -> dict[str, _Sizes]:
    return {f"{name}.weight": (rows, columns), **({f"{name}.bias": (rows,)} if bias else {})}


def _norm(name: str) -> dict[str, _Sizes]:
    return {f"{name}.weight": ("dim",), f"{name}.bias": ("dim",)}


_POOLER = _dense("roberta.pooler.dense", "dim")
_LANGUAGE_MODELING = {**_dense("lm_head.dense", "dim"), **_norm("lm_head.layer_norm"), "lm_head.bias": ("words",)}
_SUMMARY = _dense("sequence_summary.summary", "summary")

# What the classes of a family have beside the body, by the rest of their names. A tensor with a size that the
# configuration does not give is not there.
_XLM: dict[str, dict[str, _Sizes]] = {
    "Model": {},
    "WithLMHeadModel": {"pred_layer.proj.bias": ("plain_words",)},
    "ForSequenceClassification": _SUMMARY,
    "ForMultipleChoice": {**_SUMMARY, **_dense("logits_proj", 1, "summarized")},
    "ForTokenClassification": _dense("classifier", "labels"),
    "ForQuestionAnsweringSimple": _dense("qa_outputs", 2),
    "ForQuestionAnswering": {
        **_dense("qa_outputs.start_logits.dense", 1),
        **_dense("qa_outputs.end_logits.dense_0", "dim", "two_dims"),
        **_norm("qa_outputs.end_logits.LayerNorm"),
        **_dense("qa_outputs.end_logits.dense_1", 1),
        **_dense("qa_outputs.answer_class.dense_0", "dim", "two_dims"),
        **_dense("qa_outputs.answer_class.dense_1", 1, bias=False),
    },
}
_ROBERTA: dict[str, dict[str, _Sizes]] = {
    "Model": {},
    "ForMaskedLM": _LANGUAGE_MODELING,
    "ForCausalLM": _LANGUAGE_MODELING,
    "ForSequenceClassification": {**_dense("classifier.dense", "dim"), **_dense("classifier.out_proj", "labels")},
    "ForMultipleChoice": {**_POOLER, **_dense("classifier", 1)},
    "ForTokenClassification": _dense("classifier", "labels"),
    "ForQuestionAnswering": _dense("qa_outputs", 2),
}
# By `model_type`: what names of classes begin with, and the classes.
_FAMILIES = {
    "xlm": ("XLM", _XLM),
    "xlm-roberta": ("XLMRoberta", _ROBERTA),
    "xlm-roberta-xl": ("XLMRobertaXL", _ROBERTA),
}


def head_shapes(config: Any) -> dict[str, dict[str, Shape]]:
    """Returns the shapes in files of what each class of a family has beside the body, without making one.

    Args:
        config: the configuration.

    Returns:
        The shapes by tensor, by the class's name in `transformers`.
    """
    stem, classes = _FAMILIES[config.model_type]
    sizes = _sizes(config)
    found: dict[str, dict[str, Shape]] = {}
    for rest, tensors in classes.items():
        resolved = {
            name: tuple(sizes[size] if isinstance(size, str) else size for size in shape)
            for name, shape in tensors.items()
        }
        found[stem + rest] = {name: shape for name, shape in resolved.items() if None not in shape}  # type: ignore[misc]
    if getattr(config, "asm", False):
        found[f"{stem}WithLMHeadModel"] = dict(_adaptive_softmax(config))
    return found


def _sizes(config: Any) -> dict[str, int | None]:
    dim, labels = config.hidden_size, config.num_labels
    # XLM's summary, which the others do not have.
    width = labels if getattr(config, "summary_proj_to_labels", True) else dim
    has_projection = getattr(config, "summary_use_proj", True)
    return {
        "dim": dim,
        "two_dims": 2 * dim,
        "words": config.vocab_size,
        "plain_words": None if getattr(config, "asm", False) else config.vocab_size,
        "labels": labels,
        "summary": width if has_projection else None,
        "summarized": width if has_projection else dim,
    }


def _adaptive_softmax(config: Any) -> Iterator[tuple[str, Shape]]:
    dim, cutoffs = config.hidden_size, list(config.asm_cutoffs)
    rows = cutoffs[0] + len(cutoffs)
    yield "pred_layer.proj.head.weight", (rows, dim)
    yield "pred_layer.proj.head.bias", (rows,)
    for index, (first, last) in enumerate(pairwise([*cutoffs, config.vocab_size])):
        narrow = int(dim // config.asm_div_value ** (index + 1))
        yield f"pred_layer.proj.tail.{index}.0.weight", (narrow, dim)
        yield f"pred_layer.proj.tail.{index}.1.weight", (last - first, narrow)


class Heads:
    """The heads in a checkpoint.

    Args:
        shapes: those of all tensors in the file, by full name.
        config: the configuration.
        name_map: of its family.
    """

    def __init__(self, shapes: Mapping[str, Shape], config: Any, name_map: NameMap) -> None:
        self._shapes, self._classes = shapes, head_shapes(config)
        self._parts = {
            name: match.part
            for name in shapes
            if (match := name_map.match_tensor(name)) is not None and match.part not in _OF_BODY
        }

    @property
    def tensors(self) -> dict[str, int]:
        """How many tensors there are of each head."""
        parts = list(self._parts.values())
        return {part: parts.count(part) for part in dict.fromkeys(parts)}

    def classes(self) -> list[str]:
        """Returns the classes that have all of their head in the file, and for which there is nothing else."""
        return [
            name
            for name, tensors in self._classes.items()
            if self._has(tensors) and not set(self._parts) - set(tensors)
        ]

    def has_head_of(self, name: str) -> bool:
        """Whether all of the head of a class, if it is one of the family, is in the file."""
        return self._has(self._classes.get(name, {}))

    def problems(self) -> Iterator[str]:
        """Yields what of heads is missing, and what has another shape than any class gives it."""
        expected: dict[str, set[Shape]] = {}
        for tensors in self._classes.values():
            for name, shape in tensors.items():
                expected.setdefault(name, set()).add(shape)
        others = [
            f"{name} {self._shapes[name]} instead of {' or '.join(map(str, sorted(expected[name])))}"
            for name in self._parts
            if name in expected and self._shapes[name] not in expected[name]
        ]
        if others:
            yield f"{len(others)} tensors of heads have other shapes than by the configuration: {some(others)}"
        for part in self.tensors:
            mine = {name for name, of in self._parts.items() if of == part}
            lacks = [
                tensors.keys() - self._shapes.keys() for tensors in self._classes.values() if mine & tensors.keys()
            ]
            missing = sorted(min(lacks, key=len, default=()))
            if missing:
                yield f"of the {part}, {len(missing)} tensors are missing: {some(missing)}"
        unknown = [name for name in self._parts if name not in expected]
        if unknown:
            yield f"{len(unknown)} tensors are of heads that models of this configuration do not have: {some(unknown)}"

    def _has(self, tensors: Mapping[str, Shape]) -> bool:
        return all(self._shapes.get(name) == shape for name, shape in tensors.items())
