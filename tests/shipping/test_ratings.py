"""A rating model that ships says whose data it has learnt from, and stays whole."""

from segpipe.export import rating_folder
from segpipe.export.rating_folder import read_rating_folder, write_rating_folder
from tests.samples.small_rating_models import indifferent_model


def test_a_rating_model_gets_its_name_and_attribution(tmp_path, monkeypatch):
    from ratings import attribute

    monkeypatch.setattr(rating_folder, "_write_onnx", lambda file, _: file.write_bytes(b""))
    folder = write_rating_folder(tmp_path / "model", indifferent_model())
    attribute(folder, "lidc-ratings", "# Attribution\n\n{what} of LIDC-IDRI. {changes}\n")
    assert [scale.name for scale in read_rating_folder(folder).scales] == ["malignancy", "calcification"]
    card = (folder / "docs/README.md").read_text()
    assert "--ratings lidc-ratings --input SCAN" in card
    assert "## Attribution\n\nWeights that were learnt from crops of nodules and ratings of LIDC-IDRI." in card
    assert (folder / "ATTRIBUTION.md").is_file()
