"""The bill of materials: what segpipe needs and no more, valid, and without a word of the machine."""

import json

import pytest

from segpipe import __version__
from shipping.sbom import check_schema, narrow, needs_of

REQUIREMENTS = {
    "segpipe": ["Alpha>=1", "beta[quick]; python_version>'3'", "gamma; extra == 'test'", "delta; extra == 'slurm'"],
    "alpha": ["Eps_ilon", "windows-only; sys_platform == 'win32'"],
    "beta": ["zeta; extra == 'quick'", "eta; extra == 'slow'", "alpha"],
    "eps-ilon": ["beta"],  # a circle
    "delta": None,
}
NEEDS = {
    "segpipe": {"alpha", "beta"},
    "alpha": {"eps-ilon"},
    "beta": {"zeta", "alpha"},
    "eps-ilon": {"beta"},
}


def component(name):
    return {
        "bom-ref": f"{name}==1", "name": name, "version": "1", "type": "library",
        "externalReferences": [{"type": "distribution", "url": f"file:///home/me/{name}.whl"}],
    }  # fmt: skip


@pytest.fixture
def whole():
    """What `cyclonedx-py` says of an environment, tests' tools included."""
    names = ["Alpha", "beta", "Eps.ilon", "zeta", "pytest", "segpipe"]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6",
        "version": 1, "metadata": {"component": {**component("segpipe"), "bom-ref": "root"}},
        "components": [component(name) for name in names],
        "dependencies": [{"ref": "root", "dependsOn": ["pytest==1"]}, *({"ref": f"{name}==1"} for name in names)],
    }  # fmt: skip


def test_what_is_needed_is_followed_by_markers_and_extras():
    assert needs_of("segpipe", of=lambda name: REQUIREMENTS.get(name)) == NEEDS
    more = needs_of("segpipe", ["slurm"], of=lambda name: REQUIREMENTS.get(name))
    assert more["segpipe"] == {"alpha", "beta", "delta"}


def test_the_bill_has_what_is_needed_and_who_needs_it(whole):
    bill = narrow(whole, NEEDS)
    assert [one["name"] for one in bill["components"]] == ["Alpha", "beta", "Eps.ilon", "zeta"]
    assert bill["metadata"]["component"]["version"] == __version__
    assert bill["dependencies"] == [
        {"ref": "root", "dependsOn": ["Alpha==1", "beta==1"]},
        {"ref": "Alpha==1", "dependsOn": ["Eps.ilon==1"]},
        {"ref": "beta==1", "dependsOn": ["Alpha==1", "zeta==1"]},
        {"ref": "Eps.ilon==1", "dependsOn": ["beta==1"]},
        {"ref": "zeta==1"},
    ]


def test_no_address_is_in_it(whole):
    assert "/home/me" not in json.dumps(narrow(whole, NEEDS))


def test_it_is_held_to_the_schema(whole):
    bill = narrow(whole, NEEDS)
    check_schema(bill)
    with pytest.raises(ValueError, match="colour"):
        check_schema({**bill, "colour": "red"})


def test_a_package_that_is_needed_and_not_there_is_named(whole):
    with pytest.raises(KeyError, match="lost"):
        narrow(whole, {**NEEDS, "zeta": {"lost"}})


def test_segpipe_needs_its_libraries_and_not_those_of_its_tests():
    needs = needs_of("segpipe")
    assert {"torch", "monai", "pydicom"} <= needs["segpipe"]
    assert not {"pytest", "hypothesis", "ruff"} & {name for names in needs.values() for name in names}
