"""How the processes of a distributed command end."""

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
