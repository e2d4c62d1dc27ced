"""Kafka's own jars, by Maven, kept under build/ for the next time."""

import os
import shutil
import subprocess
from pathlib import Path

VERSION = "4.1.1"
ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / f"kafka-{VERSION}"
_SECONDS = 170
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>push-gateway</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
  </dependencies>
</project>
"""


def missing() -> str:
    """What is needed and not here; empty if all is."""
    needed = ["java"] if (FOLDER / "libs").is_dir() else ["java", "mvn"]
    absent = [command for command in needed if shutil.which(command) is None]
    return f"no Kafka broker without {' and '.join(absent)}" if absent else ""


def jars() -> Path:
    """The folder with them; fetched if they are not there. Raises CalledProcessError with Maven's words."""
    libs = FOLDER / "libs"
    if not libs.is_dir():
        # Into a folder of this process, renamed when whole: others may fetch at the same time.
        own = FOLDER / f"fetching-{os.getpid()}"
        own.mkdir(parents=True, exist_ok=True)
        (own / "pom.xml").write_text(_POM)
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs"]
        done = subprocess.run(command, cwd=own, capture_output=True, text=True, timeout=_SECONDS, check=False)
        assert done.returncode == 0, f"mvn: {done.stdout[-2000:]}"
        if not libs.is_dir():
            (own / "libs").rename(libs)
        shutil.rmtree(own, ignore_errors=True)
    return libs
