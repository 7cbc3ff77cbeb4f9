"""`python -m segpipe serve --interactive`: viewers send prompts, and get mask and measurements."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.cli.common.compute_flags import memory_limit
from segpipe.cli.common.point_flags import wish_of
from segpipe.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from segpipe.inference.loaded_model import LoadedModel

_WORKER_FLAGS = ("state", "study", "all_dates", "once", "dicom_port", "dicom_host", "peer")
_LOCAL = ("localhost", "127.0.0.1", "::1")


def add_interactive_flags(add: Any) -> None:
    """Adds the flags of the interactive service."""
    add("--interactive", action="store_true", help="answer viewers instead of a PACS (docs/interactive.md)")
    add("--root", type=Path, metavar="DIR", help="viewers may open the scans below this folder")
    add("--sessions", type=int, default=8, metavar="N", help="scans open at a time (default: 8)")
    add("--idle", type=float, default=30.0, metavar="MIN", help="minutes without a call until one is closed (30)")
    add("--most-sent", default="1GB", metavar="SIZE", help="of a scan that a viewer sends (default: 1GB)")
    add("--name", action="append", default=[], metavar="HOST", help="a name by which viewers call this machine")


def check_interactive(given: argparse.Namespace) -> None:
    """Checks the flags of the interactive service against those of the worker.

    Raises:
        ConfigError: for flags that do not fit each other.
    """
    if not given.interactive:
        missing = [flag for flag in ("--dicomweb", "--state") if getattr(given, flag[2:]) is None]
        if missing:
            raise ConfigError(
                f"the following arguments are required: {', '.join(missing)}",
                hint="or --interactive; python -m segpipe serve --help",
            )
        return
    found = [f"--{name.replace('_', '-')}" for name in _WORKER_FLAGS if getattr(given, name)]
    if found:
        raise ConfigError(
            "these flags are for the worker of a PACS, not for --interactive", facts={"found": " ".join(found)}
        )
    if given.sessions < 1 or given.idle <= 0:
        raise ConfigError("--sessions must be at least 1 and --idle above 0")
    if given.host not in _LOCAL and given.page_user is None:
        raise ConfigError(
            "a service that other machines reach needs a user",
            facts={"host": given.host},
            hint="--page-user NAME --page-password-env VARIABLE, and --certificate and --key for TLS",
        )


def serve_interactive(given: argparse.Namespace) -> int:
    """Serves until it is asked to end; returns 0."""
    from segpipe.inference.batch.memory import parse_bytes
    from segpipe.io.pacs.dicomweb.pacs import Pacs
    from segpipe.serving.interactive.app import Door, make_app
    from segpipe.serving.interactive.opening import Sources
    from segpipe.serving.interactive.server import Listening, serve
    from segpipe.serving.interactive.sessions import Bounds, Sessions

    bounds = Bounds(given.sessions, memory_limit(given) or Bounds.memory, given.idle * 60)
    pacs = None
    if given.dicomweb:
        pacs = Pacs(given.dicomweb, user=given.user, password=given.password, authority=given.authority)
    sources = Sources(bounds.memory, given.root, pacs, given.dicomweb or "")
    hosts = (*Door.hosts, given.host, *given.name)
    door = Door(given.page_user, given.page_password, hosts, parse_bytes(given.most_sent))
    logging.getLogger("segpipe.predict").setLevel(logging.ERROR)  # remarks on a scan name it, and so its folder
    app = make_app(Sessions(_open_model(given), bounds), sources, door)
    serve(app, Listening(given.host, given.port, given.certificate, given.key))
    return 0


def _open_model(given: argparse.Namespace) -> "LoadedModel":
    """The model, at the operating point asked for; its network has run once, since the first time is slow.

    Raises:
        ModelError: for a model of whole scans.
    """
    import torch

    import segpipe
    from segpipe.geometry import round_up
    from segpipe.inference.operating_point import choose_point
    from segpipe.inference.options import PredictOptions

    model = segpipe.load_model(
        given.model, backend=given.backend, device=given.device, ratings=given.ratings, verify_key=given.verify_key
    )
    folder, recipe = model.folder, model.folder.recipe
    if recipe.scope != "voi":
        raise ModelError(
            "only a model of single lesions can follow a reader",
            facts={"model": given.model, "scope": recipe.scope},
            hint="give a model with recipe.scope=voi, or serve whole scans without --interactive",
        )
    point = choose_point(folder.operating_point, wish_of(given))
    model.options = PredictOptions.of_model(point, folder.operating_point)
    window = getattr(model.engine, "window", None) or round_up(recipe.patch, folder.divisor)
    model.engine(torch.zeros(1, 1, *window))
    return model
