"""DCMTK's own sender, so that the receiver is tested against one that is not of pynetdicom."""

import os
import shutil
import subprocess

import pytest


def storescu(port, folder, *, caller="SCANNER", called="SEGPIPE"):
    """Sends a folder by C-STORE; returns the finished process."""
    program = shutil.which("storescu", path="/usr/bin:/usr/local/bin")  # pynetdicom brings one of the same name
    if not program:
        pytest.skip("storescu is not installed (Debian: dcmtk)")
    words = ["+sd", "-aet", caller, "-aec", called, "127.0.0.1", str(port), str(folder)]
    # a small message may not wait for the acknowledgement of the last one
    environment = {**os.environ, "TCP_NODELAY": "1"}
    return subprocess.run([program, *words], capture_output=True, text=True, env=environment, timeout=300)
