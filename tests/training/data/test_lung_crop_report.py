"""What a crop to the lungs keeps is reported: in total, by case, and where no lungs were found."""

import csv
import logging

import numpy as np
import pytest

from segpipe.geometry import Grid
from segpipe.preprocessing.cache.cached_case import CachedCase
from segpipe.training.data.lung_crop_report import report_lung_crop, total_share


def case(name, shape, share, folder):
    return CachedCase(name, folder, Grid(shape, np.diag([1.0, 1.0, 2.0, 1.0])), (), (0,), share)


@pytest.fixture
def cases(tmp_path):
    """2000 of 8000 mm³, 3000 of 6000 mm³, and 2000 mm³ without lungs: 7000 of 16000 mm³ in all."""
    return [
        case("a", (10, 10, 10), 0.25, tmp_path),
        case("b", (10, 10, 15), 0.5, tmp_path),
        case("c", (10, 10, 10), None, tmp_path),
    ]


def test_the_total_weighs_scans_by_their_volume(cases):
    assert total_share(cases) == pytest.approx(7 / 16)


def test_total_cases_and_whole_scans_are_reported(cases, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        file = report_lung_crop(cases, tmp_path)
    assert "44 % of the volume of 3 scans is kept, 25 to 100 % by case; see lung_crop.csv" in caplog.text
    assert "no lungs found in 1 scans, which are used whole: c" in caplog.text
    with file.open(newline="") as stream:
        rows = [tuple(row.values()) for row in csv.DictReader(stream)]
    assert rows == [("a", "found", "0.2500"), ("b", "found", "0.5000"), ("c", "none found", "1.0000")]


def test_where_all_have_lungs_nothing_is_warned_of(cases, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        report_lung_crop(cases[:2], tmp_path)
    assert "no lungs" not in caplog.text
