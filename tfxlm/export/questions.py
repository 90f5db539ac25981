"""Questions about texts of any length: windows over the context, and the best of what the model finds in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tfxlm.export.inputs import Tensors
from tfxlm.heads.decode import MAX_ANSWER_LENGTH, NONE, TOP_K, beam_answers, no_answer_scores, span_answers
from tfxlm.models.tasks import BeamQuestionAnswering
from tfxlm.tokenizers.in_graph import Located, segments, utf8
from tfxlm.tokenizers.in_graph.windows import Sliding, Windows

if TYPE_CHECKING:
    from tfxlm.export.texts import Served

# The longest question, and how much windows share, where rows are long enough for that.
MAX_QUESTION_LENGTH, STRIDE = 64, 128

# Of how many spans of tokens an answer can be: white space may have pieces of its own, before and behind it.
SAME_ANSWERS = 4


def answer_question(
    served: Served,
    given: Tensors,
    *,
    top_k: int = TOP_K,
    max_answer_length: int = MAX_ANSWER_LENGTH,
    max_question_length: int | None = None,
    stride: int | None = None,
) -> Tensors:
    """Answers questions from their contexts.

    Args:
        served: the model with its tokenizer.
        given: `question` and `context`, string (batch,), and `lang` where the tokenizer needs it.
        top_k: how many answers.
        max_answer_length: the most tokens of an answer.
        max_question_length: the most tokens of a question, what is behind which is cut off; None for 64, or a quarter
            of a row that is shorter than that needs.
        stride: tokens that a window of a context shares with the one before; None for 128, or half of a window that is
            shorter than that needs.

    Returns:
        `answer`, `start`, `end` and `score` (batch,), the same of the best (batch, top_k) as `answers`, `starts`,
        `ends` and `scores`, and `no_answer` (batch,). Starts and ends are characters of the context (Unicode code
        points), the end behind the last one. Where a row has no more answers there are "", -1, -1 and 0.
    """
    tokenizer, lang = served.tokenizer, given.get("lang")
    context = utf8.valid(given["context"])
    sliding = _sliding(served, max_question_length, stride)
    located = tokenizer.located(context, lang)
    windows = sliding(tokenizer.piece_ids(given["question"], lang), located.pieces, lang, lang)
    starts, ends, scores, no_answer = _in_windows(served, windows, SAME_ANSWERS * top_k, max_answer_length)
    starts, ends = _characters(located, tf.gather(located.pieces.row_starts(), windows.samples), starts, ends)
    starts, ends, scores = best_of_windows(windows.samples, tf.size(context), starts, ends, scores, top_k)
    texts = tf.broadcast_to(context[:, None], tf.shape(starts))
    # A text of no characters has no place to begin at, so every text gets one more.
    answers = tf.strings.substr(texts + " ", tf.maximum(starts, 0), tf.maximum(ends - starts, 0), unit="UTF8_CHAR")
    several = {"answers": answers, "starts": starts, "ends": ends, "scores": scores}
    best = {name.removesuffix("s"): value[:, 0] for name, value in several.items()}
    # Where one window has the answer, others have none.
    no_answer = tf.math.segment_min(no_answer, windows.samples)
    return {**best, **several, "no_answer": no_answer}


def _characters(located: Located, first: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Turns answers that are pieces into answers that are characters.

    Args:
        located: the pieces of all contexts.
        first: int (windows,): where among these the context of each window begins.
        starts, ends: int32 (windows, k): first and last piece, `NONE` where there is no answer.

    Returns:
        First character, and the one behind the last, int32 (windows, k); `NONE` where there is no answer, or one of
        white space alone.
    """
    begins, finishes = located.starts.flat_values, located.ends.flat_values
    # White space in a piece of its own is no part of an answer that ends with it.
    before = tf.concat([[0], finishes[:-1]], axis=0)[: tf.size(finishes)]
    before = tf.where(segments.begins(located.starts.value_rowids()), begins, before)  # there is none in its text
    finishes = tf.where(finishes > begins, finishes, before)
    first = tf.cast(first, tf.int32)[:, None]
    start, end = (
        tf.gather(tf.pad(values, [[0, 1]]), tf.where(places == NONE, 0, first + places))
        for values, places in ((begins, starts), (finishes, ends))
    )
    is_some = (starts != NONE) & (start < end)
    return tf.where(is_some, start, NONE), tf.where(is_some, end, NONE)


