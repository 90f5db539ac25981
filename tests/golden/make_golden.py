"""Makes the golden files: a tiny random XLM and its answers, by the PyTorch reference.

Run from the repository root in an environment with torch and transformers: ``python -m tests.golden.make_golden``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

FOLDER = Path(__file__).parent / "xlm_tiny"
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


def perturbed(cls: Any, seed: int) -> Any:
    """Makes a model whose biases and normalisations are not 0 and 1."""
    torch.manual_seed(seed)
    model = cls(transformers.XLMConfig(**CONFIG)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def main() -> None:
    """Writes the two checkpoints and `expected.npz`."""
    rng = np.random.default_rng(0)
    lengths = np.array([7, 4, 1])
    real = np.arange(7) < lengths[:, None]
    ids = np.where(real, rng.integers(3, 19, real.shape), 2)
    inputs = {"input_ids": ids, "lengths": lengths, "langs": rng.integers(0, 3, real.shape)}
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    expected: dict[str, Any] = dict(inputs)

    model = perturbed(transformers.XLMWithLMHeadModel, 1)
    model.save_pretrained(FOLDER / "language_model")
    labels = np.where(real & (rng.random(real.shape) < 0.6), ids, -100)
    outputs = model(**tensors, labels=torch.from_numpy(labels), output_hidden_states=True, output_attentions=True)
    outputs.loss.backward()
    expected |= {"lm_labels": labels, "lm_loss": outputs.loss, "lm_logits": outputs.logits}
    expected |= {f"hidden_states_{i}": states for i, states in enumerate(outputs.hidden_states)}
    expected |= {f"attentions_{i}": weights for i, weights in enumerate(outputs.attentions)}
    for name in ("transformer.embeddings.weight", "transformer.attentions.1.q_lin.weight"):
        expected[f"gradient {name}"] = model.get_parameter(name).grad

    model = perturbed(transformers.XLMForSequenceClassification, 2)
    model.save_pretrained(FOLDER / "classifier", safe_serialization=False)
    targets = np.array([2, 0, 1])
    outputs = model(**tensors, labels=torch.from_numpy(targets))
    expected |= {"targets": targets, "classifier_loss": outputs.loss, "classifier_logits": outputs.logits}
    arrays = {name: value.detach().numpy() if torch.is_tensor(value) else value for name, value in expected.items()}
    np.savez_compressed(FOLDER / "expected.npz", **arrays)


if __name__ == "__main__":
    main()
