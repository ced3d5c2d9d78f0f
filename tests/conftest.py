"""Settings of JAX, made before it is imported, for every test and every process a test starts."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_CACHE = Path(__file__).parents[1] / ".pytest_cache" / "tfc_jax"  # never the user's own

os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "PJRT_NPROC": "1",  # one XLA thread, as in a worker: the size of its pool changes bits
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TFC_CACHE": str(_CACHE),
    # Many tests and processes compile the same programs; found here, a sweep runs 4 times as fast.
    "JAX_COMPILATION_CACHE_DIR": str(_CACHE / "xla"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    # For each program stored, JAX reads the age of all others: thousands of them would take longer
    # than compiling. Most are single operations, and none of those has so many bytes.
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "10000",
    "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**30),  # with a size, JAX locks the cache
}


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Forgets compiled programs, of which a whole suite makes many gigabytes, now and then."""
    yield
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    if pages * os.sysconf("SC_PAGE_SIZE") > 1.5e9:
        import jax  # the settings above come first

        jax.clear_caches()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long-faults", action="store_true", help="try faults as often as `make test-faults` does"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """A test that tries a fault for hours does not hang."""
    if config.getoption("--long-faults"):
        config.option.timeout = 0


def pytest_collection_finish() -> None:
    """The garbage collector leaves alone what tests consist of, and lets programs be traced."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints what the tests of faults counted."""
    reports = [r for kind in ("", "passed", "failed") for r in terminalreporter.getreports(kind)]
    counts = [dict(r.user_properties).get("tally") for r in reports if r.when == "teardown"]
    rows = sorted((row for row in counts if row), key=lambda row: str(row["what"]))
    if rows:
        terminalreporter.section("faults")
    for row in rows:
        told = ", ".join(f"{name} {n:,}" for name, n in row.items() if name != "what")
        terminalreporter.write_line(f"{row['what']}: {told}")
