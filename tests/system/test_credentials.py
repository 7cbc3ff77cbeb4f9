"""An address is shown, written and logged without what signs in to it, and is whole where it is used."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from segpipe.errors import ConfigError
from segpipe.system import credentials
from segpipe.system.credentials import HANDED_DOWN, Address, set_credentials_apart, whole_address, without_secrets


@pytest.fixture(autouse=True)
def none_known(monkeypatch):
    monkeypatch.setattr(credentials, "_kept", {})
    monkeypatch.delenv(HANDED_DOWN, raising=False)


FORMS = [  # an address, what may be shown of it, user and password
    ("postgresql://ann:secret@db/mlflow", "postgresql://db/mlflow", "ann", "secret"),
    ("postgresql://ann:a/b@db/mlflow", "postgresql://db/mlflow", "ann", "a/b"),
    ("postgresql://ann:p@ss/w@db:5432/mlflow", "postgresql://db:5432/mlflow", "ann", "p@ss/w"),
    ("postgresql://ann:p%40ss%2Fw@db/mlflow", "postgresql://db/mlflow", "ann", "p@ss/w"),
    ("postgresql://ann:a:b@[::1]:5432/mlflow", "postgresql://[::1]:5432/mlflow", "ann", "a:b"),
    ("postgresql://ann:12/b@db/mlflow", "postgresql://db/mlflow", "ann", "12/b"),
    ("mysql+pymysql://ann@db/mlflow?ssl_key=key&password=a", "mysql+pymysql://db/mlflow", "ann", ""),
    ("sqlite+pysqlcipher://:secret@/data/m.db?cipher=x", "sqlite+pysqlcipher:///data/m.db", "", "secret"),
    ("sqlite:///mlflow.db?password=secret", "sqlite:///mlflow.db", "", ""),
    ("https://ann:secret@mlflow.example/x", "https://mlflow.example/x", "ann", "secret"),
    ("https://dapi0123@adb.example", "https://adb.example", "dapi0123", ""),
    ("https://mlflow.example/?token=dapi0123", "https://mlflow.example/", "", ""),
    ("https://mlflow.example/#dapi0123", "https://mlflow.example/", "", ""),
    ("ann:secret@db/mlflow", "db/mlflow", "ann", "secret"),
]
BARE = ["sqlite:///mlflow.db", "sqlite:////home/me@work/m.db", "http://h:5000/x", "databricks", "databricks://a:b", ""]


@pytest.mark.parametrize(("uri", "shown", "user", "password"), FORMS)
def test_what_signs_in_is_taken_out_and_put_back(uri, shown, user, password):
    address = Address.parse(uri)
    assert (address.shown, address.user, address.password) == (shown, user, password)
    assert repr(address) == f"Address(shown={shown!r})"
    assert not address.is_bare
    assert Address.parse(address.whole) == address
    assert set_credentials_apart(uri) == shown
    assert whole_address(shown) == address


@pytest.mark.parametrize(
    ("uri", "user", "password"),
    [(uri, user, password) for uri, _, user, password in FORMS if not uri.startswith(("http", "ann"))],
)
def test_sqlalchemy_reads_the_same_user_and_password(uri, user, password):
    url = make_url(Address.parse(uri).whole)
    assert ((url.username or ""), (url.password or "")) == (user, password)


@pytest.mark.parametrize("uri", BARE)
def test_an_address_without_any_stays_as_it_is(uri):
    assert set_credentials_apart(uri) == Address.parse(uri).whole == uri
    assert Address.parse(uri).is_bare
    assert HANDED_DOWN not in os.environ


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(_TEXTS, _TEXTS)
def test_any_user_and_password_come_through(user, password):
    address = Address("postgresql://db/mlflow", user, password)
    assert Address.parse(address.whole) == address


@pytest.mark.parametrize("uri", ["postgresql://ann:secret#1@db/x", "postgresql://db/x?password=secret@1"])
def test_what_may_be_part_of_a_password_or_not_is_refused_without_it(uri):
    with pytest.raises(ConfigError, match="must not have an @ behind a") as caught:
        set_credentials_apart(uri)
    assert "secret" not in str(caught.value)
    assert caught.value.facts == {"found": "one that begins with postgresql://"}
    assert "%40" in caught.value.hint


@pytest.mark.parametrize("name", [HANDED_DOWN, "MLFLOW_TRACKING_URI"])
def test_a_process_knows_what_its_parent_or_its_user_knows(monkeypatch, name):
    whole = "postgresql://ann:p%40ss@db/mlflow?sslkey=k"
    monkeypatch.setenv(name, whole)
    assert whole_address("postgresql://db/mlflow").whole == whole
    assert whole_address("postgresql://other/mlflow").is_bare
    monkeypatch.setenv(name, "postgresql://ann:a#b@db/mlflow")
    assert whole_address("postgresql://db/mlflow").is_bare


def test_addresses_are_handed_down_whole(monkeypatch):
    set_credentials_apart("postgresql://ann:p@ss@db/mlflow")
    assert os.environ[HANDED_DOWN] == "postgresql://ann:p%40ss@db/mlflow"


def test_texts_of_other_libraries_lose_what_is_known_to_be_secret(monkeypatch):
    set_credentials_apart("postgresql://ann:p@ss/w@db/mlflow?sslpassword=hush")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "dapi0123")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://eve:eve-1@h")
    said = "p@ss/w, p%40ss%2Fw, postgresql://ann:p%40ss%2Fw@db/mlflow?sslpassword=hush, hush, dapi0123, eve-1, http://a:b@c"
    assert without_secrets(ValueError(said)) == "***, ***, ***, ***, ***, ***, http://***@c"
    assert without_secrets("hushed sqlite:///mlflow.db") == "hushed sqlite:///mlflow.db"
