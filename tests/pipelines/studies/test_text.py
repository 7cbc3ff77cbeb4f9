"""The text of a study says what was chosen, what was given up, and what a variant changed."""

from pydantic import TypeAdapter

from segpipe.evaluation.comparison.paired_tests import Difference
from segpipe.pipelines.studies.ranking import Rank
from segpipe.pipelines.studies.rows import Row
from segpipe.pipelines.studies.settings import Study
from segpipe.pipelines.studies.text import study_text


def line(row: Row, **found: object) -> dict[str, object]:
    about = {"row": row.name, "candidate": row.candidate, "variant": row.variant, "lr": row.lr, "seed": row.seed}
    costs = {"state": "trained", "pseudo_dice": None, "dice": None, "ms_per_step": 12.4, "state_bytes_per_weight": 8.0}
    return {**about, **costs, **found}


def test_a_text_has_ranking_rates_and_variants():
    study = TypeAdapter(Study).validate_python(
        {
            "candidates": {"adam": {"optimizer": {"lr": 0.1}}, "sgd": {"optimizer": {"lr": 1.0}}},
            "rates": 3, "spacing": 10, "seeds": [0], "pruning": {"after": 0.5, "margin": 0.1},
            "variants": {"eps": {"of": "adam", "change": {"optimizer": {"eps": 1}}}},
        }
    )  # fmt: skip
    best = Row("adam", 0.1, 0)
    lines = [
        line(best, pseudo_dice=0.8, dice=0.75),
        line(Row("adam", 0.01, 0), pseudo_dice=0.7),
        line(Row("adam", 1.0, 0), state="pruned", pseudo_dice=0.3),
        line(Row("sgd", 1.0, 0), state="diverged", ms_per_step=None),
        line(Row("adam", 0.1, 0, "eps"), pseudo_dice=0.79, dice=0.74),
    ]
    rank = Rank("adam", 0.75, (0.7, 0.8), None, 1, None, None)
    text = study_text([rank], lines, {"adam": best}, study, data="nodules").splitlines()
    assert text[0] == "# 2 candidates · nodules"
    assert "A rate is given up after 50% of the steps when it lies 0.1 or more below" in text[2]
    assert "| adam | 0.750 | 0.700 to 0.800 | – | – | – | – | 0.1 | 12 | 8.0 |" in text
    assert "| adam | 0.01: 0.700 · 0.1: 0.800 · 1: pruned | 0.1 |" in text
    assert "| sgd | 0.1: failed · 1: diverged · 10: failed | none |" in text
    assert "| adam, eps | 0.790 | 0.740 | 0.750 |" in text
    assert text[-1] == (
        "`study.csv` has all 5 rows, each with the command that trains it alone; their run folders lie next to it."
    )


def test_a_study_at_one_rate_says_so_and_compares_with_its_reference():
    given = {"candidates": {"default": {"optimizer": {"lr": 0.1}}, "mixup": {"optimizer": {"lr": 0.1}}}}
    fixed = {"rates": 1, "spacing": 10, "seeds": [0, 1], "pruning": None, "reference": "default"}
    study = TypeAdapter(Study).validate_python({**given, **fixed})
    chosen = {name: Row(name, 0.1, 0) for name in given["candidates"]}
    behind = Difference(0.8, 0.82, 0.02, (0.01, 0.03), 0.04)
    ranks = [
        Rank("mixup", 0.82, (0.8, 0.84), 0.01, 2, behind, 0.04), Rank("default", 0.8, (0.78, 0.82), 0.01, 2, None, None)
    ]  # fmt: skip
    text = study_text(ranks, [line(row) for row in chosen.values()], chosen, study, data=None)
    assert "Each candidate is trained with seeds 0, 1, at the rate of its optimizer. Nothing is chosen." in text
    assert "| candidate | Dice | 95 % | ± seeds | minus default | 95 % | p |" in text
    assert "| mixup | 0.820 | 0.800 to 0.840 | 0.010 | 0.020 | 0.010 to 0.030 | 0.040 |" in text
    assert "Learning rates" not in text
    one = TypeAdapter(Study).validate_python({**given, **fixed, "seeds": [3]})
    same = Rank("mixup", 0.8, None, None, 1, Difference(0.8, 0.8, -0.0001, None, 1.0), 1.0)
    text = study_text([same, ranks[1]], [line(row) for row in chosen.values()], chosen, one, data=None)
    assert "Each candidate is trained with seed 3, at" in text
    assert "| mixup | 0.800 | – | – | 0.000 | – | 1.000 |" in text
