"""A model folder that somebody answers for: signed, verified, and refused when it is another one."""

import base64
import json
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

import segpipe
from segpipe.__main__ import main
from segpipe.errors import ConfigError, ModelError
from segpipe.export.export_spec import INDEX, SIGNATURE
from segpipe.export.model_folder import read_model_folder
from segpipe.export.shipped import find_model
from segpipe.export.signature import fingerprint, read_private_key, read_public_key
from segpipe.export.writing import checksum
from segpipe.inference.ratings.rater import Rater
from tests.samples.small_models import VOI, without_onnx_export, write_small


def write_keys(folder, passphrase=None, kind=ed25519.Ed25519PrivateKey):
    """private.pem and public.pem in a folder."""
    folder.mkdir(exist_ok=True)
    key = kind.generate()
    hidden = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    (folder / "private.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(public)
    return folder / "private.pem", folder / "public.pem"


@pytest.fixture
def keys(tmp_path):
    return write_keys(tmp_path / "keys")


@pytest.fixture
def model(tmp_path):
    with without_onnx_export():
        return write_small(tmp_path / "model", recipe=VOI, about={}).path


def test_a_signed_folder_is_read_with_its_key_and_without(model, keys, capsys):
    private, public = keys
    assert main(["sign", str(model), "--key", str(private)]) == 0
    found = fingerprint(read_public_key(public))
    assert f"key     {found}" in capsys.readouterr().out
    assert read_model_folder(model, key=read_public_key(public)).path == model
    assert read_model_folder(model).path == model
    segpipe.load_model(model, device="cpu", verify_key=public)


def test_another_key_and_no_signature_are_refused(model, keys, tmp_path):
    other = read_public_key(write_keys(tmp_path / "other")[1])
    with pytest.raises(ModelError, match="the model folder is not signed") as caught:
        read_model_folder(model, key=other)
    assert f"sign {model} --key" in caught.value.hint
    main(["sign", str(model), "--key", str(keys[0])])
    with pytest.raises(ModelError, match="the signature is not of this key") as caught:
        read_model_folder(model, key=other)
    assert caught.value.facts["key"] == fingerprint(other)


def test_an_index_that_was_changed_after_it_was_signed_is_refused(model, keys):
    main(["sign", str(model), "--key", str(keys[0])])
    content = json.loads((model / INDEX).read_text())
    content["operating_point"]["threshold"] = 0.9
    (model / INDEX).write_text(json.dumps({**content, "checksum": checksum(content)}))
    assert read_model_folder(model).operating_point["threshold"] == 0.9
    with pytest.raises(ModelError, match="or the folder is not the one that was signed"):
        read_model_folder(model, key=read_public_key(keys[1]))


@pytest.mark.parametrize("content", [b"", b"no base64 !", base64.b64encode(b"x" * 64), b"\xff" * 100_000])
def test_what_is_no_signature_is_refused(model, keys, content):
    (model / SIGNATURE).write_bytes(content)
    with pytest.raises(ModelError, match="the signature is not of this key"):
        read_model_folder(model, key=read_public_key(keys[1]))


def test_a_damaged_folder_is_not_signed(model, keys):
    (model / "models" / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError):
        read_model_folder(model)
    assert main(["sign", str(model), "--key", str(keys[0])]) == 2
    assert not (model / SIGNATURE).exists()


def test_a_rating_model_is_signed_and_verified_as_well(keys, tmp_path):
    ratings = shutil.copytree(find_model("lidc-ratings"), tmp_path / "ratings")
    with pytest.raises(ModelError, match="is not signed"):
        Rater.open(ratings, key=read_public_key(keys[1]))
    assert main(["sign", str(ratings), "--key", str(keys[0])]) == 0
    assert Rater.open(ratings, key=read_public_key(keys[1])).model.scales


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "--input", ".", "--output", "o", "--at", "0,0,0"],
        ["evaluate", "--data", ".", "--output", "o"],
        ["robustness", "--data", ".", "--output", "o"],
        ["serve", "--interactive"],
    ],
    ids=lambda words: words[0],
)
def test_every_verb_that_opens_a_model_verifies_it(words, model, keys, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--model", str(model), "--verify-key", str(keys[1])]) == 2
    assert "the model folder is not signed" in capsys.readouterr().err


def test_a_passphrase_is_read_from_the_environment(model, tmp_path, monkeypatch, capsys):
    private, _ = write_keys(tmp_path / "hidden", passphrase="Sesame")
    words = ["sign", str(model), "--key", str(private)]
    assert main(words) == 2
    assert "--passphrase-env" in capsys.readouterr().err
    assert main([*words, "--passphrase-env", "SEGPIPE_TEST_PASSPHRASE"]) == 2
    assert "the variable with the passphrase is not set" in capsys.readouterr().err
    monkeypatch.setenv("SEGPIPE_TEST_PASSPHRASE", "Sesame")
    assert main([*words, "--passphrase-env", "SEGPIPE_TEST_PASSPHRASE"]) == 0
    assert "Sesame" not in capsys.readouterr().out


def test_what_is_no_key_is_explained(keys, tmp_path):
    private, public = keys
    agreeing = write_keys(tmp_path / "agreeing", kind=x25519.X25519PrivateKey)
    for read, kind, files in (
        (read_private_key, "private", (public, agreeing[0])),
        (read_public_key, "public", (private, agreeing[1])),
    ):
        for file in files:
            with pytest.raises(ConfigError, match=f"must hold an Ed25519 {kind} key") as caught:
                read(file)
            assert "openssl genpkey" in caught.value.hint
        with pytest.raises(ConfigError, match="the key cannot be read"):
            read(tmp_path / "nowhere.pem")


def test_a_key_of_a_kind_that_nobody_knows_is_none(keys, tmp_path):
    """Its object identifier is one that the library refuses with an error of its own."""
    public = keys[1].read_text().replace("MCowBQYDK2Vw", "MCowBQYDu2Vw")
    (tmp_path / "odd.pem").write_text(public)
    with pytest.raises(ConfigError, match="must hold an Ed25519 public key"):
        read_public_key(tmp_path / "odd.pem")
