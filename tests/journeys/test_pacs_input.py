"""`predict` with a DICOMweb address, from a real PACS: what is fetched is predicted and leaves the disk again."""

import json
import tempfile

import pytest

from segpipe.cli.predict.command import run
from segpipe.errors import ConfigError, ImageError, SegpipeError
from segpipe.io.pacs.dicomweb.pacs import Pacs
from segpipe.io.pacs.errors import PacsAccessError, PacsAwayError, WrongPasswordError
from tests.peers.orthanc import PASSWORD, ROOT, USER, Orthanc, TlsFront, make_certificate
from tests.samples.synthetic_chest import chest_series
from tests.support.workers import free_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    """An Orthanc with a study of a chest CT, a localizer and an MR, and a study of an MR alone."""
    folder = tmp_path_factory.mktemp("pacs")
    orthanc = Orthanc(folder / "orthanc").start()
    orthanc.study, orthanc.ct = orthanc.send_series(chest_series(1), folder)
    same = {"StudyInstanceUID": orthanc.study}
    _, orthanc.scout = orthanc.send_series(chest_series(2, **same)[:1], folder)
    orthanc.send_series(chest_series(3, Modality="MR", **same), folder)
    orthanc.mr_study, _ = orthanc.send_series(chest_series(4, Modality="MR"), folder)
    yield orthanc
    orthanc.stop()


@pytest.fixture(autouse=True)
def room(tmp_path, monkeypatch):
    """The folder for temporary files, to see what is left in it."""
    (tmp_path / "room").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "room"))
    monkeypatch.setenv("PACS_PASSWORD", PASSWORD)
    return tmp_path / "room"


def words(model, address, output, *more):
    user = ["--user", USER, "--password-env", "PACS_PASSWORD"]
    return ["--model", str(model), "--input", address, "--output", str(output), *user, *more]


def files(folder):
    return sorted(file.name for file in folder.iterdir() if file.is_file())


def test_a_study_is_fetched_predicted_and_removed(pacs, chest_model, room, tmp_path, capsys, caplog):
    out = tmp_path / "out"
    given = words(chest_model, f"{pacs.dicomweb}/studies/{pacs.study}", out, "--output-format", "json", "dicom-sr")
    assert run(given) == 0
    (name,) = [file.stem for file in out.glob("*.json")]
    assert name.startswith("series-")
    assert {f"{name}.json", f"{name}.seg.dcm", f"{name}.sr.dcm"} <= set(files(out))
    assert json.loads((out / f"{name}.json").read_text())["grid"]["shape"] == [64, 48, 20]
    assert "is left out: no CT series found" in caplog.text
    assert list(room.iterdir()) == []
    told = capsys.readouterr()
    for secret in (pacs.study, pacs.ct, PASSWORD):
        assert secret not in told.out + told.err + caplog.text + " ".join(files(out))
    assert run(given) == 0
    assert "1 of them were done before" in capsys.readouterr().out


@pytest.fixture
def follow_up_study(pacs, tmp_path):
    """A study of two chest CTs and a localizer."""
    study, _ = pacs.send_series(chest_series(5), tmp_path)
    for number in (6, 7):
        pacs.send_series(chest_series(number, StudyInstanceUID=study)[: 1 if number == 7 else None], tmp_path)
    return f"{pacs.dicomweb}/studies/{study}"


def test_one_series_after_the_other_is_on_the_disk(follow_up_study, chest_model, room, tmp_path, monkeypatch, capsys):
    fetch, seen, out = Pacs.fetch, [], tmp_path / "out"

    def watched(*args, folder):
        count = fetch(*args, folder=folder)
        seen.append(([path.name for path in folder.parent.iterdir()], len(list(out.glob("*.json")))))
        return count

    monkeypatch.setattr(Pacs, "fetch", watched)
    assert run(words(chest_model, follow_up_study, out, "--output-format", "json", "csv")) == 0
    assert [done for _, done in seen] in ([0, 1, 2], [0, 1, 1], [0, 0, 1])  # by the place of the localizer
    assert [len(names) for names, _ in seen] == [1, 1, 1]
    assert "2 scans" in capsys.readouterr().out
    assert (out / "findings.csv").exists()
    assert list(room.iterdir()) == []


