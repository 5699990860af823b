import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from trl_dprm.preferences import AnnotationColumns, PreferenceCategories, TargetOptions, prepare_targets

QUALITY = PreferenceCategories(["bad", "fair", "good"], [-1.0, 0.0, 1.0])
PRIOR = TargetOptions(prior_strength=2.0)
ROWS = {
    "item_id": ["a", "a", "b", "a"],
    "annotator_id": ["x", "y", "x", "z"],
    "category": ["good", "bad", "fair", "good"],
}


def targets_of(change, **arguments):
    rows = {name: values for name, values in {**ROWS, **change}.items() if values is not None}
    return prepare_targets(pa.table(rows), QUALITY, **arguments)


def test_default_targets_are_raw_vote_shares():
    items = targets_of({}).items
    np.testing.assert_allclose(items["target_probs"], [[1 / 3, 0, 2 / 3], [0, 1, 0]], rtol=1e-10)
    assert items["vote_weight"] == [3.0, 1.0]


def test_posterior_mean_of_the_items_own_prior():
    prior = [[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.6, 0.4, 0.0], [0.2, 0.3, 0.5]]
    items = targets_of({"prior_probs": prior}, options=TargetOptions(prior_strength=2.0)).items
    expected = [[(0.4 + 1) / 5, 0.6 / 5, (1.0 + 2) / 5], [1.2 / 3, (0.8 + 1) / 3, 0.0]]
    np.testing.assert_allclose(items["target_probs"], expected, rtol=1e-10)
    np.testing.assert_allclose(items["vote_weight"], [5.0, 3.0], rtol=1e-10)
    assert items["target_counts"] == [[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]
    assert items["prior_probs"] == [prior[0], prior[2]]


def test_item_without_votes_has_its_prior_as_target():
    change = {"annotator_id": ["x", "y", None, "z"], "category": ["good", "bad", None, "good"]}
    prior = [[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.6, 0.4, 0.0], [0.2, 0.3, 0.5]]
    prepared = targets_of({**change, "prior_probs": prior}, options=TargetOptions(prior_strength=2.0))
    np.testing.assert_allclose(prepared.items["target_probs"][1], [0.6, 0.4, 0.0], rtol=1e-10)
    assert prepared.items["vote_weight"][1] == 2.0
    assert prepared.items["num_annotators"] == [3, 0]
    assert prepared.judgments["category"] == ["good", "bad", None, "good"]
    with pytest.raises(ValueError, match="item 'b' has no votes and no prior; remove it, or give prior_strength"):
        targets_of({**change, "prior_probs": prior})
    with pytest.raises(ValueError, match="item 'b' has no votes and no prior; remove it"):
        targets_of(change)


def test_items_nobody_judged_need_neither_weight_nor_time():
    rows = {
        "item_id": ["a", "b"],
        "annotator_id": ["x", ""],
        "category": ["good", ""],
        "weight": ["2", ""],
        "timestamp": ["2024-05-01", ""],
        "prior_probs": [[0.5, 0.25, 0.25]] * 2,
    }
    for table in (pa.table(rows), pa.table(rows).slice(1)):  # with some votes, without any
        prepared = prepare_targets(table, QUALITY, options=PRIOR)
        assert prepared.items["target_probs"][-1] == [0.5, 0.25, 0.25]
        assert prepared.items["vote_weight"][-1] == 2.0
        assert prepared.judgments["weight"][-1] is None


def test_item_whose_votes_weigh_nothing_has_no_votes():
    with pytest.raises(ValueError, match="item 'b' has no votes"):
        targets_of({"weight": [1.0, 1.0, 0.0, 1.0]})


def test_smoothing_follows_the_prior_or_the_ground_cost():
    options = TargetOptions(smoothing="runner_up", smoothing_amount=0.1)
    smoothed = targets_of({}, options=options).items["target_probs"]
    np.testing.assert_allclose(smoothed[0], [1 / 3 + 0.1 / 3, 0, 2 / 3 - 0.1 / 3], rtol=1e-10)
    np.testing.assert_allclose(smoothed[1], [0.05, 0.9, 0.05], rtol=1e-10)
    prior = [[0.2, 0.3, 0.5]] * 4
    np.testing.assert_allclose(
        targets_of({"prior_probs": prior}, options=options).items["target_probs"][1], [0, 0.9, 0.1], rtol=1e-10
    )
    uniform = targets_of({}, options=TargetOptions(smoothing="uniform", smoothing_amount=0.3)).items["target_probs"]
    np.testing.assert_allclose(uniform[1], [0.1, 0.8, 0.1], rtol=1e-10)


def test_items_own_columns_of_any_type_are_kept():
    conversations = [[{"role": "user", "content": "Hi"}], [{"role": "user", "content": "Ho"}, {"role": "x"}]]
    messages = [conversations[0], conversations[0], conversations[1], conversations[0]]
    change = {"messages": messages, "length": [1.5, 1.5, None, 1.5], "note": [None, None, "n", None]}
    items = targets_of(change).items
    assert items["messages"][0] == [{"role": "user", "content": "Hi"}]
    assert items["messages"][1][1] == {"role": "x", "content": None}
    assert items["length"] == [1.5, None]
    assert items["note"] == [None, "n"]


def test_judgments_are_kept_beside():
    change = {
        "weight": [1, 2, 3, 4],
        "timestamp": [9, 8, 7, 6],
        "group": ["g", "h", "g", "g"],
        "seconds": [5, 6, 7, 8],
    }
    judgments = targets_of(change, columns=AnnotationColumns(judgment=["seconds"])).judgments
    assert judgments.to_dict() == {**ROWS, **change}


def test_columns_of_other_names():
    rows = {"turn": [7, 7, 8], "worker": [1, 2, 1], "stars": [0, 2, 1], "trust": [1.0, 1.0, 1.0]}
    columns = AnnotationColumns(item_id="turn", annotator_id="worker", category="stars", weight="trust")
    prepared = prepare_targets(pa.table(rows), QUALITY, columns)
    assert prepared.items["item_id"] == [7, 8]
    assert prepared.items["target_counts"] == [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    assert prepared.judgments.column_names == ["item_id", "annotator_id", "category", "weight"]
    assert prepared.judgments["category"] == ["bad", "good", "fair"]


def test_several_columns_identify_an_item():
    rows = {"dialogue": ["d", "d", "e"], "turn": [1, 2, 1], "annotator_id": [1, 1, 1], "category": [0, 1, 2]}
    prepared = prepare_targets(pa.table(rows), QUALITY, AnnotationColumns(item_id=["dialogue", "turn"]))
    assert prepared.items["dialogue"] == ["d", "d", "e"]
    assert prepared.items["turn"] == [1, 2, 1]
    assert len(set(prepared.items["item_id"])) == 3
    assert prepared.judgments["item_id"] == prepared.items["item_id"]


CONSTANT = {"item_id": ["a", "b", "c"], "prompt": ["P", "Q", "R"]}


@pytest.mark.parametrize(
    "table",
    [
        {**CONSTANT, "target_counts": [[2, 0, 1], [0, 1, 0], [0, 0, 4]]},
        {**CONSTANT, "labels": [["bad", "bad", "good"], ["fair"], ["good"] * 4]},
        {**CONSTANT, "labels": [[0, 0, 2], [1], [2] * 4]},
        {
            **CONSTANT,
            "target_probs": [[2 / 3, 0, 1 / 3], [0, 1, 0], [0, 0, 1]],
            "vote_weight": [3, 1, 4],
            "num_annotators": [3, 1, 4],
        },
    ],
)
def test_counts_labels_and_distributions_give_the_same_items(table):
    prepared = prepare_targets(pa.table(table), QUALITY)
    assert prepared.judgments is None
    columns = ["item_id", "prompt", "target_counts", "target_probs", "vote_weight", "num_annotators"]
    assert prepared.items.column_names == columns
    np.testing.assert_allclose(prepared.items["target_counts"], [[2, 0, 1], [0, 1, 0], [0, 0, 4]], rtol=1e-10)
    np.testing.assert_allclose(
        prepared.items["target_probs"], [[2 / 3, 0, 1 / 3], [0, 1, 0], [0, 0, 1]], rtol=1e-10, atol=1e-14
    )
    assert prepared.items["vote_weight"] == [3.0, 1.0, 4.0]
    assert prepared.items["num_annotators"] == [3, 1, 4]
    assert prepared.items["prompt"] == ["P", "Q", "R"]


def test_distribution_without_votes_counts_as_one():
    items = prepare_targets(pa.table({"item_id": ["a"], "target_probs": [[0.2, 0.3, 0.50001]]}), QUALITY).items
    np.testing.assert_allclose(items["target_probs"], [np.array([0.2, 0.3, 0.50001]) / 1.00001], rtol=1e-10)
    assert items["vote_weight"] == [1.0]
    assert items["num_annotators"] == [0]


def test_counts_meet_their_items_prior():
    table = {"item_id": ["a", "b"], "target_counts": [[1, 0, 0], [0, 0, 0]], "prior_probs": [[0.5, 0.25, 0.25]] * 2}
    items = prepare_targets(pa.table(table), QUALITY, options=TargetOptions(prior_strength=1.0)).items
    np.testing.assert_allclose(items["target_probs"], [[0.75, 0.125, 0.125], [0.5, 0.25, 0.25]], rtol=1e-10)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"target_probs": [[0.5, 0.5, 0], [0.5, 0.6, 0]]},
            "row 1, column 'target_probs': sums to 1.1, not to 1 .*divide",
        ),
        ({"target_probs": [[0.5, 0.5, 0], [1.5, -0.5, 0]]}, "row 1, column 'target_probs': -0.5 at place 1"),
        ({"target_probs": [[0.5, 0.5, 0], [float("nan"), 1, 0]]}, "row 1, column 'target_probs': nan at place 0"),
        ({"target_probs": [[0.5, 0.5, 0], [0.5, 0.5]]}, "row 1, column 'target_probs': not 3 values; give one per"),
        ({"target_probs": [[0.5, 0.5, 0], None]}, "row 1, column 'target_probs': not 3 values"),
        ({"target_probs": [0.5, 0.5]}, "column 'target_probs' holds double; give a list of 3 numbers"),
        ({"target_counts": [[1, 2, 3], [-1, 0, 2]]}, "row 1, column 'target_counts': -1.0 at place 0"),
        ({"target_counts": [[1, 2, 3], [0, 0, 0]]}, "item 'b' has no votes and no prior"),
        (
            {"labels": [["good"], ["good", "great"]]},
            r"row 1, column 'labels': 'great' is no category; .*\['bad', 'fair'",
        ),
        ({"labels": [["good"], ["good", None]]}, "row 1, column 'labels': a label is missing"),
        ({"labels": ["good", "bad"]}, "column 'labels' holds string; give a list"),
        ({"labels": [["good"], []]}, "item 'b' has no votes"),
        (
            {"target_counts": [[1, 2, 3]] * 2, "vote_weight": [6, 6]},
            r"\['vote_weight'\] of the table would be overwritten",
        ),
        ({"target_counts": [[1, 2, 3]] * 2, "labels": [["good"]] * 2}, r"speak for rows=\['counts', 'labels'\]"),
        ({"score": [1, 2]}, "speak for rows=nothing known; name the column"),
        ({"item_id": ["a", "a"], "labels": [["good"]] * 2}, "row 1, column 'item_id': item 'a' has a row before"),
        ({"item_id": ["a", ""], "labels": [["good"]] * 2}, "row 1, column 'item_id': the item id is empty"),
    ],
)
def test_refused_item_rows(table, message):
    with pytest.raises(ValueError, match=message):
        prepare_targets(pa.table({"item_id": ["a", "b"], **table}), QUALITY)


