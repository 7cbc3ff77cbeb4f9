"""Data sets of implanted nodules: the same at every call, true, split by patient on both sides, good to train on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segpipe.__main__ import main
from segpipe.case import Case
from segpipe.datasets.implanting import ImplantSettings, ensure_implanted, make_implanted
from segpipe.datasets.implanting.donor import cut_donor
from segpipe.datasets.implanting.groups import without_hosts_own
from segpipe.datasets.implanting.implanted_case import implant
from segpipe.datasets.loading import load_case, load_lesions
from segpipe.datasets.manifest import Entry, Manifest, read_manifest, write_manifest
from segpipe.datasets.opening import open_dataset
from segpipe.datasets.sources.folders import find_cases
from segpipe.datasets.sources.implanted import open_nodules
from segpipe.datasets.splits import assign_roles
from segpipe.errors import ConfigError, DatasetError, ImageError, SegpipeError
from segpipe.geometry import to_voxel
from segpipe.io.dicom.series.series import find_series, read_series
from segpipe.io.images.volumes import read_volume, write_volume
from segpipe.labels import LabelMap
from segpipe.lesions import label_lesions
from segpipe.system.files.csv_table import read_csv
from tests.samples.synthetic_lungs import crop, lungs, write_cases

SETTINGS = ImplantSettings(copies=2, per_scan=2, healthy=0.5, seed=0)
NONE = {"table": None, "case_column": "case", "patient_column": "patient"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Three hosts, the first with a lesion of its own, and fifteen nodules of five patients."""
    folder = tmp_path_factory.mktemp("inputs")
    hosts = [lungs(seed) for seed in range(3)]
    mask = np.zeros(hosts[0].grid.shape, dtype=np.uint8)
    mask[26:29, 34:37, 24:26] = 1
    hosts[0].image[mask > 0] = 40
    hosts[0] = replace(hosts[0], mask=mask)
    write_cases(folder / "hosts", hosts)
    entries = [
        Entry(case.id, f"patient_{number}", folder / "hosts" / "images" / f"{case.id}.nii.gz")
        for number, case in enumerate(hosts)
    ]
    entries[0] = replace(entries[0], mask=folder / "hosts" / "masks" / "lungs_0.nii.gz")
    write_manifest(Manifest("hosts", "nifti", tuple(entries), {1: "nodule"}), folder / "hosts")
    crops = [crop(6.0 + seed % 6, seed=seed, near=(None, "wall", None)[seed % 3]) for seed in range(15)]
    write_cases(folder / "nodules", crops)
    rows = [f"{case.id},person{number % 5},{number % 5 + 1}" for number, case in enumerate(crops)]
    (folder / "nodules" / "nodules.csv").write_text("\n".join(["nodule,patient,texture", *rows]))
    return folder


@pytest.fixture(scope="module")
def manifests(inputs):
    nodules = find_cases(inputs / "nodules", table="nodules.csv", case_column="nodule")
    return {"hosts": read_manifest(inputs / "hosts"), "nodules": nodules}


@pytest.fixture
def one_process(monkeypatch):
    """Cases are made in this process, which starts sooner."""
    monkeypatch.setattr("segpipe.system.processes.parallel_map.available_cores", lambda: 1)


@pytest.fixture(scope="module")
def made(manifests, tmp_path_factory):
    return make_implanted(tmp_path_factory.mktemp("made"), **manifests, settings=SETTINGS, workers=0)


def test_a_host_has_versions_with_nodules_and_healthy_ones(made, manifests):
    manifest, result = made
    assert [entry.id for entry in manifest.entries] == [f"lungs_{n}_v0{v}" for n in range(3) for v in (1, 2)]
    assert (manifest.name, manifest.source, manifest.labels) == ("implanted_hosts", "implanted", {1: "nodule"})
    assert result.errors == ()
    for entry, host in zip(manifest.entries[1::2], manifests["hosts"].entries, strict=True):
        healthy, before = load_case(entry, manifest.labels), load_lesions(host, {1: "nodule"})
        assert (healthy.image == before.image).all()
        assert (healthy.mask == (before.mask if before.mask is not None else 0)).all()
        assert entry.extra["implants"] == []
    assert [len(entry.extra["implants"]) for entry in manifest.entries[::2]] == [2, 2, 2]


