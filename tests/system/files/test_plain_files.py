"""Files of plain data are read within bounds: no size, depth or alias costs more than a message."""

import pytest
import yaml

from segpipe.system.files import plain_files
from segpipe.system.files.plain_files import read_json, read_yaml


def _file(folder, text):
    file = folder / "content"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_plain_data_are_read(tmp_path):
    assert read_json(_file(tmp_path, '{"a": [1, null, "ü"]}')) == {"a": [1, None, "ü"]}
    assert read_json(_file(tmp_path, "3")) == 3
    assert read_yaml(_file(tmp_path, "a: [1, null, ü]\nb: &x {c: 1.5}\nd: *x")) == {
        "a": [1, None, "ü"],
        "b": {"c": 1.5},
        "d": {"c": 1.5},
    }


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))


@pytest.mark.parametrize(
    ("read", "text", "reason"),
    [
        (read_json, "[" * 70 + "]" * 70, "nested more than 64 deep"),
        (read_json, "[" * 10**6, "nested more than 64 deep"),
        (read_yaml, "[" * 70 + "]" * 70, "nested more than 64 deep"),
        (read_yaml, "[" * 1500 + "]" * 1500, "nested more than 64 deep"),
        (read_yaml, BOMB, "more than 4194304 values"),
        (read_yaml, "&a [*a]", "nested more than 64 deep"),
        (read_json, "9" * 5000, "Exceeds the limit"),
        (read_json, b"\xff{}", "utf-8"),
        (read_json, "{", "Expecting"),
        (read_yaml, "a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        (read_yaml, "a: [", "while parsing"),
        (read_yaml, b"a: \x00", "special characters are not allowed"),
    ],
)
def test_what_is_no_plain_data_within_bounds_is_refused_with_its_reason(tmp_path, read, text, reason):
    with pytest.raises(ValueError, match=reason):
        read(_file(tmp_path, text))


def test_a_file_beyond_all_bounds_is_not_even_read(tmp_path, monkeypatch):
    monkeypatch.setattr(plain_files, "LARGEST_FILE", 2**20)
    file = _file(tmp_path, "")
    with file.open("r+b") as stream:
        stream.truncate(2**20 + 1)
    with pytest.raises(ValueError, match="larger than 1 MiB"):
        read_json(file)


def test_another_loader_decides_what_is_a_number(tmp_path):
    from omegaconf._utils import get_yaml_loader

    file = _file(tmp_path, "lr: 1e-3")
    assert read_yaml(file) == {"lr": "1e-3"}
    assert read_yaml(file, get_yaml_loader()) == {"lr": 0.001}
    assert issubclass(get_yaml_loader(), yaml.SafeLoader)
