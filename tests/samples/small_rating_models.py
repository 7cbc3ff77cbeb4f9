"""A rating model with weights of which one knows what they give."""

import torch

from segpipe.export import rating_folder
from segpipe.export.rating_folder import RatingLayers, RatingModel, build_rating_network
from segpipe.inference.ratings.inputs import MEASUREMENTS
from segpipe.labels.ratings import RATING_SCALES
from segpipe.preprocessing.rating_crop import RatingCrop

CROP = RatingCrop(side=8, spacing_mm=2.0, window_hu=(-1000.0, 600.0), margin_mm=2.0)
LAYERS = RatingLayers(channels=[], hidden=4, dropout=0.0)
SCALES = (RATING_SCALES["malignancy"], RATING_SCALES["calcification"])


def skip_onnx() -> None:
    """Rating models get an empty file for the ONNX model, whose export takes most of the time; for a process to end."""
    rating_folder._write_onnx = lambda file, _: file.write_bytes(b"")


def indifferent_model() -> RatingModel:
    """Gives every nodule the place 0, with thresholds 0, log 2, 2 log 2 and 3 log 2.

    So P(malignancy above 1, 2, 3, 4) is 1/2, 1/3, 1/5, 1/9, its mean 1 + 103/90, and P(calcified) 1/2.
    """
    network = build_rating_network(SCALES, MEASUREMENTS, LAYERS).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    return RatingModel(network, SCALES, MEASUREMENTS, CROP, LAYERS, {})
