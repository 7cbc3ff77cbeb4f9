"""Readers of XML, JSON, YAML and CSV that anybody may have written."""

import contextlib
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from segpipe.errors import DatasetError
from segpipe.geometry import Grid
from tests.fuzz.soak.reader import Reader, Try, any_of, file_reader, mutated, mutated_json
from tests.fuzz.test_plain_data import CONFIG, DESCRIPTION, FINDINGS, MANIFEST

MARKS = "seriesuid,coordX,coordY,coordZ,probability\n1.2,-3.5,4,5e1,0.5\n1.3,1,2,3,.25\n1.2,7,8,9,1\n"
FOUND = "scan,centre_x_mm,centre_y_mm,centre_z_mm,mean_probability\n1.2,-3.5,4,5e1,0.5\n1.3,1,2,3,.25\n"
ANNOTATIONS = "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2,-3.5,4,5e1,4.5\n1.3,1,2,3,6\n"
TABLE = 'case,patient,diameter_mm,StudyDate,note\na,p,12.5,20240131,x\nb,q,3,20240131,"y, z"\n'
CASES = "case,patient,dice,reference_mm3,tp,fp,fn\na,p,0.8,33.5,1,0,0\nb,q,,,0,1,0\n"
LESIONS = "case,patient,kind,number,diameter_mm,overlap\na,p,tp,1,4,0.8\nb,q,fn,1,,\n"


def _xml(folder: Path) -> Try:
    from segpipe.io.dicom.lidc_xml import mark_centre_mm, mark_masks, read_lidc_xml
    from segpipe.io.dicom.series.series import find_series
    from tests.samples.synthetic_dicom import ct_slices, save, thorax
    from tests.samples.synthetic_lidc import message, nodule, ratings, roi, square

    slices = ct_slices(thorax((9, 8, 7)))
    (series,) = find_series(save(slices, folder / "ct")).series
    places = [(float(item.ImagePositionPatient[2]), str(item.SOPInstanceUID)) for item in slices]
    drawn = nodule(*(roi(square(1, 6), z, uid=uid) for z, uid in places[2:4]), rated=ratings(texture=5, malignancy=0))
    small = nodule(roi([(2, 2)], places[4][0], uid=places[4][1]))
    content = message(series.identity.series_uid, [drawn, small], [drawn]).encode()

    def read() -> None:
        reading = read_lidc_xml(folder / "a.xml")
        for mark in reading.marks:
            mark_centre_mm(mark, series)
        for _, mask in mark_masks(reading, series):
            assert mask.shape == (9, 8, 7)

    return file_reader(folder / "a.xml", content, read)


def _json(folder: Path, *, name: str, valid: Any) -> Try:
    from segpipe.datasets.manifest import data_hash, read_manifest
    from segpipe.datasets.sources.decathlon import read_description
    from segpipe.datasets.splits import assign_roles
    from segpipe.inference.follow_up.comparing import read_predicted
    from segpipe.inference.thumbnail import RECORDS
    from segpipe.io.images.volumes import write_volume

    def read_dataset() -> None:
        manifest = read_manifest(folder)
        data_hash(manifest, lambda file: file.name)
        with contextlib.suppress(DatasetError):  # two cases without lesions have too little for roles
            assign_roles(manifest, fold=0, folds=2, seed=0)

    (folder / RECORDS).mkdir()
    write_volume(folder / RECORDS / "findings.nii.gz", np.zeros((4, 4, 4), np.int16), Grid((4, 4, 4), np.eye(4)))
    reads = {
        "manifest.json": read_dataset,
        "dataset.json": lambda: read_description(folder / name),
        "findings.json": lambda: read_predicted(folder / name),
    }

    def attempt(random: Random) -> object:
        (folder / name).write_bytes(mutated_json(random, valid))
        return reads[name]()

    return attempt


def _yaml(folder: Path) -> Try:
    import yaml

    from segpipe.system.files.plain_files import read_yaml

    content = yaml.safe_dump({**CONFIG, "anchor": {"a": [1, 2.5, None, "x"]}}).encode() + b"b: &b [1]\nc: [*b, *b]\n"
    return file_reader(folder / "a.yaml", content, lambda: read_yaml(folder / "a.yaml"))


def _marks(folder: Path) -> Try:
    from segpipe.evaluation.marks.mark_table import read_marks

    read = partial(read_marks, folder / "a.csv", ("1.2", "1.3"))
    return any_of({text: file_reader(folder / "a.csv", text.encode(), read) for text in (MARKS, FOUND)})


def _luna(folder: Path) -> Try:
    from segpipe.datasets.sources.luna import _read_spheres
    from segpipe.evaluation.marks.luna16 import read_luna16

    tables = {"annotations.csv": ANNOTATIONS, "annotations_excluded.csv": ANNOTATIONS, "seriesuids.csv": "1.2\n1.3\n"}

    def attempt(random: Random) -> None:
        changed = random.choice(list(tables))
        for name, text in tables.items():
            (folder / name).write_bytes(mutated(random, text.encode()) if name == changed else text.encode())
        read_luna16(folder)
        _read_spheres(folder / "annotations.csv")

    return attempt


def _table(folder: Path) -> Try:
    from segpipe.datasets.tables import read_table

    read = partial(read_table, folder / "a.csv", case_column="case", patient_column="patient")
    return file_reader(folder / "a.csv", TABLE.encode(), read)


def _evaluation(folder: Path) -> Try:
    from segpipe.evaluation.reading import read_evaluation

    files = {"cases.csv": CASES, "lesions.csv": LESIONS, "summary.json": '{"metrics": {"dice": {"mean": 0.8}}}'}

    def attempt(random: Random) -> object:
        changed = random.choice(list(files))
        for name, text in files.items():
            (folder / name).write_bytes(mutated(random, text.encode()) if name == changed else text.encode())
        return read_evaluation(folder, name="a")

    return attempt


PLAIN = (
    Reader("lidc_xml", 8, _xml),
    Reader("manifest", 20, partial(_json, name="manifest.json", valid=MANIFEST)),
    Reader("nnunet_json", 20, partial(_json, name="dataset.json", valid=DESCRIPTION)),
    Reader("findings_json", 20, partial(_json, name="findings.json", valid=FINDINGS)),
    Reader("yaml", 4, _yaml, (ValueError, OSError)),
    Reader("marks_csv", 20, _marks),
    Reader("luna_csv", 12, _luna),
    Reader("case_csv", 20, _table),
    Reader("evaluation", 12, _evaluation),
)
