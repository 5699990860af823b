"""How a training command ends, on one process or several."""

from transformers import Trainer


def leave_together(trainer: Trainer) -> None:
    """Wait for the other processes, then destroy the process group.

    A process must not tear its group down straight after a collective operation: gloo's thread may still need the
    interpreter's lock to release that operation's tensors, while the destructor holds the lock and waits for the
    thread, forever. At the barrier the lock is free, and the barrier itself has no tensors.

    Args:
        trainer ([`~transformers.Trainer`]): After everything that communicates.
    """
    trainer.accelerator.wait_for_everyone()
    trainer.end()


def save_and_leave(trainer: Trainer, what: str, dataset_name: str | None) -> None:
    """Save the result, push it where that was asked for, say where it is, and wait for the other processes.

    Args:
        trainer ([`~transformers.Trainer`]): After training.
        what (`str`): What was saved, for the message.
        dataset_name (`str`, *optional*): Of the training data, for the card on the Hub.
    """
    trainer.save_model(trainer.args.output_dir)
    trainer.accelerator.print(f"{what}: {trainer.args.output_dir}")
    if trainer.args.push_to_hub:
        trainer.push_to_hub(dataset_name=dataset_name)
        trainer.accelerator.print(f"On the Hub: {trainer.hub_model_id}")
    leave_together(trainer)
