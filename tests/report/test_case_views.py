"""What a click on a case of a report opens, packed and in a real browser."""

import base64
import gzip
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from segpipe.case import Case
from segpipe.geometry import Grid, to_world
from segpipe.report.case_views import page_views, view_case
from segpipe.report.overlays import overlay
from segpipe.report.page import write_report

AFFINE = np.array([[-1.0, 0, 0, 60], [0, -1.0, 0, 40], [0, 0, 2.0, -50], [0, 0, 0, 1]])


def block(corner, size):
    mask = np.zeros((120, 100, 60), dtype=np.uint8)
    mask[tuple(slice(start, start + n) for start, n in zip(corner, size, strict=True))] = 1
    return mask


@pytest.fixture(scope="module")
def case():
    mask = block((50, 40, 20), (8, 8, 4))
    image = np.where(mask > 0, 30, -850).astype(np.int16)
    return Case("one", image, Grid(mask.shape, AFFINE), mask)


@pytest.fixture(scope="module")
def prediction():
    return block((52, 40, 20), (8, 8, 4))


def unpacked(text):
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def test_a_view_is_the_part_around_the_lesion_at_its_place_in_the_patient(case, prediction):
    view = view_case(case, {"prediction": prediction})
    ct, reference, predicted = (unpacked(text) for text in (view.ct, *view.masks.values()))
    # both masks together are 10×8×4 voxels; 25 mm around are 25, 25 and 13 voxels
    assert ct.shape == reference.shape == predicted.shape == (60, 58, 30)
    np.testing.assert_allclose(ct.affine[:3, 3], to_world(AFFINE, (25, 15, 7)))
    np.testing.assert_array_equal(np.asarray(reference.dataobj), case.mask[25:85, 15:73, 7:37])
    np.testing.assert_array_equal(np.asarray(predicted.dataobj), prediction[25:85, 15:73, 7:37])
    np.testing.assert_allclose(ct.get_fdata(), case.image[25:85, 15:73, 7:37], atol=5)  # HU in steps of 10
    np.testing.assert_allclose(view.centre_mm, to_world(AFFINE, (54, 44, 22)))


def test_without_views_a_page_carries_no_viewer(tmp_path, case, prediction):
    assert page_views({}) is None
    page = report(tmp_path, case, prediction, views={}).read_text(encoding="utf-8")
    assert "niivue" not in page


def report(folder, case, prediction, *, views):
    summary = {"data": "blocks", "split": {"train": 7, "test": 2}, "metrics": {}, "lesions": {}}
    return write_report(
        folder, title="t", summary=summary, cases=[], lesions=[], config={}, environment={}, views=views,
        figures={name: overlay(case, prediction, name) for name in ("overlay_worst", "overlay_median")},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [0, 12])
def test_a_click_on_a_case_opens_the_viewer_offline(tmp_path, browser, case, prediction, degrees):
    from selenium.webdriver.support.ui import WebDriverWait

    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(a := np.deg2rad(degrees)), -np.sin(a)], [np.sin(a), np.cos(a)]]
    case = Case("one", case.image, Grid(case.grid.shape, turn @ AFFINE), case.mask)
    views = {"overlay_worst": view_case(case, {"prediction": prediction})}
    browser.get(report(tmp_path, case, prediction, views=views).as_uri())
    click(browser, "#overlay_worst button.enlarge")
    state = WebDriverWait(browser, 120).until(
        lambda driver: (
            (view := driver.execute_script("return document.documentElement.dataset.view")) != "loading" and view
        )
    )
    assert state == "overlay_worst", browser.get_log("browser")
    place = browser.find_element("id", "viewer-place").text
    reported = [float(word) for word in place.removeprefix("RAS ").removesuffix(" mm").split(", ")]
    np.testing.assert_allclose(reported, views["overlay_worst"].centre_mm, atol=1.1)
    assert has_colour(browser, blue=True)
    click(browser, "#masks label:first-child input")
    WebDriverWait(browser, 60).until(
        lambda driver: not has_colour(driver, blue=True) and has_colour(driver, blue=False)
    )
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
    click(browser, "#large form button")
    click(browser, "#overlay_median button.enlarge")  # has no view: the picture alone
    assert not browser.find_element("id", "viewer").is_displayed()
    assert browser.find_element("css selector", "#large .picture svg").is_displayed()


def click(browser, selector):
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def has_colour(browser, *, blue):
    """Whether the reference's blue, else the prediction's orange, is anywhere in the viewer."""
    import io

    from PIL import Image

    shot = browser.find_element("css selector", "#viewer canvas").screenshot_as_png
    picture = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=int)
    difference = picture[..., 2] - picture[..., 0] if blue else picture[..., 0] - picture[..., 2]
    return bool((difference > 30).sum() > 50)


def test_what_two_views_share_is_packed_once(case, prediction):
    view = view_case(case, {"old": prediction, "new": case.mask})
    content = page_views({"a": view, "b": replace(view, hidden=("old",))})["content"]
    # the scan, the old mask, and the reference, which the new mask equals
    assert len(content["volumes"]) == 3
    assert [mask["name"] for mask in content["cases"]["b"]["masks"]] == ["reference", "old", "new"]
    assert [mask["shown"] for mask in content["cases"]["b"]["masks"]] == [True, False, True]
    assert len({mask["colour"] for mask in content["cases"]["b"]["masks"]}) == 3


def test_packed_views_are_plain_text_that_ends_no_script(case, prediction):
    content = page_views({"overlay_worst": view_case(case, {"prediction": prediction})})
    assert "<" not in json.dumps(content)
