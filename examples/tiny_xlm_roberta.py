"""Makes a tiny XLM-RoBERTa checkpoint with random weights, as PyTorch would have written it: a folder to try things on.

    python examples/tiny_xlm_roberta.py folder

Its SentencePiece model is learned from the sentences in `examples/intents`. It knows nothing of any language; a
released one does, such as FacebookAI/xlm-roberta-base.
"""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path

import keras
import sentencepiece

from tfxlm import TFXLMRobertaForMaskedLM, XLMRobertaConfig, XLMRobertaTokenizer

HERE = Path(__file__).parent


def sentences() -> list[str]:
    """Returns the sentences of all languages."""
    files = sorted((HERE / "intents").glob("*.tsv"))
    readers = [csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")), delimiter="\t") for file in files]
    return [row["text"] for reader in readers for row in reader]


def make_checkpoint(folder: Path, *, vocab_size: int = 1500, seed: int = 0) -> None:
    """Writes a checkpoint.

    Args:
        folder: where to; made when missing.
        vocab_size: pieces that SentencePiece may learn at most.
        seed: of the weights.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences()),
        model_writer=model,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
    )
    tokenizer = XLMRobertaTokenizer(model.getvalue(), model_max_length=128)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        # Two more than tokens: the first position id is that of the padding token plus one.
        max_position_embeddings=130,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    keras.utils.set_random_seed(seed)
    TFXLMRobertaForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Reads the command line and writes the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write it")
    parser.add_argument("--vocab-size", type=int, default=1500, help="pieces at most (default: 1500)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: 0)")
    options = parser.parse_args()
    make_checkpoint(options.folder, vocab_size=options.vocab_size, seed=options.seed)
    print(f"wrote {options.folder}")


if __name__ == "__main__":
    main()