def test_the_mask_holds_the_implants_and_the_lesions_of_the_host(made):
    manifest, _ = made
    for entry, own in zip(manifest.entries[::2], (1, 0, 0), strict=True):
        case = load_case(entry, manifest.labels)
        numbers, count = label_lesions(case.mask)
        assert count == entry.extra["lesions"] == len(entry.extra["implants"]) + own
        for facts in entry.extra["implants"]:
            number = numbers[tuple(np.rint(to_voxel(case.grid.affine, facts["centre_mm"])).astype(int))]
            volume = np.count_nonzero(numbers == number) * case.grid.voxel_volume_mm3
            assert number > 0
            assert volume == pytest.approx(facts["volume_mm3"], abs=case.grid.voxel_volume_mm3 / 2 + 0.1)
            assert case.image[numbers == number].max() > -200


def test_outside_the_nodules_the_scan_is_the_host(made, manifests):
    entry = made[0].entries[2]
    image = read_volume(entry.image).array
    before = read_volume(manifests["hosts"].entries[1].image).array
    changed = np.argwhere(image != before)
    centres = [facts["centre_mm"] for facts in entry.extra["implants"]]
    distances = np.linalg.norm(changed[:, None] * [2.5, 2.5, 3.0] - np.array(centres)[None], axis=-1).min(axis=1)
    assert 0 < len(changed) < 0.02 * image.size
    assert distances.max() < 20


def test_the_same_seed_gives_the_same_voxels_and_another_gives_others(manifests, made, tmp_path):
    one = replace(SETTINGS, copies=1)
    same, _ = make_implanted(tmp_path / "same", **manifests, settings=one, workers=0)
    other, _ = make_implanted(tmp_path / "other", **manifests, settings=replace(one, seed=1), workers=0)
    first, again, others = (
        np.stack([read_volume(entry.image).array for entry in entries])
        for entries in (made[0].entries[::2], same.entries, other.entries)
    )
    assert (first == again).all()
    assert (first != others).any(axis=(1, 2, 3)).all()
    assert [entry.extra for entry in made[0].entries[::2]] == [entry.extra for entry in same.entries]


def test_no_patient_is_trained_on_and_held_out(made, manifests):
    people = {entry.id: entry.patient for name in manifests for entry in manifests[name].entries}
    for roles in (assign_roles(made[0], fractions=(0.8, 0.0, 0.2)), assign_roles(made[0], fold=1, folds=3)):
        met = {role: set() for role in ("train", "test")}
        for entry in roles.entries:
            names = [entry.extra["host"], *(facts["nodule"] for facts in entry.extra["implants"])]
            met[entry.split] |= {(name.split("_")[0], people[name]) for name in names}
        assert met["train"]
        assert met["test"]
        assert not met["train"] & met["test"]


def test_a_table_says_which_nodule_lies_where_and_whose_it_is_nowhere(made):
    manifest, result = made
    table = manifest.entries[0].image.parent.parent / "implants.csv"
    rows = read_csv(table)[1]
    assert len(rows) == 6
    assert {row["case"] for row in rows} == {f"lungs_{number}_v01" for number in range(3)}
    assert float(rows[0]["x_mm"]) == manifest.entries[0].extra["implants"][0]["centre_mm"][0]
    assert {row["texture"] for row in rows} <= {"1", "2", "3", "4", "5"}
    assert "person" not in table.read_text()
    assert result.notes == ("6 nodules implanted, 6 wanted: implants.csv says which lies where",)


