"""The same weights in every shape that is read: 570 MB of XLM, and XLM-RoBERTa base for fairseq."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.subjects import XLM, XLM_ROBERTA

# What a dictionary of the original code has beside words.
_SPECIAL = ("<s>", "</s>", "<pad>", "<unk>", *(f"<special{index}>" for index in range(10)))


def _state(folder: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def _beside_config(folder: Path, name: str) -> Path:
    target = folder / name
    target.mkdir()
    shutil.copy(folder / "config.json", target)
    return target


def safetensors_file(folder: Path) -> Path:
    """As `save_pretrained` writes it."""
    return folder


def sharded(folder: Path) -> Path:
    """In files of 100 MB, aligned to nothing."""
    from tfxlm import convert_checkpoint

    convert_checkpoint(folder, folder / "sharded", max_shard_size="100MB")
    return folder / "sharded"


def torch_zip(folder: Path) -> Path:
    """As torch.save writes it."""
    import torch

    target = _beside_config(folder, "bin")
    torch.save(_state(folder), target / "pytorch_model.bin")
    return target


def torch_legacy(folder: Path) -> Path:
    """As torch.save wrote it before version 1.6."""
    import torch

    target = _beside_config(folder, "legacy")
    torch.save(_state(folder), target / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    return target


def original_xlm(folder: Path) -> Path:
    """As the original code saves it, with a dictionary of as many words as there are, in the format of 2019."""
    import torch

    state = {name.removeprefix("transformer."): tensor for name, tensor in _state(folder).items()}
    state["pred_layer.proj.weight"] = state["embeddings.weight"]
    words = [*_SPECIAL, *(f"word{index}" for index in range(XLM.config["vocab_size"] - len(_SPECIAL)))]
    content = {
        "model": state,
        "params": {"n_heads": XLM.config["n_heads"], "n_langs": XLM.config["n_langs"], "mlm_steps": [("en", None)]},
        "dico_id2word": dict(enumerate(words)),
        "dico_word2id": {word: index for index, word in enumerate(words)},
        "dico_counts": dict.fromkeys(words, 1),
    }
    torch.save(content, folder / "mine.pth", _use_new_zipfile_serialization=False)
    return folder / "mine.pth"


def tensorflow_h5(folder: Path) -> Path:
    """As the TensorFlow classes of transformers save it."""
    import transformers

    # Its way from safetensors fails with current releases of that library, whose files cannot be iterated any more.
    source = folder / "bin" if (folder / "bin").exists() else torch_zip(folder)
    model = transformers.TFXLMWithLMHeadModel.from_pretrained(source, from_pt=True)
    model.save_pretrained(folder / "h5", safe_serialization=False)
    return folder / "h5"


def fairseq(folder: Path) -> Path:
    """As older versions of fairseq saved XLM-RoBERTa: the projections of attention in one matrix."""
    import torch
    import transformers

    state, body = _state(folder), "decoder.sentence_encoder."
    table = state["roberta.embeddings.word_embeddings.weight"]
    written = {
        f"{body}embed_tokens.weight": table,
        f"{body}embed_positions.weight": state["roberta.embeddings.position_embeddings.weight"],
        "decoder.lm_head.weight": table,
        "decoder.lm_head.bias": state["lm_head.bias"],
    }
    parts = {
        "attention.output.dense": "self_attn.out_proj",
        "attention.output.LayerNorm": "self_attn_layer_norm",
        "intermediate.dense": "fc1",
        "output.dense": "fc2",
        "output.LayerNorm": "final_layer_norm",
    }
    config = XLM_ROBERTA.config_of(transformers)
    for kind in ("weight", "bias"):
        written[f"{body}emb_layer_norm.{kind}"] = state[f"roberta.embeddings.LayerNorm.{kind}"]
        for part in ("dense", "layer_norm"):
            written[f"decoder.lm_head.{part}.{kind}"] = state[f"lm_head.{part}.{kind}"]
        for index in range(config.num_hidden_layers):
            source, target = f"roberta.encoder.layer.{index}.", f"{body}layers.{index}."
            projections = [state[f"{source}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            written[f"{target}self_attn.in_proj_{kind}"] = torch.cat(projections)
            for part, other in parts.items():
                written[f"{target}{other}.{kind}"] = state[f"{source}{part}.{kind}"]
    args = argparse.Namespace(arch="roberta_base", encoder_attention_heads=config.num_attention_heads)
    torch.save({"args": args, "model": written}, folder / "model.pt")
    return folder / "model.pt"


# Which subject, and what writes it from a folder that holds it as safetensors; by name in the table.
SOURCES: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "safetensors": ("xlm", safetensors_file),
    "safetensors, sharded": ("xlm", sharded),
    "torch.save": ("xlm", torch_zip),
    "torch.save before 1.6": ("xlm", torch_legacy),
    "original XLM, .pth of 2019": ("xlm", original_xlm),
    "TensorFlow, tf_model.h5": ("xlm", tensorflow_h5),
    "fairseq, model.pt": ("xlm-roberta", fairseq),
}
