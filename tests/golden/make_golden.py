"""Makes the golden files: a tiny random model of each family and its answers, by the PyTorch reference.

Run from the repository root in an environment with torch and transformers: ``python -m tests.golden.make_golden``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

ROOT = Path(__file__).parent
FOLDER = ROOT / "xlm_tiny"
CONFIG: dict[str, Any] = {
    "vocab_size": 19,
    "emb_dim": 8,
    "n_heads": 2,
    "n_layers": 2,
    "n_langs": 3,
    "lang2id": {"de": 0, "en": 1, "fr": 2},
    "id2lang": {"0": "de", "1": "en", "2": "fr"},
    "max_position_embeddings": 12,
    "summary_type": "first",
    "summary_activation": "tanh",
    "num_labels": 3,
}


ROBERTA: dict[str, Any] = {
    "vocab_size": 19,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 14,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-5,
    "use_cache": False,
    # Gradients are those of training.
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
DECODER = {"is_decoder": True, "add_cross_attention": True, "position_embedding_type": "relative_key_query"}


def perturbed(cls: Any, seed: int, config: Any) -> Any:
    """Makes a model whose biases and normalisations are not 0 and 1."""
    torch.manual_seed(seed)
    model = cls(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def write(path: Path, expected: dict[str, Any]) -> None:
    """Writes arrays and tensors by name."""
    arrays = {name: value.detach().numpy() if torch.is_tensor(value) else value for name, value in expected.items()}
    np.savez_compressed(path, **arrays)


def make_xlm() -> None:
    """Writes the two checkpoints of XLM and `expected.npz`."""
    rng = np.random.default_rng(0)
    lengths = np.array([7, 4, 1])
    real = np.arange(7) < lengths[:, None]
    ids = np.where(real, rng.integers(3, 19, real.shape), 2)
    inputs = {"input_ids": ids, "lengths": lengths, "langs": rng.integers(0, 3, real.shape)}
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    expected: dict[str, Any] = dict(inputs)

    model = perturbed(transformers.XLMWithLMHeadModel, 1, transformers.XLMConfig(**CONFIG))
    model.save_pretrained(FOLDER / "language_model")
    labels = np.where(real & (rng.random(real.shape) < 0.6), ids, -100)
    outputs = model(**tensors, labels=torch.from_numpy(labels), output_hidden_states=True, output_attentions=True)
    outputs.loss.backward()
    expected |= {"lm_labels": labels, "lm_loss": outputs.loss, "lm_logits": outputs.logits}
    expected |= {f"hidden_states_{i}": states for i, states in enumerate(outputs.hidden_states)}
    expected |= {f"attentions_{i}": weights for i, weights in enumerate(outputs.attentions)}
    for name in ("transformer.embeddings.weight", "transformer.attentions.1.q_lin.weight"):
        expected[f"gradient {name}"] = model.get_parameter(name).grad

    model = perturbed(transformers.XLMForSequenceClassification, 2, transformers.XLMConfig(**CONFIG))
    model.save_pretrained(FOLDER / "classifier", safe_serialization=False)
    targets = np.array([2, 0, 1])
    outputs = model(**tensors, labels=torch.from_numpy(targets))
    expected |= {"targets": targets, "classifier_loss": outputs.loss, "classifier_logits": outputs.logits}
    write(FOLDER / "expected.npz", expected)


def make_roberta(name: str, model: Any, gradients: tuple[str, ...], encoder: bool) -> None:
    """Writes a checkpoint of XLM-RoBERTa or XLM-RoBERTa-XL and `expected.npz` beside it.

    Args:
        name: of the folder.
        model: a language model.
        gradients: names of the tensors whose gradients are kept.
        encoder: whether the model looks at an encoder's states.
    """
    rng = np.random.default_rng(1)
    real = np.arange(7) < np.array([7, 4, 1])[:, None]
    inputs: dict[str, Any] = {
        "input_ids": np.where(real, rng.integers(3, 19, real.shape), 1),
        "attention_mask": real.astype(np.int64),
        "token_type_ids": rng.integers(0, 2, real.shape),
    }
    if encoder:
        inputs["encoder_hidden_states"] = rng.normal(size=(3, 5, 8)).astype(np.float32)
        inputs["encoder_attention_mask"] = (np.arange(5) < np.array([2, 5, 4])[:, None]).astype(np.int64)
    # Some of them at padding, where the reference counts them too.
    labels = np.where(rng.random(real.shape) < 0.6, rng.integers(0, 19, real.shape), -100)
    tensors = {name: torch.from_numpy(value) for name, value in (inputs | {"labels": labels}).items()}
    outputs = model(**tensors, output_hidden_states=True, output_attentions=True)
    outputs.loss.backward()
    expected: dict[str, Any] = inputs | {"labels": labels, "loss": outputs.loss, "logits": outputs.logits}
    for kind in ("hidden_states", "attentions", *(("cross_attentions",) if encoder else ())):
        expected |= {f"{kind}_{i}": value for i, value in enumerate(outputs[kind])}
    expected |= {f"gradient {tensor}": model.get_parameter(tensor).grad for tensor in gradients}
    model.save_pretrained(ROOT / name)
    write(ROOT / name / "expected.npz", expected)


def main() -> None:
    """Writes all golden files."""
    make_xlm()
    encoder, decoder = transformers.XLMRobertaConfig(**ROBERTA), transformers.XLMRobertaXLConfig(**ROBERTA, **DECODER)
    word, query = "roberta.embeddings.word_embeddings.weight", "roberta.encoder.layer.1.attention.self.query.weight"
    model = perturbed(transformers.XLMRobertaForMaskedLM, 3, encoder)
    make_roberta("xlm_roberta_tiny", model, (word, query), encoder=False)
    model = perturbed(transformers.XLMRobertaXLForCausalLM, 4, decoder)
    cross = "roberta.encoder.layer.1.crossattention.self.key.weight"
    make_roberta("xlm_roberta_xl_tiny", model, (word, query, cross), encoder=True)


if __name__ == "__main__":
    main()
