"""Real nodules in other lungs, with known truth: a data set for detection out of a few scans without annotation."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from segpipe.datasets.implanting.groups import Group, deal_groups, without_hosts_own
from segpipe.datasets.ingested_cases import CaseJob, IngestResult, make_cases
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.errors import ConfigError, DatasetError, raise_together
from segpipe.labels import NODULE
from segpipe.system.files.csv_table import write_csv

GENERATOR = "3"  # raise it whenever the same seed gives other voxels
TABLE = "implants.csv"
COLUMNS = ("case", "host", "nodule", "place", "diameter_mm", "volume_mm3", "x_mm", "y_mm", "z_mm", "added_noise_hu")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImplantSettings:
    """What is made of hosts and nodules.

    Args:
        copies: Versions of each host.
        per_scan: Nodules in each version.
        healthy: Share of the versions that get none.
        seed: Another one gives other nodules at other places.
    """

    copies: int
    per_scan: int
    healthy: float
    seed: int

    def nodules_in(self, version: int) -> int:
        """How many nodules a version of a host gets; the healthy ones are spread evenly among the versions."""
        return 0 if int((version + 1) * self.healthy) > int(version * self.healthy) else self.per_scan


def ensure_implanted(cache: Path, *, hosts: Manifest, nodules: Manifest, settings: ImplantSettings) -> Manifest:
    """The data set of implanted nodules, made once and kept in the cache folder.

    Raises:
        ConfigError: for settings that cannot be.
        DatasetError: when no hosts or no nodules are left, or masks are spheres.
        SegpipeError: naming every host that cannot be used.
    """
    inputs = [_identity(entry) for manifest in (hosts, nodules) for entry in manifest.entries]
    digest = hashlib.sha256(repr((settings, inputs)).encode()).hexdigest()[:12]
    folder = cache / f"implanted-{GENERATOR}-{digest}"
    manifest, made = make_implanted(folder, hosts=hosts, nodules=nodules, settings=settings)
    for note in made.notes:
        log.info("%s", note)
    raise_together(made.errors, headline="nodules cannot be implanted")
    return manifest


def make_implanted(
    folder: Path, *, hosts: Manifest, nodules: Manifest, settings: ImplantSettings, workers: int | None = None
) -> tuple[Manifest, IngestResult]:
    """Makes what is missing of such a data set in a folder, and `implants.csv`: which nodule lies where.

    Args:
        folder: Where it is kept.
        hosts: Scans, with their known lesions or without any.
        nodules: Scans or crops around nodules, with masks.
        settings: See `ImplantSettings`.
        workers: See `make_cases`.

    Returns:
        The data set and what became of its cases. The patient of a case is a group of patients, see `deal_groups`.

    Raises:
        ConfigError: for settings that cannot be.
        DatasetError: when no hosts or no nodules are left, or masks are spheres.
    """
    _check(settings)
    _check_outlines(hosts, nodules)
    usable = without_hosts_own(hosts, nodules)
    groups = deal_groups(hosts.entries, usable, seed=settings.seed)
    jobs = [job for group in groups for job in _jobs(group, hosts, nodules, settings)]
    made = make_cases(sorted(jobs, key=lambda job: job.id), folder, title="implanted", workers=workers)
    if made.new or not (folder / TABLE).is_file():
        _write_table(made.entries, folder)
    notes = tuple(_notes(made.entries, len(nodules.entries) - len(usable)))
    name = "phantom" if hosts.source == "phantom" else hosts.name
    manifest = Manifest(f"implanted_{name}", "implanted", made.entries, {NODULE.value: NODULE.name})
    return manifest, replace(made, notes=notes)


def _check(settings: ImplantSettings) -> None:
    bad = settings.copies < 1 or settings.per_scan < 1 or not 0 <= settings.healthy < 1 or settings.seed < 0
    if bad:
        raise ConfigError(
            "copies and nodules per scan must be at least 1, the healthy share in 0 … 1 but not 1, the seed at least 0",
            facts={"found": settings},
        )


def _check_outlines(hosts: Manifest, nodules: Manifest) -> None:
    for what, manifest in (("hosts", hosts), ("nodules", nodules)):
        spheres = [entry.id for entry in manifest.entries if (entry.extra or {}).get("sphere")]
        if spheres:
            raise DatasetError(
                "hosts and nodules must have outlines, or hosts no mask; spheres around nodules are none",
                facts={what: manifest.name, "spheres": f"{len(spheres)} of {len(manifest.entries)}: {spheres[0]} …"},
                hint="take their masks out of manifest.json where nodules in the hosts may count as healthy",
            )


def _jobs(group: Group, hosts: Manifest, nodules: Manifest, settings: ImplantSettings) -> Iterator[CaseJob]:
    from segpipe.datasets.implanting.implanted_case import CaseRequest, write_implanted

    pool = [_identity(entry) for entry in group.nodules]
    for host in group.hosts:
        for version in range(settings.copies):
            request = CaseRequest(
                id=f"{host.id}_v{version + 1:02d}",
                group=group.name,
                host=host,
                nodules=group.nodules,
                names=(hosts.labels, nodules.labels),
                wanted=settings.nodules_in(version),
                seed=(settings.seed, version),
            )
            key = repr((GENERATOR, _identity(host), pool, group.name, request.names, request.wanted, request.seed))
            yield CaseJob(request.id, key, partial(write_implanted, request))


def _identity(entry: Entry) -> str:
    """What a made case depends on of an entry: its name, its patient, and its files' names, sizes and times."""
    stats = [file.stat() for file in (entry.image, entry.mask) if file and file.exists()]
    return repr((entry.id, entry.patient, entry.image.name, [(stat.st_size, stat.st_mtime_ns) for stat in stats]))


def _write_table(entries: tuple[Entry, ...], folder: Path) -> None:
    rows = []
    for entry in entries:
        for implant in (entry.extra or {}).get("implants", ()):
            facts = {name: value for name, value in implant.items() if name != "centre_mm"}
            place = dict(zip(("x_mm", "y_mm", "z_mm"), implant["centre_mm"], strict=True))
            rows.append({"case": entry.id, "host": (entry.extra or {})["host"], **facts, **place})
    write_csv(folder / TABLE, rows, COLUMNS, what="the table of implants")


def _notes(entries: tuple[Entry, ...], own: int) -> Iterator[str]:
    facts = [entry.extra or {} for entry in entries]
    wanted, placed = sum(fact["wanted"] for fact in facts), sum(len(fact["implants"]) for fact in facts)
    yield f"{placed} nodules implanted, {wanted} wanted: {TABLE} says which lies where"
    if own:
        yield f"{own} nodules are not used: they or others of their patients were cut from a host"
    unusable = sorted({name for fact in facts for name in fact.get("unusable", ())})
    if unusable:
        some = ", ".join(unusable[:8]) + (" …" if len(unusable) > 8 else "")
        yield f"nodules that cannot be read or have no lung around them are not used: {some}"
