"""compose.yaml names what is there, asks for every password, is open to this machine alone, and works by hand, too."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from segpipe.cli.serve.flags import parse_flags

ROOT = Path(__file__).parents[3]
CONTENT = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = CONTENT["services"]
PAGE = (ROOT / "docs" / "compose.md").read_text()
PINNED = re.compile(r".+:v?\d+\.\d+[\w.-]*")


def words_on_page(*begin):
    """The command on the page by hand that begins with these words."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(" ".join(begin))]
    return shlex.split(line)


def options(words):
    return dict(word.partition("=")[::2] for word in words if word.startswith("--"))


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_pinned_healthy_and_restarted(name):
    service = SERVICES[name]
    assert PINNED.fullmatch(service["image"])
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    for other, condition in service.get("depends_on", {}).items():
        assert other in SERVICES
        assert condition["condition"] == "service_healthy"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_alone(name):
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_no_password_has_a_default():
    text = (ROOT / "compose.yaml").read_text()
    asked = re.findall(r"\$\{(\w+)(.*?)\}", text)
    assert all(rest == ":?is missing in .env" for _, rest in asked)
    given = (ROOT / "docs" / "compose" / "example.env").read_text()
    assert {name for name, _ in asked} == set(re.findall(r"^(\w+)=$", given, re.MULTILINE))
    assert not re.findall(r"^\w+=.+$", given, re.MULTILINE)
    for service in SERVICES.values():
        secrets = [value for name, value in service.get("environment", {}).items() if "PASSWORD" in name]
        assert all(value.startswith("${") for value in secrets)


def test_volumes_are_declared_and_files_are_there():
    for volume in (volume for service in SERVICES.values() for volume in service.get("volumes", [])):
        source = re.sub(r"\$\{[^}]*\}", "$", volume).split(":")[0]
        assert source == "$" or source in CONTENT["volumes"] or (ROOT / source).is_file(), volume
    assert (ROOT / SERVICES["segpipe"]["build"] / "Dockerfile").is_file()


def test_the_worker_is_given_flags_that_it_has_and_the_folders_that_are_mounted(monkeypatch):
    monkeypatch.setenv("ORTHANC_PASSWORD", "secret")
    service = SERVICES["segpipe"]
    verb, *words = service["command"]
    given = parse_flags(words)
    assert (verb, given.user, given.password) == ("serve", "segpipe", "secret")
    mounted = {re.sub(r"\$\{[^}]*\}", "$", volume).split(":")[1] for volume in service["volumes"]}
    assert {str(given.model), str(given.state)} == mounted
    assert service["network_mode"] == "service:pacs", "over plain http a password goes to the own machine alone"
    assert "/state" in (ROOT / "Dockerfile").read_text(), "the folder must belong to the user of the container"


def test_the_page_says_the_same_commands_by_hand(monkeypatch):
    monkeypatch.setenv("ORTHANC_PASSWORD", "secret")
    serve = words_on_page("python", "-m", "segpipe", "serve")
    parse_flags(serve[4:])
    for by_hand, service in ((serve, "segpipe"), (words_on_page("mlflow", "server"), "mlflow")):
        here, there = options(by_hand), options(SERVICES[service]["command"])
        assert set(there) - set(here) <= {"--host"}
        same = {"--dicomweb", "--user", "--password-env", "--port", "--workers"} & set(there)
        assert {name: here[name] for name in same} == {name: there[name] for name in same}
    assert words_on_page("Orthanc")[1] == "docs/compose/orthanc.json"
    install = SERVICES["mlflow"]["build"]["dockerfile_inline"].split("--no-cache-dir ")[1].strip()
    assert f"pip install {install}" in PAGE


def test_mlflow_is_the_one_that_segpipe_is_tested_with():
    (pinned,) = re.findall(r"^mlflow==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert f"mlflow=={pinned}" in SERVICES["mlflow"]["build"]["dockerfile_inline"]
    assert SERVICES["mlflow"]["image"] == f"segpipe-mlflow:{pinned}"


def test_what_orthanc_takes_from_its_environment_is_set():
    text = (ROOT / "docs" / "compose" / "orthanc.json").read_text()
    needed = set(re.findall(r"\$\{(\w+)\}", text))
    assert needed <= set(SERVICES["pacs"]["environment"])
    assert all(name == "ORTHANC_PASSWORD" or name in PAGE for name in needed)
    assert '"RemoteAccessAllowed": ${ORTHANC_IN_CONTAINER:-false}' in text