def test_what_is_there_is_not_made_again(manifests, tmp_path):
    one = replace(SETTINGS, copies=1, per_scan=1)
    make_implanted(tmp_path, **manifests, settings=one, workers=0)
    again, result = make_implanted(tmp_path, **manifests, settings=replace(one, copies=2), workers=0)
    assert (result.new, len(again.entries)) == (3, 6)


def test_what_cannot_be_used_is_named_and_costs_itself_alone(manifests, inputs, tmp_path, one_process):
    hosts, nodules = (list(manifests[name].entries) for name in ("hosts", "nodules"))
    hosts[0] = replace(
        hosts[0],
        id="abdomen",
        patient=hosts[1].patient,
        image=inputs / "nodules" / "images" / "crop_0.nii.gz",
        mask=None,
    )
    nodules = [entry for entry in nodules if entry.id in ("crop_1", "crop_2", "crop_4")]
    nodules[2] = replace(nodules[2], mask=tmp_path / "gone.nii.gz")
    broken = {
        "hosts": manifests["hosts"].with_entries(hosts[:2]),
        "nodules": manifests["nodules"].with_entries(nodules),
        "settings": replace(SETTINGS, copies=1, per_scan=3),
    }
    made, result = make_implanted(tmp_path / "data", **broken, workers=0)
    assert [entry.id for entry in made.entries] == ["lungs_1_v01"]
    assert [error.facts["case"] for error in result.errors] == ["abdomen"]
    assert result.notes[-1] == "nodules that cannot be read or have no lung around them are not used: crop_4"
    with pytest.raises(ImageError, match="a host must show the lungs"):
        ensure_implanted(tmp_path / "cache", **broken)


@pytest.mark.parametrize("what", ["hosts", "nodules"])
def test_spheres_are_no_outlines(manifests, tmp_path, what):
    spheres = [replace(entry, extra={"sphere": True}) for entry in manifests[what].entries]
    with pytest.raises(DatasetError, match="spheres around nodules are none") as caught:
        make_implanted(tmp_path, **{**manifests, what: manifests[what].with_entries(spheres)}, settings=SETTINGS)
    assert caught.value.facts[what] == what


def test_a_model_on_implants_in_phantoms_says_so(manifests, tmp_path):
    hosts = replace(manifests["hosts"], source="phantom", name="made", entries=manifests["hosts"].entries[:1])
    one = replace(SETTINGS, copies=1, per_scan=1)
    made, _ = make_implanted(tmp_path, hosts=hosts, nodules=manifests["nodules"], settings=one, workers=0)
    assert made.name == "implanted_phantom"


@pytest.mark.parametrize("change", [{"copies": 0}, {"per_scan": 0}, {"healthy": 1.0}, {"seed": -1}])
def test_impossible_settings_are_reported(manifests, tmp_path, change):
    with pytest.raises(ConfigError, match="copies and nodules per scan must be at least 1"):
        make_implanted(tmp_path, **manifests, settings=replace(SETTINGS, **change))


def test_ingest_makes_such_a_data_set(inputs, tmp_path, capsys):
    words = ["ingest", "--source", "implanted", "--input", str(inputs / "hosts"), "--output", str(tmp_path / "data")]
    assert main(words) == 2
    assert "implanting needs nodules" in capsys.readouterr().err
    words += ["--nodules", str(inputs / "nodules"), "--copies", "1", "--per-scan", "1", "--healthy", "0"]
    assert main([*words, "--shard", "1/2"]) == 2
    assert "implanted nodules have no shards" in capsys.readouterr().err
    assert main([*words, "--workers", "0"]) == 0
    assert len(read_manifest(tmp_path / "data").entries) == 3


def test_nodules_may_be_a_data_set_with_a_manifest(manifests, tmp_path):
    write_manifest(manifests["nodules"], tmp_path)
    assert open_nodules(tmp_path, NONE) == manifests["nodules"]


