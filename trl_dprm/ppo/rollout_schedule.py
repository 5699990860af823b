"""What happens between rollouts: saving, evaluating, and printing samples."""

from transformers import TrainerCallback


class AtRolloutEnd(TrainerCallback):
    """Postpones a save or an evaluation that falls due in the middle of a rollout to the rollout's end.

    Only there nothing but the checkpoint's content decides what follows: a run that resumes from it goes on as if it
    had not stopped. At the end of training both happen in any case.

    Args:
        steps_per_rollout (`int`): Optimizer steps on one rollout.
    """

    def __init__(self, steps_per_rollout: int):
        self.steps_per_rollout = steps_per_rollout
        self._save_due = self._evaluation_due = False

    def on_step_end(self, args, state, control, **kwargs):
        self._save_due |= control.should_save
        self._evaluation_due |= control.should_evaluate
        at_end = state.global_step % self.steps_per_rollout == 0 or state.global_step >= state.max_steps
        control.should_save = at_end and self._save_due
        control.should_evaluate = at_end and self._evaluation_due
        if at_end:
            self._save_due = self._evaluation_due = False
        return control


class SampleEvery(TrainerCallback):
    """Calls `generate_completions(sampling=True)` of a trainer every so many rollouts, as the removed trainer did.

    Args:
        trainer ([`ExpectedRewardPPOTrainer`]): With an evaluation set.
        num_samples (`int`): How often over the run.
        steps_per_rollout (`int`): Optimizer steps on one rollout.
    """

    def __init__(self, trainer, num_samples: int, steps_per_rollout: int):
        self.trainer = trainer
        self.num_samples = num_samples
        self.steps_per_rollout = steps_per_rollout

    def on_step_end(self, args, state, control, **kwargs):
        rollout, inside = divmod(state.global_step, self.steps_per_rollout)
        every = max(1, state.max_steps // self.steps_per_rollout // self.num_samples)
        if inside == 0 and rollout % every == 0:
            self.trainer.generate_completions(sampling=True)
