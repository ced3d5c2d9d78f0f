"""Numbers in sentences."""

_DAY = 86_400  # seconds


def counted(n: int, one: str, many: str = "") -> str:
    """Returns e.g. `1 run`, `12 runs`; `many` is for a plural that does not end with one more s."""
    return f"{n} {one if n == 1 else many or f'{one}s'}"


def duration(seconds: float, *, days: bool = True) -> str:
    """Returns e.g. `under 1 s`, `45 s`, `12 min`, `3.4 h`, `71.7 days`; nothing to do is `0 s`.

    Args:
      days: from two days on; without, hours are the largest unit.
    """
    if 0 < seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if days and seconds >= 2 * _DAY:
        return f"{seconds / _DAY:,.1f} days"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(n_bytes: float) -> str:
    """Returns e.g. `under 0.1 MiB`, `1.4 MiB`, `12 MiB`, `3.4 GiB`; no byte is `0 MiB`."""
    for unit, one in (("TiB", 2**40), ("GiB", 2**30)):
        if n_bytes >= one:
            return f"{n_bytes / one:,.1f} {unit}"
    mebibytes = n_bytes / 2**20
    if 0 < mebibytes < 0.1:
        return "under 0.1 MiB"
    return f"{mebibytes:.1f} MiB" if 0 < mebibytes < 10 else f"{mebibytes:.0f} MiB"


def about(seconds: float) -> str:
    """Returns e.g. `about 45 s`, but `under 1 s`."""
    return duration(seconds) if 0 < seconds < 1 else f"about {duration(seconds)}"