def _sliding(served: Served, max_question_length: int | None, stride: int | None) -> Sliding:
    tokenizer = served.tokenizer
    room = (tokenizer.max_length or 0) - tokenizer.framing.size(pair=True)
    first = max(min(MAX_QUESTION_LENGTH, room // 4), 1) if max_question_length is None else max_question_length
    shared = max(min(STRIDE, (room - first) // 2), 0) if stride is None else stride
    return Sliding(tokenizer, shared, first)


def _in_windows(served: Served, windows: Windows, top_k: int, max_answer_length: int) -> tuple[tf.Tensor, ...]:
    """Returns the best answers of each window.

    Returns:
        First and last piece among those of the context, and scores, (windows, top_k), and the scores of no answer,
        (windows,).
    """
    ids = windows.inputs.input_ids
    places = tf.range(tf.shape(ids)[1])[None]  # (1, length)
    begin, size = windows.begin[:, None], windows.size[:, None]
    allowed = (places >= begin) & (places < begin + size)
    # Models are trained to find no answer in the classification token.
    none = tf.argmax(ids == served.source.cls_token_id, axis=1, output_type=tf.int32)
    is_none = places == none[:, None]
    limits = {"k": top_k, "max_length": max_answer_length}
    if isinstance(served.model, BeamQuestionAnswering):
        p_mask = tf.cast(~(allowed | is_none), tf.int32)
        outputs = served.outputs(windows.inputs, p_mask=p_mask, cls_index=none)
        starts, ends, scores = beam_answers(outputs, allowed, **limits)
        no_answer = tf.sigmoid(tf.cast(outputs["cls_logits"], tf.float32))
    else:
        outputs = served.outputs(windows.inputs)
        logits = outputs["start_logits"], outputs["end_logits"]
        starts, ends, scores = span_answers(*logits, allowed, elsewhere=is_none, **limits)
        no_answer = no_answer_scores(*logits, allowed | is_none, none)
    pieces = windows.first[:, None] - begin
    starts, ends = (tf.where(starts == NONE, NONE, value + pieces) for value in (starts, ends))
    return starts, ends, scores, no_answer


def best_of_windows(
    samples: tf.Tensor, rows: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor, scores: tf.Tensor, k: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the best answers of each text. One that is there several times counts once, with its best score.

    Args:
        samples: int32 (windows,): which text each window is of.
        rows: int32 scalar: how many texts there are.
        starts, ends: int32 (windows, some): places in the text; `NONE` where a window has no more.
        scores: float32 (windows, some).
        k: how many.

    Returns:
        Starts and ends, int32 (rows, k), and scores, float32 (rows, k); `NONE`, `NONE` and 0 where a text has no more.
    """
    is_some = starts != NONE
    of_text = tf.boolean_mask(tf.broadcast_to(samples[:, None], tf.shape(starts)), is_some)
    starts, ends, scores = (tf.boolean_mask(value, is_some) for value in (starts, ends, scores))
    size = tf.cast(tf.reduce_max(tf.pad(ends, [[0, 1]])) + 1, tf.int64)
    keys = (tf.cast(of_text, tf.int64) * size + tf.cast(starts, tf.int64)) * size + tf.cast(ends, tf.int64)
    # Of equal answers the earlier comes first, then the shorter.
    spans, index = tf.unique(tf.sort(keys))
    best = tf.math.unsorted_segment_max(tf.gather(scores, tf.argsort(keys)), index, tf.size(spans))
    order = tf.argsort(best, direction="DESCENDING", stable=True)
    order = tf.gather(order, tf.argsort(tf.gather(spans, order) // (size * size), stable=True))
    spans, best = tf.gather(spans, order), tf.gather(best, order)
    texts = spans // (size * size)

    def table(values: tf.Tensor, fill: float) -> tf.Tensor:
        ragged = tf.RaggedTensor.from_value_rowids(values, texts, tf.cast(rows, tf.int64), validate=False)
        return ragged[:, :k].to_tensor(fill, shape=[None, k])

    starts, ends = (tf.cast(value, tf.int32) for value in (spans // size % size, spans % size))
    return table(starts, NONE), table(ends, NONE), table(best, 0.0)
