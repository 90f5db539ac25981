"""From texts to words, by language."""

from dataclasses import dataclass

from tfxlm.tokenizers.alignment import AlignedText, Span
from tfxlm.tokenizers.letter_case import LetterCase
from tfxlm.tokenizers.moses import MosesWords
from tfxlm.tokenizers.segmenters import SEGMENTERS, Segment


@dataclass(frozen=True, slots=True)
class Words:
    """Cuts texts of one kind into words.

    Args:
        finish: cuts a normalised text into words, in the letter case of the vocabulary.
        segment: cuts a text as it is given; None where nothing does.
        moses: the rules that normalise; None for texts that are taken as they are.
        letters: the letter case of the vocabulary; None to keep letters.
        cut_late: what cuts a normalised text, within `finish`; None where the rules do.
    """

    finish: Segment
    segment: Segment | None = None
    moses: MosesWords | None = None
    letters: LetterCase | None = None
    cut_late: Segment | None = None

    def __call__(self, text: str) -> list[str]:
        """Returns the words of a text."""
        if self.segment:
            text = " ".join(self.segment(text))
        return self.finish(self.moses.normalize(text) if self.moses else text)

    def cut(self, text: str) -> str:
        """Returns a text with spaces between its words, as far as another program than ours has to cut it."""
        if self.segment:
            return " ".join(self.segment(text))
        if self.cut_late is None or self.moses is None:
            return text
        return " ".join(word for word in self.cut_late(self.moses.normalize(text)) if word)

    def aligned(self, text: AlignedText) -> tuple[list[str], list[Span]]:
        """Returns the words of a text, and for each of their characters but white space where it comes from."""
        if self.segment:
            text = text.spaced(self.segment(text.text))
        if self.moses:
            text = self.moses.normalize_aligned(text)
        # Up to the end only white space comes and goes, and letters become others, each for itself.
        characters, spans = text.visible()
        return self.finish(text.text), self.letters.origins(characters, spans) if self.letters else spans


#: Words that are cut already stand between white space.
READY = Words(finish=str.split)


def words_of(language: str, non_printing: str, letters: LetterCase, keep_spaces: bool) -> Words:
    """Returns what cuts texts of a language.

    Args:
        language: language code.
        non_printing: what a non-printing character becomes.
        letters: the letter case of the vocabulary.
        keep_spaces: whether white space that a segmenter gives as a word stays one, as in `transformers`.

    Raises:
        LanguageError: the language needs a segmenter that is not installed.
    """
    moses = MosesWords(language, non_printing)
    segmenter = SEGMENTERS.get(language)
    if segmenter is None:
        return Words(lambda text: letters(moses.separate(text)).split(), None, moses, letters)
    segment = segmenter.load()
    if segmenter.before_rules:
        return Words(lambda text: letters(text).split(), segment, moses, letters)
    return Words(_segmented(segment, letters, keep_spaces), None, moses, letters, segment)


def _segmented(segment: Segment, letters: LetterCase, keep_spaces: bool) -> Segment:
    def finish(text: str) -> list[str]:
        words = segment(text)
        if keep_spaces and letters.keeps_all:
            return [word for word in words if word]
        text = letters(" ".join(words))
        return [word for word in text.split(" ") if word] if keep_spaces else text.split()

    return finish