def test_nan_of_pandas_is_no_vote_weight():
    rows = {"item_id": ["a", "b"], "target_probs": [[0.5, 0.5, 0.0]] * 2, "vote_weight": [2.0, float("nan")]}
    with pytest.raises(ValueError, match="row 1, column 'vote_weight': None or NaN is not a finite number"):
        prepare_targets(pd.DataFrame(rows), QUALITY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item_id": ["a", "a", "", "a"]}, "row 2, column 'item_id': the item id is empty; give every row its item"),
        ({"item_id": ["a", "a", None, "a"]}, "row 2, column 'item_id': the item id is empty"),
        ({"item_id": [0.5, 1, 2, 3]}, "column 'item_id' holds double; give text or whole numbers"),
        (
            {"annotator_id": ["x", "y", None, "z"]},
            "row 2, column 'annotator_id': the annotator is missing; give every",
        ),
        ({"annotator_id": ["x", " ", "y", "z"]}, "row 1, column 'annotator_id': the annotator is missing"),
        ({"category": ["good", "bad", None, "good"]}, "row 2, column 'category': the category is missing; fill it in"),
        (
            {"category": ["good", "bad", "great", "good"]},
            r"row 2, column 'category': 'great' is no category; the known names are \['bad', 'fair', 'good'\] \(or "
            "their indices, 0 to 2",
        ),
        ({"category": [0, 1, 2, 3]}, "row 3, column 'category': 3 is no category"),
        ({"weight": [1, 1, -2, 1]}, "row 2, column 'weight': -2 is not a finite number of at least 0"),
        ({"weight": [1, 1, float("nan"), 1]}, "row 2, column 'weight': None or NaN is not a finite number"),
        ({"weight": ["1", "1", "1", "one"]}, "row 3, column 'weight': 'one' is not a finite number"),
        ({"timestamp": [1, None, 2, 3]}, "row 1, column 'timestamp': the time is missing"),
        (
            {"timestamp": ["now", "then", "now", "then"]},
            "column 'timestamp' holds text that is no time, such as 'now'",
        ),
        ({"annotator_id": None}, "the table has no column 'annotator_id' for annotator_id; it has"),
        (
            {"prompt": ["P", "P", "Q", "R"]},
            "row 3, column 'prompt': item 'a' has 'R' here and 'P' in row 0; make it the",
        ),
        ({"prompt": ["P", "P", "Q", None]}, "row 3, column 'prompt': item 'a' has None here and 'P' in row 0"),
        (
            {"messages": [["P"], ["P", "Q"], ["Q"], ["P"]]},
            r"row 1, .* item 'a' has \['P', 'Q'\] here and \['P'\] in row 0",
        ),
        ({"target_probs": [[1.0, 0, 0]] * 4}, r"speak for rows=\['judgments', 'distributions'\]"),
        ({"vote_weight": [1, 1, 1, 1]}, r"the columns \['vote_weight'\] of the table would be overwritten"),
        ({"prior_probs": [[0.5, 0.5, 0.5]] * 4}, "row 0, column 'prior_probs': sums to 1.5, not to 1"),
        ({"prior_probs": [[1, 0, 0], [1, 0, 0], [1, 0], [1, 0, 0]]}, "row 2, column 'prior_probs': not 3 values"),
    ],
)
def test_refused_judgments(change, message):
    with pytest.raises(ValueError, match=message):
        targets_of(change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"good": [1, 0, 1, 0]}, "row 2, column 'good': a second category is marked; mark one"),
        ({"good": [1, 0, 2, 0]}, "row 2, column 'good': a category column holds 0 or 1"),
        ({"good": [0, 0, 0, 0]}, "row 0, column 'bad': the category is missing"),
        ({"good": None}, "the table has no column 'good' for category_columns"),
    ],
)
def test_refused_category_columns(change, message):
    marks = {"category": None, "bad": [0, 1, 1, 0], "fair": [0, 0, 0, 1], "good": [1, 0, 0, 0]}
    columns = AnnotationColumns(category_columns=["bad", "fair", "good"])
    assert targets_of(marks, columns=columns).judgments["category"] == ["good", "bad", "bad", "fair"]
    with pytest.raises(ValueError, match=message):
        targets_of({**marks, **change}, columns=columns)
    with pytest.raises(ValueError, match="category_columns has 2 columns for 3 categories"):
        targets_of(marks, columns=AnnotationColumns(category_columns=["bad", "fair"]))


def test_refused_options():
    with pytest.raises(ValueError, match="smoothing is 'nearest'; give one of"):
        TargetOptions(smoothing="nearest")
    with pytest.raises(ValueError, match="prior_strength is 0; it is the number of votes"):
        TargetOptions(prior_strength=0)
    with pytest.raises(ValueError, match="prior_strength is given and the table has no column 'prior_probs'"):
        targets_of({}, options=TargetOptions(prior_strength=1.0))
    with pytest.raises(ValueError, match="rows is 'votes'; give one of"):
        targets_of({}, rows="votes")
    with pytest.raises(ValueError, match="the annotation table has no rows"):
        prepare_targets(pa.table({name: pa.array([], pa.string()) for name in ROWS}), QUALITY)
    with pytest.raises(ValueError, match="population weights annotators, and rows='labels' has none"):
        labels = pa.table({"item_id": ["a"], "labels": [["good"]]})
        prepare_targets(labels, QUALITY, options=TargetOptions(population={"group": {"g": 1.0}}))
