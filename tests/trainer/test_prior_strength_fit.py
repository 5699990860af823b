"""`fit_prior_strength` finds what simulated votes were drawn with."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from reward_rows import judged

from trl_dprm import DPRMForSequenceClassification


def dataset_of_votes(trainer, rows, strength, votes, generator):
    """Annotators of each item draw from Dirichlet(strength · the model's own distribution)."""
    logits = trainer.predict(rows).predictions["category_logits"][:, 0]
    probs = torch.from_numpy(logits).double().softmax(-1).numpy()
    shares = np.stack([generator.dirichlet(strength * p) for p in probs])
    counts = [generator.multinomial(votes, share / share.sum()).tolist() for share in shares]
    return Dataset.from_list(
        [{"input_ids": row["input_ids"], "target_counts": count} for row, count in zip(rows, counts, strict=True)]
    )


@pytest.mark.parametrize("strength", [3.0, 20.0])
def test_known_strength(make_trainer, tmp_path, strength):
    trainer = make_trainer(judged(4), per_device_eval_batch_size=64)
    torch.nn.init.normal_(trainer.model.score.weight, std=0.3)
    generator = np.random.default_rng(0)
    rows = Dataset.from_list(
        [{"input_ids": ids.tolist(), "target_counts": [1] * 5} for ids in generator.integers(4, 260, (600, 4))]
    )
    votes = dataset_of_votes(trainer, rows, strength, 12, generator)
    found = trainer.fit_prior_strength(votes)
    assert found == trainer.model.config.prior_strength
    assert abs(np.log(found / strength)) < 0.1
    trainer.save_model(tmp_path / "model")
    assert DPRMForSequenceClassification.from_pretrained(tmp_path / "model").config.prior_strength == found


def test_the_trainer_s_evaluation_set_is_the_default(make_trainer):
    held_out = judged(40, seed=1)
    trainer = make_trainer(judged(4), held_out)
    assert trainer.fit_prior_strength() == pytest.approx(trainer.fit_prior_strength(held_out), rel=1e-6)
