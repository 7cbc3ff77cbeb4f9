"""Tables in the JSON form that MLflow's pages show."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

_LAST = ("patient", "empty")


def table_text(table: Any) -> str:
    """The JSON text of a table.

    Args:
        table: A data frame, a list of rows (mappings) or columns by name.

    >>> table_text([{"case": "a", "dice": 0.5}, {"case": "b", "nsd": None}])
    '{"columns": ["case", "dice", "nsd"], "data": [["a", 0.5, null], ["b", null, null]]}'
    """
    rows = _rows(table)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    data = [[_cell(row.get(column)) for column in columns] for row in rows]
    return json.dumps({"columns": columns, "data": data}, ensure_ascii=False)


def side_by_side(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of an evaluation with `patient` and `empty` last.

    MLflow's page of tables groups by the first column and lays the second one of several runs side by side.

    >>> side_by_side([{"case": "a", "patient": "p", "empty": "no", "dice": 0.5}])
    [{'case': 'a', 'dice': 0.5, 'patient': 'p', 'empty': 'no'}]
    """
    return [
        {
            **{key: value for key, value in row.items() if key not in _LAST},
            **{key: row[key] for key in _LAST if key in row},
        }
        for row in rows
    ]


def _rows(table: Any) -> list[dict[str, Any]]:
    if hasattr(table, "to_dict") and hasattr(table, "columns"):
        return list(table.to_dict(orient="records"))
    if isinstance(table, Mapping):
        return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    return [dict(row) for row in table]


def _cell(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return (
        json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, Mapping | list | tuple) else str(value)
    )
