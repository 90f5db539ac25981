"""The tokenizers as TensorFlow operations: text goes into the graph, the ids of the Python tokenizers come out."""

from tfxlm.tokenizers.in_graph.auto import graph_tokenizer, has_graph
from tfxlm.tokenizers.in_graph.base import GraphTokenizer, Inputs
from tfxlm.tokenizers.in_graph.detokenize import GraphDetokenizer

__all__ = ["GraphDetokenizer", "GraphTokenizer", "Inputs", "graph_tokenizer", "has_graph"]