def test_a_pacs_that_goes_away_leaves_what_is_predicted(
    follow_up_study, chest_model, room, tmp_path, monkeypatch, capsys
):
    fetch, out = Pacs.fetch, tmp_path / "out"

    def until_one_is_predicted(*args, folder):
        if list(out.glob("*.json")):
            raise PacsAwayError("the PACS does not answer")
        return fetch(*args, folder=folder)

    given = words(chest_model, follow_up_study, out, "--output-format", "json")
    with monkeypatch.context() as patched:
        patched.setattr(Pacs, "fetch", until_one_is_predicted)
        refused(given, PacsAwayError, "the PACS does not answer")
    assert len(list(out.glob("*.json"))) == 1
    assert list(room.iterdir()) == []
    assert run(given) == 0
    assert "1 of them were done before" in capsys.readouterr().out


def test_a_flag_for_one_scan_is_refused_before_any_is_predicted(follow_up_study, chest_model, room, tmp_path):
    out = tmp_path / "out"
    message = refused(
        words(chest_model, follow_up_study, out, "--at", "0,0,0"), ConfigError, "--at belongs to one scan"
    )
    assert "scans  2" in message
    assert not out.exists()
    assert list(room.iterdir()) == []


def test_a_series_over_tls(pacs, chest_model, room, tmp_path):
    certificate, other = make_certificate(tmp_path / "own"), make_certificate(tmp_path / "other")
    front = TlsFront(pacs.base, certificate)
    address = f"{front.dicomweb}/studies/{pacs.study}/series/{pacs.ct}"
    try:
        for flags in ([], ["--authority", str(other)]):
            with pytest.raises(PacsAccessError, match="the certificate of the PACS cannot be trusted"):
                run(words(chest_model, address, tmp_path / "out", *flags))
        assert run(words(chest_model, address, tmp_path / "out", "--authority", str(certificate))) == 0
    finally:
        front.stop()
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 1
    assert list(room.iterdir()) == []


def refused(given, kind, message):
    with pytest.raises(kind, match=message) as caught:
        run(given)
    assert isinstance(caught.value, SegpipeError)
    return str(caught.value)


def test_addresses_without_a_chest_ct(pacs, chest_model, room, tmp_path):
    out = tmp_path / "out"
    mr = words(chest_model, f"{pacs.dicomweb}/studies/{pacs.mr_study}", out)
    assert "1 × MR" in refused(mr, ImageError, "there is no CT series at the DICOMweb address")
    scout = words(chest_model, f"{pacs.dicomweb}/studies/{pacs.study}/series/{pacs.scout}", out)
    assert pacs.scout not in refused(scout, ImageError, "no CT series found")
    unknown = words(chest_model, f"{pacs.dicomweb}/studies/1.2.3", out)
    assert "found  nothing" in refused(unknown, ImageError, "there is no CT series at the DICOMweb address")
    assert list(room.iterdir()) == []
    assert not out.exists()


def test_a_wrong_password_and_a_dead_pacs(pacs, chest_model, room, tmp_path, monkeypatch):
    out = tmp_path / "out"
    dead = words(chest_model, f"http://127.0.0.1:{free_port()}{ROOT}/studies/{pacs.study}", out)
    assert pacs.study not in refused(dead, PacsAwayError, "the PACS does not answer")
    monkeypatch.setenv("PACS_PASSWORD", "wrong")
    address = f"{pacs.dicomweb}/studies/{pacs.study}"
    assert "wrong" not in refused(
        words(chest_model, address, out), WrongPasswordError, "the PACS refuses user and password"
    )
    assert list(room.iterdir()) == []
    assert not out.exists()


def test_flags_of_a_pacs_need_its_address(chest_model, tmp_path):
    with pytest.raises(ConfigError, match="only a DICOMweb address takes these flags"):
        run(words(chest_model, str(tmp_path), tmp_path / "out"))
