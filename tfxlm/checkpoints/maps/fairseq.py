"""Names of RoBERTa in checkpoints of fairseq, by the names that `transformers` has for them. Data only.

Source: the module tree of fairseq's `RobertaModel`, with the older spellings that its own loader still accepts.
"""

from collections.abc import Mapping

# What the names of the model begin with: older versions called it a decoder.
MODEL_PREFIXES = ("encoder.", "decoder.")
BODY = "sentence_encoder."
LAYER = f"{BODY}layers.{{i}}."

_TARGET = "roberta.encoder.layer.{i}."


def _linear(source: str, target: str) -> dict[str, str]:
    return {f"{source}.{kind}": f"{target}.{kind}" for kind in ("weight", "bias")}


# Of both families. Layer normalisations have weight and bias, as linear layers have.
_SHARED = {
    f"{BODY}embed_tokens.weight": "roberta.embeddings.word_embeddings.weight",
    f"{BODY}embed_positions.weight": "roberta.embeddings.position_embeddings.weight",
    **_linear(f"{LAYER}self_attn.q_proj", f"{_TARGET}attention.self.query"),
    **_linear(f"{LAYER}self_attn.k_proj", f"{_TARGET}attention.self.key"),
    **_linear(f"{LAYER}self_attn.v_proj", f"{_TARGET}attention.self.value"),
    **_linear(f"{LAYER}self_attn.out_proj", f"{_TARGET}attention.output.dense"),
    **_linear(f"{LAYER}fc1", f"{_TARGET}intermediate.dense"),
    **_linear(f"{LAYER}fc2", f"{_TARGET}output.dense"),
    **_linear("lm_head.dense", "lm_head.dense"),
    **_linear("lm_head.layer_norm", "lm_head.layer_norm"),
    "lm_head.weight": "lm_head.decoder.weight",
    "lm_head.bias": "lm_head.bias",
}

XLM_ROBERTA: Mapping[str, str] = {
    **_SHARED,
    **_linear(f"{BODY}layernorm_embedding", "roberta.embeddings.LayerNorm"),
    **_linear(f"{LAYER}self_attn_layer_norm", f"{_TARGET}attention.output.LayerNorm"),
    **_linear(f"{LAYER}final_layer_norm", f"{_TARGET}output.LayerNorm"),
}

XLM_ROBERTA_XL: Mapping[str, str] = {
    **_SHARED,
    **_linear(f"{LAYER}self_attn_layer_norm", f"{_TARGET}attention.self_attn_layer_norm"),
    **_linear(f"{LAYER}final_layer_norm", f"{_TARGET}LayerNorm"),
    **_linear(f"{BODY}layer_norm", "roberta.encoder.LayerNorm"),
}

# Older spellings.
RENAMED: Mapping[str, str] = {f"{BODY}emb_layer_norm.": f"{BODY}layernorm_embedding."}

# The three projections of attention in one matrix, one after another.
FUSED = {f"{LAYER}self_attn.in_proj_{kind}": kind for kind in ("weight", "bias")}
PROJECTIONS = ("q_proj", "k_proj", "v_proj")

# Heads of fine-tuned models, each under a name of its own.
CLASSIFICATION_HEADS = "classification_heads."
CLASSIFIER: Mapping[str, str] = {
    **_linear("dense", "classifier.dense"),
    **_linear("out_proj", "classifier.out_proj"),
}

# What is no weight: a version number, and the place where sinusoidal positions would be.
NO_WEIGHTS = (f"{BODY}version", f"{BODY}embed_positions._float_tensor", "version")

# fairseq has no types of tokens; `transformers` adds a row for the only one.
TOKEN_TYPES = "roberta.embeddings.token_type_embeddings.weight"
