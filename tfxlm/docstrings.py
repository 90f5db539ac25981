"""Docstrings taken apart into their sections, so that a class can say in full what it shares with others.

In the source a class says what is particular to it, and names what is not. What `help` shows is written out.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping

TITLES = ("Args", "Call arguments", "Returns", "Raises", "Example", "Source")
WITHOUT_ENTRIES = ("Example", "Source")

_TITLE = re.compile(rf"^({'|'.join(TITLES)}):")
# What an entry begins with: names, or one of arguments and keywords.
_ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*): ")
_INDENT = " " * 4


@dataclasses.dataclass
class Section:
    """A section of a docstring.

    Args:
        lead: what stands before its entries, or all of it where it has none.
        entries: descriptions by name; names that share one have the same.
    """

    lead: str = ""
    entries: dict[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Section:
        """Reads what stands below a title, without its indentation."""
        section, names = cls(), ""
        for line in text.splitlines():
            found = _ENTRY.match(line)
            if found:
                names = found[1]
                section.entries[names] = line[found.end() :]
            elif names:
                section.entries[names] += "\n" + line
            else:
                section.lead += line + "\n"
        section.lead = section.lead.strip("\n")
        return section

    @property
    def by_name(self) -> dict[str, str]:
        """Descriptions by name, each name apart."""
        return {name: text for names, text in self.entries.items() for name in names.split(", ")}

    def __str__(self) -> str:
        lead = [self.lead] if self.lead else []
        return "\n".join((*lead, *(f"{names}: {text}" for names, text in self.entries.items())))


@dataclasses.dataclass
class Docstring:
    """A docstring: a summary, and sections by title."""

    summary: str
    sections: dict[str, Section]

    @classmethod
    def parse(cls, text: str | None) -> Docstring:
        """Reads a docstring as it stands in the source."""
        blocks = list(_blocks(inspect.cleandoc(text or "").splitlines()))
        summary = "\n".join(line for title, lines in blocks if title is None for line in lines).strip()
        bodies = {title: _body(lines) for title, lines in blocks if title is not None}
        sections = {
            title: Section(body) if title in WITHOUT_ENTRIES else Section.parse(body) for title, body in bodies.items()
        }
        return cls(summary, sections)

    def __str__(self) -> str:
        sections = ((title, self.sections[title]) for title in TITLES if title in self.sections)
        written = (
            f"{title}: {section}" if title == "Source" else f"{title}:\n{textwrap.indent(str(section), _INDENT)}"
            for title, section in sections
        )
        return "\n\n".join((self.summary, *written)) + "\n"


def _blocks(lines: Iterable[str]) -> Iterator[tuple[str | None, list[str]]]:
    """Cuts lines at titles, and where text without indentation follows a section."""
    title: str | None = None
    block: list[str] = []
    for line in lines:
        found = _TITLE.match(line)
        if found or (title not in (None, "Source") and line[:1].strip()):
            yield title, block
            title, block = (found[1], [line[found.end() :]]) if found else (None, [line])
        else:
            block.append(line)
    yield title, block


def _body(lines: list[str]) -> str:
    first, *rest = lines
    return "\n".join((first.strip(), textwrap.dedent("\n".join(rest)))).strip("\n")


def docstrings_of(owner: type) -> list[Docstring]:
    """Reads the docstrings of a class and of those of this package above it: of each its own, nearest first."""
    package = __name__.partition(".")[0]
    return [
        Docstring.parse(cls.__dict__.get("__doc__"))
        for cls in owner.__mro__
        if cls.__module__.partition(".")[0] == package
    ]


def inherited(docs: Iterable[Docstring], title: str) -> dict[str, str]:
    """Returns the entries of a section, by name, of all docstrings: where several have one, that of the first."""
    found: dict[str, str] = {}
    for doc in docs:
        if title in doc.sections:
            found = {**doc.sections[title].by_name, **found}
    return found


def in_order(described: Mapping[str, str], names: Iterable[str]) -> Section:
    """Makes a section of what is known of names; those beside each other with one description stand together."""
    section, beside = Section(), ""
    for name in names:
        text = described[name]
        together = f"{beside}, {name}" if beside and section.entries[beside] == text else name
        if together != name:
            del section.entries[beside]
        section.entries[together], beside = text, together
    return section
