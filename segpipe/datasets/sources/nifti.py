"""Makes a data set of image files: folders of scans and masks of the same names, or a CSV that lists them."""

from dataclasses import replace
from functools import partial

from segpipe.datasets.ingested_cases import CaseJob, IngestResult, make_cases
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.datasets.sources.base import IngestRequest
from segpipe.datasets.sources.case_names import names_a_person, rename_cases
from segpipe.datasets.sources.folders import find_cases, find_listed_cases
from segpipe.datasets.sources.image_files import take_in
from segpipe.labels import parse_names


def ingest_nifti(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    """See `Source.read`."""
    assert request.input is not None
    if request.input.is_file():
        found = find_listed_cases(request.input, names=parse_names(request.label))
    else:
        columns = {key: request.options[key] for key in ("table", "case_column", "patient_column")}
        found = find_cases(request.input, **columns, names=parse_names(request.label))
    copy = bool(request.options["copy"])
    found, notes = _named(found, request)
    jobs = [
        CaseJob(entry.id, _identity(entry, copy=copy), partial(take_in, entry, found.labels, copy=copy))
        for entry in found.entries
    ]
    made = make_cases(jobs, request.output, title="nifti", workers=request.workers, shard=request.shard)
    return replace(found, entries=made.entries), replace(made, notes=notes)


def _named(found: Manifest, request: IngestRequest) -> tuple[Manifest, tuple[str, ...]]:
    """Cases are called as their files, unless the user wants other names or those may reveal a person."""
    personal = sum(names_a_person(entry.id) for entry in found.entries)
    if not personal and not request.options["rename"]:
        unused = ("cases are called as their files, so --keep-ids has nothing to write; --rename calls them otherwise",)
        return found, unused if request.options["keep_ids"] else ()
    entries = rename_cases(found.entries, request.output, keep_ids=request.options["keep_ids"])
    why = f"{personal} of {len(entries)} names hold a UID, a date or a person's name, so " if personal else ""
    note = f"{why}cases are called {entries[0].id} …; --keep-ids writes who is who"
    warning = (
        () if request.options["copy"] else ("manifest.json still says where the files are; --copy leaves that out",)
    )
    return replace(found, name=request.output.resolve().name, entries=entries), (note, *warning)


def _identity(entry: Entry, *, copy: bool) -> str:
    """What an ingested case depends on: its files' names, sizes and times, and all that is known of it."""
    stats = [file.stat() for file in (entry.image, entry.mask) if file and file.exists()]
    return repr((entry, copy, [(stat.st_size, stat.st_mtime_ns) for stat in stats]))
