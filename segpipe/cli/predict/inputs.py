"""Opens what `--input` of predict names; what comes from a PACS leaves the disk when it is done with."""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from segpipe.cli.common.pacs_flags import read_password
from segpipe.errors import ConfigError
from segpipe.io.pacs.address import Address, is_address

if TYPE_CHECKING:
    from segpipe.inference.batch.scans import Scan


def parse_input(text: str) -> Path | Address:
    """Reads `--input`: a path, or a study or series at a DICOMweb address.

    Raises:
        ConfigError: for an address that names no study.
    """
    return Address.parse(text) if is_address(text) else Path(text)


def check_input(given: argparse.Namespace) -> None:
    """Checks the flags that belong to an address, and reads the password.

    Raises:
        ConfigError: when there is a path instead, or a user without a password.
    """
    flags = {"--user": given.user, "--password-env": given.password_env, "--authority": given.authority}
    if isinstance(given.input, Path) and any(flags.values()):
        raise ConfigError(
            "only a DICOMweb address takes these flags",
            facts={"found": ", ".join(flag for flag, value in flags.items() if value)},
            hint="give --input https://…/studies/… or leave them out",
        )
    given.password = read_password(given)


@contextmanager
def open_scans(given: argparse.Namespace) -> Iterator[Iterator[list["Scan"]]]:
    """Yields the scans of the input: all of a path, or of an address those of one series after the other.

    Scans can be read until the next ones are asked for or the block ends. Flags that speak of one scan need to know
    how many there are, and then the series of an address come together.

    Raises:
        ImageError: when there is nothing to predict.
        ServiceError: when the PACS is away or refuses.
    """
    from segpipe.inference.batch.scans import find_scans

    if isinstance(given.input, Path):
        yield iter([find_scans(given.input)])
        return
    from segpipe.inference.batch.pacs_scans import fetch_scans
    from segpipe.io.pacs.dicomweb.pacs import Pacs

    pacs = Pacs(given.input.base, user=given.user, password=given.password, authority=given.authority)
    with TemporaryDirectory(prefix="segpipe-", ignore_cleanup_errors=True) as folder:
        batches = fetch_scans(pacs, given.input, Path(folder))
        if given.prompt or given.follow_up:
            yield iter([list(chain.from_iterable(batches))])
        else:
            yield _one_by_one(batches, Path(folder))


def _one_by_one(batches: Iterator[list["Scan"]], folder: Path) -> Iterator[list["Scan"]]:
    """The same scans; what lies in the folder leaves when the next ones are asked for."""
    for scans in batches:
        yield scans
        for done in folder.iterdir():
            shutil.rmtree(done, ignore_errors=True)
