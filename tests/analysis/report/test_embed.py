"""Numbers and texts inside a page."""

import json

import numpy as np
import pytest

from analysis.report.embed import json_for_script, numbers


def test_numbers_keep_four_digits_and_their_shape() -> None:
    values = np.array([[[0.123456, 1234567.0], [1e-12, -0.00098765]]])
    assert numbers(values) == [[[0.1235, 1235000.0], [1e-12, -0.0009877]]]
    assert numbers(np.zeros((0, 3))) == []


def test_what_is_not_finite_is_none() -> None:
    assert numbers(np.array([np.nan, np.inf, -np.inf, 2.0])) == [None, None, None, 2]


@pytest.mark.parametrize("text", ["</script>", "<!--", "]]>", "a & b", "\u2028", 'é"'])
def test_no_text_ends_the_script_and_all_come_back(text: str) -> None:
    written = json_for_script({text: [text]})
    assert not set("<>&\u2028") & set(written)
    assert json.loads(written) == {text: [text]}


def test_a_number_that_json_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_for_script([float("nan")])
