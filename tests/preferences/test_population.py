import numpy as np
import pytest

from trl_dprm.preferences import effective_number, population_weights, trim_weights

SHARES = {"age": {"young": 0.3, "old": 0.7}, "sex": {"f": 0.5, "m": 0.4, "x": 0.1}}


def cohort(size=300, seed=0):
    rng = np.random.default_rng(seed)
    ages = rng.choice(["young", "old"], size, p=[0.8, 0.2]).tolist()
    return {"age": ages, "sex": rng.choice(["f", "m", "x"], size, p=[0.2, 0.6, 0.2]).tolist()}


def weighted_share(groups, weights, value):
    return sum(w for group, w in zip(groups, weights, strict=True) if group == value) / sum(weights)


def test_post_stratification_by_hand():
    # Three of four annotators are young, half of the population is: 0.5 / 0.75 each, and 0.5 / 0.25 for the old one.
    weights = population_weights({"age": ["young", "old", "young", "young"]}, {"age": {"young": 0.5, "old": 0.5}})
    np.testing.assert_allclose(weights, [2 / 3, 2, 2 / 3, 2 / 3], rtol=1e-10)


def test_raking_meets_every_margin():
    groups = cohort()
    weights = population_weights(groups, SHARES, tolerance=1e-12)
    for variable, shares in SHARES.items():
        for value, share in shares.items():
            assert weighted_share(groups[variable], weights, value) == pytest.approx(share, rel=1e-10)
    assert weights.mean() == pytest.approx(1.0, rel=1e-10)


def test_raking_keeps_the_association_of_the_cohort():
    # Raking multiplies rows and columns of the cross table, so its odds ratios are those of the cohort.
    groups = {"age": ["young"] * 10 + ["old"] * 10, "sex": ["f"] * 6 + ["m"] * 4 + ["f"] * 3 + ["m"] * 7}
    shares = {"age": {"young": 0.3, "old": 0.7}, "sex": {"f": 0.6, "m": 0.4}}
    weights = population_weights(groups, shares, tolerance=1e-13)
    mass = {}
    for age, sex, weight in zip(groups["age"], groups["sex"], weights, strict=True):
        mass[age, sex] = mass.get((age, sex), 0.0) + weight
    odds = mass["young", "f"] * mass["old", "m"] / (mass["young", "m"] * mass["old", "f"])
    assert odds == pytest.approx(6 * 7 / (4 * 3), rel=1e-10)


def test_group_values_are_compared_as_text():
    as_numbers = population_weights({"age": [18, 18, 65]}, {"age": {"18": 0.5, "65": 0.5}})
    as_text = population_weights({"age": ["18", "18", "65"]}, {"age": {18: 0.5, 65: 0.5}})
    np.testing.assert_array_equal(as_numbers, as_text)
    np.testing.assert_allclose(as_text, [0.75, 0.75, 1.5], rtol=1e-10)


def test_trimming_caps_and_keeps_mean_and_ratios_below():
    weights = population_weights(cohort(), SHARES)
    trimmed = trim_weights(weights, 1.5)
    assert trimmed.max() == pytest.approx(1.5, rel=1e-10)
    assert trimmed.mean() == pytest.approx(1.0, rel=1e-10)
    free = trimmed < 1.5 * (1 - 1e-9)
    ratios = trimmed[free] / weights[free]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-10)
    np.testing.assert_array_equal(population_weights(cohort(), SHARES, max_weight=1.5), trimmed)


def test_trimming_to_the_mean_makes_all_equal():
    np.testing.assert_allclose(trim_weights([1.0, 2.0, 6.0], 1.0), np.ones(3), rtol=1e-10)


def test_effective_number_of_equal_and_unequal_votes():
    assert effective_number([0.2, 0.2, 0.2, 0.2]) == pytest.approx(4.0, rel=1e-10)
    assert effective_number([1.0, 2.0, 3.0]) == pytest.approx(36 / 14, rel=1e-10)
    assert effective_number([0.0, 0.0]) == 0.0


AGES = {"age": ["young", "old"]}


@pytest.mark.parametrize(
    ("groups", "shares", "message"),
    [
        (AGES, {"age": {"young": 0.5, "old": 0.6}}, "shares of age sum to 1.1, not to 1; divide"),
        (AGES, {"age": {"young": 1.0, "old": 0.0}}, "share of age 'old' is 0.0; shares are above 0"),
        (AGES, {"age": {"young": 0.5, "old": float("nan")}}, "share of age 'old' is nan"),
        (
            AGES,
            {"age": {"young": 0.5, "old": 0.3, "older": 0.2}},
            "no annotator is of age 'older', a share of 0.2 of the population; .*: merge it",
        ),
        (AGES, {"age": {"young": 1.0}}, r"annotator 1 is of age 'old', which has no share .*\['young'\]"),
        ({"age": ["young", None]}, {"age": {"young": 1.0}}, "annotator 1 is of age None"),
        (AGES, {"sex": {"f": 1.0}}, r"groups has the variables \['age'\] and shares has \['sex'\]"),
        ({**AGES, "sex": ["f"]}, {"age": {"young": 0.5, "old": 0.5}, "sex": {"f": 1.0}}, "annotators per variable"),
    ],
)
def test_refused_populations(groups, shares, message):
    with pytest.raises(ValueError, match=message):
        population_weights(groups, shares)


def test_raking_that_cannot_converge_tells_the_numbers():
    # All young are f and all old are m: both shares cannot be met at once.
    groups = {"age": ["young", "old"], "sex": ["f", "m"]}
    shares = {"age": {"young": 0.5, "old": 0.5}, "sex": {"f": 0.8, "m": 0.2}}
    message = (
        r"did not converge to 1e-08 in 7 iterations: age 'young' has a share of 0.8 instead of 0.5 \(difference 0.3"
    )
    with pytest.raises(ValueError, match=message):
        population_weights(groups, shares, max_iterations=7)


def test_refused_trimming():
    with pytest.raises(ValueError, match=r"max_weight is 0.5; the mean weight is 1"):
        trim_weights([1.0, 2.0], 0.5)
    with pytest.raises(ValueError, match=r"weights\[1\] is 0.0"):
        trim_weights([1.0, 0.0], 2.0)
