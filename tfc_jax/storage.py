"""What a launch does otherwise where its folder is not all that there is of the results."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol

from tfc_jax import refusal, space
from tfc_jax.layout import Folder
from tfc_jax.plan import Plan


class Storage(Protocol):
    """Where results are stored in the end."""

    def check_fits(self, planned: Plan, folder: Folder, *, fresh: bool) -> None:
        """Refuses a launch that would surely end on a full disk; as `space.check_fits`."""

    def refuse_damage(
        self, folder: Folder, steps_done: Mapping[str, int], unfinished: AbstractSet[str]
    ) -> None:
        """Refuses to add to results that are damaged; as `refusal.refuse_damage`."""

    def bring_rows(self, folder: Folder) -> None:
        """Brings what workers have added to the runs table into the folder."""


class OnDisk:
    """In the folder itself."""

    def check_fits(self, planned: Plan, folder: Folder, *, fresh: bool) -> None:
        """As of every Storage."""
        space.check_fits(planned, folder, fresh=fresh)

    def refuse_damage(
        self, folder: Folder, steps_done: Mapping[str, int], unfinished: AbstractSet[str]
    ) -> None:
        """As of every Storage."""
        refusal.refuse_damage(folder, steps_done, unfinished)

    def bring_rows(self, folder: Folder) -> None:
        """They are there."""
