"""Numbers in sentences."""


def counted(n: int, one: str, many: str = "") -> str:
    """Returns e.g. `1 run`, `12 runs`; `many` is for a plural that does not end with one more s."""
    return f"{n} {one if n == 1 else many or f'{one}s'}"


def duration(seconds: float) -> str:
    """Returns e.g. `under 1 s`, `45 s`, `12 min`, `3.4 h`; nothing to do is `0 s`."""
    if 0 < seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def about(seconds: float) -> str:
    """Returns e.g. `about 45 s`, but `under 1 s`."""
    return duration(seconds) if 0 < seconds < 1 else f"about {duration(seconds)}"
