"""`generate` beside the generation of the PyTorch classes, on random configurations and options."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.models.battery import perturb
from tests.parity.reference import QUIET, SEED, SWEEP
from tfxlm import (
    TFXLMRobertaForCausalLM,
    TFXLMRobertaXLForCausalLM,
    TFXLMWithLMHeadModel,
    XLMConfig,
    XLMRobertaConfig,
    XLMRobertaXLConfig,
)

pytestmark = QUIET

CASES = int(os.environ.get("TFXLM_CASES", 60 if SWEEP else 20))
DECODERS = {
    "XLMRoberta": (TFXLMRobertaForCausalLM, XLMRobertaConfig),
    "XLMRobertaXL": (TFXLMRobertaXLForCausalLM, XLMRobertaXLConfig),
}


def torch_double(model: Any, folder: Any) -> Any:
    """The PyTorch class with the same weights."""
    model.save_pretrained(folder)
    return getattr(transformers, type(model).__name__.removeprefix("TF")).from_pretrained(folder).eval()


def drawn_options(rng: np.random.Generator, vocab_size: int) -> dict[str, Any]:
    """Options of greedy search, or of beam search."""
    options = {
        "max_new_tokens": int(rng.integers(3, 9)),
        "min_new_tokens": int(rng.integers(0, 3)),
        "repetition_penalty": float(rng.choice([1.0, 1.4])),
        "no_repeat_ngram_size": int(rng.choice([0, 2, 3])),
        "eos_token_id": rng.choice(np.arange(3, vocab_size), int(rng.integers(1, 4)), replace=False).tolist(),
    }
    if rng.random() < 0.5:
        return options
    beams = int(rng.integers(2, 5))
    return options | {
        "num_beams": beams,
        "num_return_sequences": int(rng.integers(1, beams + 1)),
        "length_penalty": float(rng.choice([1.0, 0.0, 2.0, -0.5])),
        "early_stopping": [False, True, "never"][int(rng.integers(3))],
    }


def compare(model: Any, reference: Any, inputs: dict[str, np.ndarray], options: dict[str, Any], hf: bool) -> None:
    """Compares texts and, of beam search, their scores."""
    given = {name: torch.tensor(value) for name, value in inputs.items()}
    shared = {"pad_token_id": model.config.pad_index, "return_dict_in_generate": True, "output_scores": True}
    theirs = reference.generate(**given, **options, do_sample=False, **shared)
    found = model.generate(inputs, **options, **shared, hf_compat=hf)
    assert found.sequences.numpy().tolist() == theirs.sequences.tolist()
    if options.get("num_beams", 1) > 1:
        np.testing.assert_allclose(found.sequences_scores, theirs.sequences_scores, rtol=2e-5, atol=2e-5)
    last = found.scores[0].numpy()
    known = np.isfinite(last)
    np.testing.assert_array_equal(known, np.isfinite(theirs.scores[0].numpy()))
    np.testing.assert_allclose(last[known], theirs.scores[0].numpy()[known], rtol=2e-5, atol=2e-5)


@pytest.fixture(autouse=True)
def _step_by_step() -> Any:
    """Nothing is compiled: compiling takes longer than the work."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def from_the_first_position(reference: Any) -> Any:
    """Makes a decoder count positions in `generate` as in its call; the peer counts them from 0 on there."""
    prepare = reference.prepare_inputs_for_generation

    def prepared(*args: Any, **kwargs: Any) -> dict[str, Any]:
        inputs = prepare(*args, **kwargs)
        return {**inputs, "position_ids": inputs["position_ids"] + reference.config.pad_token_id + 1}

    reference.prepare_inputs_for_generation = prepared
    return reference


@pytest.mark.parametrize("case", range(CASES))
def test_decoders(case: int, tmp_path: Any) -> None:
    rng = np.random.default_rng([SEED, case])
    print(f"TFXLM_SEED={SEED}")
    kind, config_class = DECODERS[["XLMRoberta", "XLMRobertaXL"][case % 2]]
    heads = int(rng.choice([1, 2]))
    config = config_class(
        vocab_size=int(rng.integers(20, 60)), hidden_size=16, num_hidden_layers=int(rng.integers(1, 3)),
        num_attention_heads=heads, intermediate_size=24, max_position_embeddings=30, is_decoder=True,
        type_vocab_size=1, hidden_act=str(rng.choice(["gelu", "relu"])),
    )  # fmt: skip
    model = perturb(kind(config), seed=case)
    # One peer takes padding tokens that it has made for padding, the other one for tokens, as ours are.
    bias = model.get_lm_head().bias
    bias.assign(np.where(np.arange(config.vocab_size) == config.pad_token_id, -100.0, bias))
    reference = torch_double(model, tmp_path)
    ids = rng.integers(3, config.vocab_size, (3, 5))
    lengths = np.array([5, 3, 1])
    mask = (np.arange(5) >= 5 - lengths[:, None]).astype(np.int64)
    inputs = {"input_ids": np.where(mask, ids, config.pad_token_id), "attention_mask": mask}
    options = drawn_options(rng, config.vocab_size)
    # The peer takes what stands at padding for tokens that are repeated.
    if options["repetition_penalty"] != 1 or options["no_repeat_ngram_size"]:
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(mask)}
    is_compat = case % 4 < 2
    # The peer's XLM-RoBERTa-XL has positions right.
    is_right = is_compat or kind is TFXLMRobertaXLForCausalLM
    compare(model, reference if is_right else from_the_first_position(reference), inputs, options, is_compat)


@pytest.mark.parametrize("case", range(CASES // 2))
def test_masks_behind_texts_of_xlm(case: int, tmp_path: Any) -> None:
    rng = np.random.default_rng([SEED, case, 1])
    print(f"TFXLM_SEED={SEED}")
    config = XLMConfig(
        vocab_size=int(rng.integers(20, 60)), emb_dim=16, n_heads=2, n_layers=int(rng.integers(1, 3)),
        n_langs=2, lang_id=int(rng.integers(0, 2)), max_position_embeddings=24, causal=bool(rng.integers(2)),
        mask_token_id=int(rng.choice([0, 5])), gelu_activation=bool(rng.integers(2)),
    )  # fmt: skip
    model = perturb(TFXLMWithLMHeadModel(config), seed=case)
    reference = torch_double(model, tmp_path)
    ids = rng.integers(3, config.vocab_size, (3, 5))
    if not config.causal:
        # Padding on both sides: the peer counts tokens, and takes as many from the start.
        ids[1, :2], ids[2, 4:] = config.pad_index, config.pad_index
    options = drawn_options(rng, config.vocab_size)
    if case % 2:
        del options["eos_token_id"]
    mask = np.ones_like(ids)
    compare(model, reference, {"input_ids": ids, "attention_mask": mask}, options, True)
