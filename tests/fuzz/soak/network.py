"""Readers of what a PACS or a viewer sends."""

import json
from io import BytesIO
from pathlib import Path
from random import Random

from pydantic import ValidationError

from segpipe.errors import SegpipeError
from tests.fuzz.soak.reader import Reader, Try, file_reader, mutated, mutated_json

STEP = {"positives": [[9.0, -22, 35]], "negatives": [], "box": [[8, -23, 31], [9.5, -20.5, 40.0]], "line": None}


def _dicom_json(folder: Path) -> Try:
    from segpipe.io.pacs.dicomweb.dicom_json import OddValueError, integer_of, read_entries, text_of, uid_of
    from tests.peers.fake_pacs import entry

    valid = [entry(series=f"1.2.{number}", count=number, t00180015="CHEST") for number in range(3)]
    readers = (uid_of, integer_of, text_of)

    def attempt(random: Random) -> None:
        content = mutated_json(random, valid)
        size = random.randint(1, len(content) or 1)
        for one in read_entries(content[start : start + size] for start in range(0, len(content), size)):
            for tag in valid[0]:
                for read in readers:
                    try:
                        read(one, tag)
                    except OddValueError:
                        continue

    return attempt


def _multipart(folder: Path) -> Try:
    from segpipe.io.pacs.dicomweb.multipart import boundary_of, parts
    from tests.peers.fake_pacs import multipart

    kind, body = b'multipart/related; type="application/dicom"; boundary="x"', multipart([b"one" * 99, b"two" * 9])

    def attempt(random: Random) -> None:
        if random.random() < 0.2:
            boundary_of(mutated(random, kind).decode("latin-1"))
        content, mark = mutated(random, body), body[2 : body.index(b"\r\n")]
        size = random.randint(1, len(content) or 1)
        pieces = (content[start : start + size] for start in range(0, len(content), size))
        for part in parts(pieces, mark, most=500):
            assert sum(map(len, part)) <= 500

    return attempt


def _instance_head(folder: Path) -> Try:
    from segpipe.io.pacs.instance_head import read_uids
    from tests.samples.synthetic_dicom import ct_slices, thorax

    ct_slices(thorax((4, 4, 2)))[0].save_as(stream := BytesIO(), enforce_file_format=True)
    valid = stream.getvalue()
    return lambda random: read_uids(BytesIO(mutated(random, valid)))


def _prompt(folder: Path) -> Try:
    from segpipe.inference.prompts.prompt import check_prompt
    from segpipe.serving.interactive.messages import PromptStep, SeriesToOpen
    from segpipe.serving.interactive.session import together
    from tests.fuzz.soak.images import GRID

    def attempt(random: Random) -> None:
        content = mutated_json(random, STEP)
        check_prompt(together([PromptStep.model_validate_json(content).to_step()]), GRID)
        SeriesToOpen.model_validate_json(mutated(random, json.dumps({"study": "1.2", "series": "1.3"}).encode()))

    return attempt


def _key(folder: Path) -> Try:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from segpipe.export.signature import read_public_key

    key = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    forms = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return file_reader(folder / "a.pem", key.public_bytes(*forms), lambda: read_public_key(folder / "a.pem"))


NETWORK = (
    Reader("dicom_json", 20, _dicom_json, (ValueError, RecursionError, SegpipeError)),
    Reader("multipart", 20, _multipart, (ValueError, EOFError)),
    Reader("instance_head", 20, _instance_head, (ValueError,)),
    Reader("prompt", 20, _prompt, (ValidationError, SegpipeError)),
    Reader("public_key", 12, _key),
)
