"""`ingest --plan`: files that a person can read and that training takes."""

import json
import shlex
from dataclasses import replace

import pytest
import yaml

from segpipe.__main__ import main
from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.config.plan import with_plans
from segpipe.datasets.manifest import read_manifest, write_manifest
from segpipe.datasets.sources.folders import find_cases
from tests.samples.two_classes import write_two_classes


@pytest.fixture
def measured(monkeypatch):
    """Dry steps that take 2000 bytes per voxel."""

    def step(network, loss, *, patch, batch, labels):
        x, y, z = patch
        return 2000 * batch * x * y * z

    monkeypatch.setattr("segpipe.planning.dry_step.measure_step", step)


@pytest.fixture
def dataset(tiny_dataset, tmp_path):
    folder = tmp_path / "Müller's data, 50%=a"  # nothing in a path may mean anything to YAML or Hydra
    write_manifest(find_cases(tiny_dataset), folder)
    return folder


@pytest.mark.usefixtures("measured")
def test_a_plan_is_written_with_its_fingerprint_and_training_takes_it(dataset, capsys):
    assert main(["ingest", "--plan", str(dataset), "--memory", "1GB", "--workers", "0"]) == 0
    reported = capsys.readouterr().out
    text = (dataset / "plan.yaml").read_text()
    assert text in reported
    assert shlex.split(reported.splitlines()[-1]) == [
        *["python", "-m", "segpipe", "+experiment=lung_nodule"],
        f"+plan={dataset / 'plan.yaml'}",
    ]
    assert json.loads((dataset / "fingerprint.json").read_text())["lesions"] == 10
    plan = yaml.safe_load(text)
    words = with_plans(["+experiment=lung_nodule", f"+plan={dataset / 'plan.yaml'}"])
    settings = settings_of(compose(words, registries), registries())
    assert (settings.data.name, settings.data.root) == ("manifest", str(dataset.resolve()))
    assert list(settings.recipe.patch) == plan["recipe"]["patch"]
    assert list(map(list, settings.network["strides"])) == plan["network"]["strides"]
    assert settings.training.batch_size == plan["training"]["batch_size"]
    assert list(settings.recipe.spacing_mm) == plan["recipe"]["spacing_mm"]


@pytest.mark.usefixtures("measured")
def test_lesions_of_several_labels_become_classes_of_the_plan(tmp_path, capsys):
    source = write_two_classes(tmp_path / "source", cases=2)
    words = ["--label", "1=ground_glass,2=solid,255=ignore", "--workers", "0"]
    dataset = tmp_path / "dataset"
    assert main(["ingest", "--source", "nifti", "--input", str(source), "--output", str(dataset), *words]) == 0
    assert [entry.extra["lesions"] for entry in read_manifest(dataset).entries] == [1, 1]  # a core within a rim
    assert main(["ingest", "--check", str(dataset), "--workers", "0"]) == 0
    assert "ground_glass: 2 lesions\nsolid: 2 lesions\n2 cases, 0 errors" in capsys.readouterr().out
    assert main(["ingest", "--plan", str(dataset), "--memory", "1GB", "--workers", "0"]) == 0
    fingerprint = json.loads((dataset / "fingerprint.json").read_text())
    assert fingerprint["classes"]["solid"]["lesion_hu"]["50 %"] == pytest.approx(50, abs=5)
    composed = compose(with_plans(["+experiment=lung_nodule", f"+plan={dataset / 'plan.yaml'}"]), registries)
    settings = settings_of(composed, registries())
    assert (settings.recipe.labels, settings.recipe.ignore) == ({1: "ground_glass", 2: "solid"}, 255)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("memory", "message"), [("plenty", "memory must be an amount like 4GB"), ("1MB", "no patch fits the memory")]
)
def test_a_memory_that_cannot_be_is_reported(dataset, capsys, memory, message):
    assert main(["ingest", "--plan", str(dataset), "--memory", memory, "--workers", "0"]) == 2
    assert message in capsys.readouterr().err
    assert not (dataset / "plan.yaml").exists()


@pytest.mark.usefixtures("measured")
def test_what_cannot_be_trained_on_is_not_planned(dataset, capsys):
    manifest = read_manifest(dataset)
    spheres = [replace(entry, extra={"sphere": True}) for entry in manifest.entries[:1]]
    write_manifest(manifest.with_entries([*spheres, *manifest.entries[1:]]), dataset)
    assert main(["ingest", "--plan", str(dataset), "--memory", "1GB", "--workers", "0"]) == 2
    assert "spheres around nodules are no outlines to train on" in capsys.readouterr().err
    assert not (dataset / "plan.yaml").exists()


@pytest.mark.usefixtures("measured")
def test_without_a_gpu_no_step_is_measured_that_the_machine_could_not_hold(dataset, capsys, monkeypatch):
    monkeypatch.setattr("segpipe.system.machine.memory.available_memory", lambda: 2**28)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["ingest", "--plan", str(dataset), "--memory", "24GB", "--workers", "0"]) == 0
    reported = capsys.readouterr()
    assert "24.00 GB cannot be measured here: there is no GPU, and the machine has 0.25 GB; planning for 0.20 GB" in (
        reported.err
    )
    assert reported.out.startswith("# A plan for 10 cases within 0.20 GB")
    # every step was reported as it was measured
    assert "dry step: patch 32×32×24, batch 2: 0.09 GB" in reported.err
