from dataclasses import replace

from segpipe.export.card import licence_note, model_card
from segpipe.export.export_spec import Release
from segpipe.export.parity import Parity
from tests.samples.small_models import FACTS, SCAN, UNET, VOI, network_of

PARITY = Parity(2.5e-6, ((3, 1, 32, 32, 16), (1, 1, 34, 34, 18)))


def card(*, recipe=SCAN, **facts: object) -> str:
    point = {"threshold": 0.4, "min_volume_mm3": 12.5, "flips": [0, 2]}
    return model_card(Release(network_of(UNET), UNET, recipe, point, {**FACTS, **facts}), PARITY)


def test_it_says_what_it_is_not() -> None:
    assert "**Not a medical device.**" in card()
    assert "A radiologist must look at every scan." in card()


def test_figures_of_phantoms_are_called_that() -> None:
    assert "Its figures say nothing about patients." in card()
    assert "On 2 held-out phantoms" in card()
    assert "It has never seen a patient." in card()
    real = card(data="lidc")
    assert "phantom" not in real
    assert "On 2 held-out cases" in real


def test_it_reports_data_split_figures_and_operating_point() -> None:
    text = card(data="lidc", git_commit="abc", missing=None)
    for row in (
        "| data | lidc |",
        "| data hash | 0123456789abcdef |",
        "| split | train 7, val 1, test 2 |",
        "| git commit | abc |",
        "| Dice | 0.812 | 0.810 | 0.700 … 0.900 |",
        "| F1 (voxels) | undefined | undefined | undefined |",
        "Lesions: tp 3, fp 1, fn 0; precision 0.750, recall 1.000, f1 0.857.",
        "| threshold of the probability | 0.4 |",
        "| smallest lesion, mm³ | 12.5 |",
        "| test-time flips | x, z |",
        "| spacing, mm | 1 × 1 × 1.5 |",
        "| HU that become 0 and 1 | -1000 and 400 |",
        "differs from PyTorch's by 2.5e-06 at most (inputs of 3×1×32×32×16 and 1×1×34×34×18)",
    ):
        assert row in text
    assert "missing" not in text


def test_the_overlap_of_windows_is_said_where_windows_slide() -> None:
    row = "| overlap of neighbouring windows | {} |"
    assert row.format("0.5") in card()
    point = {"threshold": 0.4, "overlap": 0.25}
    assert row.format("0.25") in model_card(Release(network_of(UNET), UNET, SCAN, point, FACTS), PARITY)
    assert "overlap of" not in card(recipe=VOI)


def test_detection_is_said_where_it_was_measured() -> None:
    froc = {"cpm": 0.75, "cpm_ci95": [0.5, 0.875], "average_precision": 0.5, "average_precision_ci95": None}
    line = (
        "Detection by overlap, at any operating point: CPM 0.750 (0.500 … 0.875), average precision 0.500 (undefined)."
    )
    assert line in card(figures={**FACTS["figures"], "detection": froc})
    assert "Detection" not in card()


def test_what_a_guess_at_the_training_cases_found_is_said() -> None:
    found = {
        "attack": "threshold of Dice",
        "auc": 0.625,
        "ci95": [0.5, 0.75],
        "cases": {"trained_on": 8, "held_out": 9},
    }
    line = (
        "Cases of the training were guessed by a threshold of Dice: AUC 0.625 (0.500 … 0.750), 8 cases of the training "
        "against 9 held-out ones."
    )
    assert line in card(membership=found)
    assert "AUC undefined (undefined)" in card(membership={**found, "auc": None, "ci95": None})
    assert "AUC undefined (undefined), ? cases of" in card(membership={"attack": "another"})
    assert "Privacy" not in card()


def test_what_a_private_training_promises_is_said() -> None:
    known = {
        "unit": "patient",
        "epsilon": 7.9912,
        "delta": 0.0021,
        "accountant": "RDP, Opacus 1.6.0",
        "noise_multiplier": 1.616,
        "clip_norm": 1.0,
        "sampling_rate": 1 / 6,
        "patients": 48,
        "steps": 300,
        "randomness": "system",
    }
    text = card(privacy=known)
    assert (
        "Trained with differential privacy: ε = 8.00 at δ = 0.0021 per patient of the training, by Opacus's RDP "
        "accountant, for the weights (noise multiplier 1.62, clip norm 1, 300 steps, each patient in a step with "
        "probability 0.167, 48 patients)."
    ) in text
    assert "Figures, pictures and digests of the data are not covered" in text
    assert "the choice of hyper-parameters is not counted" in text
    assert "| privacy |" not in text
    assert "whoever knows" not in text
    assert "there is no guarantee against anybody who knows the seed" in card(privacy={**known, "randomness": "seed"})
    assert "ε = unknown at δ = unknown" in card(privacy={"epsilon": None, "steps": "<b>"})


