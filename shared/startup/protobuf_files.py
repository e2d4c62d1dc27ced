"""The registry of protobuf bodies out of its files: this package's own, and those of a deployment."""

from pathlib import Path

from shared.errors import SettingsError
from shared.protobufs.registries import Registry
from shared.protobufs.tables import SETTING, parse_table
from shared.settings import Settings

_OWN = Path(__file__).parents[1] / "protobufs"


def load_registry(settings: Settings) -> Registry:
    """What `protobuf_dir` has is checked whole. Raises SettingsError."""
    directories = [_OWN] + ([Path(settings.protobuf_dir)] if settings.protobuf_dir else [])
    try:
        tables = [parse_table((directory / "topics.json").read_text()) for directory in directories]
        descriptors = [path.read_bytes() for directory in directories for path in sorted(directory.glob("*.binpb"))]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(SETTING, str(error).lower()) from None
    registry = Registry(tables, descriptors)
    if settings.protobuf_dir:
        registry.check()
    return registry
