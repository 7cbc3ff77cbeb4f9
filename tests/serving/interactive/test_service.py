"""A viewer talks to the service, a process of its own, over HTTP alone."""

import base64
import gzip
import json
import signal
import urllib.error
import urllib.request
from pathlib import Path

import nibabel
import numpy as np
import pytest

from segpipe.__main__ import main
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume
from tests.samples.small_models import VOI, without_onnx_export, write_small
from tests.support.processes import Process

pytestmark = pytest.mark.slow  # a server is started
AFFINE = np.array([[-1.0, 0, 0, 20], [0, -1.0, 0, 30], [0, 0, 1.5, -40], [0, 0, 0, 1]])
GRID = Grid((40, 36, 24), AFFINE)
INSIDE, OUTSIDE = [0.0, 12.0, -22.0], [0.0, 12.0, -37.0]
SECRET = "Doe^Jane"


def serve(*words):
    return main(["serve", "--interactive", "--port", "0", *words])


class Viewer:
    """The service as a viewer sees it."""

    def __init__(self, address):
        self.address = address

    def call(self, method, path, content=None, *, expect=200, headers=None):
        """The answer, read as JSON where it is some."""
        data = content if isinstance(content, bytes | None) else json.dumps(content).encode()
        given = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(self.address + path, data=data, method=method, headers=given)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                status, kind, body = answer.status, answer.headers.get_content_type(), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, kind, body = error.code, error.headers.get_content_type(), error.read()
        assert status == expect, body
        return json.loads(body) if kind == "application/json" and body else body


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    image = np.random.default_rng(0).normal(-850, 30, GRID.shape).astype(np.int16)
    image[16:25, 14:23, 9:16] = 40
    write_volume(folder / "scans" / f"{SECRET}.nii.gz", image, GRID)
    with without_onnx_export():
        model = write_small(folder / "model", recipe=VOI, about={}).path
    words = ["--model", str(model), "--root", str(folder / "scans"), "--sessions", "3", "--most-sent", "1MB"]
    process = Process(serve, *words, cwd=folder, log=folder / "log")
    line = process.wait_for(lambda: [line for line in log_of(folder).splitlines() if line.startswith("listening on")])
    viewer = Viewer(line[0].split()[-1])
    viewer.scan = folder / "scans" / f"{SECRET}.nii.gz"
    yield viewer
    assert process.end(signal.SIGTERM) == 0
    assert SECRET not in log_of(folder)
    assert "Traceback" not in log_of(folder)


def log_of(folder):
    return (folder / "log").read_text() if (folder / "log").exists() else ""


@pytest.fixture
def session(service):
    opened = service.call("POST", "/sessions/path", {"path": service.scan.name}, expect=201)
    np.testing.assert_allclose(opened["grid"]["affine_ras_mm"], AFFINE)
    yield f"/sessions/{opened['session']}"
    service.call("DELETE", f"/sessions/{opened['session']}", expect=204)


def voxels_of(answer):
    packed = gzip.decompress(base64.b64decode(answer["mask"]["voxels"]))
    return np.frombuffer(packed, np.uint8).reshape(answer["mask"]["grid"]["shape"])


def value_at(answer, point):
    grid = answer["mask"]["grid"]
    index = np.linalg.solve(np.array(grid["affine_ras_mm"]), [*point, 1.0])[:3]
    return voxels_of(answer)[tuple(np.rint(index).astype(int))]


def test_a_reader_points_corrects_and_takes_back(service, session):
    first = service.call("POST", f"{session}/prompts", {"positives": [INSIDE]})
    assert (first["steps"], value_at(first, INSIDE), value_at(first, OUTSIDE)) == (1, 1, 1)
    assert first["findings"][0]["volume_mm3"] == pytest.approx(1.5 * voxels_of(first).sum())
    second = service.call("POST", f"{session}/prompts", {"negatives": [OUTSIDE]})
    assert (second["steps"], value_at(second, INSIDE), value_at(second, OUTSIDE)) == (2, 1, 0)
    assert second["prompt"] == {"positives": [INSIDE], "negatives": [OUTSIDE]}
    assert service.call("GET", f"{session}/prompts") == second
    assert service.call("POST", f"{session}/undo") == first
    nothing = {"steps": 0, "prompt": {}, "findings": [], "mask": None}
    assert service.call("POST", f"{session}/reset") == nothing


