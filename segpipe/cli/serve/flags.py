"""The flags of `python -m segpipe serve`, checked as far as they can be without model and PACS."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segpipe.cli.common.compute_flags import add_compute_flags, add_memory_flag
from segpipe.cli.common.flags import VerbParser
from segpipe.cli.common.model_flags import add_model_flag, add_ratings_flag
from segpipe.cli.common.pacs_flags import add_pacs_flags, read_password, read_secret
from segpipe.cli.common.point_flags import add_point_flags
from segpipe.cli.serve.interactive import add_interactive_flags, check_interactive
from segpipe.errors import ConfigError


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line of `serve`.

    Raises:
        ConfigError: for unknown, missing or contradicting flags.
    """
    given = _parser().parse_args(argv)
    check_interactive(given)
    if given.dicom_port is not None and not given.peer:
        raise ConfigError("a receiver must know who may send", hint="add --peer AET@ADDRESS for each sender")
    if (given.peer or given.dicom_host) and given.dicom_port is None:
        raise ConfigError("--peer and --dicom-host need --dicom-port")
    if bool(given.certificate) != bool(given.key):
        raise ConfigError("--certificate and --key belong together")
    if given.queue_size < 1 or given.stable < 0 or given.poll <= 0 or given.days < 0:
        raise ConfigError("--queue-size must be at least 1, --poll above 0, --stable and --days not negative")
    given.password = read_password(given)
    given.page_password = read_secret(given.page_user, given.page_password_env, flag="--page-password-env")
    return given


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser("serve", description="Answers the chest CT series of a PACS with segmentation and report.")
    add = parser.add_argument
    add_model_flag(add)
    add("--dicomweb", metavar="URL", help="of the PACS, e.g. https://pacs.example/dicom-web")
    add("--state", type=Path, metavar="DIR", help="queue and what is on its way; keep it")
    add_pacs_flags(add)
    _add_choice(parser.add_argument_group("which series").add_argument)
    add_interactive_flags(parser.add_argument_group("answer viewers").add_argument)
    _add_receiver(parser.add_argument_group("receive by C-STORE").add_argument)
    _add_page(parser.add_argument_group("health page").add_argument)
    findings = parser.add_argument_group("what is a finding").add_argument
    add_point_flags(findings)
    add_ratings_flag(findings)
    how = parser.add_argument_group("how to compute").add_argument
    add_compute_flags(how)
    add_memory_flag(how)
    return parser


def _add_choice(add: Any) -> None:
    add("--study", action="append", default=[], metavar="UID", help="only this study; may be repeated")
    add("--days", type=int, default=2, metavar="N", help="studies at most so old (default: 2)")
    add("--all-dates", action="store_true", help="studies of any age")
    add("--stable", type=float, default=30.0, metavar="S", help="whole after so many seconds without growth (30)")
    add("--poll", type=float, default=10.0, metavar="S", help="seconds between two looks (default: 10)")
    add("--queue-size", type=int, default=1000, metavar="N", help="series that may wait (default: 1000)")
    add("--once", action="store_true", help="end when everything that waits now is answered")


def _add_receiver(add: Any) -> None:
    add("--dicom-port", type=int, metavar="PORT", help="listen there")
    add("--dicom-host", metavar="ADDRESS", help="listen on this address (default: where the peers can come from)")
    add("--aet", default="SEGPIPE", metavar="TITLE", help="own AE title (default: SEGPIPE)")
    add("--peer", action="append", default=[], metavar="AET@ADDRESS", help="who may send; may be repeated")


def _add_page(add: Any) -> None:
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    add("--port", type=int, default=8080, help="default: 8080")
    add("--page-user", metavar="NAME", help="who may look")
    add("--page-password-env", metavar="VARIABLE", help="environment variable that holds the password")
    add("--certificate", type=Path, metavar="PEM", help="for TLS")
    add("--key", type=Path, metavar="PEM", help="for TLS")
