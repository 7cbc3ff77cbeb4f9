from segpipe.tracking.metric_names import summary_metrics

SUMMARY = {
    "data": "phantom",
    "split": {"train": 24, "seed": 0},
    "recipe": {"window_hu": [-1000.0, 400.0]},
    "cases": 7,
    "metrics": {
        "f1": {"mean": 0.5},
        "dice": {"mean": 0.5, "median": 0.6, "ci95": [0.25, 0.75]},
        "nsd": {"mean": None, "ci95": None},
    },
    "lesions": {"tp": 3, "f1": 0.9, "fp_per_scan": 0.5, "ci95": {"f1": [0.8, 1.0]}},
    "detection": {"overlap": {"cpm": 0.7, "sensitivity_at_fp_per_scan": {"0.125": 0.4}}, "centre": {"cpm": 0.8}},
    "calibration": {
        "voxels": {"ece": 0.02, "reliability": [{"from": 0.0, "to": 0.1}, {"from": 0.1, "to": 0.2}]},
        "findings": {"event": "right", "ece": 0.1, "ece_calibrated": 0.03, "aurc": 0.13, "risk": {"0.5": 0.1}},
    },
    "strata": {"diameter": {"6-8 mm": {"dice": 0.4}}},
    "policy": {"std": "over cases"},
}


def test_what_one_compares_first_is_in_one_section_and_the_rest_in_another():
    assert summary_metrics(SUMMARY) == {
        "evaluation/cases": 7.0,
        "evaluation/dice": 0.5,
        "evaluation/f1": 0.5,
        "evaluation_details/dice_median": 0.6,
        "evaluation_details/dice_ci95_low": 0.25,
        "evaluation_details/dice_ci95_high": 0.75,
        "evaluation_details/lesions_tp": 3.0,
        "evaluation/lesion_f1": 0.9,
        "evaluation/fp_per_scan": 0.5,
        "evaluation_details/lesions_ci95_f1_low": 0.8,
        "evaluation_details/lesions_ci95_f1_high": 1.0,
        "evaluation/cpm": 0.7,
        "evaluation_details/detection_overlap_sensitivity_at_fp_per_scan_0.125": 0.4,
        "evaluation_details/detection_centre_cpm": 0.8,
        "evaluation/voxel_ece": 0.02,
        "evaluation/finding_ece": 0.1,
        "evaluation/finding_ece_calibrated": 0.03,
        "evaluation/aurc": 0.13,
        "evaluation_details/calibration_findings_risk_0.5": 0.1,
        "evaluation_details/strata_diameter_6-8 mm_dice": 0.4,
    }


def test_what_would_bury_the_others_is_left_to_the_summary():
    froc = {"sensitivity_at_fp_per_scan": {"1": 0.5}, "sensitivity_at_fp_per_scan_ci95": {"1": [0.4, 0.6]}}
    sized = {"lesions": 3, **froc, "cpm": 0.5, "cpm_ci95": [0.4, 0.6]}
    summary = {
        "metrics": {"dice": {"n": 4}},
        "strata": {"diameter": {"6-8 mm": {"dice_ci95": [0.1, 0.2], "lesions": 3}}},
        "detection": {"overlap": {**froc, "by_diameter": {"6-8 mm": sized}}, "centre": froc},
    }
    assert list(summary_metrics(summary)) == [
        "evaluation_details/detection_overlap_sensitivity_at_fp_per_scan_1",
        "evaluation_details/detection_overlap_by_diameter_6-8 mm_cpm",
        "evaluation_details/strata_diameter_6-8 mm_lesions",
    ]


def test_figures_that_are_not_defined_and_flags_are_no_metrics():
    assert summary_metrics({"metrics": {"dice": {"mean": None}}, "empty": {"both": True}}) == {}


def test_names_are_such_that_mlflow_takes_them():
    assert summary_metrics({"strata": {"a(b)": {"über 15 mm³": {"dice": 1}}}}) == {
        "evaluation_details/strata_a_b__über 15 mm³_dice": 1.0
    }


def test_each_class_has_a_section_of_its_own():
    figures = {"metrics": {"dice": {"mean": 0.7, "std": 0.1}}, "lesions": {"f1": 0.6, "tp": 3}}
    summary = {"metrics": {"dice": {"mean": 0.8}}, "class_means": {"dice": 0.7}, "classes": {"ground glass": figures}}
    assert summary_metrics(summary) == {
        "evaluation/dice": 0.8,
        "evaluation/class_mean_dice": 0.7,
        "evaluation_ground glass/dice": 0.7,
        "evaluation_ground glass/lesion_f1": 0.6,
    }
