"""How often something happened, of how many times it could."""

import scipy.stats

from analysis.evidence import Evidence


def share(count: int, cases: int, detail: str) -> Evidence:
    """Share of cases, with Clopper and Pearson's exact interval; a count is no test, so no p."""
    nan = float("nan")
    text = f"{count} of {cases}; {detail}" if detail else f"{count} of {cases}"
    if cases == 0:
        return Evidence(nan, nan, nan, nan, 0, text)
    interval = scipy.stats.binomtest(count, cases).proportion_ci(0.95, method="exact")
    return Evidence(count / cases, float(interval.low), float(interval.high), nan, cases, text)
