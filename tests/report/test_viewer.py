"""The page of a scan is opened in a real browser, which has to draw it without any network."""

import base64
import gzip
import io
import json
from functools import partial
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from matplotlib.image import imread

from segpipe.case import Case
from segpipe.geometry import Grid, to_world
from segpipe.inference.explanation.explanation import Explanation
from segpipe.inference.window.uncertainty_maps import UncertaintyMaps
from segpipe.labels import LabelMap
from segpipe.report.viewer import write_page
from segpipe.report.viewer_thumbnails import picture_side_mm, thumbnail, upright_slice, upright_voxel
from segpipe.report.viewer_volumes import choose_factor, coarser, pack

SPACING_MM = np.array([1.5, 1.5, 2.0])
CENTRES = [(20, 30, 12), (60, 22, 30)]


class Finding:
    """A finding as `predict` gives it."""

    def __init__(self, number, centre_mm, slice_index, label="nodule"):
        self.values = {
            "number": number,
            "label": label,
            "volume_mm3": 523.6,
            "axial_diameter_mm": 10.0,
            "perpendicular_diameter_mm": 9.0,
            "mean_diameter_mm": 9.5,
            "mean_hu": -20.5,
            "p5_hu": -310.0,
            "p95_hu": 61.0,
            "solid_fraction": 0.9,
            "solid_axial_diameter_mm": 8.5 if number == 1 else None,
            "solid_perpendicular_diameter_mm": 7.0 if number == 1 else None,
            "nodule_type": "solid" if number == 1 else "ground glass",
            "side": "left" if number == 1 else None,
            "zone": "upper" if number == 1 else "unknown",
            "slice_note": None if number == 1 else "slices too thick to measure this nodule's volume",
            "cut_by": None if number == 1 else "window",
            "slice_index": slice_index,
            "slice_number": slice_index + 1,
            "mean_probability": 0.87,
            "centre_mm": centre_mm,
        }

    def to_dict(self):
        return dict(self.values)


@pytest.fixture(scope="module")
def result():
    grid = Grid((80, 64, 48), np.array([[-1.5, 0, 0, 60], [0, -1.5, 0, 40], [0, 0, 2.0, -50], [0, 0, 0, 1]]))
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    inside = [np.linalg.norm((indices - centre) * SPACING_MM, axis=-1) < 6 for centre in CENTRES]
    mask = np.logical_or(*inside).astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, 25, grid.shape)
    image = (np.where(mask, 30, -850) + noise).astype(np.int16)
    findings = [
        Finding(number, tuple(to_world(grid.affine, centre)), centre[2]) for number, centre in enumerate(CENTRES, 1)
    ]
    return SimpleNamespace(
        scan=SimpleNamespace(name="scan <one>"),
        case=Case("one", image, grid),
        prediction=SimpleNamespace(mask=mask, findings=findings, uncertainty=None, explanations=()),
        model=SimpleNamespace(recipe=SimpleNamespace(label_map=LabelMap.of("nodule"), name="ct_nodule")),
        follow_up=None,
        settings={"model": "abc", "recipe": "def", "segpipe": "0", "options": {"threshold": 0.5}},
    )


@pytest.mark.slow
def test_the_page_draws_offline_and_a_click_goes_to_the_finding(result, browser, tmp_path):
    (file,) = write_page(result, tmp_path)
    browser.get(file.as_uri())
    state = wait(browser, 120).until(
        lambda driver: driver.execute_script("return document.documentElement.dataset.viewer")
    )
    assert state == "drawn", browser.get_log("browser")
    rows = browser.find_elements("css selector", "tr.finding")
    assert len(rows) == 2
    for row, centre in [(rows[1], CENTRES[1]), (rows[0], CENTRES[0])]:
        browser.execute_script("arguments[0].click()", row)
        place = json.loads(browser.execute_script("return document.documentElement.dataset.crosshair"))
        np.testing.assert_allclose(place, to_world(result.case.grid.affine, centre), atol=1.1)
    browser.execute_script("scrollTo(0, 0)")
    shot = tmp_path / "page.png"
    browser.save_screenshot(str(shot))
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
    assert len(_red_columns(shot)) > 200
    for row, side in zip(rows, ("right of the patient", "left of the patient"), strict=True):
        left_of_middle = _is_shown_left_of_the_middle(browser, row, tmp_path / "axial.png")
        assert left_of_middle == (side == "right of the patient")


def wait(browser, seconds, **options):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds, **options)


