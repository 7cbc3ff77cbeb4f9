"""What a network's masks, in place of a reader's, cost the ratings that are predicted.

python benchmarks/rating_masks.py /data/lidc_nodules runs/lung_nodule_voi/…/evaluation/masks [key=value …]

The masks are those of one held-out fold. Rating networks learn from readers' masks of all other patients and rate the
fold twice. Further words change the configuration of `+experiment=lung_nodule_ratings`.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.config.schema import Settings
from segpipe.datasets.manifest import Manifest
from segpipe.datasets.opening import cache_folder, open_dataset
from segpipe.evaluation.rating_figures import RatedNodules, rating_figures
from segpipe.inference.ratings.inputs import MEASUREMENTS
from segpipe.io.images.volumes import read_volume
from segpipe.labels import LabelMap
from segpipe.networks.rating_network import RatingNetwork
from segpipe.training.ratings.cross_validation import RatingStudy
from segpipe.training.ratings.fitting import rate
from segpipe.training.ratings.samples import RatedSamples, read_samples


def main() -> None:
    """Prints both masks' AUC and kappa for each rating."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("masks", type=Path)
    parser.add_argument("words", nargs="*")
    given = parser.parse_args()
    words = ["+experiment=lung_nodule_ratings", f"data.root={given.folder}", *given.words]
    settings = settings_of(compose(words, registries), registries())
    options = settings.data.model_dump()
    manifest = open_dataset("nifti", options, labels=LabelMap.of("nodule"), cache=cache_folder(None))
    held_out, predicted = split(manifest, given.masks)
    ratings = settings.ratings
    network = learn(settings, without(manifest, held_out))
    for name, rated in (("readers' masks", held_out), ("predicted masks", predicted)):
        print(f"{name}: {len(rated.entries)} nodules")
        report(settings, network, read_samples(rated, ratings.scales, ratings.crop))


def split(manifest: Manifest, masks: Path) -> tuple[Manifest, Manifest]:
    """The nodules that have a predicted mask which is not empty, with the readers' masks and with those."""
    files = {entry.id: masks / f"{entry.id}.nii.gz" for entry in manifest.entries}
    found = {name for name, file in files.items() if file.is_file() and read_volume(file).array.any()}
    held_out = [entry for entry in manifest.entries if entry.id in found]
    predicted = [replace(entry, mask=files[entry.id]) for entry in held_out]
    return manifest.with_entries(held_out), manifest.with_entries(predicted)


def without(manifest: Manifest, held_out: Manifest) -> Manifest:
    """The nodules of all other patients."""
    patients = {entry.patient for entry in held_out.entries}
    return manifest.with_entries([entry for entry in manifest.entries if entry.patient not in patients])


def learn(settings: Settings, manifest: Manifest) -> RatingNetwork:
    """A rating network of all nodules given."""
    ratings, parts = settings.ratings, {"optimizer": settings.optimizer, "scheduler": settings.scheduler}
    samples = read_samples(manifest, ratings.scales, ratings.crop)
    count = len(manifest.entries)
    study = RatingStudy(samples, np.zeros(count, dtype=np.int64), ratings, MEASUREMENTS, parts, settings.seed)
    return study.fit(np.ones(count, dtype=bool))


def report(settings: Settings, network: RatingNetwork, samples: RatedSamples) -> None:
    """Prints a row per rating."""
    rated = rate(network, samples).double().numpy()
    for number, scale in enumerate(settings.ratings.scales):
        levels = samples.levels_nr[:, number].numpy()
        figures = rating_figures(RatedNodules(levels, rated[:, number, : len(scale.grades)], samples.patients))
        print(
            f"  {scale.name:14} "
            + ", ".join(f"{name} {figures[name]['mean']:.3f}" for name in ("auc", "kappa", "kappa_of_mean"))
        )


if __name__ == "__main__":
    main()
