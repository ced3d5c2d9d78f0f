"""The verdicts that rest on one results folder alone, for the page of that folder."""

import pandas as pd

from analysis.claim_file import read_claims
from analysis.claims import judge
from analysis.profiles import PROFILES, Profile
from analysis.report.provenance import manifest
from analysis.verdicts import NOT_JUDGED
from tfc_jax.results import Results

ALONE = (
    "Verdicts: the claims that rest on this sweep alone. Their p is corrected as if every claim "
    "of other sweeps had failed, so a build of all sweeps can only find more."
)
NONE = "Verdicts: no claim can be judged by this sweep alone."


def own_claims(results: Results) -> tuple[pd.DataFrame | None, str]:
    """Judges the claims about this sweep and no other, in the profile that its name tells.

    Returns:
      Rows as `claims.judge` returns them, or None if none can be judged; and a sentence for the
      reader.
    """
    profile, sweep = _known_as(str(manifest(results).get("name") or results.name))
    claims = read_claims(profile=profile)
    own = [claim.id for claim in claims if claim.sweeps == (sweep,)]
    if not own:
        return None, NONE
    frame = judge(claims, {sweep: results}, profile, fresh=True)
    frame = frame[frame["id"].isin(own)].reset_index(drop=True)
    if (frame["verdict"] == NOT_JUDGED).all():
        return None, NONE
    return frame, ALONE


def _known_as(name: str) -> tuple[Profile, str]:
    """The profile of a sweep, and the name that claims know it by."""
    for profile in PROFILES.values():
        if profile.prefix and name.startswith(profile.prefix):
            return profile, name.removeprefix(profile.prefix)
    return PROFILES["default"], name
