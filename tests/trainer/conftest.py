"""Trainers on a tiny backbone in one line."""

import pytest
from datasets.utils.logging import disable_progress_bar
from reward_rows import RUN

from trl_dprm import DPRMTrainer, DPRMTrainingArguments

disable_progress_bar()


@pytest.fixture
def run_arguments(tmp_path):
    """Function (class, **options) -> arguments of a short run on the CPU in float32."""

    def make(arguments_class=DPRMTrainingArguments, **options):
        return arguments_class(**{"output_dir": str(tmp_path / "run"), **RUN, **options})

    return make


@pytest.fixture
def make_trainer(backbone, run_arguments):
    """Function (train_dataset, eval_dataset=None, model=None, trainer arguments…, **options) -> `DPRMTrainer`."""

    def make(
        train_dataset,
        eval_dataset=None,
        model=None,
        processing_class=None,
        compute_metrics=None,
        preprocess_logits_for_metrics=None,
        callbacks=None,
        peft_config=None,
        quantization_config=None,
        **options,
    ):
        return DPRMTrainer(
            backbone if model is None else model,
            run_arguments(**options),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            compute_metrics=compute_metrics,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
            callbacks=callbacks,
            peft_config=peft_config,
            quantization_config=quantization_config,
        )

    return make
