"""An independent implementation: the openssl command."""

import os
import shutil
import subprocess

import pytest


def openssl_aes(data: bytes, key: bytes, *, decrypt: bool = False) -> bytes:
    """AES-128-CBC with PKCS7 whose key is its IV; no base64."""
    if shutil.which("openssl") is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is not installed")
        pytest.skip("openssl is not installed")
    way = "-d" if decrypt else "-e"
    command = ["openssl", "enc", "-aes-128-cbc", way, "-K", key.hex(), "-iv", key.hex()]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout
