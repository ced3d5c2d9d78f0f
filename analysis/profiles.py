"""The same figures from three sets of sweeps: minutes on a laptop, for accelerators, for tests."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Profile:
    """Where the sweeps of a profile are, and where their results and figures go.

    Attributes:
      folder: of the sweep files, in `sweeps`.
      prefix: of the results' names, as in the sweep's `name`.
      below: subfolder of `figures`.
      cells: the profile whose cells claims are judged on here: its own; tests rehearse default's.
    """

    name: str
    folder: str
    prefix: str
    below: str
    cells: str

    def sweep_file(self, sweep: str) -> str:
        """Returns where the YAML of a figure's sweep is, relative to the project."""
        return f"sweeps/{self.folder}/{sweep}.yaml"

    def results(self, root: Path, sweep: str) -> Path:
        """Returns the results folder of a figure's sweep."""
        return root / f"{self.prefix}{sweep}"

    @property
    def out(self) -> Path:
        """Returns where figures go unless told otherwise."""
        return Path("figures") / self.below

    @property
    def option(self) -> str:
        """Returns what selects this profile on the command line of `analysis.build`."""
        return "" if self.name == "default" else f" --profile {self.name}"


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("default", "figures", "", "", "default"),
        Profile("paper", "paper", "paper_", "paper", "paper"),
        Profile("smoke", "smoke", "smoke_", "smoke", "default"),
    )
}
