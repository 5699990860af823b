"""What a training run shows and sends: the model card beside the weights, and pushes of the model alone."""

from pathlib import Path

from accelerate.utils import is_peft_model
from transformers.trainer_utils import HubStrategy
from transformers.utils import PushInProgress

from ..hub.evaluated_card import remove_unshown_figures, sections_of_these_weights
from ..hub.evaluation_section import put_sections
from ..hub.model_card import dprm_model_card
from ..hub.pushing import files_for_hub, push_checkpoint, push_copy_of_files, push_files
from .checkpoints import is_complete


class CardAndPushes:
    """For [`DPRMTrainer`], before [`WholeCheckpoints`] among the bases."""

    def create_model_card(self, model_name=None, dataset_name=None, tags=None):
        """Write the model card, with calibration figures, to `args.output_dir`; parameters as in TRL."""
        if self.is_world_process_zero():
            self._write_card(Path(self.args.output_dir), model_name, dataset_name, tags)

    def push_to_hub(
        self, commit_message="End of training", blocking=True, token=None, revision=None, private=None, **kwargs
    ):
        """As [`~transformers.Trainer.push_to_hub`], but of the model, its tokenizer and its card alone.

        What else lies in `args.output_dir` (the pickled arguments, optimizer and trainer state, logs) stays here, and
        weights or adapters that the repository held before are replaced, not added to.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        token = self.args.hub_token if token is None else token
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        self.create_model_card(**{"model_name": self._name_on_hub(), **kwargs})
        self._finish_current_push()
        folder = Path(self.args.output_dir)
        return push_files(
            folder,
            files_for_hub(folder, self.processing_class),
            self.hub_model_id,
            commit_message,
            token=token,
            revision=self.args.hub_revision if revision is None else revision,
            blocking=blocking,
        )

    def _push_from_checkpoint(self, checkpoint_folder):
        """As in transformers, of the files that make up the model; a strategy that says so adds the whole checkpoint.

        `WholeCheckpoints` comes back to it once the checkpoint is whole.
        """
        checkpoint, strategy = Path(checkpoint_folder), self.args.hub_strategy
        if strategy == HubStrategy.END or not self.is_world_process_zero() or not is_complete(checkpoint):
            return
        under_way = getattr(self, "push_in_progress", None)
        if not (self.args.hub_always_push or under_way is None or under_way.is_done()):
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        hub = {"repo_id": self.hub_model_id, "token": self.args.hub_token, "revision": self.args.hub_revision}
        message = f"Training in progress, step {self.state.global_step}"
        files = files_for_hub(checkpoint, self.processing_class)
        jobs = [push_copy_of_files(checkpoint, files, checkpoint.parent, commit_message=message, **hub)]
        if strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            place = "last-checkpoint" if strategy == HubStrategy.CHECKPOINT else checkpoint.name
            jobs.append(push_checkpoint(checkpoint, place, commit_message=f"{message}, checkpoint", **hub))
        unfinished = [] if under_way is None else under_way.jobs
        self.push_in_progress = PushInProgress([*(job for job in unfinished if not job.done()), *jobs])

    def _name_on_hub(self):
        """The last part of the repository's name, `None` while there is no repository."""
        return self.hub_model_id and self.hub_model_id.split("/")[-1]

    def _write_card(self, folder, model_name, dataset_name=None, tags=None):
        """Write the card of the model as it is now, with the figures that it shows.

        What `trl-dprm evaluate --update_card` wrote stays as long as the weights in the folder do.
        """
        evaluations = sections_of_these_weights(folder)
        figures = self._calibration_figures.write(folder)
        card = dprm_model_card(
            self._dprm_config,
            model_name=model_name,
            base_model=self._base_model,
            training=self.args,
            data_statistics=self.data_statistics,
            metrics=self._evaluations.get(None, self._evaluations),
            dataset_name=dataset_name,
            tags=[
                *self._tag_names,
                *(self.model.model_tags or []),
                *([tags] if isinstance(tags, str) else tags or []),
            ],
            is_adapter=is_peft_model(self.model),
            figures=figures,
        )
        put_sections(card, evaluations)
        card.save(folder / "README.md")
        remove_unshown_figures(folder, card.text)
