import json

import numpy as np
import pandas as pd

from segpipe.tracking.tables import table_text


def test_rows_columns_and_frames_give_one_form():
    expected = {"columns": ["case", "dice"], "data": [["a", 0.5], ["b", None]]}
    rows = [{"case": "a", "dice": 0.5}, {"case": "b", "dice": float("nan")}]
    assert json.loads(table_text(rows)) == expected
    assert json.loads(table_text({"case": ["a", "b"], "dice": [0.5, np.nan]})) == expected
    assert json.loads(table_text(pd.DataFrame(rows))) == expected


def test_numpy_numbers_paths_and_nested_values_become_plain():
    row = {"n": np.int64(3), "at": [1.0, 2.0], "where": np.float32(0.5), "flag": np.bool_(True)}
    assert json.loads(table_text([row]))["data"] == [[3, "[1.0, 2.0]", 0.5, True]]


def test_an_empty_table_is_a_table():
    assert json.loads(table_text([])) == {"columns": [], "data": []}
