"""The HTTP side of the service; docs/interactive.md is its page, and /openapi.json is made of it."""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from segpipe.errors import ConfigError, ImageError, SegpipeError, ServiceError
from segpipe.inference.batch.memory import describe_bytes
from segpipe.io.images.volumes import write_volume
from segpipe.serving.interactive import messages
from segpipe.serving.interactive.opening import SENT, Sources
from segpipe.serving.interactive.sessions import ServiceFullError, Sessions, UnknownSessionError

_LOG = logging.getLogger("segpipe.serve")
_EXPIRE_EVERY_S = 30.0


class TooLargeError(SegpipeError):
    """More was sent than the service takes."""


_STATUS = {UnknownSessionError: 404, TooLargeError: 413, ServiceError: 502, ServiceFullError: 503}
_WRONG = 422


@dataclass(frozen=True)
class Door:
    """Who may call, and how much they may send.

    Args:
        user: For basic authentication, or None.
        password: Of that user.
        hosts: Names by which callers may call the service; a page on the web cannot pass for one of them.
        most_bytes: Of a scan that is sent.
    """

    user: str | None = None
    password: str | None = None
    hosts: Sequence[str] = ("localhost", "127.0.0.1", "[::1]")
    most_bytes: int = 2**30


def make_app(sessions: Sessions, sources: Sources, door: Door = Door()) -> FastAPI:
    """The service as an ASGI application."""
    app = FastAPI(
        title="segpipe serve --interactive",
        description="Segments the lesion that a reader points at. For research; not a medical device.",
        docs_url=None,  # its page would be fetched from elsewhere
        redoc_url=None,
        lifespan=_lifespan(sessions),
        dependencies=[Depends(_guard(door))] if door.user is not None else [],
        responses={_WRONG: {"model": messages.ErrorMessage}, 404: {"model": messages.ErrorMessage}},
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(door.hosts))
    app.add_exception_handler(SegpipeError, _explain)
    app.add_exception_handler(RequestValidationError, _explain_invalid)
    app.add_exception_handler(Exception, _explain_unforeseen)
    _add_opening(app, sessions, sources, door)
    _add_prompts(app, sessions)
    return app


def _add_opening(app: FastAPI, sessions: Sessions, sources: Sources, door: Door) -> None:
    idle_s = sessions.bounds.idle_s

    @app.get("/health")
    def health() -> messages.ServiceMessage:
        """The service and its model."""
        return messages.ServiceMessage.of(sessions.model, sessions.count)

    @app.post("/sessions/path", status_code=201)
    def open_path(wanted: messages.PathToOpen) -> messages.OpenedMessage:
        """Opens a scan below the service's root."""
        return messages.opened(*sessions.open(lambda: sources.read_path(wanted.path)), idle_s)

    @app.post("/sessions/series", status_code=201)
    def open_series(wanted: messages.SeriesToOpen) -> messages.OpenedMessage:
        """Opens a series of the service's PACS."""
        return messages.opened(*sessions.open(lambda: sources.read_series(wanted.study, wanted.series)), idle_s)

    @app.post("/sessions/scan", status_code=201)
    async def open_sent(
        request: Request, ending: Annotated[str, Query(description=f"one of {' '.join(SENT)}")] = ".nii.gz"
    ) -> messages.OpenedMessage:
        """Opens the scan that the body holds: an image file, or a zip file with one DICOM series."""
        if ending not in SENT:
            raise ImageError("a scan must be of a known kind", facts={"found": ending}, hint=f"one of {' '.join(SENT)}")
        with TemporaryDirectory(prefix="segpipe-", ignore_cleanup_errors=True) as folder:
            file = Path(folder) / f"scan{ending}"
            await _receive(request, file, door.most_bytes)
            name, session = await run_in_threadpool(sessions.open, lambda: sources.read_sent(file))
        return messages.opened(name, session, idle_s)

    @app.delete("/sessions/{name}", status_code=204)
    def close(name: str) -> None:
        """Closes a scan; a viewer that is done with one makes room for others."""
        sessions.close(name)


def _add_prompts(app: FastAPI, sessions: Sessions) -> None:
    @app.post("/sessions/{name}/prompts")
    def add_prompt(name: str, step: messages.PromptStep) -> messages.AnswerMessage:
        """Adds what the reader says, and answers with the lesion."""
        return messages.AnswerMessage.of(sessions.find(name).add(step.to_step()))

    @app.get("/sessions/{name}/prompts")
    def get_answer(name: str) -> messages.AnswerMessage:
        """The last answer once more."""
        return messages.AnswerMessage.of(sessions.find(name).answer)

    @app.post("/sessions/{name}/undo")
    def undo(name: str) -> messages.AnswerMessage:
        """Takes the last step back, and answers with the lesion as it was before."""
        return messages.AnswerMessage.of(sessions.find(name).undo())

    @app.post("/sessions/{name}/reset")
    def reset(name: str) -> messages.AnswerMessage:
        """Forgets all steps, e.g. to go on with another lesion of the scan."""
        sessions.find(name).reset()
        return messages.AnswerMessage.of(None)

    @app.get("/sessions/{name}/mask.nii.gz", response_class=Response)
    def get_mask(name: str) -> Response:
        """The mask of the last answer as NIfTI, with an affine of its own."""
        answer = sessions.find(name).answer
        if answer is None:
            raise ConfigError("there is no mask yet", hint="say where the lesion is first")
        with TemporaryDirectory(prefix="segpipe-") as folder:
            content = write_volume(Path(folder) / "mask.nii.gz", answer.mask, answer.grid).read_bytes()
        return Response(content, media_type="application/gzip")


def _lifespan(sessions: Sessions) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async def expire() -> None:
            while True:
                await asyncio.sleep(_EXPIRE_EVERY_S)
                sessions.expire()

        task = asyncio.create_task(expire())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return lifespan


def _guard(door: Door) -> Callable[[HTTPBasicCredentials], None]:
    def check(given: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> None:
        wanted = f"{door.user}:{door.password or ''}".encode()
        if not hmac.compare_digest(f"{given.username}:{given.password}".encode(), wanted):
            raise HTTPException(401, headers={"WWW-Authenticate": "Basic"})

    return check


async def _receive(request: Request, file: Path, most: int) -> None:
    """Writes the body to a file, piece by piece, and no more of it than allowed."""
    size = 0
    with file.open("wb") as stream:
        async for piece in request.stream():
            size += len(piece)
            if size > most:
                raise TooLargeError("the scan is too large to be sent", facts={"allowed": describe_bytes(most)})
            stream.write(piece)


async def _explain(_: Request, error: Exception) -> Response:
    assert isinstance(error, SegpipeError)
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), _WRONG)
    return JSONResponse(messages.ErrorMessage.of(error).model_dump(), status)


async def _explain_invalid(_: Request, error: Exception) -> Response:
    """What is wrong with a message, without what was in it."""
    assert isinstance(error, RequestValidationError)
    facts = {".".join(map(str, one["loc"])): str(one["msg"]) for one in error.errors()}
    shown = messages.ErrorMessage(
        error="RequestError", message="the message must be as /openapi.json says", facts=facts
    )
    return JSONResponse(shown.model_dump(), _WRONG)


async def _explain_unforeseen(_: Request, error: Exception) -> Response:
    """Says the kind alone, since texts may quote."""
    kind = type(error).__name__
    _LOG.error("the service fails: %s", kind)
    shown = messages.ErrorMessage(error=kind, message="something went wrong that nobody foresaw")
    return JSONResponse(shown.model_dump(), 500)
