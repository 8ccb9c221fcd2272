"""The saved view of the table of runs in MLflow's UI."""

import json
from typing import Final

VIEW: Final = "comparison"
"""Key of the saved view of the table of runs in a link: `...&viewStateShareKey=comparison`."""

_SORTED_BY: Final = "metrics.`acc_val`"
_COLUMNS: Final = {
    "attributes.`Run Name`": 200,
    "runDateAndNestInfo": 130,  # named Created
    "params.`model.name`": 150,
    "tags.`data`": 115,
    _SORTED_BY: 94,
    "metrics.`acc_test`": 78,
    "metrics.`acc_dedup`": 90,
    "metrics.`f1_test`": 72,
    "metrics.`parameters`": 90,
    "metrics.`seconds`": 74,
}
"""Column -> width in pixels: its longest name or value, the padding of 24, and 24 for the mark of the sort."""


def saved_view() -> dict[str, str]:
    """Return the experiment's tag that makes the saved view: columns, their order and widths, and the sort.

    It is written as the UI itself does, but uncompressed, and listed under `Views` as `Comparison`. The state is a
    string within the JSON: only so the view has a name.
    """
    columns = list(_COLUMNS)
    state = {
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": _COLUMNS,  # is applied to the columns of columnOrder alone
        "orderByKey": _SORTED_BY,
        "orderByAsc": False,
    }
    view = {"name": "Comparison", "createdAt": 0, "state": json.dumps(state)}
    return {f"mlflow.sharedViewState.{VIEW}": json.dumps(view)}
