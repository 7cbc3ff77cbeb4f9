"""Opens the data set that a run names: the phantom, folders of scans, a manifest, or nodules in other lungs."""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from segpipe.datasets.manifest import Manifest, data_hash, read_manifest
from segpipe.datasets.samples import find_data
from segpipe.datasets.sources.folders import find_cases, find_scans
from segpipe.labels import LabelMap
from segpipe.preprocessing.cache.file_digests import content_digest, digest_memory


def open_dataset(name: str, options: Mapping[str, Any], *, labels: LabelMap, cache: Path) -> Manifest:
    """Lists the cases of a data set.

    Args:
        name: `phantom`, `nifti`, `manifest` or `implanted`.
        options: The keys of that data set, e.g. `root`.
        labels: The classes of the recipe; masks in folders hold their values, unless `labels` of the options says what
            they hold.
        cache: Where generated data is kept.

    Raises:
        DatasetError: when there is nothing to use.
    """
    if name == "phantom":
        from segpipe.datasets.phantom import ensure_phantom
        from segpipe.datasets.phantom.population import PhantomKind

        known = {key: options[key] for key in ("part_solid", "sizes", "distractors") if key in options}
        return ensure_phantom(cache, cases=options["cases"], seed=options["phantom_seed"], kind=PhantomKind(**known))
    if name == "implanted":
        return _open_implanted(options, cache)
    root = find_data(options["root"])
    if name == "manifest":
        return read_manifest(root)
    columns = {key: options[key] for key in ("table", "case_column", "patient_column")}
    return find_cases(root, **columns, names=options.get("labels") or labels.mask_names)


def open_scans(name: str, options: Mapping[str, Any], *, labels: LabelMap, cache: Path) -> Manifest:
    """Lists the scans of a data set as `open_dataset` does, without their masks, which folders need not have.

    Raises:
        DatasetError: when there is nothing to use.
    """
    if name == "nifti":
        columns = {key: options[key] for key in ("table", "case_column", "patient_column")}
        return find_scans(find_data(options["root"]), **columns)
    opened = open_dataset(name, options, labels=labels, cache=cache)
    return opened.with_entries([replace(entry, mask=None) for entry in opened.entries])


def open_older(root: str, options: Mapping[str, Any], *, names: Mapping[int, str], labelled: bool = True) -> Manifest:
    """Lists the cases of a data set that a run rehearses: one with a manifest, or folders of scans and masks.

    Args:
        root: Its folder.
        options: Of the new data set: an old one of folders has its patients in a table of the same name, if it has it.
        names: Mask value → name in the new data set, which folders do not say.
        labelled: Whether masks are wanted.

    Raises:
        DatasetError: when there is nothing to use.
    """
    folder = find_data(root)
    if (folder / "manifest.json").is_file():
        opened = read_manifest(folder)
        return opened if labelled else opened.with_entries([replace(entry, mask=None) for entry in opened.entries])
    table = options.get("table")
    columns = {key: options[key] for key in ("table", "case_column", "patient_column")} if table else {}
    given = columns if table and (folder / table).is_file() else {}
    return find_cases(folder, **given, names=names) if labelled else find_scans(folder, **given)


def _open_implanted(options: Mapping[str, Any], cache: Path) -> Manifest:
    from segpipe.datasets.implanting import ImplantSettings, ensure_implanted
    from segpipe.datasets.sources.implanted import open_nodules

    settings = ImplantSettings(options["copies"], options["per_scan"], options["healthy"], options["implant_seed"])
    hosts = read_manifest(Path(options["hosts"]).expanduser())
    nodules = open_nodules(Path(options["nodules"]).expanduser(), options)
    return ensure_implanted(cache, hosts=hosts, nodules=nodules, settings=settings)


def quick_hash(manifest: Manifest, prepared: Path) -> str:
    """`data_hash`, for which files are read that nobody has read before or that have changed since.

    Args:
        manifest: The cases.
        prepared: See `prepared_folder`; the digests of the files are kept there.
    """
    return data_hash(manifest, partial(content_digest, memory=digest_memory(prepared)))


def prepared_folder(cache: Path) -> Path:
    """Where a cache folder keeps prepared cases."""
    return cache / "prepared"


def cache_folder(named: str | None) -> Path:
    """The named cache folder, else `$SEGPIPE_CACHE`, else `~/.cache/segpipe`."""
    return Path(named or os.environ.get("SEGPIPE_CACHE") or "~/.cache/segpipe").expanduser()