@pytest.mark.slow
def test_one_command_trains_on_implanted_nodules(
    inputs, tiny_words, tmp_path, without_onnx, without_reports, one_process
):
    words = [word for word in tiny_words if not word.startswith(("data", "recipe.spacing", "trainer.max"))]
    words += ["data=implanted", f"data.hosts={inputs / 'hosts'}", f"data.nodules={inputs / 'nodules'}"]
    words += [
        "data.case_column=nodule",
        "data.copies=1",
        "data.per_scan=2",
        "data.healthy=0",
        "data.workers=0",
        f"data.cache={tmp_path / 'cache'}",
    ]
    words += ["recipe.spacing_mm=[5.0,5.0,6.0]", "trainer.max_steps=2", "training.validate_every=2", "tracking=none"]
    assert main([*words, f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    split = read_csv(tmp_path / "run" / "split.csv")[1]
    assert {row["patient"] for row in split} == {"group_0001", "group_0002", "group_0003"}
    assert {row["role"] for row in split} == {"train", "test"}


@pytest.mark.slow
def test_the_oblique_lungs_of_the_phantom_are_hosts_too():
    from segpipe.datasets.phantom.generator import generate_case

    made = generate_case(0, 5)  # without nodules
    host = Case("phantom", made.image, made.grid)
    donors = [
        (Entry(f"n{s}", "p", Path("x")), cut_donor(crop(6.0 + s, seed=s), np.random.default_rng(s))) for s in range(5)
    ]
    _, mask, facts = implant(host, donors, wanted=3, rng=np.random.default_rng(0))
    assert len(facts) == 3
    assert label_lesions(mask)[1] == 3
    expected = sum(fact["volume_mm3"] for fact in facts)
    assert mask.sum() * made.grid.voxel_volume_mm3 == pytest.approx(expected, rel=0.02)


@pytest.mark.realdata
@pytest.mark.slow
def test_real_nodules_find_places_in_a_real_scan_that_they_were_not_cut_from(realdata, tmp_path):
    volume = read_series(find_series(realdata / "lidc_idri" / "LIDC-IDRI-0001").series[0])
    scan = write_volume(tmp_path / "scan.nii", volume.array, volume.grid)
    hosts = Manifest("hosts", "dicom", (Entry("scan", "patient_0001", scan),), {1: "nodule"})
    nodules = find_cases(realdata / "lidc_nodules", table="nodules.csv", case_column="nodule")
    usable = without_hosts_own(hosts, nodules)
    assert {entry.id for entry in nodules.entries} - {entry.id for entry in usable} == {"LIDC-IDRI-0001_R_1"}
    host = Case("scan", volume.array, volume.grid)
    rng = np.random.default_rng(0)
    donors = [(entry, cut_donor(load_lesions(entry, nodules.labels), rng)) for entry in usable[::40]]
    image, mask, facts = implant(host, donors, wanted=8, rng=rng)
    assert len(facts) == 8
    assert label_lesions(mask)[1] == 8
    assert np.median(volume.array[mask > 0]) < -600  # lung, before
    assert np.median((image - volume.array)[mask > 0]) > 200


def test_training_opens_the_data_set_that_its_settings_name(inputs, tmp_path, one_process):
    options = {"hosts": str(inputs / "hosts"), "nodules": str(inputs / "nodules"), "table": "nodules.csv"}
    options |= {"case_column": "nodule", "patient_column": "patient"}
    options |= {"copies": 1, "per_scan": 1, "healthy": 0.0, "implant_seed": 0}
    labels = LabelMap.of("nodule")
    opened = open_dataset("implanted", options, labels=labels, cache=tmp_path)
    assert len(opened.entries) == 3
    assert opened.entries[0].image.is_relative_to(tmp_path)
    with pytest.raises(SegpipeError, match=r"manifest\.json"):
        open_dataset("implanted", {**options, "hosts": str(inputs / "nodules")}, labels=labels, cache=tmp_path)
