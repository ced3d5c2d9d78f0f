"""No variable of the environment is in anything that a command prints or writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweeps import ROOT, write_sweep

SECRETS = {
    name: f"canary-{number}-of-the-environment"
    for number, name in enumerate(
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN",
         "HUGGING_FACE_HUB_TOKEN", "GITHUB_TOKEN", "GH_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY",
         "KAGGLE_KEY", "SLURM_JOB_NAME", "USER", "LOGNAME", "USERNAME", "HOSTNAME", "MAIL", "PS1",
         "SSH_CONNECTION", "SSH_AUTH_SOCK", "DATABASE_URL", "PASSWORD", "EMAIL", "GIT_AUTHOR_EMAIL",
         "LIBTPU_INIT_ARGS", "CONDA_PREFIX", "VIRTUAL_ENV", "NETRC", "PIP_INDEX_URL")
    )
}  # fmt: skip
SECRETS |= {
    "https_proxy": "http://canary-user:canary-word@127.0.0.1:9",
    "XLA_FLAGS": "--xla_dump_hlo_pass_re=canary-of-a-flag",
    "TFC_UNKNOWN": "canary-of-ours",
}
TELLS_WHERE = "data-prepare-mnist"  # says in which folder below HOME the data set is wanted
KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "JAX_COMPILATION_CACHE_DIR", "LANG")
IN_MANIFEST = {
    "name", "description", "steps", "flags", "launched_at", "record", "versions", "git", "platform",
    "n_devices", "machine", "schema", "earlier",
}  # fmt: skip
FLAGS = {
    "set", "filter", "limit", "workers", "pack_width", "schedule", "max_memory", "deterministic",
    "executor", "address", "slurm",
}  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every command has been called, with what they said in `said`."""
    here = tmp_path_factory.mktemp("here")
    home = here / "canary-of-home"
    home.mkdir()
    (here / "said").mkdir()
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= SECRETS | {"HOME": str(home), "JAX_PLATFORMS": "cpu"}
    environment |= {"PYTHONPATH": str(ROOT), "JAX_ENABLE_COMPILATION_CACHE": "true"}

    def tfc(*words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "tfc_jax.cli", *words]
        done = subprocess.run(
            command, cwd=here, env=environment, capture_output=True, text=True, check=False
        )
        name = "-".join(words).replace("/", "_")
        (here / "said" / name).write_text(done.stdout + done.stderr)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    record = {"metrics": ["similarity"]}
    write_sweep(here, record=record, grid={"init_scale": [0.8, 1.0]})
    write_sweep(here, "failing", grid={"seed": [0]}, base={"steps": 1000})
    tfc("init")
    tfc("validate", "small.yaml")
    tfc("plan", "small.yaml", "--json")
    tfc("run", "small.yaml", "--workers", "1", "-v")
    tfc("status", "results/small")
    tfc("status", "results/small", "--json")
    run_id = json.loads(tfc("ls", "results/small", "--json"))[0]["run_id"]
    tfc("show", "results/small", run_id)
    tfc("show", "results/small", "--columns")
    tfc("report", "results/small")
    tfc("replay", "results/small", run_id)
    tfc("doctor")
    tfc("doctor", "--json")
    tfc("data", "prepare", "mnist", code=2)
    tfc("run", "absent.yaml", code=2)
    tfc("run", "small.yaml", "--set", "dataset=npz:absent.npz", code=2)
    # A worker that fails in the middle of its work, and tells how.
    environment["PYTHONPATH"] = f"{_broken(here)}{os.pathsep}{ROOT}"
    tfc("run", "failing.yaml", "--workers", "1", code=1)
    return here


def _broken(here: Path) -> Path:
    """Makes every worker fail when it stores its first chunk."""
    (here / "broken").mkdir()
    (here / "broken" / "sitecustomize.py").write_text(
        "import sys\n"
        "if '-m' in sys.orig_argv and 'tfc_jax.worker' in sys.orig_argv:\n"
        "    from tfc_jax import store\n"
        "    def fail(*arguments): raise RuntimeError('broken on purpose')\n"
        "    store.PackStore.commit = fail\n"
    )
    return here / "broken"


@pytest.mark.slow
def test_no_variable_of_the_environment_is_printed_or_stored(here: Path) -> None:
    files = [path for folder in ("results", "said") for path in (here / folder).rglob("*")]
    files = [path for path in files if path.is_file()]
    assert len(files) > 40
    for path in files:
        content = path.read_bytes()
        found = [name for name, value in SECRETS.items() if value.encode() in content]
        assert not found, path
        if path.name != TELLS_WHERE:
            assert b"canary" not in content, path


@pytest.mark.slow
def test_a_failing_worker_has_told_how_it_failed(here: Path) -> None:
    assert "broken on purpose" in (here / "results" / "failing" / "log.jsonl").read_text()


@pytest.mark.slow
def test_the_manifest_holds_nothing_of_the_machine_but_what_the_numbers_depend_on(
    here: Path,
) -> None:
    manifest = json.loads((here / "results" / "small" / "manifest.json").read_text())
    assert manifest.keys() == IN_MANIFEST
    assert manifest["flags"].keys() == FLAGS
    assert str(here) not in json.dumps(manifest)
