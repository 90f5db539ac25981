"""Weight names as data: rules between our variable paths and the tensor names of a file, used in both directions."""

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Generic, TypeVar

from tfxlm.errors import InputError, WeightMismatchError

T = TypeVar("T")

BACKBONE = "backbone"

_INDEX = "{i}"
_NUMBER = r"0|[1-9][0-9]*"
_TOKENS = re.compile(r"[0-9]+|\{i\}|[^0-9{}]+")


class Transform(enum.Enum):
    """What turns a tensor of the file into a variable. Each is its own inverse."""

    IDENTITY = "identity"
    TRANSPOSE = "transpose"  # of a matrix

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape after the transform."""
        return tuple(shape) if self is Transform.IDENTITY else tuple(shape)[::-1]


@dataclass(frozen=True)
class Rule:
    """One kind of weight.

    Attributes:
        variable: path of the Keras variable below the model, e.g. ``"transformer/block_{i}/attention/query/kernel"``.
        tensor: its name in the file, e.g. ``"transformer.attentions.{i}.q_lin.weight"``. ``{i}``, in both or in
            neither, stands for a number.
        transform: what turns the tensor into the variable.
        part: ``"backbone"``, or the name of a head as it is to be called in messages.
    """

    variable: str
    tensor: str
    transform: Transform = Transform.IDENTITY
    part: str = BACKBONE


@dataclass(frozen=True)
class Tied:
    """A tensor that files may hold though it is the same as another.

    Attributes:
        tensor: its name.
        to: the tensor that it repeats; where that is absent, this one is used in its place.
    """

    tensor: str
    to: str


@dataclass(frozen=True)
class Ignored:
    """Tensors that files may hold and that no variable takes.

    Attributes:
        pattern: their name, with ``{i}`` for a number.
        reason: why they are not needed.
    """

    pattern: str
    reason: str


@dataclass(frozen=True)
class Match:
    """A rule applied to one weight.

    Attributes:
        variable: path of the variable.
        tensor: full name of the tensor, with the prefix.
        transform: what turns the tensor into the variable.
        part: of the model.
    """

    variable: str
    tensor: str
    transform: Transform
    part: str


class NameMap:
    """A bijection between variable paths and tensor names.

    Files of bare models write the names of the backbone without the prefix: `embeddings.weight` instead of
    `transformer.embeddings.weight`. Everything here takes tensor names in both forms and returns the full one;
    `file_name` gives the short form for writing.

    Args:
        rules: one per kind of weight.
        tied: tensors that repeat others.
        ignored: tensors that are not needed.
        prefix: what the tensor names of the backbone begin with, including the dot.

    Raises:
        InputError: the rules are not a bijection, or a short name could be taken for another name.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        *,
        tied: Iterable[Tied] = (),
        ignored: Iterable[Ignored] = (),
        prefix: str = "",
    ) -> None:
        self.rules = tuple(rules)
        self.tied = {item.tensor: item.to for item in tied}
        self.ignored = tuple(ignored)
        self.prefix = prefix
        self._by_variable = Table((rule.variable, rule) for rule in self.rules)
        self._by_tensor = Table((rule.tensor, rule) for rule in self.rules)
        self._ignored = Table((item.pattern, item) for item in self.ignored)
        self._check()

    def tensor_name(self, variable_path: str) -> str:
        """The full name of the tensor behind a variable.

        Raises:
            WeightMismatchError: no rule covers the variable.
        """
        return self.match_variable(variable_path).tensor

    def variable_path(self, tensor_name: str) -> str:
        """The path of the variable that takes a tensor.

        Raises:
            WeightMismatchError: no rule covers the tensor.
        """
        match = self.match_tensor(tensor_name)
        if match is None:
            raise WeightMismatchError(f"No variable takes the tensor '{tensor_name}'. Is it of another model family?")
        return match.variable

    def match_variable(self, variable_path: str) -> Match:
        """Finds the rule for a variable.

        Raises:
            WeightMismatchError: no rule covers it.
        """
        found = self._by_variable.find(variable_path)
        if found is None:
            raise WeightMismatchError(
                f"No rule gives a tensor name to the variable '{variable_path}'. Layers of your own are saved with "
                "Keras (`model.save`); for a new layer of this model, add a rule to its name map."
            )
        rule, index = found
        return Match(variable_path, rule.tensor.replace(_INDEX, index), rule.transform, rule.part)

    def match_tensor(self, tensor_name: str) -> Match | None:
        """Finds the rule for a tensor, given with or without the prefix; None if there is none."""
        name = self.full_name(tensor_name)
        found = self._by_tensor.find(name)
        if found is None:
            return None
        rule, index = found
        return Match(rule.variable.replace(_INDEX, index), name, rule.transform, rule.part)

    def ignored_reason(self, tensor_name: str) -> str | None:
        """Why a tensor is not needed, or None if that is not known of it."""
        found = self._ignored.find(self.full_name(tensor_name))
        return found[0].reason if found else None

    def full_name(self, tensor_name: str) -> str:
        """Adds the prefix where a name is known only with it."""
        with_prefix = self.prefix + tensor_name
        return with_prefix if not self._knows(tensor_name) and self._knows(with_prefix) else tensor_name

    def file_name(self, tensor_name: str, *, bare: bool) -> str:
        """The name under which a tensor is written.

        Args:
            tensor_name: the full name.
            bare: True for a file of a bare model, whose names lack the prefix.
        """
        return tensor_name.removeprefix(self.prefix) if bare else tensor_name

    def _knows(self, name: str) -> bool:
        return name in self.tied or self._by_tensor.find(name) is not None or self._ignored.find(name) is not None

    def _check(self) -> None:
        for rule in self.rules:
            if (_INDEX in rule.variable) != (_INDEX in rule.tensor):
                raise InputError(
                    f"'{_INDEX}' must be in the variable path and in the tensor name, or in neither; got {rule}."
                )
        names = [rule.tensor for rule in self.rules] + list(self.tied) + [item.pattern for item in self.ignored]
        backbone = [rule for rule in self.rules if rule.part == BACKBONE]
        without = [rule.tensor for rule in backbone if not rule.tensor.startswith(self.prefix)]
        if without:
            raise InputError(f"Tensor names of the backbone begin with '{self.prefix}', but '{without[0]}' does not.")
        bare = [name.removeprefix(self.prefix) for name in names if self.prefix and name.startswith(self.prefix)]
        for kind, templates in (("variable", [rule.variable for rule in self.rules]), ("tensor", names + bare)):
            if clash := _first_clash(templates):
                raise InputError(
                    f"The name map is not a bijection: some {kind} name fits both '{clash[0]}' and '{clash[1]}'."
                )
        unknown = [to for to in self.tied.values() if self._by_tensor.find(to) is None]
        if unknown:
            raise InputError(f"A tensor is tied to '{unknown[0]}', for which there is no rule.")


