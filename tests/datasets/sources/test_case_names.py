"""The tool's own names: numbers in order, which stay whatever comes later."""

import pytest

from segpipe.datasets.sources.case_names import Origin, name_cases


def named(folder, *pairs):
    origins = [Origin(digest, person, {}) for digest, person in pairs]
    return [(name.case, name.patient) for name in name_cases(origins, folder)]


def test_cases_and_patients_are_numbered_in_their_order(tmp_path):
    assert named(tmp_path, ("x", "Doe"), ("y", "Roe"), ("z", "Doe"), ("x", "Doe")) == [
        ("case_0001", "patient_0001"),
        ("case_0002", "patient_0002"),
        ("case_0003", "patient_0001"),
        ("case_0001", "patient_0001"),
    ]


@pytest.mark.parametrize(("person", "patient"), [("Doe", "patient_0001"), ("Poe", "patient_0003")])
def test_a_later_call_keeps_the_numbers_and_goes_on_from_the_last(tmp_path, person, patient):
    named(tmp_path, ("x", "Doe"), ("y", "Roe"))
    assert named(tmp_path, ("new", person), ("x", "Doe")) == [("case_0003", patient), ("case_0001", "patient_0001")]
