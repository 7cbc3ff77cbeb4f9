"""The phantom: generated thorax CTs with nodules whose truth is known, for first runs and tests without any data."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from segpipe.datasets.ingested_cases import CaseJob, IngestResult, make_cases
from segpipe.datasets.manifest import Entry, Manifest, Role
from segpipe.datasets.phantom.population import PhantomKind
from segpipe.errors import ConfigError, raise_together
from segpipe.labels import NODULE

GENERATOR = "4"  # raise it whenever the same seed gives other voxels
ONE_CLASS = {NODULE.value: NODULE.name}
PARTS = {1: "solid", 2: "ground_glass"}
PLAIN = PhantomKind()
_ROLES: tuple[Role, ...] = ("train", "train", "val", "test", *("train",) * 6)


def ensure_phantom(cache: Path, *, cases: int, seed: int, kind: PhantomKind = PLAIN) -> Manifest:
    """The phantom data set, generated once and kept in the cache folder.

    Args:
        cache: Where to keep it.
        cases: How many; more cases keep the ones that are there.
        seed: Another seed gives other patients.
        kind: What it is like.

    Raises:
        ConfigError: for less than one case or a negative seed.
        OutputError: when the cases cannot be written.
    """
    folder = cache / "-".join(("phantom", GENERATOR, str(seed), *kind.words))
    manifest, made = make_phantom(folder, cases=cases, seed=seed, kind=kind)
    raise_together(made.errors, headline="the phantom cannot be generated")
    return manifest


def make_phantom(
    folder: Path, *, cases: int, seed: int, workers: int | None = None, kind: PhantomKind = PLAIN
) -> tuple[Manifest, IngestResult]:
    """Generates what is missing of a phantom data set in a folder.

    Returns:
        The data set and what became of its cases.

    Raises:
        ConfigError: for less than one case or a negative seed.
    """
    if cases < 1 or seed < 0:
        raise ConfigError(
            "the phantom needs at least one case and a seed from 0 on", facts={"cases": cases, "seed": seed}
        )
    jobs = [
        CaseJob(
            phantom_id(number),
            " ".join((GENERATOR, str(seed), str(number), *kind.words)),
            partial(write_case, seed, number, kind=kind),
        )
        for number in range(cases)
    ]
    made = make_cases(jobs, folder, title="phantom", workers=workers)
    return Manifest("phantom", "phantom", made.entries, PARTS if kind.part_solid else ONE_CLASS), made


def phantom_id(number: int) -> str:
    """The case's name, numbered from 1."""
    return f"phantom_{number + 1:04d}"


def write_case(seed: int, number: int, folder: Path, *, kind: PhantomKind = PLAIN) -> Entry:
    """Generates one case and writes its image and mask below a folder."""
    from segpipe.datasets.phantom.generator import generate_case
    from segpipe.io.images.volumes import write_volume

    case = generate_case(seed, number, kind)
    name = phantom_id(number)
    entry = Entry(
        id=name,
        patient=name,
        image=write_volume(folder / "images" / f"{name}.nii.gz", case.image, case.grid),
        mask=write_volume(folder / "masks" / f"{name}.nii.gz", case.mask, case.grid),
        split=_ROLES[number % len(_ROLES)],
    )
    spacing = [round(mm, 4) for mm in case.grid.spacing_mm]
    facts = {"spacing_mm": spacing, "lesions": len(case.nodules), "nodules": case.nodules}
    return replace(entry, extra={**facts, **({"distractors": case.distractors} if case.distractors else {})})
