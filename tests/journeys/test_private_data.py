"""From a hospital's DICOM to a trained model: no patient and no password is named in data set, run, model or MLflow."""

import pytest

from tests.samples.hospital_folders import BOX, FAR, all_text, patient_folder
from tests.support.processes import segpipe

pytestmark = pytest.mark.slow


def test_who_was_trained_on_and_what_signs_in_is_written_nowhere(tmp_path, tiny_words, new_database, monkeypatch):
    source, home = tmp_path / "in", tmp_path / "home"
    new_database(home)
    monkeypatch.setenv("SEGPIPE_CACHE", str(home / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "Sesame-2")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "Sesame-3")
    people = [f"MRN-88{number}" for number in range(4)]
    series = [
        patient_folder(source / person, {"GTV-1": BOX, "Lung L": FAR}, patient=person, seed=number)
        for number, person in enumerate(people)
    ]
    roi = "lung=Lung.*;tumour=GTV.*"
    reported = segpipe(
        "ingest", "--source", "dicom", "--input", str(source), "--output", "data", "--roi", roi, cwd=home
    )
    reported += segpipe("ingest", "--check", "data", cwd=home)
    other = ("data=", "data.root", "+experiment", "recipe.patch", "trainer.max_steps")
    words = [word for word in tiny_words if not word.startswith(other)]
    own = ["recipe.patch=[32,32,8]", "trainer.max_steps=2", "evaluation.overlays=12"]
    own += ["tracking.uri=sqlite:///mlflow.db?password=Sesame-1"]
    data = ["+experiment=lung_tumour", "data=manifest", "data.root=data", "data.fractions=[0.5,0.25,0.25]"]
    reported += segpipe(*data, *words, *own, "hydra.run.dir=run", cwd=home)

    everything = reported.encode() + all_text(home)
    assert b"case_0004" in everything
    uids = [
        uid for first, *_ in series for uid in (first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID)
    ]
    for secret in (*people, "Secret", "19500101", "20200102", *uids, "Sesame"):
        assert secret.encode() not in everything, secret
    assert (home / "mlflow.db").is_file()
