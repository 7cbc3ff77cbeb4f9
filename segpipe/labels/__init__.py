"""Label maps: what a mask's values mean, which classes a network distinguishes, and how radiology systems name them."""

from segpipe.labels.label import NODULE, TUMOUR, Code, Label, make_label
from segpipe.labels.label_map import LabelMap, ignore_mistakes, label_mistakes, region_mistakes
from segpipe.labels.masks import check_mask_values, lesion_value, look_up, parse_names, whole_numbers

__all__ = [
    "NODULE",
    "TUMOUR",
    "Code",
    "Label",
    "LabelMap",
    "check_mask_values",
    "ignore_mistakes",
    "label_mistakes",
    "lesion_value",
    "look_up",
    "make_label",
    "parse_names",
    "region_mistakes",
    "whole_numbers",
]
