"""Small SentencePiece models that the tests train or write by hand."""

import functools
import io
import json
from pathlib import Path
from typing import Any

import sentencepiece

from tfxlm.tokenizers.piece_ids import FAIRSEQ

SENTENCES = [
    *("Hello world, the singing world is there.", "She is singing there and here, hello!", "The world of the ones."),
    *("It's the end, isn't it? (No. 7)", "Größe und Länge, schöner Straßenbau.", "L'été à la crème brûlée."),
    *("Привет, мир! Как дела?", "你好，世界。北京大学", "こんにちは世界", "สวัสดีชาวโลก", "مرحبا بالعالم", "한국어 문장"),
    *("1,234.5 % 2019-11-05", "a/b <c> [d] {e} #tag @user", "<mask> and <s> are words, too. 😀"),
    " ".join(map(chr, range(0xC0, 0x130))),
]


@functools.cache
def trained(vocab_size: int = 320, **options: Any) -> bytes:
    """Trains a model; options as SentencePiece has them."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 4),
        model_writer=model,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **options,
    )
    return model.getvalue()


def write_trained(folder: Path, **settings: object) -> Path:
    """Writes a tokenizer as `transformers` lays it out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sentencepiece.bpe.model").write_bytes(trained())
    settings = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512} | settings
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def unigram_content(**pieces: float) -> dict[str, Any]:
    """Writes a ``tokenizer.json`` by hand, as the one of the released model: pieces with their scores."""
    vocabulary = [[name, 0.0] for name in FAIRSEQ.first] + [[*entry] for entry in pieces.items()] + [["<mask>", 0.0]]
    metaspace = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}
    single: list[dict[str, Any]] = [
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "</s>", "type_id": 0}},
    ]
    pair = [*single, single[2], {"Sequence": {"id": "B", "type_id": 0}}, single[2]]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special = [*enumerate(FAIRSEQ.first), (len(vocabulary) - 1, "<mask>")]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": name, **flags, "lstrip": name == "<mask>"} for i, name in special],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": pair,
            "special_tokens": {
                "<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
                "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]},
            },
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocabulary},
    }
