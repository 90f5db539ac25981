"""A SavedModel that is asked about texts as exports of every task are, and answers what can be worked out by hand."""

from pathlib import Path

import tensorflow as tf

LABELS = ("short", "long")
# What a text must not hold, to be refused.
REFUSED = "!refuse"
Tensors = dict[str, tf.Tensor]


def _texts(*names: str) -> list[tf.TensorSpec]:
    return [tf.TensorSpec((None,), tf.string, name=name) for name in names]


def _rows(name: str) -> list[tf.TensorSpec]:
    return [
        tf.TensorSpec((None, None), tf.string, name=name),
        tf.TensorSpec((None,), tf.int32, name=f"num_{name}"),
    ]


def _length(text: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(text, "UTF8_CHAR"), tf.float32)


def _labelled(length: tf.Tensor) -> Tensors:
    """Texts of 10 characters and more are long; the score is a tenth of the length, at most 1."""
    long = tf.minimum(length / 10.0, 1.0)
    scores = tf.stack([1.0 - long, long], axis=-1)
    return {
        "label": tf.where(long >= 0.5, LABELS[1], LABELS[0]),
        "score": tf.reduce_max(scores, axis=-1),
        "scores": scores,
    }


class TextModel(tf.Module):
    """One signature for each task."""

    @tf.function(input_signature=_texts("text", "lang"))
    def classify(self, text: tf.Tensor, lang: tf.Tensor) -> Tensors:
        check = tf.debugging.Assert(~tf.reduce_any(text == REFUSED), ["The text is refused."], summarize=1)
        with tf.control_dependencies([check]):
            answers = _labelled(_length(text))
        # The label names the language and the rows of the request, so that a test sees what was sent.
        size = tf.strings.as_string(tf.size(text))
        return {**answers, "label": tf.strings.join([answers["label"], lang, size], ":")}

    @tf.function(input_signature=_texts("text", "text_pair", "lang", "lang_pair"))
    def pairs(self, text: tf.Tensor, text_pair: tf.Tensor, lang: tf.Tensor, lang_pair: tf.Tensor) -> Tensors:
        answers = _labelled(_length(text) + _length(text_pair))
        return {**answers, "label": tf.strings.join([answers["label"], lang, lang_pair], ":")}

    @tf.function(input_signature=_texts("text"))
    def regress(self, text: tf.Tensor) -> Tensors:
        length = _length(text)
        return {"scores": tf.stack([length, -length], axis=-1)}

    @tf.function(input_signature=_rows("words"))
    def words(self, words: tf.Tensor, num_words: tf.Tensor) -> Tensors:
        # The last word of a row of three or more is cut off.
        real = tf.sequence_mask(tf.minimum(num_words, 2), tf.shape(words)[1])
        return {
            "label": tf.where(real, tf.strings.upper(words), ""),
            "score": tf.where(real, _length(words), 0.0),
        }

    @tf.function(input_signature=_texts("text", "lang"))
    def found_words(self, text: tf.Tensor, lang: tf.Tensor) -> Tensors:
        """What stands between single spaces."""
        split = tf.strings.split(text)
        words = split.to_tensor("")
        sizes = tf.strings.length(words, "UTF8_CHAR")
        starts = tf.cumsum(sizes + 1, axis=1, exclusive=True)
        return {
            "words": words,
            "label": tf.strings.upper(words),
            "score": _length(words),
            "starts": starts,
            "ends": starts + sizes,
            "num_words": tf.cast(split.row_lengths(), tf.int32),
        }

    @tf.function(input_signature=_texts("question", "context", "lang"))
    def question(self, question: tf.Tensor, context: tf.Tensor, lang: tf.Tensor) -> Tensors:
        """The first three characters of the context, then the first two; a question "none" has only one answer."""
        one = tf.ones_like(question, tf.int32)
        more = question != "none"
        ends = tf.stack([3 * one, tf.where(more, 2 * one, -1)], axis=-1)
        starts = tf.stack([0 * one, tf.where(more, 0 * one, -1)], axis=-1)
        first, second = (tf.strings.substr(context, 0, size, "UTF8_CHAR") for size in (3, 2))
        answers = tf.stack([first, tf.where(more, second, "")], axis=-1)
        scores = tf.tile(tf.constant([[0.5, 0.25]]), [tf.size(question), 1])
        best = {"answer": answers[:, 0], "start": starts[:, 0], "end": ends[:, 0], "score": scores[:, 0]}
        rest = {"answers": answers, "starts": starts, "ends": ends, "scores": scores}
        return {**best, **rest, "no_answer": _length(question) / 64.0}

    @tf.function(input_signature=[*_texts("text"), *_rows("choices")])
    def choices(self, text: tf.Tensor, choices: tf.Tensor, num_choices: tf.Tensor) -> Tensors:
        """The longest choice."""
        real = tf.sequence_mask(num_choices, tf.shape(choices)[1])
        scores = tf.where(real, _length(choices), 0.0)
        return {
            "choice": tf.argmax(scores, axis=-1, output_type=tf.int32),
            "score": tf.reduce_max(scores, axis=-1),
            "scores": scores,
        }

    @tf.function(input_signature=_texts("text"))
    def masks(self, text: tf.Tensor) -> Tensors:
        """As many masks as a text has "<mask>", at most two; 3 tokens each."""
        count = tf.cast(tf.strings.length(tf.strings.regex_replace(text, "<mask>", "\1")), tf.int32)
        count -= tf.strings.length(tf.strings.regex_replace(text, "<mask>", ""))
        real = tf.sequence_mask(count, 2)[:, :, None]
        shape = tf.stack([tf.size(text), 2, 3])
        return {
            "tokens": tf.where(real, tf.broadcast_to(tf.constant(["a", "b", "c"]), shape), ""),
            "ids": tf.where(real, tf.broadcast_to(tf.constant([7, 8, 9]), shape), -1),
            "scores": tf.where(real, tf.broadcast_to(tf.constant([0.5, 0.25, 0.125]), shape), 0.0),
        }

    @tf.function(input_signature=_texts("text"))
    def embedding(self, text: tf.Tensor) -> Tensors:
        return {"embedding": tf.stack([_length(text), _length(text) + 0.5, tf.zeros_like(_length(text))], axis=-1)}


def save_text_model(folder: Path) -> Path:
    """Writes the model to a version folder and returns it."""
    model = TextModel()
    signatures = {
        "serving_default": model.classify,
        "text_pair": model.pairs,
        "regress": model.regress,
        "words": model.words,
        "found_words": model.found_words,
        "question": model.question,
        "choices": model.choices,
        "masks": model.masks,
        "embedding": model.embedding,
    }
    tf.saved_model.save(model, str(folder), signatures=signatures)
    return folder
