"""Sentences as rows: every token is where the layout says."""

from __future__ import annotations

import numpy as np
import pytest

from tfxlm.data.packing import Rows, Stream, TextRows
from tfxlm.data.special_ids import SpecialIds
from tfxlm.data.tlm import PairRows
from tfxlm.tokenizers.rules.templates import FIRST_TEXT, SECOND_TEXT

EOS, PAD, CLS = 1, 2, 0
XLM_PAIR = ((EOS, 0), (FIRST_TEXT, 0), (EOS, 0), (EOS, 1), (SECOND_TEXT, 1), (EOS, 1))
XLM_R_PAIR = ((CLS, 0), (FIRST_TEXT, 0), (EOS, 0), (EOS, 0), (SECOND_TEXT, 0), (EOS, 0))


def ids(**changes: object) -> SpecialIds:
    values = {"size": 99, "first": EOS, "separator": EOS, "pad": PAD, "mask": 5, "special": (0, 1, 2, 3, 4, 5)}
    values |= {"languages": {"de": 3, "en": 4}, "pair": XLM_PAIR, "restarts": True, "whole_sentences": False}
    return SpecialIds(**(values | changes))  # type: ignore[arg-type]


def arrays(*sentences: list[int]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.cumsum([0, *map(len, sentences)])
    return np.array([token for sentence in sentences for token in sentence], np.uint16), starts.astype(np.int64)


def filled(source: TextRows | PairRows, length: int, epoch: int = 0) -> Rows:
    rows = Rows.empty(source.count, length, PAD)
    for index in range(source.count):
        source.fill(rows, index, index, epoch)
    return rows


SENTENCES = ([10, 11, 12], [20], [], [30, 31, 32, 33, 34])


def test_a_stream_reads_what_joined_lists_have() -> None:
    stream = Stream(*arrays(*SENTENCES), EOS)
    joined = [token for sentence in SENTENCES for token in (*sentence, EOS)]
    assert stream.size == len(joined) == 13
    for begin in range(14):
        for end in range(begin, 14):
            assert stream.read(begin, end).tolist() == joined[begin:end]
        assert stream.read_around(begin, 30).tolist() == (joined * 4)[begin : begin + 30]


def test_rows_in_order_are_cut_where_they_are_full() -> None:
    # As held-out text is read: </s>, then five places of the stream. What comes next is in the next row alone.
    rows = filled(TextRows(Stream(*arrays(*SENTENCES), EOS), ids(), 6, 4, False, None), 6)
    assert rows.tokens.tolist() == [
        [EOS, 10, 11, 12, EOS, 20, PAD],
        [EOS, EOS, EOS, 30, 31, 32, PAD],
        [EOS, 33, 34, EOS, PAD, PAD, PAD],
    ]
    assert rows.attention_mask.tolist() == [[1] * 6, [1] * 6, [1, 1, 1, 1, 0, 0]]
    assert rows.position_ids.tolist() == [list(range(6))] * 3 and (rows.langs == 4).all()


def test_rows_that_turn_around_have_everything_each_epoch() -> None:
    source = TextRows(Stream(*arrays(*SENTENCES), EOS), ids(), 6, 4, False, 7)
    joined = [token for sentence in SENTENCES for token in (*sentence, EOS)]
    begins = set()
    for epoch in range(40):
        rows = filled(source, 6, epoch)
        assert rows.attention_mask.all() and (rows.tokens[:, 0] == EOS).all()
        # The places of the row lie one behind the other in a stream that begins somewhere.
        flat = rows.tokens[:, 1:-1].reshape(-1).tolist()
        (begin,) = [at for at in range(13) if (joined * 3)[at : at + 15] == flat]
        begins.add(begin)
        assert rows.tokens[:-1, -1].tolist() == rows.tokens[1:, 1].tolist()
    assert len(begins) > 8


def test_whole_sentences() -> None:
    source = TextRows(
        Stream(*arrays([10, 11], [20], [30, 31, 32, 33, 34, 35, 36], [40]), EOS), ids(first=CLS), 6, 4, True, 7
    )
    rows = filled(source, 6)
    assert rows.tokens[:, :-1].tolist() == [
        [CLS, 10, 11, EOS, 20, EOS],
        [CLS, 30, 31, 32, 33, 34],  # too long: cut
        [CLS, 35, 36, EOS, 40, EOS],
    ]
    assert (rows.tokens[:, -1] == PAD).all() and rows.attention_mask.all()


def test_a_pair_is_laid_out_as_in_the_paper() -> None:
    rows = filled(PairRows(*arrays([10, 11], [20]), ids(), 12, (4, 3), True), 12)
    assert rows.tokens.tolist() == [[EOS, 10, 11, EOS, EOS, 20, EOS, *[PAD] * 6]]
    assert rows.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 2, 0, 0, 0, 0, 0]]
    assert rows.langs.tolist() == [[4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 3]]
    assert rows.attention_mask.tolist() == [[1] * 7 + [0] * 5]
    rows = filled(PairRows(*arrays([10, 11], [20]), ids(pair=XLM_R_PAIR, restarts=False), 8, (0, 0), True), 8)
    assert rows.tokens.tolist() == [[CLS, 10, 11, EOS, EOS, 20, EOS, PAD, PAD]]
    assert rows.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 6, 0]]


def test_pairs_share_a_row_without_sharing_a_position() -> None:
    pairs = arrays([10], [20, 21], [11, 12], [22], [13], [23])
    rows = filled(PairRows(*pairs, ids(), 14, (4, 3), True), 14)
    assert rows.tokens.tolist() == [
        [EOS, 10, EOS, EOS, 20, 21, EOS, EOS, 11, 12, EOS, EOS, 22, EOS, PAD],
        [EOS, 13, EOS, EOS, 23, EOS, *[PAD] * 9],
    ]
    assert rows.position_ids[0].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6]
    places = list(zip(rows.langs[0].tolist(), rows.position_ids[0].tolist(), strict=True))
    assert len(set(places)) == 14
    alone = filled(PairRows(*pairs, ids(), 14, (4, 3), False), 14)
    assert alone.attention_mask.sum(1).tolist() == [7, 7, 6]


@pytest.mark.parametrize(
    ("sizes", "kept"), [((9, 9), (3, 3)), ((9, 2), (4, 2)), ((1, 9), (1, 5)), ((3, 3), (3, 3)), ((4, 3), (3, 3))]
)
def test_pairs_that_are_too_long_are_cut_fairly(sizes: tuple[int, int], kept: tuple[int, int]) -> None:
    first, second = list(range(10, 10 + sizes[0])), list(range(30, 30 + sizes[1]))
    rows = filled(PairRows(*arrays(first, second), ids(), 10, (4, 3), True), 10)
    assert rows.tokens[0].tolist() == [EOS, *first[: kept[0]], EOS, EOS, *second[: kept[1]], EOS, PAD]