class Table(Generic[T]):
    """Templates looked up by name: every number in a name is blanked, which leaves a handful of candidates."""

    def __init__(self, items: Iterable[tuple[str, T]]) -> None:
        self._candidates: dict[str, list[tuple[re.Pattern[str], T]]] = {}
        for template, value in items:
            _tokens(template)
            before, _, after = template.partition(_INDEX)
            pattern = re.escape(before) + (f"({_NUMBER})" + re.escape(after) if _INDEX in template else "()")
            self._candidates.setdefault(_blank(template), []).append((re.compile(pattern), value))

    def find(self, name: str) -> tuple[T, str] | None:
        """The value of the template that fits, and the number in place of ``{i}`` (or "")."""
        for pattern, value in self._candidates.get(_blank(name), ()):
            if match := pattern.fullmatch(name):
                return value, match[1]
        return None


def _blank(name: str) -> str:
    return re.sub(r"[0-9]+", "#", name.replace(_INDEX, "0"))


def _tokens(template: str) -> list[str]:
    """Splits a template into text, numbers and ``{i}``, at most one of the last and never beside a digit."""
    tokens = _TOKENS.findall(template)
    beside = any(_INDEX in pair and (pair[0].isdigit() or pair[1].isdigit()) for pair in pairwise(tokens))
    if "".join(tokens) != template or tokens.count(_INDEX) > 1 or beside:
        raise InputError(f"'{template}' is not a name with at most one '{_INDEX}', standing apart from digits.")
    return tokens


def _first_clash(templates: Sequence[str]) -> tuple[str, str] | None:
    """Two templates that some name would fit both of."""
    groups: dict[str, list[str]] = {}
    for template in templates:
        groups.setdefault(_blank(template), []).append(template)
    for group in groups.values():
        for first, second in combinations(group, 2):
            if all(a == b or _INDEX in (a, b) for a, b in zip(_tokens(first), _tokens(second), strict=True)):
                return first, second
    return None


def dense(variable: str, tensor: str, part: str = BACKBONE, *, bias: bool = True) -> list[Rule]:
    """Rules of a linear layer: kernels are (in, out) here and (out, in) in the file."""
    kernel = Rule(f"{variable}/kernel", f"{tensor}.weight", Transform.TRANSPOSE, part)
    return [kernel, Rule(f"{variable}/bias", f"{tensor}.bias", part=part)] if bias else [kernel]


def norm(variable: str, tensor: str, part: str = BACKBONE) -> list[Rule]:
    """Rules of a layer normalisation."""
    return [
        Rule(f"{variable}/gamma", f"{tensor}.weight", part=part),
        Rule(f"{variable}/beta", f"{tensor}.bias", part=part),
    ]


def embedding(variable: str, tensor: str, part: str = BACKBONE) -> list[Rule]:
    """Rule of an embedding table."""
    return [Rule(f"{variable}/embeddings", f"{tensor}.weight", part=part)]
