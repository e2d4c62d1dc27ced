"""`pushctl keygen`, and the CURVE keys that a sender shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from services.key_files import read_key_pair
from services.pushctl import options
from services.pushctl.faults import FAILED, Fault
from shared.keys import KeyPair, format_key_pair, is_key
from shared.settings import Settings

if TYPE_CHECKING:
    from services.sender import CurveKeys


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@options.as_json
def keygen(file: Path, as_json: bool) -> None:
    """Make a CURVE key pair, write it to the new FILE (mode 0600), and print the public key."""
    import zmq  # noqa: PLC0415  (only this command makes keys)

    public, secret = [key.decode() for key in zmq.curve_keypair()]
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Fault(f"{file}: {(error.strerror or str(error)).lower()}", FAILED) from None
    with open(descriptor, "w", encoding="ascii") as stream:
        stream.write(format_key_pair(KeyPair(public, secret)))
    if as_json:
        options.print_json({"file": str(file), "public": public})
    else:
        click.echo(public)


def sender_keys(settings: Settings, key_file: Path | None, router_key: str | None) -> CurveKeys | None:
    """The keys to show to a router, or None for none. Raises SettingsError and UsageError.

    The router's public key is that of this host's `curve_server_key_file` unless it is said.
    """
    from services.sender import CurveKeys  # noqa: PLC0415

    if key_file is None:
        if router_key or settings.curve_server_key_file:
            raise click.UsageError("the router wants CURVE keys: name your own pair with --key-file")
        return None
    own = read_key_pair("--key-file", key_file)
    if router_key is None:
        if not settings.curve_server_key_file:
            raise click.UsageError("--key-file needs the router's public key too: --router-key")
        router_key = read_key_pair("curve_server_key_file", Path(settings.curve_server_key_file)).public
    if not is_key(router_key):
        raise click.UsageError("--router-key is not a key of 40 Z85 characters")
    return CurveKeys(router_key.encode(), own.public.encode(), own.secret.encode())
