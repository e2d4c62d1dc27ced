"""`pushctl key`: keys of the HTTP API."""

import os
from datetime import UTC, datetime

import click

from services.api.key_files import changing, keys_path, read_keys
from services.api.keys import SCOPES, SECRET_BYTES, ApiKey, digest_of, key_text, name_fault
from services.pushctl import options
from services.pushctl.faults import FAILED, Fault
from shared.startup.environment import read_settings

_name = click.argument("name", metavar="NAME")


@click.group()
def key() -> None:
    """Make, list and revoke keys of the HTTP API. On a host of the fleet.

    \b
    pushctl key create shop --scope push
    pushctl key list
    pushctl key revoke shop
    """


@key.command()
@_name
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), help="May be repeated.")
@options.as_json
def create(name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Make a key called NAME and print it: it is shown this once, and kept only as a digest."""
    if fault := name_fault(name):
        raise click.UsageError(fault)
    text = key_text(os.urandom(SECRET_BYTES))
    created = datetime.now(UTC).isoformat(timespec="seconds")
    with changing(keys_path(read_settings())) as keys:
        if any(known.name == name for known in keys):
            raise Fault(f"there is a key {name} already: revoke it first", FAILED)
        keys.append(ApiKey(name, digest_of(text), frozenset(scopes), created))
    if as_json:
        options.print_json({"name": name, "scopes": list(scopes), "key": text})
    else:
        click.echo(text)


@key.command("list")
@options.as_json
def list_keys(as_json: bool) -> None:
    """List the keys: name, scopes, since when."""
    keys = read_keys(keys_path(read_settings())) or []
    said = [{"name": one.name, "scopes": sorted(one.scopes), "created": one.created} for one in keys]
    if as_json:
        options.print_json(said)
        return
    for one in said:
        click.echo("\t".join([str(one["name"]), ",".join(one["scopes"]), str(one["created"])]))


@key.command()
@_name
@options.as_json
def revoke(name: str, as_json: bool) -> None:
    """Have NAME's key refused from now on."""
    with changing(keys_path(read_settings())) as keys:
        left = [known for known in keys if known.name != name]
        if len(left) == len(keys):
            raise Fault(f"there is no key {name}", FAILED)
        keys[:] = left
    if as_json:
        options.print_json({"name": name, "revoked": True})
    else:
        click.echo(f"{name} is revoked")