def _is_shown_left_of_the_middle(browser, row, shot):
    """Whether the finding's mask lies in the left half of the axial view."""
    browser.execute_script(
        "const view = document.getElementById('view'); view.value = '0'; view.dispatchEvent(new Event('change'))"
    )
    browser.execute_script("arguments[0].click()", row)
    canvas = browser.find_element("id", "canvas")
    canvas.screenshot(str(shot))
    columns = _red_columns(shot)
    assert len(columns) > 20
    return bool(columns.mean() < canvas.size["width"] / 2)


def _red_columns(shot):
    """The columns of a picture's red pixels."""
    return np.nonzero(_is_red(imread(shot)))[1]


def _is_red(picture):
    """True for the mask over grey, and not for the crosshair, which is orange."""
    red, green, blue = picture[..., :3].transpose(2, 0, 1)
    return (red > green + 0.2) & (red > blue + 0.2) & (np.abs(green - blue) < 0.1)


def _is_teal(picture):
    red, _, blue = picture[..., :3].transpose(2, 0, 1)
    return blue > red + 0.15


@pytest.mark.slow
def test_each_class_has_its_colour_and_its_name(result, browser, tmp_path):
    """The first finding is solid, orange; the second is ground glass, blue: seen in the axial slice of each."""
    labels = LabelMap.build({1: "solid", 2: "ground_glass"})
    mask = result.prediction.mask.copy()
    mask[CENTRES[1][0] - 8 : CENTRES[1][0] + 9][mask[CENTRES[1][0] - 8 : CENTRES[1][0] + 9] > 0] = 2
    findings = [
        Finding(number, tuple(to_world(result.case.grid.affine, centre)), centre[2], label.name)
        for number, (centre, label) in enumerate(zip(CENTRES, labels.classes, strict=True), 1)
    ]
    prediction = SimpleNamespace(mask=mask, findings=findings, uncertainty=None, explanations=())
    model = SimpleNamespace(recipe=SimpleNamespace(label_map=labels, name="ct_nodule"))
    (file,) = write_page(SimpleNamespace(**{**vars(result), "prediction": prediction, "model": model}), tmp_path)
    browser.get(file.as_uri())
    wait(browser, 120).until(
        lambda driver: driver.execute_script("return document.documentElement.dataset.viewer") == "drawn"
    )
    rows = browser.find_elements("css selector", "tr.finding")
    assert [row.find_elements("css selector", "td")[1].text for row in rows] == ["solid", "ground_glass"]
    for row, own, other in [(rows[0], _is_orange, _is_blue), (rows[1], _is_blue, _is_orange)]:
        browser.execute_script(
            "const view = document.getElementById('view'); view.value = '0'; view.dispatchEvent(new Event('change'))"
        )
        browser.execute_script("arguments[0].click()", row)
        wait(browser, 60).until(lambda driver, own=own: own(_canvas(driver, tmp_path / "axial.png")).sum() > 100)
        picture = imread(tmp_path / "axial.png")
        assert other(picture).sum() < own(picture).sum() / 10


def _canvas(driver, file):
    """What the canvas shows at this moment; on busy cores it is drawn later than asked."""
    driver.find_element("id", "canvas").screenshot(str(file))
    return imread(file)


def _is_orange(picture):
    """The first class over grey; the crosshair is a lighter orange."""
    red, green, blue = picture[..., :3].transpose(2, 0, 1)
    return (red > blue + 0.12) & (red > green + 0.08) & (red < 0.75)


def _is_blue(picture):
    red, _, blue = picture[..., :3].transpose(2, 0, 1)
    return blue > red + 0.12


