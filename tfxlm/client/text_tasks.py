"""What models can be asked about texts: the inputs and outputs by which the signature is found."""

from tfxlm.client.text_requests import Task

_LABELS = frozenset({"label", "score", "scores"})
_TEXT = {"text": "lang"}
_PAIR = {"text": "lang", "text_pair": "lang_pair"}

CLASSIFY = Task("classify texts", _TEXT, _LABELS)
CLASSIFY_PAIRS = Task("classify pairs of texts", _PAIR, _LABELS)
REGRESS = Task("give numbers for texts", _TEXT, frozenset({"scores"}), without=frozenset({"label", "ids"}))
REGRESS_PAIRS = Task("give numbers for pairs of texts", _PAIR, REGRESS.outputs, without=REGRESS.without)
LABEL_WORDS = Task("label words", {"words": None}, frozenset({"label", "score"}), counts="num_words")
LABEL_TEXT = Task("find and label words", _TEXT, frozenset({"words", "label", "score", "num_words"}))
ANSWER = Task(
    "answer questions", {"question": "lang", "context": "lang"}, frozenset({"answer", "score", "start", "end"})
)
CHOOSE = Task(
    "choose", {"text": "lang", "choices": "lang"}, frozenset({"choice", "score", "scores"}), counts="num_choices"
)
FILL_MASK = Task("fill masks", _TEXT, frozenset({"tokens", "ids", "scores"}))
EMBED = Task("embed texts", _TEXT, frozenset({"embedding"}))
GENERATE = Task("go on from texts", _TEXT, frozenset({"texts", "lengths", "ids"}), numbers=frozenset({"seed"}))
