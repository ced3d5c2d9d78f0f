"""A local object store for tests: started, killed and started again; its objects as files."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.sweeps import ROOT
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.place import Place, place_at

BUCKET = "results"
PRESENT = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "x"}


class Local:
    """A server on loopback.

    Attributes:
      faults: as `tests.objects.server` has them; taken by the next start.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.port, self.faults = root, 0, list[str]()
        (root / BUCKET).mkdir(parents=True)
        self._process: subprocess.Popen[str] | None = None

    def start(self, *faults: str) -> None:
        """Starts the server, at the port that it had."""
        command = [sys.executable, "-S", str(ROOT / "tests/objects/server.py"), str(self.root)]
        command += [str(self.port), *faults]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """Ends it at once, whatever it does."""
        assert self._process is not None
        self._process.kill()
        self.wait()

    def wait(self) -> None:
        """Waits for its end."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.wait()
        self._process.stdout.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        url = f"http://127.0.0.1:{self.port}"
        return PRESENT | {"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true"}

    def objects(self, place: Place) -> dict[str, Path]:
        """The objects of a place by their keys."""
        prefix = place.url.split("/", 3)[3] + "/"
        files = [p for p in (self.root / BUCKET).iterdir() if not p.name.startswith(".new-")]
        named = {unquote(path.name): path for path in files}
        return {key.removeprefix(prefix): p for key, p in named.items() if key.startswith(prefix)}

    def as_folder(self, place: Place, target: Path) -> Path:
        """Copies what is stored to a folder, without any code of ours."""
        shutil.rmtree(target, ignore_errors=True)
        for key, path in self.objects(place).items():
            if not key.startswith("checkpoints/"):
                (target / key).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / key)
        return target


@contextmanager
def running(root: Path) -> Iterator[Local]:
    """A server until the context ends."""
    local = Local(root)
    local.start()
    try:
        yield local
    finally:
        local.kill()


def fresh_place(patch: pytest.MonkeyPatch, local: Local, cache: Path, name: str) -> Place:
    """A place of the server, of which this process has seen nothing."""
    for variable, value in local.environment.items():
        patch.setenv(variable, value)
    patch.setenv("TFC_CACHE", str(cache))
    return place_at(f"s3://{BUCKET}/of-tests/{name}")


def bucket_of(place: Place) -> Bucket:
    return Bucket(place)
