"""How often a fault is tried, and the count of what came of it.

The short numbers run with all tests, the long ones with `make test-faults`. Each test fills a
`Tally`; the table of all of them ends the report of pytest.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import pytest

Tries = Callable[[int, int], int]


@dataclass
class Tally:
    """What came of one class of faults.

    Attributes:
      what: the fault, in a few words.
      tried: times it was made.
      lost, doubled: of these, how often rows were missing, or stood there twice.
      wrong: how often anything else differed from an undisturbed launch.
      tracebacks: how often the user was shown one.
    """

    what: str
    tried: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    tracebacks: int = 0

    @property
    def bad(self) -> int:
        """How often something went wrong that must not."""
        return self.lost + self.doubled + self.wrong + self.tracebacks


@pytest.fixture
def tries(pytestconfig: pytest.Config) -> Tries:
    """Chooses between a short and a long number of repetitions."""
    is_long = pytestconfig.getoption("--long-faults")
    return lambda short, long: long if is_long else short


@pytest.fixture
def tally(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Iterator[Tally]:
    """Counts the outcomes of a test, which is named after its fault."""
    name = request.node.name.removeprefix("test_").replace("_", " ")
    count = Tally(name)
    yield count
    numbers = {name: int(n) for name, n in asdict(count).items() if name != "what"}
    record_property("tally", {"what": count.what, **numbers})
