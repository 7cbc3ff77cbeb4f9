"""`python -m segpipe sign`: signs a model folder, so that others can verify who answers for it."""

import argparse
import os
from pathlib import Path

from segpipe.cli.common.flags import VerbParser
from segpipe.errors import ConfigError


def run(argv: list[str]) -> int:
    """Signs; returns 0."""
    given = _parser().parse_args(argv)
    from segpipe.export.signature import fingerprint, read_private_key
    from segpipe.export.signing import sign_folder

    key = read_private_key(given.key, _passphrase(given.passphrase_env))
    print(f"signed  {sign_folder(given.model, key)}")
    print(f"key     {fingerprint(key.public_key())}")
    print(f"verify  python -m segpipe predict --model {given.model} --verify-key PUBLIC.pem --input SCAN --output DIR")
    return 0


def _passphrase(variable: str | None) -> str | None:
    if variable is not None and variable not in os.environ:
        raise ConfigError("the variable with the passphrase is not set", facts={"--passphrase-env": variable})
    return os.environ[variable] if variable else None


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser("sign", description="Signs a model folder (Ed25519); --verify-key of other verbs verifies it.")
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model folder, of ratings as well")
    parser.add_argument("--key", required=True, type=Path, metavar="PEM", help="private key; stays where it is")
    parser.add_argument("--passphrase-env", metavar="VARIABLE", help="environment variable that holds its passphrase")
    return parser
