"""Building blocks of transformers. They know no model family and no configuration: everything is an argument."""

from tfxlm.layers.activations import ACTIVATIONS, activation_named
from tfxlm.layers.attention import MultiHeadAttention
from tfxlm.layers.block import TransformerBlock
from tfxlm.layers.embeddings import EmbeddingTable, TransformerEmbeddings
from tfxlm.layers.encoder import TransformerEncoder
from tfxlm.layers.feed_forward import FeedForward
from tfxlm.layers.initializers import NormalWithZeroRow, Table
from tfxlm.layers.masks import attention_bias, padding_mask
from tfxlm.layers.padding import AllRows, RealRows, Rows, choose_rows
from tfxlm.layers.positions import sinusoidal_table
from tfxlm.layers.summary import SequenceSummary
from tfxlm.layers.tied_projection import TiedProjection

__all__ = [
    "ACTIVATIONS",
    "AllRows",
    "EmbeddingTable",
    "FeedForward",
    "MultiHeadAttention",
    "NormalWithZeroRow",
    "RealRows",
    "Rows",
    "SequenceSummary",
    "Table",
    "TiedProjection",
    "TransformerBlock",
    "TransformerEmbeddings",
    "TransformerEncoder",
    "activation_named",
    "attention_bias",
    "choose_rows",
    "padding_mask",
    "sinusoidal_table",
]
