"""Which tensor goes to which variable, and everything that does not fit, found before anything is read."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tfxlm.checkpoints.checkpoint import Checkpoint
from tfxlm.checkpoints.name_map import BACKBONE, Match, NameMap, Transform
from tfxlm.errors import WeightMismatchError

MAX_LISTED = 20  # names of one kind in a message
MISMATCHED = "with a wrong shape or dtype"


@dataclass(frozen=True)
class Source:
    """Where a variable's value comes from.

    Attributes:
        tensor: name in the checkpoint.
        transform: what turns the tensor into the variable.
    """

    tensor: str
    transform: Transform


@dataclass(frozen=True)
class Mismatch:
    """A tensor that a variable cannot take.

    Attributes:
        tensor: name in the checkpoint.
        variable: path of the variable.
        part: of the model.
        expected: shape that the tensor should have, in the file's orientation.
        found: shape that it has.
        dtype: dtype that it has.
    """

    tensor: str
    variable: str
    part: str
    expected: tuple[int, ...]
    found: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.tensor}: expected {self.expected}, found {self.dtype} {self.found}"


# What `transformers` calls the three parts of its loading information.
KEYS = ("missing_keys", "unexpected_keys", "mismatched_keys")


@dataclass(frozen=True)
class LoadReport(Mapping[str, list]):
    """How the tensors of a checkpoint fit the variables of a model.

    It is read by attribute, or as the loading information of `transformers`: `report["missing_keys"]` are the names of
    tensors that the model has and the checkpoint lacks, `report["unexpected_keys"]` of those that it is the other way
    round with, and `report["mismatched_keys"]` has (name, shape in the checkpoint, shape in the model).

    Attributes:
        path: the weights file or index.
        loaded: number of variables that take a tensor.
        missing: full names of tensors that the backbone needs and the checkpoint lacks.
        unexpected: tensors that nothing in the model's family takes, or of which the model has no such layer.
        mismatched: tensors of the wrong shape or kind.
        new: paths of head variables that are initialised freshly.
        new_tensors: names of the tensors that were not there for them.
        resized: tensors whose shape was ignored, so that their variables are new.
        unused: tensors of heads that the model does not have, with the reason.
        ignored: tensors that are not needed, with the reason.
        tied: tensors that repeat others.
        copied: with `memory_map`, tensors that are copied all the same, as computing on their place in the file is
            not possible.
        copied_bytes: size of their copies.
    """

    path: Path
    loaded: int = 0
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[Mismatch, ...] = ()
    new: tuple[str, ...] = ()
    new_tensors: tuple[str, ...] = ()
    resized: tuple[Mismatch, ...] = ()
    unused: tuple[tuple[str, str], ...] = ()
    ignored: tuple[tuple[str, str], ...] = ()
    tied: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    copied_bytes: int = 0

    def check(self, ignore_mismatched_sizes: bool = False) -> "LoadReport":
        """Refuses a checkpoint that does not fit.

        Args:
            ignore_mismatched_sizes: initialise head variables freshly whose tensors have another shape. Those of the
                backbone are never ignored.

        Returns:
            The report, with mismatched head variables among the new ones if they are ignored.

        Raises:
            WeightMismatchError: something is missing, unexpected or mismatched; the message lists all of it.
        """
        heads = tuple(item for item in self.mismatched if item.part != BACKBONE)
        report = self
        if ignore_mismatched_sizes:
            report = replace(
                self,
                mismatched=tuple(item for item in self.mismatched if item.part == BACKBONE),
                new=(*self.new, *(item.variable for item in heads)),
                resized=heads,
            )
        wrong = (
            *_listing("missing", report.missing),
            *_listing("unexpected", report.unexpected),
            *_listing(MISMATCHED, report.mismatched),
        )
        if not wrong:
            return report
        advice = "Check that config.json belongs to this checkpoint and that the model class is of its family."
        if heads and not ignore_mismatched_sizes:
            advice += (
                " To keep the backbone and start the heads of another size afresh, pass `ignore_mismatched_sizes=True`."
            )
        raise WeightMismatchError("\n".join((f"The weights of '{self.path}' do not fit the model.", *wrong, advice)))

    def __getitem__(self, key: str) -> list:
        if key not in KEYS:
            raise KeyError(key)
        if key == "missing_keys":
            return [*self.missing, *self.new_tensors]
        if key == "unexpected_keys":
            return [*self.unexpected, *(name for name, _ in self.unused)]
        return [(item.tensor, item.found, item.expected) for item in (*self.mismatched, *self.resized)]

    def __iter__(self) -> Iterator[str]:
        return iter(KEYS)

    def __len__(self) -> int:
        return len(KEYS)

    def __str__(self) -> str:
        lines = [f"{self.loaded} weights from '{self.path}'"]
        lines += _listing("missing", self.missing)
        lines += _listing("unexpected", self.unexpected)
        lines += _listing(MISMATCHED, self.mismatched)
        lines += _listing("new, initialised freshly and in need of training", self.new)
        lines += _listing("unused", (f"{name} ({reason})" for name, reason in self.unused))
        lines += _listing("ignored", (f"{name} ({reason})" for name, reason in self.ignored))
        lines += _listing("tied", self.tied)
        lines += _listing(f"copied instead of mapped, {self.copied_bytes} bytes in all", self.copied)
        return "\n".join(lines)


@dataclass(frozen=True)
class LoadPlan:
    """What to load.

    Attributes:
        sources: for each variable path that takes a tensor, where it comes from. The others start afresh.
        report: everything else that was found.
    """

    sources: Mapping[str, Source]
    report: LoadReport


def plan(name_map: NameMap, checkpoint: Checkpoint, variables: Mapping[str, tuple[int, ...]]) -> LoadPlan:
    """Plans the loading of a checkpoint; nothing is read or refused yet, see `LoadReport.check`.

    Args:
        name_map: table of the family.
        checkpoint: the open checkpoint.
        variables: shape of each variable of the model, by its path below the model.

    Returns:
        The plan.

    Raises:
        WeightMismatchError: a variable has no place in the table.
    """
    names = _sort_names(name_map, checkpoint)
    sources: dict[str, Source] = {}
    missing: list[str] = []
    new: list[Match] = []
    mismatched: list[Mismatch] = []
    matches = [name_map.match_variable(path) for path in variables]
    for match in matches:
        name = names.taken.pop(match.tensor, None) or names.stand_ins.get(match.tensor)
        if name is None and match.part == BACKBONE:
            missing.append(match.tensor)
            continue
        if name is None:
            new.append(match)
            continue
        wrong = _mismatch(checkpoint, name, match, variables[match.variable])
        if wrong is None:
            sources[match.variable] = Source(name, match.transform)
        else:
            mismatched.append(wrong)
    for name, target in names.tied.items():
        # A repetition of other size is no repetition.
        path = name_map.variable_path(target)
        if path in variables and names.stand_ins.get(target) != name:
            wrong = _mismatch(checkpoint, name, name_map.match_variable(path), variables[path])
            mismatched += [wrong] if wrong else []
    parts = {match.part for match in matches}
    left = {name: name_map.match_tensor(name) for name in names.taken.values()}
    unused = [
        (name, f"of the {match.part}, which this model does not have")
        for name, match in left.items()
        if match and match.part not in parts
    ]
    unlisted = [(name, "in a file of the checkpoint, but not in its index") for name in checkpoint.unlisted]
    report = LoadReport(
        path=checkpoint.path,
        loaded=len(sources),
        missing=tuple(missing),
        unexpected=(*names.unknown, *(name for name, match in left.items() if match and match.part in parts)),
        mismatched=tuple(mismatched),
        new=tuple(match.variable for match in new),
        new_tensors=tuple(match.tensor for match in new),
        unused=tuple(unused),
        ignored=(*names.ignored, *unlisted),
        tied=tuple(names.tied),
    )
    return LoadPlan(sources, report)


@dataclass
class _Names:
    """The names of a checkpoint by what is known of them."""

    taken: dict[str, str] = field(default_factory=dict)  # full name -> name in the file, for those with a rule
    tied: dict[str, str] = field(default_factory=dict)  # name in the file -> full name of the tensor that it repeats
    stand_ins: dict[str, str] = field(default_factory=dict)  # the reverse, where the other is absent
    ignored: list[tuple[str, str]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def _sort_names(name_map: NameMap, checkpoint: Checkpoint) -> _Names:
    names = _Names()
    for name in checkpoint:
        full = name_map.full_name(name)
        reason = name_map.ignored_reason(full)
        if reason is not None:
            names.ignored.append((name, reason))
        elif full in name_map.tied:
            names.tied[name] = name_map.tied[full]
        elif name_map.match_tensor(full) is None or full in names.taken:  # the latter: with and without the prefix
            names.unknown.append(name)
        else:
            names.taken[full] = name
    names.stand_ins = {target: name for name, target in names.tied.items() if target not in names.taken}
    return names


def _mismatch(checkpoint: Checkpoint, name: str, match: Match, shape: tuple[int, ...]) -> Mismatch | None:
    info = checkpoint.info(name)
    expected = match.transform.shape(shape)
    # bfloat16 is of no kind that numpy knows; integers are quantized weights, which need scales.
    if info.shape == expected and info.dtype.kind not in "iub":
        return None
    return Mismatch(name, match.variable, match.part, expected, info.shape, info.dtype)


def _listing(what: str, items: Iterable[object]) -> list[str]:
    lines = [f"  {item}" for item in items]
    more = [f"  ... and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
    return [f"{len(lines)} {what}:", *lines[:MAX_LISTED], *more] if lines else []
