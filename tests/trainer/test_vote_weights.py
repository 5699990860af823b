"""A vote weight that is missing among others: pandas' NaN, which Arrow turns into nothing."""

import pandas as pd
import pytest
from datasets import Dataset, concatenate_datasets
from reward_rows import judged, judged_rows, pair_rows, pairs

LOST = "Row 2 of the train dataset, column `vote_weight`: no number .None, or NaN in pandas., but row 0 has one"


def shares(count):
    return [
        {
            "completion": row["completion"],
            "target_probs": [votes / sum(row["target_counts"]) for votes in row["target_counts"]],
        }
        for row in judged_rows(count)
    ]


def with_weights(rows, weights):
    return Dataset.from_pandas(pd.DataFrame(rows).assign(vote_weight=weights), preserve_index=False)


@pytest.mark.parametrize("rows", [judged_rows, pair_rows, shares])
@pytest.mark.parametrize("streaming", [False, True])
def test_nan_of_pandas_is_refused_by_row_and_column(make_trainer, rows, streaming):
    data = with_weights(rows(4), [2.0, 1.5, float("nan"), 3.0])
    if not streaming:
        with pytest.raises(ValueError, match=LOST):
            make_trainer(data)
        return
    trainer = make_trainer(data.to_iterable_dataset())
    with pytest.raises(ValueError, match=LOST):
        trainer.train()


def test_the_first_row_without_a_weight(make_trainer):
    data = with_weights(judged_rows(3), [float("nan"), 2.0, 3.0])
    with pytest.raises(
        ValueError, match="Row 0 of the train dataset, column `vote_weight`: no number .*row 1 has one"
    ):
        make_trainer(data)


def test_rows_are_counted_beyond_the_first_batch(make_trainer):
    data = concatenate_datasets([with_weights(judged_rows(20), 2.0)] * 501)
    data = concatenate_datasets([data, with_weights(judged_rows(3), [1.0, float("nan"), 1.0])])
    with pytest.raises(ValueError, match="Row 10021 of the eval dataset"):
        make_trainer(judged(4), data)


def test_a_column_of_nothing_else(make_trainer):
    with pytest.raises(ValueError, match="Row 0 of the train dataset, column `vote_weight`: no number .*none in any"):
        make_trainer(with_weights(judged_rows(3), float("nan")))


def test_kinds_of_rows_may_differ(make_trainer):
    weighted = Dataset.from_list([row | {"vote_weight": float(place)} for place, row in enumerate(shares(5))])
    plain = concatenate_datasets([judged(3), pairs(3)])
    trainer = make_trainer(concatenate_datasets([plain, weighted]))
    assert trainer.data_statistics.num_votes == 10 + sum(sum(row["target_counts"]) for row in judged_rows(3))
