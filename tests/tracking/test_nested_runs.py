import pytest

from segpipe.tracking.nested_runs import Child, describe_run, report_nested_runs, spread


class Notes:
    """Stands for a tracker and remembers what is logged."""

    def __init__(self):
        self.metrics, self.tables, self.tags, self.text = {}, {}, {}, ""

    def log_metrics(self, metrics, step):
        self.metrics |= metrics

    def log_table(self, table, name):
        self.tables[name] = table

    def set_tags(self, tags):
        self.tags |= tags

    def describe(self, text):
        self.text = text


def summary(dice, f1, cases=4):
    return {"cases": cases, "metrics": {"dice": {"mean": dice, "ci95": [0.0, 1.0]}}, "lesions": {"f1": f1, "tp": 3}}


FOLDS = [Child(f"fold {k}", f"id{k}", summary(dice, f1)) for k, (dice, f1) in enumerate([(0.6, 0.5), (0.8, None)])]


def test_a_cross_validation_reports_its_pooled_figures_and_how_its_folds_differ():
    parent = Notes()
    pooled = summary(0.69, 0.55, cases=8)
    report_nested_runs(parent, FOLDS, pooled=pooled)
    assert parent.metrics == {
        "spread/dice_mean": pytest.approx(0.7),
        "spread/dice_std": pytest.approx(0.2 / 2**0.5),
        "spread/dice_min": 0.6,
        "spread/dice_max": 0.8,
        "spread/lesion_f1_mean": 0.5,
        "spread/lesion_f1_min": 0.5,
        "spread/lesion_f1_max": 0.5,
    }
    assert parent.tables["children"] == [
        {"child": "fold 0", "run_id": "id0", "cases": 4, "dice": 0.6, "lesion_f1": 0.5},
        {"child": "fold 1", "run_id": "id1", "cases": 4, "dice": 0.8},
    ]
    assert parent.text.splitlines()[2:] == [
        "| fold 0 | 4 | 0.600 | 0.500 | – | – |",
        "| fold 1 | 4 | 0.800 | – | – | – |",
        "| **pooled** | 8 | 0.690 | 0.550 | – | – |",
    ]


def test_a_sweep_has_no_pooled_figures_but_a_best_child():
    parent = Notes()
    report_nested_runs(parent, FOLDS, best=FOLDS[1])
    assert "pooled" not in parent.text
    assert parent.tags == {"children": 2, "best_child": "id1"}
    assert parent.text.endswith("Best: **fold 1**")


def test_counts_of_cases_are_not_averaged():
    assert not [name for name in spread([summary(0.5, 0.5), summary(0.5, 0.5, cases=9)]) if "cases" in name]


def test_a_run_is_described_by_its_headlines_and_leaves_out_what_is_undefined():
    reported = describe_run(summary(0.6, None) | {"data": "blocks"}).splitlines()
    assert reported[0] == "4 held-out cases of blocks, in each scan's own space"
    assert reported[4:] == ["| Dice | 0.600 | 0.000 to 1.000 |"]
