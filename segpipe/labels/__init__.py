"""Label maps: what a mask's values mean, which classes a network distinguishes, and how radiology systems name them."""

from segpipe.labels.label import IGNORED, NODULE, TUMOUR, Code, Label, make_label, plain_name
from segpipe.labels.label_map import LabelMap, ignore_mistakes, label_mistakes, region_mistakes
from segpipe.labels.masks import (
    check_mask_values,
    lesion_mask,
    lesion_masks,
    lesion_names,
    lesion_value,
    look_up,
    parse_names,
    whole_numbers,
)

__all__ = [
    "IGNORED",
    "NODULE",
    "TUMOUR",
    "Code",
    "Label",
    "LabelMap",
    "check_mask_values",
    "ignore_mistakes",
    "label_mistakes",
    "lesion_mask",
    "lesion_masks",
    "lesion_names",
    "lesion_value",
    "look_up",
    "make_label",
    "parse_names",
    "plain_name",
    "region_mistakes",
    "whole_numbers",
]
