"""From what checkpoints say to the report: the same rows for all, and models that have no categories left out."""

import numpy as np
import pytest
from datasets import Dataset

from trl_dprm import DPRMConfig
from trl_dprm.evaluation.checkpoint_predictions import CheckpointPredictions
from trl_dprm.evaluation.data_report import data_report
from trl_dprm.evaluation.intervals import Resampling
from trl_dprm.evaluation.scored_rows import ScoredRows

FEW = Resampling(num_resamples=20)
VOTES = np.array([[3, 1], [0, 2], [5, 0], [1, 1], [2, 2], [0, 4]])
DATA = Dataset.from_dict({"completion": [f"text {row}" for row in range(6)], "talk": ["a", "a", "b", "b", "c", "c"]})


def predictions(rows, anchored=True, seed=0, names=("no", "yes")):
    """What a model says of some rows, as the trainer keeps it: in single precision, NaN in the second place."""
    rows, votes = np.array(rows), VOTES[rows]
    logits = np.random.default_rng(seed).normal(size=(6, 2, 2)).astype(np.float32)[rows]
    nowhere = np.full((len(rows), 1), np.nan, dtype=np.float32)
    shares = (votes / votes.sum(1, keepdims=True)).astype(np.float32)
    labels = {
        "row": rows,
        "target_probs": np.stack([shares, np.full_like(shares, np.nan)], axis=1),
        "target_weight": np.concatenate([votes.sum(1, keepdims=True).astype(np.float32), nowhere], axis=1),
        "is_pair": np.zeros(len(rows), dtype=bool),
        "pair_weight": np.zeros(len(rows)),
        "chosen_vote_share": np.ones(len(rows)),
    }
    config = DPRMConfig(category_names=list(names), category_rewards=[0.0, 1.0], anchored=anchored)
    said = {"category_logits": logits, "rewards": logits[..., 1]}
    return CheckpointPredictions(config=config, metrics={"eval_loss": 1.0}, predictions=said, labels=labels)


def test_rows_that_one_model_cannot_read_are_left_out_for_all():
    scored = {"long": predictions(range(6)), "short": predictions([0, 2, 3, 5], seed=1)}
    report = data_report(scored, DATA, cluster_column="talk", resampling=FEW)
    assert report.notes == [
        "2 of 6 rows are too long for a model and are left out for all.",
        "Intervals draw the rows of one `talk` together: they are over those, not single rows.",
    ]
    assert report.items.items.target_counts.tolist() == VOTES[[0, 2, 3, 5]].tolist()  # exactly
    assert report.items.items.item_names == ["row 1", "row 3", "row 4", "row 6"]
    assert report.items.items.clusters == ["a", "b", "b", "c"] and report.items.items.texts is None
    logits = scored["long"].predictions["category_logits"][[0, 2, 3, 5], 0].astype(float)
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(report.items.models[0].category_probs, probs, rtol=1e-12)


def test_a_model_of_pairs_alone_is_left_out_where_categories_are_judged():
    scored = {"pairs": predictions(range(6), anchored=False), "votes": predictions(range(6), seed=1)}
    report = data_report(scored, DATA, resampling=FEW)
    assert [model.name for model in report.items.models] == ["votes"] and "left out" in report.notes[0]
    alone = data_report({"pairs": scored["pairs"]}, DATA, resampling=FEW)
    assert alone.items is None and alone.pairs is None
    validation = {name: predictions(range(6), seed=3) for name in scored}
    read_out = data_report(scored, DATA, validation, resampling=FEW)
    assert [(model.name, model.read_out) for model in read_out.items.models] == [
        ("pairs", True),
        ("votes", False),
        ("votes", False),
    ]
    assert "pairs: one number for a text" in read_out.notes[0]


def test_a_report_needs_a_model_that_says_what_the_votes_are_on():
    dprm = predictions(range(6))
    scalar = ScoredRows(metrics={}, predictions={"rewards": dprm.predictions["rewards"]}, labels=dprm.labels)
    with pytest.raises(ValueError, match="No model of bt is a DPRM"):
        data_report({"bt": scalar}, DATA)


def test_texts_are_those_of_the_rows_if_asked_for():
    report = data_report({"m": predictions([1, 4])}, DATA, with_texts=True, resampling=FEW)
    assert report.items.items.texts == ["text 1", "text 4"]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="No row is short enough for every model"):
        data_report({"a": predictions([0, 1]), "b": predictions([2, 3])}, DATA)
    with pytest.raises(ValueError, match=r"`a`: no \(0\), yes \(1\), ground cost .*; `b`: no \(0\), maybe \(1\)"):
        data_report({"a": predictions([0]), "b": predictions([0], names=("no", "maybe"))}, DATA)
    with pytest.raises(ValueError, match="no column `conversation`"):
        data_report({"a": predictions([0, 1])}, DATA, cluster_column="conversation")
