"""Tokenizers: from raw text to model inputs and back."""

from tfxlm.tokenizers.auto import AutoTokenizer
from tfxlm.tokenizers.encoding import BatchEncoding
from tfxlm.tokenizers.special_tokens import AddedToken
from tfxlm.tokenizers.xlm import XLMTokenizer
from tfxlm.tokenizers.xlm_roberta import XLMRobertaTokenizer

#: `transformers` has two; one implementation does here what both do.
XLMRobertaTokenizerFast = XLMRobertaTokenizer

__all__ = [
    "AddedToken",
    "AutoTokenizer",
    "BatchEncoding",
    "XLMRobertaTokenizer",
    "XLMRobertaTokenizerFast",
    "XLMTokenizer",
]