@pytest.mark.slow
def test_the_crosshair_meets_the_finding_also_in_a_scan_that_is_tilted(result, browser, tmp_path):
    """NiiVue shows the voxels' own planes, in which the world's axes of a tilted scan are not straight."""
    turn = np.deg2rad(12)
    affine = np.eye(4)
    affine[:3, :3] = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    affine = affine @ np.array([[-1.5, 0, 0, 200], [0, -1.5, 0, -90], [0, 0, 2.0, 300], [0, 0, 0, 1]])
    grid = Grid(result.case.grid.shape, affine)
    findings = [Finding(number, tuple(to_world(affine, place)), place[2]) for number, place in enumerate(CENTRES, 1)]
    prediction = SimpleNamespace(**{**vars(result.prediction), "findings": findings})
    case = Case("tilted", result.case.image, grid)
    (file,) = write_page(SimpleNamespace(**{**vars(result), "case": case, "prediction": prediction}), tmp_path)
    browser.get(file.as_uri())
    wait(browser, 120).until(
        lambda driver: driver.execute_script("return document.documentElement.dataset.viewer") == "drawn"
    )
    rows = browser.find_elements("css selector", "tr.finding")
    for row, place in zip(rows, CENTRES, strict=True):
        _is_shown_left_of_the_middle(browser, row, tmp_path / "axial.png")
        picture = imread(tmp_path / "axial.png")
        middle = [np.median(axis) for axis in np.nonzero(_is_red(picture))]
        np.testing.assert_allclose(_crossing(picture), middle, atol=6)
        reported = json.loads(browser.execute_script("return document.documentElement.dataset.crosshair"))
        np.testing.assert_allclose(reported, to_world(affine, place), atol=1.1)


def _crossing(picture):
    """Row and column in which the crosshair's orange lines run."""
    red, green, blue = picture[..., :3].transpose(2, 0, 1)
    orange = (red > 0.6) & (green > blue + 0.2) & (red > green + 0.1)
    return [np.median(np.flatnonzero((share := orange.mean(axis=1 - axis)) > 0.5 * share.max())) for axis in (0, 1)]


@pytest.mark.slow
def test_the_uncertainty_is_shown_when_asked_for(result, browser, tmp_path):
    entropy = np.where(result.prediction.mask, 125, 0).astype(np.uint8)
    known = {"entropy_bits": 0.5, "mutual_information_bits": 0.125}
    findings = [
        SimpleNamespace(to_dict=partial(dict, one.to_dict(), uncertainty=known)) for one in result.prediction.findings
    ]
    shown = {"findings": findings, "uncertainty": UncertaintyMaps(entropy, entropy // 4)}
    prediction = SimpleNamespace(**{**vars(result.prediction), **shown})
    settings = {**result.settings, "options": {"threshold": 0.5, "uncertainty": "flips"}}
    (file,) = write_page(SimpleNamespace(**{**vars(result), "prediction": prediction, "settings": settings}), tmp_path)
    text = file.read_text()
    assert "<th>uncertainty (disagreement), bit</th>" in text
    assert "several answers (mirrored views)" in text
    assert text.count("<td>0.500 (0.125)</td>") == 2
    browser.get(file.as_uri())
    wait(browser, 120).until(
        lambda driver: driver.execute_script("return document.documentElement.dataset.viewer") == "drawn"
    )
    browser.find_element("id", "mask").click()
    _wait_for_colour(browser, tmp_path, _is_red, lambda count: count == 0)
    browser.find_element("id", "uncertain").click()
    _wait_for_colour(browser, tmp_path, _is_teal, lambda count: count > 200)


def _wait_for_colour(browser, folder, colour, holds):
    def look(driver):
        driver.find_element("id", "canvas").screenshot(str(folder / "look.png"))
        return holds(np.count_nonzero(colour(imread(folder / "look.png"))))

    wait(browser, 30, poll_frequency=1).until(look)


def test_explanations_have_a_picture_of_each_finding(result, tmp_path):
    """Red over the nodule, in a picture of its own; without any the page does not speak of it."""
    heat = result.prediction.mask.astype(np.float32)
    shown = {"explanations": [Explanation("gradcam", heat, "part of the <largest> value")]}
    prediction = SimpleNamespace(**{**vars(result.prediction), **shown})
    (file,) = write_page(SimpleNamespace(**{**vars(result), "prediction": prediction}), tmp_path)
    text = file.read_text()
    assert text.count('alt="nodule 1, gradcam"') == 1
    assert "part of the &lt;largest&gt; value" in text
    assert "no cause of disease" in text
    (without,) = write_page(result, tmp_path / "without")
    assert "no cause of disease" not in without.read_text()
    place = {"slice_index": CENTRES[0][2], "side_mm": 60.0}
    centre = tuple(to_world(result.case.grid.affine, CENTRES[0]))
    warm, cold = (
        _decoded(thumbnail(result.case, result.prediction.mask, centre, **place, heat=sign * heat)) for sign in (1, -1)
    )
    middle = warm.shape[0] // 2
    assert warm[middle, middle, 0] > warm[middle, middle, 2] + 0.2
    assert cold[middle, middle, 2] > cold[middle, middle, 0] + 0.2
    np.testing.assert_array_equal(
        warm[2, 2], _decoded(thumbnail(result.case, result.prediction.mask, centre, **place))[2, 2]
    )


def _decoded(url):
    return imread(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def test_a_page_without_uncertainty_does_not_speak_of_it(result, tmp_path):
    (file,) = write_page(result, tmp_path)
    assert 'id="uncertain"' not in file.read_text()
    assert "entropy" not in file.read_text().split("<script")[0]


def test_a_picture_shows_the_whole_lesion_in_the_slice_of_its_diameter(result):
    """A ball of 40 mm is wider than 60 mm would leave a margin for; its edge is closed within the picture."""
    grid = Grid((100, 100, 30), np.diag([1.0, 1.0, 2.0, 1.0]))
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    mask = (np.linalg.norm((indices - (50, 50, 15)) * (1, 1, 2), axis=-1) < 30).astype(np.uint8)
    case = Case("one", np.where(mask, 0, -900).astype(np.int16), grid)
    assert picture_side_mm(60.0) == 90.0
    edges = []
    for number in (15, 3):
        url = thumbnail(case, mask, (50.0, 50.0, 30.0), slice_index=number, side_mm=90.0)
        edges.append(_orange(url))
    assert not edges[0][[0, -1]].any()
    assert not edges[0][:, [0, -1]].any()
    wide, narrow = (np.ptp(np.nonzero(edge)[1]) * 90.0 / 264 for edge in edges)
    assert wide == pytest.approx(60.0, abs=3.0)
    assert narrow == pytest.approx(2 * np.sqrt(30**2 - 24**2), abs=3.0)


def _orange(url):
    import io

    red, green, blue = imread(io.BytesIO(base64.b64decode(url.split(",")[1])))[..., :3].transpose(2, 0, 1)
    return (red > 0.9) & (blue < 0.1) & (green > 0.5)


def test_an_axial_slice_is_found_in_the_upright_array():
    assert upright_slice(Grid((10, 20, 30), np.eye(4)), 3) == 26
    assert upright_slice(Grid((10, 20, 30), np.diag([1.0, 1.0, -1.0, 1.0])), 3) == 3


def test_the_page_refers_to_nothing_outside(result, tmp_path):
    (file,) = write_page(result, tmp_path)
    text = file.read_text()
    assert 'src="http' not in text
    assert "<title>scan &lt;one&gt;</title>" in text
    assert text.count("data:image/png;base64,") >= 2
    assert "–" in text  # the side that is not known


def test_the_library_cannot_end_its_script():
    from segpipe.report.viewer import _library

    assert "</script" not in _library().lower()


def test_packed_scan_keeps_hu_and_position(result):
    packed = pack(result.case, result.prediction.mask)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(packed.ct)))
    np.testing.assert_allclose(image.affine, result.case.grid.affine, atol=1e-4)
    apart = np.abs(image.get_fdata() - np.clip(result.case.image, -1024, 1526))
    assert apart.max() <= 5  # half a step
    mask = nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(packed.mask)))
    np.testing.assert_array_equal(mask.get_fdata(), result.prediction.mask)


