"""Run by test_two_processes.py, by `torchrun` with BACKBONE and OUTPUT and in its own process."""

import sys

import torch
from reward_rows import mixture

from trl_dprm import DPRMTrainer, DPRMTrainingArguments


def gradients_and_loss(trainer):
    """Record the gradients that the first optimizer step sees."""
    seen = {}

    def look(*args, **kwargs):
        if not seen:
            seen.update({name: p.grad.clone() for name, p in trainer.model.named_parameters()})
        return step(*args, **kwargs)

    trainer.create_optimizer()
    step, trainer.optimizer.step = trainer.optimizer.step, look
    return seen


def run(backbone, output, streaming):
    """Train four steps on the same global batches of eight rows, however many processes there are."""
    args = DPRMTrainingArguments(
        output,
        use_cpu=True,
        bf16=False,
        report_to="none",
        gradient_checkpointing=False,
        max_steps=4,
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
        learning_rate=1e-3,
        max_grad_norm=0.0,
        train_sampling_strategy="sequential",
        per_device_eval_batch_size=4,
    )
    args.per_device_train_batch_size = 8 // args.world_size
    train, evaluation = mixture(17, 15, seed=3), mixture(6, 7, seed=4)
    if streaming:
        train, evaluation = train.to_iterable_dataset(), evaluation.to_iterable_dataset()
    trainer = DPRMTrainer(backbone, args, train_dataset=train, eval_dataset=evaluation)
    gradients = gradients_and_loss(trainer)
    trainer.train()
    weights = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    weights["bradley_terry_scale"] = trainer.bradley_terry_scale.value
    metrics = trainer.evaluate()
    rows = trainer.predict(evaluation).label_ids["row"].tolist()
    name = "stream" if streaming else "map"
    torch.save(
        {
            "gradients": gradients,
            "weights": weights,
            "log": trainer.state.log_history,
            "metrics": metrics,
            "rows": rows,
            "world_size": args.world_size,
        },
        f"{output}/{name}-{args.process_index}-of-{args.world_size}.pt",
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for streaming in (False, True):
        run(*sys.argv[1:], streaming)
