"""Settings as this process finds them: its environment and the file that `PUSH_CONFIG` names."""

import os
import socket
from pathlib import Path

from shared.errors import SettingsError
from shared.settings import CONFIG_KEY, Settings, load


def read_settings() -> Settings:
    """The settings of this process, checked. Raises SettingsError that names the key."""
    path = os.environ.get(CONFIG_KEY, "")
    try:
        text = Path(path).read_text(encoding="utf-8") if path else ""
    except OSError as error:
        raise SettingsError(CONFIG_KEY, f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise SettingsError(CONFIG_KEY, f"{path}: not UTF-8") from None
    return load(os.environ, text, socket.gethostname())
