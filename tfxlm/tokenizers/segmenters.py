"""Programs that cut languages into words which are written without spaces between them."""

import importlib
import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tfxlm.errors import LanguageError

Segment = Callable[[str], list[str]]

#: Names the folders or files where KyTea's model may be, the first one that exists being read.
KYTEA_MODEL = "KYTEA_MODEL"
_KYTEA_MODELS = ("~/local/share/kytea/model.bin", "/usr/local/share/kytea/model.bin", "/usr/share/kytea/model.bin")

# Half of a surrogate pair has no UTF-8 form, which these programs work on.
_SURROGATES = re.compile("([\ud800-\udfff]+)")


@dataclass(frozen=True, slots=True)
class Segmenter:
    """How one language is cut.

    Args:
        language: its name, for messages.
        extra: the extra of this package that installs the segmenter.
        modules: for each module that does it, the best first, how its function is got.
        before_rules: whether it cuts the text as it is given; otherwise what the punctuation rules make of it.
    """

    language: str
    extra: str
    modules: Mapping[str, Callable[[Any], Segment]]
    before_rules: bool

    def load(self) -> Segment:
        """Imports the segmenter.

        Raises:
            LanguageError: it is not installed, or its model is not found.
        """
        for name, function_of in self.modules.items():
            try:
                module = importlib.import_module(name)
            except ImportError:
                continue
            self._warn_unless_first(name)
            return _without_surrogates(function_of(module))
        raise LanguageError(
            f"{self.language} text is cut into words by {' or '.join(self.modules)}, which is not installed. Install "
            f'it with: pip install "tfxlm[{self.extra}]". Or cut the text yourself, join the words with spaces, and '
            "pass bypass_tokenizer=True."
        )

    def _warn_unless_first(self, name: str) -> None:
        first = next(iter(self.modules))
        if name != first:
            warnings.warn(
                f"{self.language} text is cut by {name}, as {first} is not installed; they cut a few texts in a "
                f'thousand differently. For the ids of {first}: pip install "tfxlm[{self.extra}]".',
                UserWarning,
                stacklevel=2,
            )


def _without_surrogates(segment: Segment) -> Segment:
    def cut(text: str) -> list[str]:
        try:
            return segment(text)
        except UnicodeEncodeError:
            parts = _SURROGATES.split(text)
            return [word for index, part in enumerate(parts) for word in ([part] if index % 2 else segment(part))]

    return cut


def _rjieba(module: Any) -> Segment:
    return module.cut


def _jieba(module: Any) -> Segment:
    module.setLogLevel("WARNING")  # it reports the loading of its dictionary
    return module.lcut


def _kytea(module: Any) -> Segment:
    places = [os.environ[KYTEA_MODEL]] if os.environ.get(KYTEA_MODEL) else [*_KYTEA_MODELS]
    path = next((path for path in (Path(place).expanduser() for place in places) if path.is_file()), None)
    if path is None:
        raise LanguageError(
            f"KyTea is installed, but its model is not at {' or '.join(places)}. Name the file in the environment "
            f"variable {KYTEA_MODEL}; KyTea's sources hold one (data/model.bin). Or cut the text yourself, join the "
            "words with spaces, and pass bypass_tokenizer=True."
        )
    program = module.Mykytea(f"-model {path}")
    return lambda text: list(program.getWS(text))


def _pythainlp(module: Any) -> Segment:
    return module.word_tokenize


#: By language code. `transformers` cuts with the first module of each.
SEGMENTERS: Mapping[str, Segmenter] = MappingProxyType(
    {
        "zh": Segmenter("Chinese", "zh", {"rjieba": _rjieba, "jieba": _jieba}, before_rules=True),
        "ja": Segmenter("Japanese", "ja", {"Mykytea": _kytea}, before_rules=False),
        "th": Segmenter("Thai", "th", {"pythainlp.tokenize": _pythainlp}, before_rules=False),
    }
)