def test_a_large_scan_is_shown_coarser_and_loses_no_lesion():
    grid = Grid((9, 8, 4), np.diag([1.0, 1.0, 3.0, 1.0]))
    image = np.arange(9 * 8 * 4, dtype=np.int16).reshape(grid.shape)
    mask = np.zeros(grid.shape, np.uint8)
    mask[3, 5, 2] = 1
    packed = pack(Case("a", image, grid), mask, most_voxels=80)
    assert packed.factor == (2, 2, 1)
    assert packed.grid.shape == (4, 4, 4)
    # the first block holds voxels 0 and 1, whose middle is 0.5 mm
    np.testing.assert_allclose(packed.grid.affine[:3, 3], [0.5, 0.5, 0.0])
    shown = nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(packed.mask))).get_fdata()
    assert np.argwhere(shown).tolist() == [[1, 2, 2]]


def test_factor_never_exceeds_the_scan():
    assert choose_factor(Grid((2, 2, 2), np.eye(4)), 1) == (2, 2, 2)
    assert coarser(Grid((2, 2, 2), np.eye(4)), (2, 2, 2)).shape == (1, 1, 1)


def test_upright_voxel_turns_the_axes_of_ras():
    grid = Grid((10, 20, 30), np.eye(4))
    # upright runs right → left, anterior → posterior, superior → inferior: the opposite of RAS+
    assert upright_voxel(grid, (1, 2, 3)) == (8, 17, 26)
