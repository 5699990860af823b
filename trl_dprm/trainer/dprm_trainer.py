"""Training of distributional preference reward models: `trl.RewardTrainer` with distributions."""

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate.data_loader import IterableDatasetShard
from accelerate.logging import get_logger
from accelerate.utils import is_peft_model
from datasets import Dataset, IterableDataset
from transformers import DataCollator, PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, set_seed
from transformers.trainer_utils import EvalLoopOutput, EvalPrediction, denumpify_detensorize
from trl import RewardConfig, RewardTrainer
from trl.trainer.utils import global_then_local_main_first

from ..hub.calibration_figures import CalibrationFigures
from ..hub.data_statistics import data_statistics
from ..hub.tokenizer_files import spell_tokenizer_for_transformers_4
from ..losses import DistributionLoss, bradley_terry_loss, win_probability_loss
from ..models import DPRMConfig
from ..models.base_precision_dprm import base_precision
from .bradley_terry_scale import BradleyTerryScale
from .card_and_pushes import CardAndPushes
from .checkpoints import (
    adapter_written_whole,
    check_complete,
    check_writable,
    last_complete_checkpoint,
    load_num_tokens,
    refuse_pickled_weights,
    save_num_tokens,
)
from .collator import DataCollatorForDistributionalPreference, by_row, chosen_and_rejected
from .dprm_training_arguments import DPRMTrainingArguments, check_training_arguments
from .evaluation import evaluation_metrics, in_dataset_order, judged_responses
from .model_loading import as_dprm, base_revision, load_model, load_tokenizer, unwrap_peft
from .peft_defaults import (
    check_heads_are_saved,
    check_quantised_model_has_adapters,
    complete_peft_config,
    has_adapters,
    name_saved_modules_once,
    restore_float32_trainables,
)
from .positions import num_positions
from .preparation import effective_max_length, prepare_dataset, warn_of_default_categories
from .prior_strength import prior_strength
from .rows import PAIR_VOTES, PREPARED_COLUMNS
from .step_metrics import batch_facts, batch_metrics
from .streams import check_one_shard, endless_shares
from .tokenization import TokenizationRule, warn_if_eos_is_pad
from .whole_checkpoints import WholeCheckpoints

logger = get_logger(__name__)