def test_the_mask_also_comes_as_nifti(service, session, tmp_path):
    refused = service.call("GET", f"{session}/mask.nii.gz", expect=422)
    assert refused["message"] == "there is no mask yet"
    answer = service.call("POST", f"{session}/prompts", {"box": [[-6.0, 5.0, -30.0], [6.0, 18.0, -15.0]]})
    file = tmp_path / "mask.nii.gz"
    file.write_bytes(service.call("GET", f"{session}/mask.nii.gz"))
    image = nibabel.load(file)
    np.testing.assert_array_equal(np.asarray(image.dataobj), voxels_of(answer))
    np.testing.assert_allclose(image.affine, answer["mask"]["grid"]["affine_ras_mm"])


def test_a_viewer_sends_its_scan(service):
    opened = service.call("POST", "/sessions/scan", service.scan.read_bytes(), expect=201)
    session = f"/sessions/{opened['session']}"
    assert service.call("POST", f"{session}/prompts", {"line": [[-4.0, 12.0, -22.0], [4.0, 12.0, -22.0]]})["findings"]
    service.call("DELETE", session, expect=204)
    assert service.call("POST", f"{session}/undo", expect=404)["error"] == "UnknownSessionError"
    too_large = service.call("POST", "/sessions/scan", bytes(2**20 + 1), expect=413)
    assert too_large["facts"] == {"allowed": "0.00 GB"}
    assert service.call("POST", "/sessions/scan", b"no scan", expect=422)["error"] == "ImageError"
    assert service.call("POST", "/sessions/scan?ending=.exe", b"", expect=422)["facts"] == {"found": ".exe"}


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ({"positives": [[500.0, 0.0, 0.0]]}, "GeometryError", "the point must lie in the scan"),
        ({"negatives": [INSIDE]}, "ConfigError", "a prompt must describe one lesion"),
        ({"positives": [["NaN", 0, 0]]}, "RequestError", "the message must be as /openapi.json says"),
        ({"positives": [[0.0, 0.0]]}, "RequestError", "the message must be as /openapi.json says"),
        ({"points": [INSIDE]}, "RequestError", "the message must be as /openapi.json says"),
    ],
)
def test_mistakes_are_explained_as_on_the_command_line(service, session, content, error, message):
    explained = service.call("POST", f"{session}/prompts", content, expect=422)
    assert (explained["error"], explained["message"]) == (error, message)
    assert explained["facts"]


def test_a_uid_that_is_none_is_not_quoted(service):
    explained = service.call("POST", "/sessions/series", {"study": "1.2", "series": SECRET}, expect=422)
    assert explained["facts"] == {"body.series": "Value error, no DICOM UID"}


def test_no_more_scans_are_open_than_allowed(service, session):
    others = [service.call("POST", "/sessions/path", {"path": service.scan.name}, expect=201) for _ in range(2)]
    assert service.call("GET", "/health")["sessions"] == 3
    full = service.call("POST", "/sessions/path", {"path": service.scan.name}, expect=503)
    assert full["message"] == "there is no room for one more scan"
    for other in others:
        service.call("DELETE", f"/sessions/{other['session']}", expect=204)


def test_the_client_of_the_page_works_word_for_word(service, monkeypatch, capsys):
    page = (Path(__file__).parents[3] / "docs" / "interactive.md").read_text()
    code = page.split("```python\n")[1].split("```")[0].replace("http://127.0.0.1:8080", service.address)
    code = code.replace("[-41, 20, 7]", str(INSIDE)).replace("[-38, 26, 7]", str(OUTSIDE))
    (service.scan.parent / "scan.nii.gz").symlink_to(service.scan)
    monkeypatch.chdir(service.scan.parent)
    exec(code, found := {})
    assert capsys.readouterr().out.startswith(
        f"{found['answer']['findings'][0]['volume_mm3']} {found['voxels'].sum()} "
    )
    service.call("DELETE", found["prompts"].removesuffix("/prompts"), expect=204)


def test_a_page_on_the_web_cannot_pass_for_this_machine(service):
    service.call("GET", "/health", expect=400, headers={"Host": "evil.example"})


def test_the_protocol_describes_itself(service):
    paths = service.call("GET", "/openapi.json")["paths"]
    assert {"/sessions/path", "/sessions/series", "/sessions/scan", "/sessions/{name}/prompts"} <= set(paths)
