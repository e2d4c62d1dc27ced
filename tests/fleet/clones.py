"""A copy of this source tree, installed in a virtualenv of its own, without a network."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_NOT_COPIED = shutil.ignore_patterns(".*", "var", "build", "__pycache__", "*.egg-info", "*.so")


def clone(directory: Path) -> Path:
    """The copy's root, in which `make run` has nothing left to install.

    Its virtualenv borrows the libraries of the one that runs the test, so that only the project is installed anew.
    """
    root = directory / "clone"
    shutil.copytree(ROOT, root, ignore=_NOT_COPIED)
    venv = root / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    libraries = venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (libraries / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    install = ["pip", "--quiet", "install", "--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    subprocess.run([venv / "bin/python", "-m", *install, "--editable", root], check=True, env=environ)
    for stamp in ("ready-to-build", "installed"):
        (venv / stamp).touch()
    return root


def processes_of(data_dir: Path) -> list[int]:
    """Pids of all living processes that have this data directory in their environment."""
    marker = f"PUSH_DATA_DIR={data_dir}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
