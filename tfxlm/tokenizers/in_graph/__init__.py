"""The tokenizers as TensorFlow operations: text goes into the graph, the ids of the Python tokenizers come out."""

from tfxlm.tokenizers.in_graph.auto import graph_tokenizer, has_graph, reason_without_places
from tfxlm.tokenizers.in_graph.base import GraphTokenizer, Inputs, Located
from tfxlm.tokenizers.in_graph.detokenize import GraphDetokenizer

__all__ = [
    "GraphDetokenizer",
    "GraphTokenizer",
    "Inputs",
    "Located",
    "graph_tokenizer",
    "has_graph",
    "reason_without_places",
]
