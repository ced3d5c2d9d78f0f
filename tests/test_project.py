"""The project keeps its own rules: what may import what, what is pinned, what is never written."""

import ast
import json
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Each may import those after it, never those before it.
CHAIN = ("cli", "executors", "worker", "engine", "train", "models metrics probes")
APART = ("data", "models", "metrics")
FOR_ANALYSIS = {"config", "errors", "expression", "files", "keys", "results", "schema", "tables"}
FOR_ANALYSIS |= {"theory"}  # NumPy and SciPy only
FOR_ANALYSIS |= {"console", "terminal", "untrusted"}  # how files are read and people spoken to
WITHOUT_JAX = ("config", "data", "doctor", "errors", "expression", "grid", "refine", "registry")
# Imported only by a launch that uses them.
OF_EXTRAS = {
    "obstore": {"tfc_jax.objects.bucket"},
    "ray": {"tfc_jax.executors.ray", "tfc_jax.executors.ray_cluster"},
    "submitit": {"tfc_jax.executors.slurm"},
}
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "__import__"}

# Distributions whose module has another name.
MODULE = {"pillow": "PIL", "ruamel-yaml": "ruamel", "scikit-learn": "sklearn"}
# Imported by tensorflow-datasets and by the cache of JAX, which do not declare them everywhere.
NOT_OURS = {"array-record", "filelock", "importlib-resources"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Yields the dotted name of everything that a file imports, lazily too, but not for types."""
    only_for_types = {
        id(inner)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree(path)):
        if id(node) in only_for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(package: str = "tfc_jax") -> dict[str, Path]:
    return {dotted(path): path for path in sources(package)}


def module_of(name: str, known: dict[str, Path]) -> str | None:
    """Returns the project's module that an imported name is or lives in."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def imported_modules(path: Path) -> set[str]:
    known = modules("tfc_jax") | modules("analysis")
    found = {module_of(name, known) for name in imports(path)}
    return {name for name in found if name} - {dotted(path)}


def part(module: str) -> str:
    """Returns the folder or file of tfc_jax that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def rank(module: str) -> int | None:
    return next((i for i, names in enumerate(CHAIN) if part(module) in names.split()), None)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    """Returns the names that requirements start with, as package indexes compare them."""
    return {normal(re.split(r"[^\w.-]", line)[0]) for line in requirements}


def constraints() -> list[str]:
    return (ROOT / "constraints.txt").read_text().splitlines()


def tracked() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so nothing is tracked")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_dependencies_run_from_the_command_line_down_to_models_and_metrics() -> None:
    upward = [
        f"{name} imports {other}"
        for name, path in modules().items()
        for other in imported_modules(path)
        if (here := rank(name)) is not None
        if (there := rank(other)) is not None
        if there < here
    ]
    assert not upward


def test_no_module_imports_itself_through_others() -> None:
    order = TopologicalSorter({name: imported_modules(path) for name, path in modules().items()})
    assert set(modules()) <= set(order.static_order())  # raises CycleError


def test_a_launch_does_not_know_object_stores() -> None:
    """They know it, and hand it what it does otherwise (storage.py)."""
    known = imported_modules(modules()["tfc_jax.launch"])
    assert not [name for name in known if name.startswith("tfc_jax.objects")]


@pytest.mark.parametrize("package", APART)
def test_data_models_and_metrics_do_not_know_each_other(package: str) -> None:
    others = set(APART) - {package}
    seen = {other for path in sources(f"tfc_jax/{package}") for other in imported_modules(path)}
    assert not {name for name in seen if part(name) in others}


def test_analysis_knows_only_results_and_schema() -> None:
    seen = {
        part(other)
        for path in sources("analysis")
        for other in imported_modules(path)
        if other.startswith("tfc_jax.")
    }
    assert seen <= FOR_ANALYSIS


def test_only_the_command_line_knows_analysis() -> None:
    seen = {
        name
        for name, path in modules().items()
        if any(other.startswith("analysis") for other in imported_modules(path))
    }
    assert {part(name) for name in seen} <= {"cli"}


@pytest.mark.parametrize("name", WITHOUT_JAX)
def test_what_needs_no_jax_does_not_import_it(name: str) -> None:
    assert not slow_modules_after(f"import tfc_jax.{name}")


def test_figures_are_drawn_without_jax() -> None:
    assert not slow_modules_after("import analysis.build") & {"jax", "flax", "tensorflow"}


def test_the_benchmark_imports_neither_jax_nor_pytorch_itself() -> None:
    assert not slow_modules_after("import bench.__main__") & {"jax", "flax", "torch"}


def test_only_the_benchmark_knows_pytorch() -> None:
    for path in sources("tfc_jax", "analysis", "scripts"):
        assert "torch" not in {name.partition(".")[0] for name in imports(path)}, path


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_import_no_jax(flag: str) -> None:
    shown = (
        f"import sys; sys.argv[1:] = ['{flag}']\n"
        "from tfc_jax.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass"
    )
    assert not slow_modules_after(shown)


SLOW = {"jax", "flax", "pandas", "torch", "tensorflow", "tensorflow_datasets", "matplotlib"}


def slow_modules_after(code: str) -> set[str]:
    """Returns which of the slow libraries a fresh process has imported after running `code`."""
    ask = f"{code}\nimport sys; print('\\n' + ' '.join(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", ask], check=True, capture_output=True, text=True, timeout=60
    )
    loaded = set(answer.stdout.splitlines()[-1].split())
    return loaded & SLOW


def test_nothing_is_unpickled_or_evaluated() -> None:
    for path in sources("tfc_jax", "analysis", "bench", "scripts"):
        assert not {name.partition(".")[0] for name in imports(path)} & UNSAFE_MODULES, path
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in UNSAFE_CALLS, (path, node.lineno)
                assert "allow_pickle=True" not in map(ast.unparse, node.keywords), path


UNSAFE = {
    "import pickle": "TID251",
    "import dill": "TID251",
    "import cloudpickle": "TID251",
    "import shelve": "TID251",
    "import marshal": "TID251",
    "import joblib": "TID251",
    "import jsonpickle": "TID251",
    "import tarfile": "TID251",
    "import torch\ntorch.load('x')": "TID251",
    "import shutil\nshutil.unpack_archive('x')": "TID251",
    "import urllib.request\nurllib.request.urlopen('https://x')": "TID251",
    "import jinja2\njinja2.Template('x')": "TID251",
    "import jinja2\njinja2.Environment()": "S701",
    "import jinja2\njinja2.Environment(autoescape=False)": "S701",
    "import pandas as pd\npd.read_pickle('x')": "S301",
    "import marshal\nmarshal.loads(b'')": "S302",
    "import yaml\nyaml.load('x', yaml.Loader)": "S506",
    "eval('1')": "S307",
    "exec('1')": "S102",
    "import subprocess\nsubprocess.run('ls *', shell=True)": "S602",
    "import os\nos.system('ls *')": "S605",
    "import tempfile\ntempfile.mktemp()": "S306",
    "x = '/var/tmp/x'": "S108",
    "import os\nos.chmod('x', 0o777)": "S103",
    "try:\n    x()\nexcept Exception:\n    pass": "S110",
    "import hashlib\nhashlib.md5(b'')": "S324",
    "password = 'x'": "S105",
    "import requests\nrequests.get('x', verify=False)": "S501",
    "from markupsafe import Markup\nMarkup(f'{x}')": "S704",
    "import tarfile\ntarfile.open('x').extractall()": "S202",
    "print(1)": "T201",
}


@pytest.mark.parametrize("code", UNSAFE, ids=lambda code: code.splitlines()[-1])
def test_ruff_refuses_what_could_run_or_unpack_a_file(code: str) -> None:
    for file in ("tfc_jax/store.py", "analysis/build.py"):
        command = [sys.executable, "-m", "ruff", "check", "--output-format", "json"]
        checked = subprocess.run(
            [*command, "--stdin-filename", file, "-"],
            input=code + "\n",
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 1
        assert UNSAFE[code] in {found["code"] for found in json.loads(checked.stdout)}


def test_every_array_file_is_read_without_pickle() -> None:
    """NumPy's own default is the same today; said at each place it cannot change unseen."""
    for path in sources("tfc_jax", "analysis", "bench", "scripts"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"np.load", "numpy.load"}:
                assert "allow_pickle=False" in map(ast.unparse, node.keywords), (path, node.lineno)


def test_the_tests_that_the_security_page_names_are_there() -> None:
    named = re.findall(r"`(tests/[\w/.]+)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) >= 6
    assert not [name for name in named if not (ROOT / name).exists()]


def test_drawing_and_reporting_import_no_module_that_runs_files() -> None:
    ours = {module.partition(".")[0] for path in sources("analysis") for module in imports(path)}
    assert not ours & UNSAFE_MODULES


def test_every_imported_library_is_declared_and_every_declared_one_imported() -> None:
    names = declared(PROJECT["dependencies"]) - NOT_OURS
    needed = {MODULE.get(name, name.replace("-", "_")) for name in names}
    ours = {"tfc_jax", "analysis"}
    found = {n.partition(".")[0] for p in sources("tfc_jax", "analysis") for n in imports(p)}
    assert found - ours - set(sys.stdlib_module_names) - set(OF_EXTRAS) == needed


@pytest.mark.parametrize("library", OF_EXTRAS)
def test_a_library_of_an_extra_is_imported_by_the_modules_that_need_it_alone(
    library: str,
) -> None:
    importers = {
        name
        for name, path in modules().items()
        if library in {full.partition(".")[0] for full in imports(path)}
    }
    assert importers == OF_EXTRAS[library]
    at_the_top = {
        alias
        for module in importers
        for node in tree(modules()[module]).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in [getattr(node, "module", None), *(a.name for a in node.names)]
    }
    assert library not in {str(name).partition(".")[0] for name in at_the_top}


def test_the_extras_are_those_of_the_design() -> None:
    extras = {"cuda", "tpu", "data", "ray", "slurm", "objects", "bench", "docs", "dev"}
    assert set(PROJECT["optional-dependencies"]) == extras


def test_constraints_are_names_and_versions_only() -> None:
    assert len(constraints()) > 50
    assert not [line for line in constraints() if not re.fullmatch(r"[\w.-]+==[\w.!]+", line)]


def test_every_dependency_is_pinned() -> None:
    pinned = {normal(line.split("==")[0]) for line in constraints()}
    assert declared(PROJECT["dependencies"]) <= pinned
    for extra in ("bench", "dev", "docs", "objects", "ray", "slurm"):
        assert declared(PROJECT["optional-dependencies"][extra]) - {"tfc-jax"} <= pinned


def test_the_citation_names_the_project_and_its_version() -> None:
    citation = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text())
    assert citation["title"] == PROJECT["name"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == [{"name": "The tfc_jax authors"}]


def test_the_changelog_has_a_section_for_this_version() -> None:
    assert f"\n## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_no_tracked_file_names_a_machine_or_a_package_index() -> None:
    # Each pattern is written so that it does not match itself.
    folders = "work|tmp|root|farm|home/[a-z]|Users/[A-Za-z]|opt"
    machine = re.compile(rf"(?<![\w.~}}/])/(?:{folders})/")
    index = re.compile(r"index[-]url|find[-]links|/simpl[e]/|https?://[^\s\"]*\.(?:whl|tar\.gz)\b")
    for path in tracked():
        if path.suffix in {".png", ".gz", ".npz", ".parquet"}:
            continue
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            found = machine.search(line) or index.search(line)
            assert not found, f"{path}:{number}"


def test_jax_has_one_cpu_device_and_refuses_rank_promotion() -> None:
    assert [device.platform for device in jax.devices()] == ["cpu"]
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones(2) + jnp.ones((2, 2))


def test_the_example_metric_of_the_guide_computes(tmp_path: Path) -> None:
    source = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    assert source
    (tmp_path / "zeros.py").write_text(source[1])
    metric = runpy.run_path(str(tmp_path / "zeros.py"))
    shares = metric["compute"](SimpleNamespace(weights=(jnp.eye(2), jnp.ones((2, 4)))))
    assert {column.name for column in metric["COLUMNS"]} == shares.keys()
    assert 0 < metric["COST"] < 3
    assert shares["zero_weights"].tolist() == [0.5, 0.0]
