"""The table of weight names of each family, in the layout of `transformers`, by `model_type`."""

from collections.abc import Mapping

from tfxlm.checkpoints.maps.xlm import XLM
from tfxlm.checkpoints.maps.xlm_roberta import XLM_ROBERTA
from tfxlm.checkpoints.maps.xlm_roberta_xl import XLM_ROBERTA_XL
from tfxlm.checkpoints.name_map import NameMap

NAME_MAPS: Mapping[str, NameMap] = {"xlm": XLM, "xlm-roberta": XLM_ROBERTA, "xlm-roberta-xl": XLM_ROBERTA_XL}
