"""Whole numbers and seeds are checked before anything is computed."""

import numpy as np
import pytest

from vitjax.errors import ConfigError
from vitjax.execution.arguments import MAX_SEED, check_seed, check_whole_number


@pytest.mark.parametrize("value", [0, -1, True, 1.5, 2.0, "2", None, float("nan")])
def test_a_value_that_is_no_whole_number_from_1_on_is_refused(value):
    with pytest.raises(ConfigError, match=r"^batch_size=.*: must be a whole number, at least 1$"):
        check_whole_number("batch_size", value, 1)


def test_seeds_are_those_of_a_program():
    assert [check_seed(seed) for seed in (0, np.int64(7), MAX_SEED)] == [0, 7, 2**32 - 1]
    for seed in (-1, 2**32, 2**40):
        with pytest.raises(ConfigError, match=f"seed={seed}: must be a whole number, 0 to 4294967295"):
            check_seed(seed)
