"""Votes against loops over plain Python rows."""

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest

from trl_dprm.preferences import (
    AnnotationColumns,
    PreferenceCategories,
    TargetOptions,
    population_weights,
    prepare_targets,
)

QUALITY = PreferenceCategories(["bad", "fair", "good"], [-1.0, 0.0, 1.0])


def random_rows(size=600, items=40, annotators=15, seed=0):
    rng = np.random.default_rng(seed)
    who = rng.integers(annotators, size=size)
    return {
        "item_id": [f"item {i}" for i in rng.integers(items, size=size)],
        "annotator_id": [f"annotator {a}" for a in who],
        "category": [QUALITY.names[k] for k in rng.integers(3, size=size)],
        "weight": rng.uniform(0.1, 3.0, size).tolist(),
        "timestamp": rng.permutation(size).tolist(),
        "group": ["even" if a % 2 == 0 else "odd" for a in who],
    }


def votes_by_loop(rows, repeated, annotator_weight=None):
    """Counts, effective number of votes and number of annotators of each item, in order of first appearance."""
    answers = defaultdict(lambda: defaultdict(list))
    for row, item in enumerate(rows["item_id"]):
        weight = rows["weight"][row] if "weight" in rows else 1.0
        weight *= annotator_weight[rows["annotator_id"][row]] if annotator_weight else 1.0
        time = rows["timestamp"][row] if "timestamp" in rows else row
        answers[item][rows["annotator_id"][row]].append((time, QUALITY.names.index(rows["category"][row]), weight))
    result = {}
    for item, of_annotator in answers.items():
        counts, voters = [0.0, 0.0, 0.0], []
        for given in of_annotator.values():
            given = sorted(given)
            if repeated in ("first", "last"):
                given = [given[0 if repeated == "first" else -1]]
            share = 1 / len(given) if repeated == "split" else 1.0
            for _, k, weight in given:
                counts[k] += share * weight
            voters += [w for *_, w in given] if repeated == "each" else [share * sum(w for *_, w in given)]
        effective = sum(voters) ** 2 / sum(w * w for w in voters)
        result[item] = ([c / sum(voters) * effective for c in counts], effective, len(of_annotator))
    return result


