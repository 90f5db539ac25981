"""Tokenizers: from raw text to model inputs and back."""

from tfxlm.tokenizers.encoding import BatchEncoding
from tfxlm.tokenizers.special_tokens import AddedToken
from tfxlm.tokenizers.xlm import XLMTokenizer

__all__ = ["AddedToken", "BatchEncoding", "XLMTokenizer"]
