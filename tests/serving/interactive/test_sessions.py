"""Sessions: what a reader says adds up, and scans do not fill the memory."""

import numpy as np
import pytest

from segpipe.case import Case
from segpipe.errors import ConfigError, GeometryError, ImageError
from segpipe.geometry import Grid
from segpipe.inference.loaded_model import LoadedModel
from segpipe.inference.prompts.prompt import Prompt
from segpipe.inference.ratings.rater import Rater
from segpipe.io.images.volumes import write_volume
from segpipe.serving.interactive.opening import Sources
from segpipe.serving.interactive.session import MOST_WINDOWS, Recent, Session, Step, together
from segpipe.serving.interactive.sessions import Bounds, ServiceFullError, Sessions, UnknownSessionError
from tests.samples.small_models import VOI, without_onnx_export, write_small
from tests.samples.small_rating_models import indifferent_model

GRID = Grid((40, 36, 24), np.diag([1.0, 1.0, 1.5, 1.0]))
INSIDE, OUTSIDE = (20.0, 18.0, 18.0), (20.0, 18.0, 3.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with without_onnx_export():
        return LoadedModel(write_small(tmp_path_factory.mktemp("voi") / "model", recipe=VOI, about={}))


@pytest.fixture(scope="module")
def case():
    image = np.random.default_rng(0).normal(-850, 30, GRID.shape).astype(np.int16)
    image[16:25, 14:23, 9:16] = 40
    return Case("scan", image, GRID)


def test_steps_add_up_and_a_new_drawing_replaces_the_old_one():
    box, line = (INSIDE, (30.0, 30.0, 30.0)), (INSIDE, (30.0, 18.0, 18.0))
    assert together([Step(box=box), Step(negatives=(OUTSIDE,)), Step(line=line)]) == Prompt((), (OUTSIDE,), None, line)
    assert together([Step((INSIDE,)), Step((INSIDE,), (OUTSIDE,))]) == Prompt((INSIDE, INSIDE), (OUTSIDE,))


def test_answers_are_those_of_predict_and_undo_takes_back_a_step(model, case):
    session = Session(case, model)
    first = session.add(Step((INSIDE,)))
    second = session.add(Step(negatives=(OUTSIDE,)))
    for answer, prompt in ((first, Prompt((INSIDE,))), (second, Prompt((INSIDE,), (OUTSIDE,)))):
        expected = np.zeros(GRID.shape, np.uint8)
        place = tuple(slice(at, at + count) for at, count in zip(answer.start, answer.mask.shape, strict=True))
        expected[place] = answer.mask
        np.testing.assert_array_equal(predicted(model, case, prompt), expected)
    assert first.mask.any()
    assert first.mask[20, 18, 2] == 1
    assert second.mask[20, 18, 2] == 0
    again = session.undo()
    np.testing.assert_array_equal(again.mask, first.mask)
    assert again.findings == first.findings
    assert (again.steps, second.steps) == (1, 2)
    assert session.undo() is None
    with pytest.raises(ConfigError, match="there is no step to undo"):
        session.undo()


def test_findings_are_rated_as_predict_rates_them(case, model):
    rater = Rater(indifferent_model(), "")
    (finding,) = Session(case, LoadedModel(model.folder, rater=rater)).add(Step((INSIDE,))).findings
    (bare,) = Session(case, model).add(Step((INSIDE,))).findings
    assert finding.pop("ratings")["malignancy"]["name"] == "highly unlikely"
    assert finding == {name: value for name, value in bare.items() if name != "ratings"}


def predicted(model, case, prompt):
    from segpipe.inference.predictor import predict_case

    folder = model.folder
    return predict_case(case, folder.recipe, model.engine, model.options, divisor=folder.divisor, at_mm=prompt).mask


def test_a_refused_step_leaves_everything_as_it_was(model, case):
    session = Session(case, model)
    answer = session.add(Step((INSIDE,)))
    with pytest.raises(GeometryError, match="the point must lie in the scan"):
        session.add(Step(negatives=((500.0, 0.0, 0.0),)))
    with pytest.raises(ConfigError, match="a box and a line exclude each other"):
        session.add(Step(box=(INSIDE, (30.0, 30.0, 30.0)), line=(INSIDE, OUTSIDE)))
    assert session.answer is answer
    assert len(session.steps) == 1
    session.reset()
    assert (session.answer, session.steps) == (None, [])


def test_the_network_is_asked_once_for_each_window(model, case, monkeypatch):
    calls = []
    session = Session(case, model)
    monkeypatch.setattr(model, "engine", None)
    original = session._look.engine

    def count(patches):
        calls.append(len(patches))
        return original(patches)

    object.__setattr__(session._look, "engine", count)
    session.add(Step((INSIDE,)))
    asked = len(calls)
    session.add(Step(negatives=(OUTSIDE,)))
    session.undo()
    assert asked
    assert len(calls) == asked


def test_a_session_takes_no_more_than_so_many_points(model, case):
    session = Session(case, model)
    with pytest.raises(ConfigError, match=r"at most 200 steps and 200 points\n  steps +1\n  points +201"):
        session.add(Step((INSIDE,) * 201))
    assert session.steps == []


def test_only_the_windows_that_were_looked_through_last_are_kept(model, case):
    recent = Recent()
    for number in range(MOST_WINDOWS + 2):
        recent[(1.0, 1.0, 1.0), (float(number), 0.0, 0.0)] = []
    assert [place[1][0] for place in recent] == [float(number) for number in range(2, MOST_WINDOWS + 2)]


def test_no_more_scans_are_open_than_allowed(model, case):
    sessions = Sessions(model, Bounds(sessions=2))
    first, _ = sessions.open(lambda: case)
    sessions.open(lambda: case)
    with pytest.raises(ServiceFullError, match=r"no room for one more scan\n  open +2 of 2"):
        sessions.open(lambda: pytest.fail("is not even read"))
    sessions.close(first)
    sessions.open(lambda: case)
    assert sessions.count == 2


def test_all_scans_together_take_no_more_memory_than_allowed(model, case):
    one = Session(case, model).bytes
    assert one == 3 * case.image.size
    sessions = Sessions(model, Bounds(memory=2 * one - 1))
    sessions.open(lambda: case)
    with pytest.raises(ServiceFullError):
        sessions.open(lambda: case)


def test_a_session_that_nobody_calls_is_closed(model, case):
    now = [0.0]
    sessions = Sessions(model, Bounds(idle_s=60.0), clock=lambda: now[0])
    name, session = sessions.open(lambda: case)
    now[0] = 59.0
    assert sessions.find(name) is session
    now[0] = 118.0
    assert sessions.find(name) is session
    now[0] = 179.0
    with pytest.raises(UnknownSessionError, match="the session is not open"):
        sessions.find(name)
    assert sessions.count == 0


def test_scans_come_from_below_the_root_alone(case, tmp_path):
    root = tmp_path / "root"
    write_volume(root / "a.nii.gz", case.image, GRID)
    write_volume(tmp_path / "secret.nii.gz", case.image, GRID)
    (root / "way_out.nii.gz").symlink_to(tmp_path / "secret.nii.gz")
    sources = Sources(2**30, root)
    assert sources.read_path("a.nii.gz").grid.shape == GRID.shape
    assert sources.read_path("a.nii.gz").id == "scan"
    for path in ("../secret.nii.gz", str(tmp_path / "secret.nii.gz"), "way_out.nii.gz"):
        with pytest.raises(ConfigError, match="below the service's root"):
            sources.read_path(path)
    with pytest.raises(ImageError, match="nothing at this path"):
        sources.read_path("b.nii.gz")
    with pytest.raises(ConfigError, match="this service opens no paths"):
        Sources(2**30).read_path("a.nii.gz")
    with pytest.raises(ConfigError, match="this service knows no PACS"):
        sources.read_series("1.2", "3.4")


def test_a_scan_that_is_too_large_is_not_read(case, tmp_path):
    write_volume(tmp_path / "a.nii.gz", case.image, GRID)
    with pytest.raises(ImageError, match=r"needs more memory than allowed\n  voxels +34560"):
        Sources(100_000, tmp_path).read_path("a.nii.gz")
