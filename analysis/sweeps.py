"""The results that there are of a profile's sweeps."""

from collections.abc import Sequence
from pathlib import Path

from analysis.drawing import data_lines
from analysis.phases import write_analysis
from analysis.profiles import Profile
from tfc_jax.results import Results, open_results


class Sweeps:
    """The results of a profile's sweeps; each is hashed, analysed and opened once."""

    def __init__(self, root: Path, profile: Profile) -> None:
        self._root = root
        self._profile = profile
        self._data: dict[str, list[str]] = {}
        self._opened: dict[str, Results] = {}

    def folder(self, sweep: str) -> Path:
        """Where the results are, or would be."""
        return self._profile.results(self._root, sweep)

    def there(self, sweep: str) -> bool:
        """Whether the sweep has recorded a step."""
        return any(self.folder(sweep).glob("steps/*-*"))

    def data(self, sweeps: Sequence[str]) -> list[str]:
        """Name and hash of each data file of these sweeps."""
        for sweep in sweeps:
            if sweep not in self._data:
                self._data[sweep] = [sweep, *data_lines(self.folder(sweep))]
        return [line for sweep in sweeps for line in self._data[sweep]]

    def results(self, sweeps: Sequence[str]) -> dict[str, Results]:
        """Opens these sweeps, with a fresh analysis."""
        for sweep in sweeps:
            if sweep not in self._opened:
                write_analysis(open_results(self.folder(sweep)))
                self._opened[sweep] = open_results(self.folder(sweep))
        return {sweep: self._opened[sweep] for sweep in sweeps}
