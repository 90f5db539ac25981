"""Models that the tests of this folder share; none of them changes the weights."""

from __future__ import annotations

import pytest

from tests.models.battery import perturb
from tfxlm import TFXLMForSequenceClassification, TFXLMModel, TFXLMWithLMHeadModel, XLMConfig

CONFIG = XLMConfig(
    vocab_size=37, emb_dim=16, n_heads=2, n_layers=2, n_langs=2, lang2id={"de": 0, "en": 1},
    max_position_embeddings=20, num_labels=3, dropout=0.1,
)  # fmt: skip


@pytest.fixture(scope="session")
def config() -> XLMConfig:
    return CONFIG


@pytest.fixture(scope="session")
def base() -> TFXLMModel:
    return perturb(TFXLMModel(CONFIG))


@pytest.fixture(scope="session")
def language_model() -> TFXLMWithLMHeadModel:
    return perturb(TFXLMWithLMHeadModel(CONFIG))


@pytest.fixture(scope="session")
def classifier() -> TFXLMForSequenceClassification:
    return perturb(TFXLMForSequenceClassification(CONFIG))
