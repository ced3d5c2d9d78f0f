"""Where numbers come from: what a results folder says of its runs, code and machine."""

from typing import Any

from tfc_jax.results import Results
from tfc_jax.untrusted import read_json

_SHOWN = ("git", "versions", "platform", "machine")
GIVEN = ("set", "filter")


def manifest(results: Results) -> dict[str, Any]:
    """Returns manifest.json, empty where there is none."""
    try:
        return read_json(results.path / "manifest.json")
    except FileNotFoundError:
        return {}


def description(results: Results) -> str:
    """Returns what the sweep says it is about; empty where it does not say."""
    return str(manifest(results).get("description") or "")


def provenance(results: Results) -> dict[str, str]:
    """Counts of runs by status, and what manifest.json says of versions, code and device."""
    counts = results.runs["status"].value_counts().sort_index()
    facts = {"runs": ", ".join(f"{count} {status}" for status, count in counts.items())}
    content = manifest(results)
    flags = content.get("flags")
    given = {k: v for k, v in flags.items() if v and k in GIVEN} if isinstance(flags, dict) else {}
    if given:
        facts["launched with"] = _flat(given)
    facts |= {key: _flat(content[key]) for key in _SHOWN if content.get(key)}
    earlier = content.get("earlier")
    if earlier:
        facts["some runs by"] = (
            "; ".join(map(_flat, earlier)) if isinstance(earlier, list) else _flat(earlier)
        )
    return facts


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)
