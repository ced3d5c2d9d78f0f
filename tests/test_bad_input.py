"""A table of wrong sweeps: each is refused, at its line, in a sentence that helps, without JAX."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tfc_jax.config import load_sweep
from tfc_jax.errors import InputError

ROOT = Path(__file__).parent.parent

# (sweep, line of the message, parts of the message); the name, where it does not matter, is line 1.
N = "name: a\n"
TABLE: list[tuple[str, int, list[str]]] = [
    # the document
    ("", 1, ["nothing came.", "A sweep is a mapping of name, description, base", "`tfc init`"]),
    ("- a", 1, ["a list of 1 value came."]),
    ("depth", 1, ["the text 'depth' came."]),
    (N + "name: b", 2, ["key 'name' comes a second time (first in line 1)."]),
    (N + "base: {depth: 3}\nbase: {depth: 5}", 3, ["key 'base' comes a second time"]),
    (N + "base:\n  depth: 3\n  depth: 5", 4, ["key 'depth' comes a second time", "Keep one"]),
    (N + "grid:\n  depth: [3]\n  depth: [5]", 4, ["key 'depth' comes a second time"]),
    (N + "base:\n\tdepth: 3", 3, ["not YAML", "Indent with spaces."]),
    (N + "base: {depth: 3", 2, ["not YAML"]),
    (N + "description: depth: scale", 2, ["not YAML", "put quotes around text with a colon"]),
    (N + "base: !!python/name:os.system {}", 2, ["is not read.", "Allowed: plain values"]),
    (N + "---\nname: b", 2, ["another document", "Keep one sweep in a file."]),
    (N + "gird:\n  depth: [3]", 2, ["unknown key 'gird' in the sweep.", "Did you mean 'grid'?"]),
    (N + "notes: x", 2, ["unknown key 'notes'", "Allowed: name, description, base, grid, zip"]),
    (N + "depth: 3", 2, ["'depth' came beside base.", "Move it under base."]),
    (N + "base:\n  grid: {depth: [3]}", 3, ["'grid' came inside base.", "to the left margin"]),
    # name and description
    ("base: {depth: 3}", 1, ["name is missing.", "Add a line such as name: my_sweep."]),
    ("name: ''", 1, ["name: the text '' came.", "letters, digits"]),
    ("name: .a", 1, ["name: the text '.a' came.", "the first not . or -."]),
    ("name: -a", 1, ["name: the text '-a' came."]),
    ("name: a/b", 1, ["name: the text 'a/b' came."]),
    ("name: a b", 1, ["name: the text 'a b' came."]),
    ("name: ä", 1, ["name: the text 'ä' came."]),
    ('name: "a\\n"', 1, ["name: the text 'a\\n' came."]),
    (f"name: {'a' * 65}", 1, ["at most 64"]),
    ("name: 7", 1, ["name: 7 came.", "Put quotes around it."]),
    ("name: 2026-01-31", 1, ["2026-01-31 is a date in YAML.", "Put quotes around it."]),
    (N + "description: 3", 2, ["description: 3 came.", "Put quotes around it."]),
    # base
    (N + "base: 3", 2, ["base: 3 came.", "a mapping of keys"]),
    (N + "base: [depth]", 2, ["base: a list of 1 value came."]),
    (N + "base:\n  widht: 3", 3, ["unknown key 'widht' in base.", "Did you mean 'width'?"]),
    (N + "base:\n  lr: 3", 3, ["unknown key 'lr' in base.", "Allowed: dataset, n_train, classes"]),
    (N + "base:\n  depth: [3, 5]", 3, ["A list is an axis: it belongs under grid or zip."]),
    (N + "base:\n  depth: {range: [3, 5]}", 3, ["base.depth: a mapping of 1 key came."]),
    (N + "base:\n  depth: five", 3, ["the text 'five' came.", "a whole number >= 1"]),
    (N + "base:\n  depth: '5'", 3, ["the text '5' came.", "Remove the quotes."]),
    (N + "base:\n  depth: 0", 3, ["base.depth: 0 came."]),
    (N + "base:\n  depth: -3", 3, ["base.depth: -3 came."]),
    (N + "base:\n  depth: 3.0", 3, ["base.depth: 3.0 came.", "Write 3."]),
    (N + "base:\n  depth: true", 3, ["base.depth: true came."]),
    (N + "base:\n  depth:", 3, ["base.depth: null came."]),
    (N + "base:\n  steps: 1e4", 3, ["base.steps: 10000.0 came.", "Write 10000."]),
    (N + "base:\n  bias: yes", 3, ["the text 'yes' came.", "true, false"]),
    (N + "base:\n  bias: 1", 3, ["base.bias: 1 came.", "true, false"]),
    (N + "base:\n  learning_rate: 0", 3, ["base.learning_rate: 0 came.", "a number > 0"]),
    (N + "base:\n  learning_rate: fast", 3, ["the text 'fast' came."]),
    (N + "base:\n  learning_rate: false", 3, ["base.learning_rate: false came."]),
    (N + "base:\n  learning_rate: .inf", 3, ["base.learning_rate: Infinity came."]),
    (N + "base:\n  learning_rate: .nan", 3, ["base.learning_rate: NaN came."]),
    (N + "base:\n  learning_rate: 1e39", 3, ["1e+39 came, which float32 cannot hold"]),
    (N + "base:\n  init_scale: 1e-39", 3, ["1e-39 came, which float32 cannot hold"]),
    (N + "base:\n  momentum: 1", 3, ["base.momentum: 1 came.", ">= 0 and <= 0.99999994"]),
    (N + "base:\n  momentum: -0.1", 3, ["base.momentum: -0.1 came."]),
    (N + "base:\n  label_noise: 1.1", 3, ["a number >= 0 and <= 1"]),
    (N + "base:\n  weight_decay: -1e-4", 3, ["base.weight_decay: -0.0001 came."]),
    (N + "base:\n  seed: -1", 3, ["base.seed: -1 came.", ">= 0 and <= 4294967295"]),
    (N + "base:\n  seed: 4294967296", 3, ["base.seed: 4294967296 came."]),
    (N + "base:\n  width: 2147483648", 3, ["base.width: 2147483648 came."]),
    (N + "base:\n  classes: 1", 3, ["a whole number >= 2 or null"]),
    (
        N + "base:\n  dataset: mnits",
        3,
        ["'mnits'", "Did you mean 'mnist'?", "npz:PATH", "tfds:NAME"],
    ),
    (N + "base:\n  architecture: mpl", 3, ["'mpl'", "Did you mean 'mlp'?"]),
    (N + "base:\n  activation: RELU", 3, ["'RELU'", "relu, leaky_relu, tanh"]),
    (N + "base:\n  init: xavier", 3, ["'xavier'", "xavier_normal, xavier_uniform"]),
    (N + "base:\n  optimizer: sdg", 3, ["Did you mean 'sgd'?", "sgd, adam"]),
    # grid
    (N + "grid: [depth]", 2, ["grid: a list of 1 value came."]),
    (N + "grid:\n  steps: [10, 20]", 3, ["steps is not an axis", "the largest number in base"]),
    (N + "grid:\n  depht: [3]", 3, ["unknown key 'depht' in grid.", "Did you mean 'depth'?"]),
    (N + "grid:\n  depth: 3", 3, ["grid.depth: 3 came.", "One value belongs in base."]),
    (N + "grid:\n  depth: []", 3, ["grid.depth: an empty list came."]),
    (N + "grid:\n  depth: [3, x]", 3, ["grid.depth: the text 'x' came."]),
    (N + "grid:\n  depth:\n    - 3\n    - 0", 5, ["grid.depth: 0 came."]),
    (N + "grid:\n  depth: [3, 3]", 3, ["grid.depth 3 comes twice"]),
    (N + "grid:\n  init_scale: [1, 1.0]", 3, ["grid.init_scale 1.0 comes twice"]),
    (N + "grid:\n  depth: {rang: [3, 5]}", 3, ["a mapping of rang came.", "Did you mean 'range'?"]),
    (N + "grid:\n  depth: {range: [5, 3]}", 3, ["an empty range came", "half-open"]),
    (N + "grid:\n  init_scale: {logspace: [-2, 0, 3]}", 3, ["end points above 0, not exponents"]),
    (
        N + "grid:\n  seed: {range: [0, 9999999]}",
        3,
        ["9,999,999 values came.", "at most 2,000,000"],
    ),
    # zip
    (N + "zip: {depth: [3]}", 2, ["zip: a mapping of 1 key came.", "begun by a dash"]),
    (N + "zip:\n  - depth", 3, ["zip: the text 'depth' came."]),
    (N + "zip:\n  - {depth: [3, 5], width: [1]}", 3, ["depth has 2, width has 1 values."]),
    (N + "zip:\n  - {steps: [3, 5]}", 3, ["zip.steps: steps is not an axis"]),
    (N + "zip:\n  - {dpth: [3, 5]}", 3, ["unknown key 'dpth' in zip.", "Did you mean 'depth'?"]),
    (N + "grid: {depth: [3]}\nzip:\n  - {depth: [5]}", 4, ["already an axis (under grid)."]),
    (N + "zip:\n  - {depth: [3]}\n  - {depth: [5]}", 4, ["already an axis (under zip)."]),
    # seeds
    (N + "seeds: 0", 2, ["seeds: 0 came.", "a whole number from 1 to 2000000"]),
    (N + "seeds: -1", 2, ["seeds: -1 came."]),
    (N + "seeds: 2.0", 2, ["seeds: 2.0 came."]),
    (N + "seeds: true", 2, ["seeds: true came."]),
    (N + "seeds: '3'", 2, ["seeds: the text '3' came."]),
    (N + "seeds:", 2, ["seeds: null came."]),
    (N + "seeds: 2000001", 2, ["seeds: 2000001 came."]),
    (N + "seeds: [0, -1]", 2, ["seed: -1 came."]),
    (N + "seeds: [0, 0]", 2, ["seed 0 comes twice"]),
    (N + "seeds: 2\ngrid: {seed: [3]}", 3, ["seed is already an axis (under seeds)."]),
    (N + "seeds: 2000000\ngrid: {depth: [3, 4]}", 1, ["4,000,000 runs", "split the sweep"]),
    # exclude
    (N + "exclude: depth > 3", 2, ["exclude: the text 'depth > 3' came.", "a list"]),
    (N + "exclude:\n  - 3", 3, ["exclude: 3 came.", "an expression in quotes"]),
    (N + 'exclude:\n  - "dept > 3"', 3, ["unknown name 'dept'.", "Did you mean 'depth'?"]),
    (N + 'exclude:\n  - "depth = 3"', 3, ["not an expression at column 7.", "Write == to"]),
    (N + "exclude:\n  - \"depth == '3'\"", 3, ["does not compare with '3' (text)"]),
    (N + 'exclude:\n  - "activation == relu"', 3, ['Text needs quotes: "relu".']),
    (N + "exclude:\n  - \"__import__('os').system('x') == 0\"", 3, ["unknown name '__import__'"]),
    (N + 'exclude: ["depth > 0"]', 2, ["exclude leaves no run."]),
    # record
    (N + "record: all", 2, ["record: the text 'all' came."]),
    (N + "record:\n  evry: 3", 3, ["unknown key 'evry' in record.", "Did you mean 'every'?"]),
    (N + "record:\n  every: 0", 3, ["record.every: 0 came.", "{log: n}"]),
    (N + "record:\n  probes: [nothing]", 3, ["unknown probe 'nothing' in record.probes."]),
    # combinations
    (N + "base:\n  optimizer: adam\n  momentum: 0.9", 3, ["momentum has no effect", "use sgd"]),
    (N + "base:\n  momentum_dtype: bfloat16", 3, ["momentum_dtype has no effect"]),
    (N + "base:\n  structured_gamma: 3", 3, ["structured_gamma has no effect"]),
    (N + "base:\n  init: structured", 3, ["it needs bias true"]),
    (N + "base:\n  norm: batch\ngrid:\n  depth: [1, 3]", 3, ["1 of 2 runs", "depth 1, norm batch"]),
    (N + "base:\n  batch_size: 64\n  n_train: 32", 4, ["it needs batch_size <= n_train"]),
]


def refusal(path: Path, text: str) -> InputError:
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_sweep(path)
    return error.value


@pytest.mark.parametrize(("text", "line", "parts"), TABLE)
def test_wrong_input_is_refused_with_its_place_and_remedy(
    tmp_path: Path, text: str, line: int, parts: list[str]
) -> None:
    path = tmp_path / "s.yaml"
    (message,) = refusal(path, text).messages
    assert message.startswith(f"{path}:{line}: ")
    assert message.endswith(".") or message.endswith('".')
    for part in parts:
        assert part in message


def test_all_errors_are_reported_together_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = (
        "name: .a\nbase:\n  depth: x\n  depth: 3\n  widht: 1\ngrid:\n  init_scale: [0]\n"
        'exclude: ["a > 1", "depth >"]\nseeds: 0\nrecord: {every: x, evry: 1}\n'
    )
    messages = refusal(tmp_path / "s.yaml", text).messages
    lines = [int(message.split(":")[1]) for message in messages]
    assert lines == [1, 3, 4, 5, 7, 8, 8, 9, 10, 10]


def test_a_missing_name_is_reported_beside_other_errors(tmp_path: Path) -> None:
    messages = refusal(tmp_path / "s.yaml", "base: {depth: 0}\nmore: 3").messages
    assert ["name is missing" in message for message in messages] == [True, False, False]


def test_filter_and_limit_are_refused_by_their_own_names(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: a\ngrid: {depth: [3, 5]}")
    for where, limit, part in [
        ("dept > 3", None, "--filter: in 'dept > 3': unknown name 'dept'. Did you mean 'depth'?"),
        ("depth > 9", None, f"--filter: no run of {path} fits 'depth > 9'."),
        (None, 0, "--limit: 0 came. Allowed: a whole number >= 1."),
    ]:
        with pytest.raises(InputError) as error:
            load_sweep(path, where=where, limit=limit)
        assert part in str(error.value)


def test_wrong_input_is_refused_without_importing_jax(tmp_path: Path) -> None:
    for i, (text, _, _) in enumerate(TABLE):
        (tmp_path / f"{i}.yaml").write_text(text, encoding="utf-8")
    program = (
        "import json, sys; from pathlib import Path\n"
        "from tfc_jax.config import load_sweep; from tfc_jax.errors import InputError\n"
        "refused = 0\n"
        "for path in Path(sys.argv[1]).glob('*.yaml'):\n"
        "    try: load_sweep(path)\n"
        "    except InputError: refused += 1\n"
        "print(json.dumps([refused, [m for m in sys.modules if m.split('.')[0] in\n"
        "    ('jax', 'jaxlib', 'flax', 'pandas', 'pyarrow', 'tensorflow')]]))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [len(TABLE), []]
