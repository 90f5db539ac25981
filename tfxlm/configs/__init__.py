"""Model configurations: every documented field with its true default, checked when made and frozen in use.

Fields and defaults follow ``transformers``' configuration classes as their code has them (where the documentation
differs, the code counts). Fields that are not known here are kept in `PreTrainedConfig.extra` and written back.
"""

from tfxlm.configs.auto import AutoConfig, config_class_for
from tfxlm.configs.base import CONFIG_FILE, PROBLEM_TYPES, PreTrainedConfig
from tfxlm.configs.documentation import write_out
from tfxlm.configs.hub_options import HUB_OPTIONS
from tfxlm.configs.xlm import XLMConfig
from tfxlm.configs.xlm_roberta import RobertaFamilyConfig, XLMRobertaConfig, XLMRobertaXLConfig

__all__ = [
    "CONFIG_FILE",
    "HUB_OPTIONS",
    "PROBLEM_TYPES",
    "AutoConfig",
    "PreTrainedConfig",
    "RobertaFamilyConfig",
    "XLMConfig",
    "XLMRobertaConfig",
    "XLMRobertaXLConfig",
    "config_class_for",
]

write_out(PreTrainedConfig, XLMConfig, XLMRobertaConfig, XLMRobertaXLConfig)
