"""Files of plain data with any value at any place: read or refused with one message."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from segpipe.datasets.manifest import data_hash, read_manifest
from segpipe.datasets.sources.decathlon import read_description
from segpipe.datasets.splits import assign_roles
from segpipe.inference.follow_up.comparing import read_findings
from segpipe.pipelines.reexport import reexport
from segpipe.training.resuming.settings import check_resume
from tests.fuzz.mutations import ODD_VALUES, fuzz, places_in, read_or_refuse, with_value

MANIFEST = {
    "format": "segpipe-manifest-1", "name": "n", "source": "nifti", "labels": {"1": "nodule"},
    "cases": [
        {"id": "a", "patient": "p", "image": "a", "mask": "b", "split": "test", "extra": {"diameter_mm": 3.5}},
        {"id": "b", "patient": "q", "image": "b"},
    ],
}  # fmt: skip
DESCRIPTION = {
    "channel_names": {"0": "CT"}, "labels": {"background": 0, "nodule": 1}, "numTraining": 1, "file_ending": ".nii.gz",
    "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}], "test": ["./imagesTs/b.nii.gz"],
}  # fmt: skip
FINDING = {
    "number": 1, "label": "nodule", "centre_mm": [1.0, 2.0, 3.0], "centre_lps_mm": [-1.0, -2.0, 3.0], "volume_mm3": 9.0,
    "longest_diameter_mm": 3.0, "mean_probability": 0.5, "side": "left",
}  # fmt: skip
FINDINGS = {
    "format": "segpipe-findings-1", "scan": "a", "recipe": "0123",
    "grid": {"shape": [9, 9, 9], "affine_ras_mm": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]},
    "findings": [FINDING],
}  # fmt: skip
CONFIG = {
    "evaluation": {"weights": "last"}, "data": {"name": "nifti", "root": "/absent"}, "scheduler": {"name": "one_cycle"},
    "optimizer": {"name": "adamw", "lr": 1e-3}, "network": {"name": "unet"}, "seed": 0,
}  # fmt: skip


def _use_manifest(folder):
    (folder / "a").write_bytes(b"a")
    (folder / "b").write_bytes(b"b")
    manifest = read_manifest(folder)
    data_hash(manifest)
    assign_roles(manifest, fold=0, folds=2, seed=0)


def _use_config(folder):
    read_or_refuse(lambda: reexport(folder, folder / "out"))
    check_resume(CONFIG, folder)


@pytest.mark.parametrize(
    ("name", "valid", "use", "share"),
    [
        ("manifest.json", MANIFEST, _use_manifest, 0.5),
        ("dataset.json", DESCRIPTION, lambda folder: read_description(folder / "dataset.json"), 0.5),
        ("a.json", FINDINGS, lambda folder: read_findings(folder / "a.json"), 0.5),
        ("config.yaml", CONFIG, _use_config, 0.1),  # each of which is composed and checked whole
    ],
)
def test_any_value_at_any_place(tmp_path, name, valid, use, share):
    places = [(), *sorted(places_in(valid), key=str)]
    dump = yaml.safe_dump if name.endswith(".yaml") else json.dumps

    @fuzz(share)
    @given(st.sampled_from(places), st.sampled_from(ODD_VALUES))
    def check(place, value):
        (tmp_path / name).write_text(dump(with_value(valid, place, value) if place else value))
        read_or_refuse(lambda: use(tmp_path))

    check()