class DPRMTrainer(CardAndPushes, WholeCheckpoints, RewardTrainer):
    r"""Trains a [`DPRMForSequenceClassification`] on target distributions, on pairs, or on both in one dataset.

    The loss of a global batch is \\(\sum_i w_i \ell(z_i, p_i) / \sum_i w_i\\) over every response that has a target,
    with its vote weight \\(w_i\\), plus `ranking_weight` times the (weighted) mean ranking loss over every pair. The
    sums run over the processes and the accumulated micro-batches, so how a batch is cut does not change the step.

    Parameters are those of [`~trl.RewardTrainer`], in its order; what differs:

    Args:
        model (`str`, [`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            Folder or Hub id of any supported backbone or DPRM, or an instance: a DPRM, a stock sequence classifier
            (its backbone is taken, its one-label head replaced), or a PEFT model over a DPRM.
        args ([`DPRMTrainingArguments`] or [`~trl.RewardConfig`], *optional*): The run.
        data_collator (`DataCollator`, *optional*):
            Defaults to [`DataCollatorForDistributionalPreference`], whose output another one must match.
        train_dataset, eval_dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            Columns as in the README's table: `prompt`/`completion` or `messages` with `target_probs` or
            `target_counts`; `chosen`/`rejected`, also tokenised, also with `margin`, `chosen_vote_share`,
            `tie_vote_share` and distributions per side; both kinds in one dataset, with `None` in the columns that a
            row lacks. A training stream of at least as many shards as processes is dealt out by shards, and every
            process repeats its own.
        compute_metrics (`Callable`, *optional*):
            Receives an `EvalPrediction` over the whole set. `predictions` is a dict with `rewards` *(num_rows, 2)* and
            `category_logits` *(num_rows, 2, num_categories)*; `label_ids` a dict with `target_probs` *(num_rows, 2,
            num_categories)*, `target_weight` *(num_rows, 2)*, `is_pair`, `pair_weight`, `chosen_vote_share`,
            `tie_vote_share` (NaN where not known), `margin` and `row`, each *(num_rows,)*. Place 0 is the single or
            chosen response, place 1 the rejected one (NaN if none). Rows are in the order of the dataset; of a stream
            that several workers read, `row` repeats.
        preprocess_logits_for_metrics (`Callable`, *optional*):
            Applied once to those two dicts; what it returns is what `compute_metrics` gets as `predictions`.
        quantization_config ([`~transformers.BitsAndBytesConfig`], *optional*): The head stays in float32 and trains.
        peft_config ([`~peft.PeftConfig`], *optional*):
            `task_type` defaults to `"SEQ_CLS"`, `target_modules` to `"all-linear"`, and the head is trained and saved.

    Raises:
        TypeError: for arguments of another class, or a model that is no sequence classifier.
        ValueError: for rows that cannot be learned from (named, before training; at the row itself for streams), and
            for categories that do not fit the checkpoint.
        PermissionError: if `args.output_dir` cannot be written.

    Example:

    ```python
    from datasets import load_dataset
    from trl_dprm import DPRMTrainer

    dataset = load_dataset("trl-lib/ultrafeedback_binarized", split="train")
    trainer = DPRMTrainer("Qwen/Qwen3-0.6B", train_dataset=dataset)
    trainer.train()
    ```
    """

    loss_is_scaled_for_ga = True  # by the weights of the whole accumulated batch

    _tag_names = ["trl", "trl_dprm", "reward-trainer", "dprm"]  # noqa: RUF012
    _name = "DPRM"

    def __init__(
        self,
        model: "str | PreTrainedModel | PeftModel",  # noqa: F821
        args: RewardConfig | None = None,
        data_collator: DataCollator | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        eval_dataset: Dataset | IterableDataset | dict[str, Dataset | IterableDataset] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        compute_metrics: Callable[[EvalPrediction], dict] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict] | None = None,
        preprocess_logits_for_metrics: Callable | None = None,
        quantization_config: "BitsAndBytesConfig | None" = None,  # noqa: F821
        peft_config: "PeftConfig | None" = None,  # noqa: F821
    ):
        if args is None:
            name = model if isinstance(model, str) else model.config.name_or_path
            args = DPRMTrainingArguments(f"{Path(name).name or 'model'}-DPRM")
        args = check_training_arguments(args)
        check_writable(args.output_dir)
        args.accelerator_config.dispatch_batches = False  # a row is one or two sequences: batches cannot be cut up

        set_seed(args.seed)  # a new head is random
        revision = None
        if isinstance(model, str):
            if peft_config is not None:
                revision = base_revision(model, args)
            if processing_class is None:
                processing_class = load_tokenizer(model, args)
            model = load_model(model, args, quantization_config)
        model = as_dprm(model, args)
        dprm = unwrap_peft(model)
        self._dprm_config = config = dprm.config
        self._base_model = config.name_or_path
        self.data_statistics = None
        self._num_positions = num_positions(config.text_config, dprm)
        max_length = effective_max_length(args.max_length, self._num_positions)
        self.tokenization_rule = TokenizationRule(max_length=max_length)
        self.distribution_loss = DistributionLoss(
            args.loss_type, args.loss_weights, config.category_positions, config.cost_matrix, args.transport_exponent
        )
        check_quantised_model_has_adapters(model, peft_config)
        if is_peft_model(model):
            check_heads_are_saved(model)
        if peft_config is not None:
            peft_config = complete_peft_config(peft_config, dprm, revision)

        model_init_kwargs, args.model_init_kwargs = args.model_init_kwargs, None  # used above
        with restore_float32_trainables(self, model):
            super().__init__(
                model=model,
                args=args,
                data_collator=data_collator,
                train_dataset=train_dataset,
                eval_dataset=eval_dataset,
                processing_class=processing_class,
                compute_metrics=compute_metrics,
                callbacks=callbacks,
                optimizers=optimizers,
                optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
                preprocess_logits_for_metrics=preprocess_logits_for_metrics,
                peft_config=peft_config,
            )
        args.model_init_kwargs = model_init_kwargs
        if data_collator is None:
            self.data_collator = DataCollatorForDistributionalPreference(
                pad_token_id=self.processing_class.pad_token_id, pad_to_multiple_of=args.pad_to_multiple_of
            )
        warn_if_eos_is_pad(self.processing_class)
        self._evaluations = {}
        self._set_of_prefix = {}
        self._calibration_figures = CalibrationFigures(config)
        self.current_gradient_accumulation_steps = 1  # until training sets it
        config.tokenization = self.tokenization_rule.to_config()
        name_saved_modules_once(self.model)
        config.base_precision = base_precision(dprm) if has_adapters(self.model) else None
        self.bradley_terry_scale = BradleyTerryScale(
            config.bradley_terry_scale, args.bradley_terry_scale_learning_rate, self.args.device
        )

    def _prepare_dataset(self, dataset, processing_class, args, dataset_name):
        with global_then_local_main_first():
            prepared = prepare_dataset(
                dataset,
                dataset_name,
                processing_class,
                self.tokenization_rule,
                self._dprm_config.category_names,
                args.dataset_num_proc,
                on_votes=dataset_name != "train",
                positions=self._num_positions,
            )
        if dataset_name == "train" and isinstance(prepared, Dataset):
            self.data_statistics = data_statistics(prepared)
            if self.data_statistics.num_votes == 0 and not any(prepared["pair_weight"]):
                raise ValueError("Every `vote_weight` of the train dataset is 0: there is nothing to learn from.")
            if self.data_statistics.num_votes > 0 and args.category_names is None and args.category_rewards is None:
                warn_of_default_categories(self._dprm_config)
        if isinstance(prepared, IterableDataset):
            if dataset_name == "train":
                return endless_shares(prepared, args.world_size, args.process_index)
            check_one_shard(prepared, dataset_name, args.world_size)
        return prepared

    def _set_signature_columns_if_needed(self):
        if self._signature_columns is None:
            self._signature_columns = list(PREPARED_COLUMNS)

    def _get_num_items_in_batch(self, batch_samples, device):
        """Summed target weights and pair weights of the global batch (`torch.Tensor` of shape *(2,)*)."""
        if not batch_samples:
            return None
        weights = [torch.stack([batch["target_weight"].sum(), batch["pair_weight"].sum()]) for batch in batch_samples]
        total = self.accelerator.reduce(torch.stack(weights).sum(0).to(device), reduction="sum")
        if not self._dprm_config.anchored and total[0] > 0:
            self._dprm_config.anchored = True
        return total / self._same_batch_processes()

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Loss of one micro-batch: its share of the global batch's loss (see the class), times the process count."""
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        if num_items_in_batch is None:
            num_items_in_batch = self._get_num_items_in_batch([inputs], inputs["input_ids"].device)
        target_total, pair_total = num_items_in_batch.clamp(min=torch.finfo(torch.float32).tiny)
        scale = self.accelerator.num_processes / self._same_batch_processes()

        distribution_loss = self.distribution_loss(outputs.category_logits, inputs["target_probs"])
        distribution_loss = scale * (inputs["target_weight"] * distribution_loss).sum() / target_total
        ranking_loss = scale * self._ranking_loss(outputs, inputs, inputs["pair_weight"] / pair_total)
        loss = distribution_loss + self.args.ranking_weight * ranking_loss
        if self.model.training:
            self._log_batch(outputs.logits.squeeze(-1), inputs, num_items_in_batch, distribution_loss, ranking_loss)
        return (loss, outputs) if return_outputs else loss

    def _ranking_loss(self, outputs, inputs, pair_share):
        """Ranking loss of the pairs in a micro-batch, weighted by their share of the global batch."""
        is_pair = inputs["is_pair"]
        share = pair_share[is_pair]
        vote_share, tie_share, margin = (inputs[name][is_pair] for name in (*PAIR_VOTES, "margin"))
        chosen, rejected = chosen_and_rejected(outputs.logits.squeeze(-1), is_pair)
        if self.args.ranking_loss == "bradley_terry":
            loss = bradley_terry_loss(chosen, rejected, self.bradley_terry_scale.value, margin, vote_share)
            if self.model.training:
                self.bradley_terry_scale.accumulate(chosen - rejected, margin, vote_share, share)
        else:
            logits = chosen_and_rejected(outputs.category_logits, is_pair)
            loss = win_probability_loss(*logits, self._dprm_config.category_rewards, vote_share, tie_share)
        if self.args.center_rewards_coefficient is not None:
            loss = loss + self.args.center_rewards_coefficient * (chosen + rejected).square()
        return (share * loss).sum()

    def training_step(self, *args, **kwargs):
        """One micro-batch; after the last of an optimizer step the Bradley–Terry scale takes its own."""
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients and self.args.ranking_loss == "bradley_terry":
            self.bradley_terry_scale.step(self.accelerator, self._share_of_peak_rate())
        return loss

    def _share_of_peak_rate(self):
        """Where the schedule stands: the learning rate over the one that it starts from (1 without a schedule)."""
        group = self.optimizer.param_groups[0]
        peak = group.get("initial_lr", group["lr"])
        return group["lr"] / peak if peak else 1.0

    def _log_batch(self, rewards, inputs, num_items_in_batch, distribution_loss, ranking_loss):
        """Record one micro-batch; the mean over those of a step is the step's loss, whatever each of them held."""
        facts = batch_facts(rewards, inputs)
        facts["distribution_loss"], facts["ranking_loss"] = distribution_loss.detach(), ranking_loss.detach()
        facts["target_total"], facts["pair_total"] = num_items_in_batch
        gathered = self.accelerator.gather(torch.stack(list(facts.values())).unsqueeze(0)).cpu()
        facts = dict(zip(facts, gathered.unbind(1), strict=True))

        metrics = self._metrics["train"]
        self._total_train_tokens += int(facts["num_tokens"].sum().item()) // self._tp_size
        metrics["num_tokens"] = [self._total_train_tokens]
        for name, value in batch_metrics(facts).items():
            metrics[name].append(value)
        for name, total in (("distribution_loss", "target_total"), ("ranking_loss", "pair_total")):
            if facts[total][0] > 0:
                metrics[name].append(facts[name].mean().item() * self.current_gradient_accumulation_steps)
        if "ranking_loss" in metrics and self.args.ranking_loss == "bradley_terry":
            metrics["bradley_terry_scale"] = [self.bradley_terry_scale.value.item()]

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Rewards and category logits of each row, and what people said of it, as `compute_metrics` gets them."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        is_pair = inputs["is_pair"]
        predictions = {
            "rewards": by_row(outputs.logits.squeeze(-1), is_pair),
            "category_logits": by_row(outputs.category_logits, is_pair),
        }
        labels = {name: by_row(inputs[name], is_pair) for name in ("target_probs", "target_weight")}
        labels |= {name: inputs[name] for name in ("is_pair", "pair_weight", *PAIR_VOTES, "margin", "row")}
        return None, predictions, labels

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ) -> EvalLoopOutput:
        """Gather the whole set, then measure it: no number depends on the batch size or the number of processes."""
        hooks = self.compute_metrics, self.preprocess_logits_for_metrics
        self.compute_metrics = self.preprocess_logits_for_metrics = None
        try:
            output = super().evaluation_loop(dataloader, description, False, ignore_keys, metric_key_prefix)
        finally:
            self.compute_metrics, self.preprocess_logits_for_metrics = hooks
        repeated = isinstance(dataloader.dataset, IterableDatasetShard)  # fills its last batch from its first
        predictions, labels = in_dataset_order(output.predictions, output.label_ids, repeated)
        metrics = evaluation_metrics(
            predictions,
            labels,
            config=self._dprm_config,
            distribution_loss=self.distribution_loss,
            ranking_loss=self.args.ranking_loss,
            ranking_weight=self.args.ranking_weight,
            bradley_terry_scale=self.bradley_terry_scale.value.item(),
            center_rewards_coefficient=self.args.center_rewards_coefficient,
        )
        if self.compute_metrics is not None:
            seen = predictions
            if self.preprocess_logits_for_metrics is not None:
                seen = self.preprocess_logits_for_metrics(predictions, labels)
            metrics |= denumpify_detensorize(self.compute_metrics(EvalPrediction(seen, labels)))
        if metric_key_prefix == "eval":
            self._evaluations = {}
            self._calibration_figures.forget()
            self._keep_for_card(None, metrics, predictions, labels)
        elif metric_key_prefix in self._set_of_prefix:
            self._keep_for_card(self._set_of_prefix[metric_key_prefix], metrics, predictions, labels)
        prefix = f"{metric_key_prefix}_"
        prefixed = {prefix + name.removeprefix(prefix): value for name, value in metrics.items()}
        prefixed[f"{prefix}num_tokens"] = self._total_train_tokens
        return EvalLoopOutput(predictions, labels, {**output.metrics, **prefixed}, len(labels["row"]))

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """As [`~trl.RewardTrainer.evaluate`]; the model card shows the last evaluation, of several sets each."""
        sets = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(sets, dict) and metric_key_prefix == "eval":
            self._evaluations = {}
            self._calibration_figures.forget()
            self._set_of_prefix = {f"eval_{name}": name for name in sets}
        return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def _keep_for_card(self, set_name, metrics, predictions, labels):
        """What the model card says of an evaluation set: its metrics and, where it has votes, its calibration."""
        self._evaluations[set_name] = metrics
        category_logits, target_probs, vote_weight = judged_responses(predictions, labels)
        if len(vote_weight) and self._dprm_config.anchored:
            category_probs = category_logits.softmax(-1).numpy()
            self._calibration_figures.keep(set_name, category_probs, target_probs.numpy(), vote_weight.numpy())

    def predict(self, test_dataset, ignore_keys=None, metric_key_prefix="test"):
        """As [`~transformers.Trainer.predict`], for raw datasets too; the dicts are those of `compute_metrics`."""
        test_dataset = self._prepare_dataset(test_dataset, self.processing_class, self.args, metric_key_prefix)
        return super().predict(test_dataset, ignore_keys=ignore_keys, metric_key_prefix=metric_key_prefix)

    def fit_prior_strength(self, eval_dataset=None) -> float:
        """Fit how many annotators the model's distribution is worth, on votes that it was not trained on.

        With this number, which travels in the model's configuration, `trl_dprm.preferences.model_prior` turns a
        prediction and new votes into an updated distribution.

        Args:
            eval_dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`], *optional*):
                With `target_counts`. Defaults to the trainer's.

        Returns:
            `float`, also stored as `model.config.prior_strength`.

        Raises:
            ValueError: if there are no such votes, or if they cannot identify a finite, positive strength.
        """
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None or isinstance(dataset, dict):
            raise ValueError("`fit_prior_strength` needs one dataset of votes: pass it as `eval_dataset`.")
        output = self.predict(dataset, metric_key_prefix="prior_strength")
        self._dprm_config.prior_strength = prior_strength(output.predictions, output.label_ids)
        return self._dprm_config.prior_strength

    def train(self, resume_from_checkpoint=None, **kwargs):
        """As [`~transformers.Trainer.train`]; `resume_from_checkpoint=True` takes the last *complete* checkpoint."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = str(last_complete_checkpoint(Path(self.args.output_dir)))
        elif resume_from_checkpoint:
            check_complete(Path(resume_from_checkpoint))
        if resume_from_checkpoint:
            self._total_train_tokens = load_num_tokens(Path(resume_from_checkpoint))
        self.bradley_terry_scale.forget_gradient()  # of a step that was interrupted
        try:
            output = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        finally:
            self._store_scale()
        unwrap_peft(self.model).new_heads = ()
        return output

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        refuse_pickled_weights(Path(resume_from_checkpoint))
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._load_fitted_numbers(resume_from_checkpoint)

    def _load_best_model(self):
        refuse_pickled_weights(Path(self.state.best_model_checkpoint))
        super()._load_best_model()
        self._load_fitted_numbers(self.state.best_model_checkpoint)

    def _load_fitted_numbers(self, checkpoint):
        """What training fits outside the tensors travels in the configuration."""
        config = DPRMConfig.from_pretrained(checkpoint)
        self._dprm_config.anchored = config.anchored
        self._dprm_config.prior_strength = config.prior_strength
        self._dprm_config.bradley_terry_scale = config.bradley_terry_scale
        self.bradley_terry_scale.value.fill_(config.bradley_terry_scale)

    def _write_beside_model(self, checkpoint):
        if self.args.should_save:
            save_num_tokens(checkpoint, self._total_train_tokens)

    def _store_scale(self):
        """Put κ into the configuration, with which it is saved."""
        self._dprm_config.bradley_terry_scale = self.bradley_terry_scale.value.item()

    def _save(self, output_dir=None, state_dict=None):
        self._store_scale()
        if not self.args.should_save:
            return super()._save(output_dir, state_dict)
        folder = Path(output_dir if output_dir is not None else self.args.output_dir)
        if is_peft_model(self.model):
            with adapter_written_whole(folder, self._dprm_config):
                super()._save(output_dir, state_dict)
        else:
            super()._save(output_dir, state_dict)
        spell_tokenizer_for_transformers_4(folder, self.processing_class)
        self._write_card(folder, self._name_on_hub() or folder.name)

    def _same_batch_processes(self):
        """How many processes hold the same rows (tensor, context and sequence parallelism)."""
        return self.get_tp_size() * self.get_cp_size() * self.get_sp_size()
