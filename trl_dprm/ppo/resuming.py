"""Saving and resuming of a trainer whose engine holds a policy and its critic."""

from contextlib import nullcontext
from pathlib import Path

from ..trainer.checkpoints import check_complete, last_complete_checkpoint
from ..trainer.whole_checkpoints import WholeCheckpoints
from .checkpoints import load_critic, load_state, save_critic, save_state, trained_tensors, whole
from .critic import find_critic, split_critic, without_critic


class PolicyAndCriticCheckpoints(WholeCheckpoints):
    """For a [`~transformers.Trainer`] with `scorer`, `shared` and the critic inside its model; stands before it.

    The policy is saved as its users know it. A checkpoint holds beside it the critic and the running numbers.
    """

    def train(self, resume_from_checkpoint=None, **kwargs):
        """As [`~transformers.Trainer.train`]; `resume_from_checkpoint=True` takes the last *complete* checkpoint."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = str(last_complete_checkpoint(Path(self.args.output_dir)))
        elif resume_from_checkpoint:
            check_complete(Path(resume_from_checkpoint))
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    @property
    def _plain_policy(self):
        return self.accelerator.unwrap_model(self.model)

    def _policy_as_saved(self):
        """FSDP writes and reads its engine with the critic in it (but of adapters the policy's alone)."""
        return nullcontext() if self.is_fsdp_enabled else without_critic(self._plain_policy)

    def _critic_tensors(self):
        if self.shared is not None:
            return self.shared.critic_tensors()
        return trained_tensors(find_critic(self._plain_policy))

    def _write_beside_model(self, checkpoint):
        if self.args.should_save:
            save_state(checkpoint, self.scorer.state_dict())
        if not self.is_deepspeed_enabled:  # whose own checkpoint holds all that is trained
            tensors = {name: whole(tensor) for name, tensor in self._critic_tensors().items()}
            if self.args.should_save:
                save_critic(checkpoint, tensors)

    def _save(self, output_dir=None, state_dict=None):
        """The policy alone."""
        if state_dict is not None:  # gathered by FSDP or DeepSpeed from the one engine
            state_dict, _ = split_critic(state_dict)
        with without_critic(self._plain_policy):
            super()._save(output_dir, state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        with self._policy_as_saved():
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_critic(Path(resume_from_checkpoint), self._critic_tensors())
        if self.shared is not None:
            self.shared.activate_policy()

    def _load_best_model(self):
        if self.is_deepspeed_enabled:  # the engine is loaded whole
            super()._load_best_model()
            return
        with self._policy_as_saved():
            super()._load_best_model()
        load_critic(Path(self.state.best_model_checkpoint), self._critic_tensors())
        if self.shared is not None:
            self.shared.activate_policy()

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.scorer.load_state_dict(load_state(Path(checkpoint)))
            self.beta = self.scorer.kl_coef