def test_detection_is_said_for_each_diameter() -> None:
    sizes = {
        "under 6 mm": {"lesions": 3, "sensitivity_at_fp_per_scan": {"0.125": 0.0, "8": None}, "cpm": 0.25},
        "6-8 mm": {
            "lesions": 1,
            "sensitivity_at_fp_per_scan": {"0.125": 1.0, "8": 1.0},
            "cpm": 1.0,
            "cpm_ci95": [1, 1],
        },
    }
    lines = card(figures={**FACTS["figures"], "detection": {"by_diameter": sizes}}).splitlines()
    assert "| diameter | lesions | at 0.125 | at 8 | mean | 95 % interval |" in lines
    assert "| under 6 mm | 3 | 0.000 | undefined | 0.250 | undefined |" in lines
    assert "| 6-8 mm | 1 | 1.000 | 1.000 | 1.000 | 1 … 1 |" in lines


def test_what_a_split_does_not_know_is_left_out() -> None:
    text = card(split={"fold": None, "folds": None, "seed": 3, "train": 7, "training_cases_sha256": "ab"})
    assert "| split | seed 3, train 7, training cases sha256 ab |" in text
    assert "None" not in text
    assert "| split |" not in card(split={"fold": None})


def test_the_operating_point_says_what_it_was_chosen_on() -> None:
    point = {"threshold": 0.5, "origin": "chosen on 12 lesions of 8 validation cases"}
    release = Release(network_of(UNET), UNET, SCAN, point, FACTS)
    assert "| origin | chosen on 12 lesions of 8 validation cases |" in model_card(release, PARITY)


def test_a_model_without_figures_says_so() -> None:
    assert "Not evaluated." in card(figures=None)


def test_scopes_are_reported() -> None:
    assert "| scope | a whole scan |" in card()
    assert "the bundle that MONAI runs searches the whole scan" in card()
    assert "the bundle that MONAI runs" not in card(recipe=VOI)
    assert "| scope | the lesion at a point or in the middle of a crop |" in card(recipe=VOI)


def test_the_licence_is_left_to_the_data() -> None:
    note = licence_note(Release(network_of(UNET), UNET, SCAN, {}, FACTS))
    assert "The weights belong to whoever trained them." in note
    assert "(phantom)" in note


def test_a_crop_to_the_lungs_is_reported() -> None:
    assert "| cropped to | the lungs' box; a scan without lungs stays whole |" in card(
        recipe=replace(SCAN, lung_crop=True)
    )
    assert "cropped to" not in card()


def test_no_fact_starts_a_cell_a_line_or_html() -> None:
    odd = "a | b\n| c | d |\n<script>alert(1)</script>"
    text = card(recipe=replace(SCAN, name=odd, label=odd), data=odd, figures={**FACTS["figures"], "cases": odd})
    assert "| data | a \\| b \\| c \\| d \\| &lt;script&gt;alert(1)&lt;/script&gt; |" in text.splitlines()
    assert "<script>" not in text
    assert "| c | d |" not in text


def test_confidence_is_said_where_it_was_fitted() -> None:
    known = {
        "origin": "fitted on 40 validation cases",
        "voxels": {"temperature": 1.25},
        "findings": {"slope": 2.5, "intercept": -4.0, "event": "it is right", "findings": 50, "patients": 40},
        "refer": {"below": 0.55, "share": 0.1, "dice_kept": 0.85, "dice_referred": 0.75},
        "volume": {"coverage": 0.9, "classes": [{"from_mm3": 113.0, "low": 0.8, "high": 1.5, "patients": 60}]},
    }
    point = {"threshold": 0.4, "flips": [], "confidence": known}
    text = model_card(Release(network_of(UNET), UNET, SCAN, point, FACTS), PARITY)
    assert "| log odds that a finding is right | 2.500 · log odds of its mean probability -4.000 |" in text
    assert "| right | it is right |" in text
    assert "| temperature of the probability of voxels | 1.250 |" in text
    referred = "below 0.550: 10% of the findings; mean Dice 0.850 of the others, 0.750 of these"
    assert f"| refer to a human | {referred} |" in text
    row = "| 90% interval of volume, from 113 mm³ found | 0.80 to 1.50 of the found volume (60 patients) |"
    assert row in text
    assert "## Confidence" not in card()