def assert_items_are(items, expected):
    assert items["item_id"] == list(expected)
    for row, (counts, effective, annotators) in zip(items, expected.values(), strict=True):
        np.testing.assert_allclose(row["target_counts"], counts, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(row["target_probs"], np.array(counts) / effective, rtol=1e-10, atol=1e-14)
        assert row["vote_weight"] == pytest.approx(effective, rel=1e-10)
        assert row["num_annotators"] == annotators


@pytest.mark.parametrize("repeated", ["split", "first", "last", "each"])
@pytest.mark.parametrize("without", [(), ("weight",), ("timestamp",), ("weight", "timestamp")])
def test_votes_equal_a_loop(repeated, without):
    rows = {name: values for name, values in random_rows().items() if name not in without}
    prepared = prepare_targets(pa.table(rows), QUALITY, options=TargetOptions(repeated=repeated))
    assert_items_are(prepared.items, votes_by_loop(rows, repeated))


def test_split_votes_by_hand():
    rows = {
        "item_id": ["a"] * 4 + ["b"],
        "annotator_id": [1, 1, 1, 2, 1],
        "category": ["good", "good", "bad", "fair", "bad"],
    }
    items = prepare_targets(pa.table(rows), QUALITY).items
    np.testing.assert_allclose(items["target_counts"], [[1 / 3, 1, 2 / 3], [1, 0, 0]], rtol=1e-10)
    np.testing.assert_allclose(items["vote_weight"], [2, 1], rtol=1e-10)
    assert items["num_annotators"] == [2, 1]


def test_plain_votes_are_exact():
    rows = {"item_id": [1] * 7, "annotator_id": list(range(7)), "category": ["bad"] * 2 + ["good"] * 5}
    items = prepare_targets(pa.table(rows), QUALITY).items
    assert items["target_counts"] == [[2.0, 0.0, 5.0]]
    assert items["vote_weight"] == [7.0]


@pytest.mark.parametrize("repeated", ["split", "each"])
def test_population_weights_reach_the_votes(repeated):
    rows = random_rows()
    shares = {"group": {"even": 0.2, "odd": 0.8}}
    # By hand: an annotator's weight is the population's share of the group over the cohort's.
    group_of = dict(zip(rows["annotator_id"], rows["group"], strict=True))
    size = {group: sum(other == group for other in group_of.values()) for group in ("even", "odd")}
    weight = {who: shares["group"][group] * len(group_of) / size[group] for who, group in group_of.items()}
    options = TargetOptions(repeated=repeated, population=shares)
    prepared = prepare_targets(pa.table(rows), QUALITY, options=options)
    assert_items_are(prepared.items, votes_by_loop(rows, repeated, weight))


def test_raked_and_trimmed_weights_reach_the_votes():
    rows = random_rows()
    rows["region"] = [f"region {int(who.split()[1]) % 3}" for who in rows["annotator_id"]]
    shares = {
        "group": {"even": 0.3, "odd": 0.7},
        "region": {"region 0": 0.6, "region 1": 0.3, "region 2": 0.1},
    }
    who = list(dict.fromkeys(rows["annotator_id"]))
    first_row = [rows["annotator_id"].index(annotator) for annotator in who]
    groups = {variable: [rows[variable][row] for row in first_row] for variable in shares}
    weight = dict(zip(who, population_weights(groups, shares, max_weight=2.0), strict=True))
    columns = AnnotationColumns(groups=["group", "region"])
    options = TargetOptions(population=shares, max_population_weight=2.0)
    prepared = prepare_targets(pa.table(rows), QUALITY, columns, options)
    assert_items_are(prepared.items, votes_by_loop(rows, "split", weight))


def test_order_of_annotators_does_not_matter():
    rows = pa.table(random_rows())
    order = np.random.default_rng(1).permutation(len(rows))
    one = prepare_targets(rows, QUALITY).items.sort("item_id")
    other = prepare_targets(rows.take(pa.array(order)), QUALITY).items.sort("item_id")
    np.testing.assert_allclose(one["target_counts"], other["target_counts"], rtol=1e-10, atol=1e-14)


def test_scale_of_weights_does_not_matter():
    rows = random_rows()
    scaled = {**rows, "weight": [1000 * weight for weight in rows["weight"]]}
    one, other = (prepare_targets(pa.table(table), QUALITY).items for table in (rows, scaled))
    np.testing.assert_allclose(one["target_counts"], other["target_counts"], rtol=1e-10, atol=1e-14)


def test_unknown_rule_is_refused():
    with pytest.raises(ValueError, match=r"repeated is 'mean'; give one of \['split', 'first', 'last', 'each'\]"):
        TargetOptions(repeated="mean")


@pytest.mark.parametrize(
    ("change", "shares", "message"),
    [
        (
            {"group": ["x", None, "y"]},
            {"group": {"x": 0.5, "y": 0.5}},
            "row 1, column 'group': .* missing; fill it in",
        ),
        (
            {"group": ["x", "y", "y"], "annotator_id": [1, 2, 1]},
            {"group": {"x": 0.5, "y": 0.5}},
            "row 2, column 'group': annotator 1 is 'y' here and 'x' before",
        ),
        ({}, {"age": {"young": 1.0}}, "population has the variable 'age', which is not among the group columns"),
    ],
)
def test_refused_groups(change, shares, message):
    rows = {"item_id": ["a"] * 3, "annotator_id": [1, 2, 3], "category": [0, 1, 2], "group": ["x", "x", "y"], **change}
    with pytest.raises(ValueError, match=message):
        prepare_targets(pa.table(rows), QUALITY, options=TargetOptions(population=shares))
