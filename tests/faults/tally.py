"""What came of a class of faults, and how often each is tried."""

from collections.abc import Callable
from dataclasses import dataclass

Tries = Callable[[int, int], int]  # of a short number and a long one


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
