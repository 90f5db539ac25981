"""Building blocks of transformers. They know no model family and no configuration: everything is an argument."""

from tfxlm.layers.activations import ACTIVATIONS, activation_named
from tfxlm.layers.adaptable import Dense, Embedding, file_layout
from tfxlm.layers.adaptive_softmax import AdaptiveSoftmax
from tfxlm.layers.attention import MultiHeadAttention
from tfxlm.layers.block import TransformerBlock
from tfxlm.layers.cache import CacheStep, GrowingCache, KeyValueCache, LayerCache, first_slot, make_cache
from tfxlm.layers.embeddings import EmbeddingTable, TransformerEmbeddings
from tfxlm.layers.encoder import Encoded, TransformerEncoder
from tfxlm.layers.feed_forward import FeedForward
from tfxlm.layers.initializers import NormalWithZeroRow, Table
from tfxlm.layers.layer import Dropout, Layer
from tfxlm.layers.masks import attention_bias, padding_mask
from tfxlm.layers.memory import LayerMemory, Memory, make_memory
from tfxlm.layers.padding import AllRows, RealRows, Rows, choose_rows
from tfxlm.layers.positions import sinusoidal_table
from tfxlm.layers.projection import Projection
from tfxlm.layers.relative_positions import RELATIVE_POSITIONS, RelativePositions, distance_rows
from tfxlm.layers.summary import SequenceSummary, last_position
from tfxlm.layers.tied_projection import TiedProjection

__all__ = [
    "ACTIVATIONS",
    "RELATIVE_POSITIONS",
    "AdaptiveSoftmax",
    "AllRows",
    "CacheStep",
    "Dense",
    "Dropout",
    "Embedding",
    "EmbeddingTable",
    "Encoded",
    "FeedForward",
    "GrowingCache",
    "KeyValueCache",
    "Layer",
    "LayerCache",
    "LayerMemory",
    "Memory",
    "MultiHeadAttention",
    "NormalWithZeroRow",
    "Projection",
    "RealRows",
    "RelativePositions",
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
    "distance_rows",
    "file_layout",
    "first_slot",
    "last_position",
    "make_cache",
    "make_memory",
    "padding_mask",
    "sinusoidal_table",
]
