"""XLM in the layout of `transformers`: ``model.safetensors`` or ``pytorch_model.bin``.

Source: the module tree of `modeling_xlm.py`.
"""

from tfxlm.checkpoints.name_map import Ignored, NameMap, Rule, Tied, dense, embedding, norm

LANGUAGE_MODELING = "language modeling head"
SUMMARY = "sequence summary"
MULTIPLE_CHOICE = "multiple choice head"
TOKEN_CLASSIFICATION = "token classification head"
SPAN_QA = "span question answering head"
BEAM_QA = "beam question answering head"

_BACKBONE = [
    *embedding("transformer/embeddings/word", "transformer.embeddings"),
    *embedding("transformer/embeddings/position", "transformer.position_embeddings"),
    *embedding("transformer/embeddings/lang", "transformer.lang_embeddings"),
    *norm("transformer/embeddings/norm", "transformer.layer_norm_emb"),
    *dense("transformer/encoder/block_{i}/attention/query", "transformer.attentions.{i}.q_lin"),
    *dense("transformer/encoder/block_{i}/attention/key", "transformer.attentions.{i}.k_lin"),
    *dense("transformer/encoder/block_{i}/attention/value", "transformer.attentions.{i}.v_lin"),
    *dense("transformer/encoder/block_{i}/attention/output", "transformer.attentions.{i}.out_lin"),
    *norm("transformer/encoder/block_{i}/attention_norm", "transformer.layer_norm1.{i}"),
    *dense("transformer/encoder/block_{i}/feed_forward/intermediate", "transformer.ffns.{i}.lin1"),
    *dense("transformer/encoder/block_{i}/feed_forward/output", "transformer.ffns.{i}.lin2"),
    *norm("transformer/encoder/block_{i}/feed_forward_norm", "transformer.layer_norm2.{i}"),
]

_HEADS = [
    Rule("pred_layer/bias", "pred_layer.proj.bias", part=LANGUAGE_MODELING),
    # With an adaptive softmax.
    *dense("pred_layer/head", "pred_layer.proj.head", LANGUAGE_MODELING),
    *dense("pred_layer/tail_{i}/down", "pred_layer.proj.tail.{i}.0", LANGUAGE_MODELING, bias=False),
    *dense("pred_layer/tail_{i}/up", "pred_layer.proj.tail.{i}.1", LANGUAGE_MODELING, bias=False),
    *dense("sequence_summary/summary", "sequence_summary.summary", SUMMARY),
    *dense("logits_proj", "logits_proj", MULTIPLE_CHOICE),
    *dense("classifier", "classifier", TOKEN_CLASSIFICATION),
    *dense("qa_outputs", "qa_outputs", SPAN_QA),
    *dense("qa_outputs/start_logits/dense", "qa_outputs.start_logits.dense", BEAM_QA),
    *dense("qa_outputs/end_logits/dense_0", "qa_outputs.end_logits.dense_0", BEAM_QA),
    *norm("qa_outputs/end_logits/layer_norm", "qa_outputs.end_logits.LayerNorm", BEAM_QA),
    *dense("qa_outputs/end_logits/dense_1", "qa_outputs.end_logits.dense_1", BEAM_QA),
    *dense("qa_outputs/answer_class/dense_0", "qa_outputs.answer_class.dense_0", BEAM_QA),
    *dense("qa_outputs/answer_class/dense_1", "qa_outputs.answer_class.dense_1", BEAM_QA, bias=False),
]

XLM = NameMap(
    [*_BACKBONE, *_HEADS],
    # `transformers` ties this one even with an adaptive softmax, which does not use it.
    tied=[Tied("pred_layer.proj.weight", to="transformer.embeddings.weight")],
    ignored=[Ignored("transformer.position_ids", "a constant 0, 1, 2, ... that older versions saved")],
    prefix="transformer.",
)
