from collections import Counter
from hashlib import blake2b

import pytest

from trl_dprm.preferences import split_by_hash


def test_rule_is_the_hash_as_a_number_between_0_and_1():
    for value in ("a", "b", "conversation 17", 42):
        place = int(blake2b(str(value).encode(), digest_size=8).hexdigest(), 16) / 2**64
        expected = "train" if place < 0.7 else "validation" if place < 0.7 + 0.1 else "test"
        assert split_by_hash([value]) == [expected]


def test_parts_have_their_sizes_and_depend_on_the_value_alone():
    values = [f"conversation {number}" for number in range(20_000)]
    parts = split_by_hash(values)
    sizes = Counter(parts)
    # Four standard deviations of a binomial share.
    assert sizes["train"] / 20_000 == pytest.approx(0.7, abs=4 * (0.7 * 0.3 / 20_000) ** 0.5)
    assert sizes["test"] / 20_000 == pytest.approx(0.2, abs=4 * (0.2 * 0.8 / 20_000) ** 0.5)
    assert split_by_hash(values[::-1])[::-1] == parts
    assert split_by_hash([*values[:5], *values[:5]]) == parts[:5] * 2


def test_another_salt_is_another_split():
    values = [f"conversation {number}" for number in range(200)]
    assert split_by_hash(values, salt="second") != split_by_hash(values)


def test_refused_splits():
    with pytest.raises(ValueError, match=r"fractions is .* give shares from 0 to 1 that sum to 1"):
        split_by_hash(["a"], {"train": 0.7, "test": 0.2})
    with pytest.raises(ValueError, match="row 1 has no value to split by"):
        split_by_hash(["a", None])
