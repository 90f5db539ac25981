"""What XLM-RoBERTa and XLM-RoBERTa-XL share of their layout in files of `transformers`."""

from collections.abc import Iterable

from tfxlm.checkpoints.name_map import BACKBONE, Ignored, NameMap, Rule, Tied, dense, embedding, norm

CROSS_ATTENTION = "cross-attention"
RELATIVE_POSITIONS = "relative positions"
POOLER = "pooling layer"
LANGUAGE_MODELING = "language modeling head"
SEQUENCE_CLASSIFICATION = "sequence classification head"
# Of token classification and of multiple choice, which files do not tell apart.
CLASSIFIER = "classifier"
SPAN_QA = "question answering head"

# A block, in paths of variables and in names of tensors.
BLOCK, LAYER = "roberta/encoder/block_{i}", "roberta.encoder.layer.{i}"


def _attention(variable: str, tensor: str, part: str) -> list[Rule]:
    return [
        *dense(f"{BLOCK}/{variable}/query", f"{LAYER}.{tensor}.self.query", part),
        *dense(f"{BLOCK}/{variable}/key", f"{LAYER}.{tensor}.self.key", part),
        *dense(f"{BLOCK}/{variable}/value", f"{LAYER}.{tensor}.self.value", part),
        *dense(f"{BLOCK}/{variable}/output", f"{LAYER}.{tensor}.output.dense", part),
    ]


_BACKBONE = [
    *embedding("roberta/embeddings/word", "roberta.embeddings.word_embeddings"),
    *embedding("roberta/embeddings/position", "roberta.embeddings.position_embeddings"),
    *embedding("roberta/embeddings/token_type", "roberta.embeddings.token_type_embeddings"),
    *_attention("attention", "attention", BACKBONE),
    *dense(f"{BLOCK}/feed_forward/intermediate", f"{LAYER}.intermediate.dense"),
    *dense(f"{BLOCK}/feed_forward/output", f"{LAYER}.output.dense"),
    # What a checkpoint may lack: it starts afresh then.
    *_attention("cross_attention", "crossattention", CROSS_ATTENTION),
    Rule(
        f"{BLOCK}/attention/relative_positions/distance_embedding",
        f"{LAYER}.attention.self.distance_embedding.weight",
        part=RELATIVE_POSITIONS,
    ),
    *dense("roberta/pooler/summary", "roberta.pooler.dense", POOLER),
]

_HEADS = [
    *dense("lm_transform/dense", "lm_head.dense", LANGUAGE_MODELING),
    *norm("lm_transform/layer_norm", "lm_head.layer_norm", LANGUAGE_MODELING),
    Rule("lm_head/bias", "lm_head.bias", part=LANGUAGE_MODELING),
    *dense("sequence_summary/summary", "classifier.dense", SEQUENCE_CLASSIFICATION),
    *dense("out_proj", "classifier.out_proj", SEQUENCE_CLASSIFICATION),
    *dense("classifier", "classifier", CLASSIFIER),
    *dense("qa_outputs", "qa_outputs", SPAN_QA),
]


def roberta_map(norms: Iterable[Rule]) -> NameMap:
    """Makes the name map of a family from the rules of its normalisations, in which alone they differ."""
    return NameMap(
        [*_BACKBONE, *norms, *_HEADS],
        tied=[
            Tied("lm_head.decoder.weight", to="roberta.embeddings.word_embeddings.weight"),
            Tied("lm_head.decoder.bias", to="lm_head.bias"),
        ],
        ignored=[Ignored("roberta.embeddings.position_ids", "a constant 0, 1, 2, ... that older versions saved")],
        prefix="roberta.",
    )
