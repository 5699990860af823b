"""Stopping a run before its end."""

from transformers import TrainerCallback


class StopAt(TrainerCallback):
    """Ends a run as a time limit does: after the step's checkpoint."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = control.should_training_stop or state.global_step == self.step
