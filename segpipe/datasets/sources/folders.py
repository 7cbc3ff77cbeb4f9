"""A data set from folders of scans and masks of the same name, with patients and ratings from a table."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from segpipe.datasets.manifest import Entry, Manifest
from segpipe.datasets.tables import COLUMN_WORDS, Row, harmless_numbers, name_patients, read_rows, read_table
from segpipe.errors import DatasetError
from segpipe.io.images.volumes import list_volumes, volume_name
from segpipe.labels import NODULE

LAYOUTS = (("images", "masks"), ("imagesTr", "labelsTr"))
ONE_CLASS = {NODULE.value: NODULE.name}
_LISTED = frozenset({"case", "patient", "image", "mask"})
_CHANNEL = re.compile(r"_0000$")  # nnU-Net's name for the first channel


def find_cases(
    root: Path,
    *,
    table: str | None = None,
    case_column: str = "case",
    patient_column: str = "patient",
    names: Mapping[int, str] = ONE_CLASS,
) -> Manifest:
    """Pairs `images/` with `masks/` (or `imagesTr/` with `labelsTr/`) by file name.

    Case ids are the file names, which the user chose; patients are renamed `patient_0001`…, and of the table only
    numeric columns that cannot identify anybody are kept, so that nothing private leaves with a run.

    Args:
        root: The folder that holds both.
        table: CSV in `root` that names each case's patient; without it every case is its own patient.
        case_column: The table's column with the file names (without ending).
        patient_column: The table's column with the patient.
        names: Mask value → name.

    Raises:
        DatasetError: for missing folders or tables, images without mask or the reverse, or cases not in the table.
    """
    images, masks = _layout(root)
    pairs = _pair(_by_name(images), _by_name(masks), images, masks)
    rows = read_table(root / table, case_column=case_column, patient_column=patient_column) if table else None
    if rows is None:
        rows = {case: Row(case, {}) for case in pairs}
    _require_all(set(pairs), rows, table)
    renamed = name_patients([rows[case].patient for case in pairs])
    entries = [
        Entry(case, renamed[rows[case].patient], image, mask, extra=dict(rows[case].numbers) or None)
        for case, (image, mask) in pairs.items()
    ]
    return Manifest(root.resolve().name, "nifti", tuple(entries), dict(names))


def find_scans(
    root: Path, *, table: str | None = None, case_column: str = "case", patient_column: str = "patient"
) -> Manifest:
    """Lists the scans of `images/` or `imagesTr/` without masks, whether there are any or not; see `find_cases`.

    Raises:
        DatasetError: for a missing folder or table, no scans, or cases not in the table.
    """
    images = next((root / name for name, _ in LAYOUTS if (root / name).is_dir()), root)
    scans = _by_name(images) if images.is_dir() else {}
    if not scans:
        facts = {"folder": images, "wanted": "images/, or scans in the folder itself"}
        raise DatasetError("a data folder must hold scans", facts=facts, hint="data.root=FOLDER")
    rows = read_table(root / table, case_column=case_column, patient_column=patient_column) if table else None
    if rows is None:
        rows = {case: Row(case, {}) for case in scans}
    _require_all(set(scans), rows, table)
    renamed = name_patients([rows[case].patient for case in sorted(scans)])
    entries = [Entry(case, renamed[rows[case].patient], scans[case], None) for case in sorted(scans)]
    return Manifest(root.resolve().name, "nifti", tuple(entries), dict(ONE_CLASS))


def find_listed_cases(table: Path, *, names: Mapping[int, str] = ONE_CLASS) -> Manifest:
    """Reads a CSV with the columns `image` and `mask` (paths, relative to the CSV) and, if there, `case` and `patient`.

    A scan without mask has an empty one.

    Raises:
        DatasetError: for a missing table or column, an empty table or a case that comes twice.
    """
    rows = read_rows(table, required=("image", "mask"))
    if not rows:
        raise DatasetError("the data set is empty", facts={"table": table})
    cases = [row.get("case", "").strip() or volume_name(Path(row["image"].strip())) for row in rows]
    twice = sorted(case for case, times in Counter(cases).items() if times > 1)
    if twice:
        raise DatasetError("a table must list each case once", facts={"table": table, "twice": _some(twice)})
    patients = [row.get("patient", "").strip() or case for row, case in zip(rows, cases, strict=True)]
    renamed = name_patients(patients)
    entries = [
        Entry(
            case,
            renamed[patient],
            table.parent / row["image"].strip(),
            table.parent / row["mask"].strip() if row["mask"].strip() else None,
            extra=harmless_numbers({key: value for key, value in row.items() if key not in _LISTED}) or None,
        )
        for case, patient, row in zip(cases, patients, rows, strict=True)
    ]
    return Manifest(table.stem, "nifti", tuple(entries), dict(names))


def _layout(root: Path) -> tuple[Path, Path]:
    for images, masks in LAYOUTS:
        if (root / images).is_dir() and (root / masks).is_dir():
            return root / images, root / masks
    raise DatasetError(
        "a data folder must hold scans and masks",
        facts={"folder": root, "wanted": " or ".join(f"{images}/ and {masks}/" for images, masks in LAYOUTS)},
        hint="name such a folder with --input (data.root in training), or a CSV with the columns image and mask",
    )


def _by_name(folder: Path) -> dict[str, Path]:
    names: dict[str, Path] = {}
    for file in list_volumes(folder):
        name = _CHANNEL.sub("", volume_name(file)) if folder.name == "imagesTr" else volume_name(file)
        if name in names:
            raise DatasetError(
                "each case must be one file", facts={"case": name, "files": f"{names[name].name}, {file.name}"}
            )
        names[name] = file
    return names


def _pair(
    images: Mapping[str, Path], masks: Mapping[str, Path], image_folder: Path, mask_folder: Path
) -> dict[str, tuple[Path, Path]]:
    if not images and not masks:
        raise DatasetError("the data set is empty", facts={"folder": image_folder})
    lonely_images, lonely_masks = sorted(set(images) - set(masks)), sorted(set(masks) - set(images))
    if lonely_images or lonely_masks:
        raise DatasetError(
            "each scan must have a mask of the same name",
            facts={
                f"only in {image_folder.name}/": _some(lonely_images),
                f"only in {mask_folder.name}/": _some(lonely_masks),
            },
            hint="a scan without any lesion needs a mask of zeros; predict takes scans without masks",
        )
    return {name: (images[name], masks[name]) for name in sorted(images)}


def _require_all(cases: set[str], rows: Mapping[str, Row], table: str | None) -> None:
    missing = sorted(case for case in cases if case not in rows or not rows[case].patient)
    if missing:
        raise DatasetError(
            "the table must name the patient of every case",
            facts={"table": table, "missing": _some(missing)},
            hint=f"add rows, or name the right columns with {COLUMN_WORDS}",
        )


def _some(names: list[str]) -> str:
    return f"{len(names)}: " + ", ".join(names[:8]) + (" …" if len(names) > 8 else "") if names else "none"
