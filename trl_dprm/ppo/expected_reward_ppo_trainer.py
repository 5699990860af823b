"""PPO against the expected reward: `trl.GRPOTrainer` with a critic, as TRL's removed `PPOTrainer` was used."""

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from accelerate.logging import get_logger
from accelerate.utils import is_peft_model
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict
from transformers import (
    BitsAndBytesConfig,
    DataCollator,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    ProgressCallback,
    TrainerCallback,
    set_seed,
)
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import get_config_model_id

from ..hub.policy_card import policy_model_card
from ..rewards.loading import load_reward_functions
from ..trainer.checkpoints import check_writable
from ..trainer.peft_defaults import restore_float32_trainables
from .advantages import masked_mean
from .clipped_losses import clipped_value_loss
from .constructor import check_arguments, check_models, rewards_of, safe_tokenizer
from .critic import find_critic, make_critic
from .engine import (
    add_stop_token,
    expect_every_parameter,
    reads_log_probs,
    set_critic,
    set_reference,
    takes_losses_apart,
)
from .engine_checks import check_engine, loaded_whole
from .expected_reward_ppo_config import ExpectedRewardPPOConfig
from .kl import approximate_kl
from .kl_limit import KLLimit, skip_optimizer_step
from .policy import frozen_reference, load_policy, load_processing_class, options_for_grpo
from .prompts import prepare_prompts
from .quiet_output import QuietOutput
from .resuming import PolicyAndCriticCheckpoints
from .reward_facts import reward_facts
from .rollout_metrics import RolloutProgressCallback, step_facts, step_metrics
from .rollout_schedule import AtRolloutEnd, SampleEvery
from .rollout_scorer import RolloutScorer, SampledRollout, weighted_rewards
from .sample_table import complete_evaluation_prompts, greedy_generation, show_table
from .shared_adapters import check_sharing, read_reward_adapter, shared_reward_function
from .shared_backbone import POLICY, SharedBackbone

logger = get_logger(__name__)


class ExpectedRewardPPOTrainer(PolicyAndCriticCheckpoints, QuietOutput, GRPOTrainer):
    r"""Proximal policy optimisation of a language model on a reward model's expected reward.

    A rollout is sampled and scored as `trl.GRPOTrainer` does it (transformers or vLLM, tools, chat templates, any
    reward function); the advantage of every token then comes from a critic by generalised advantage estimation, on the
    per-token reward \\(-\beta\,\mathrm{kl}_t\\) plus the score at the last token. The loss is TRL's clipped policy
    loss plus `vf_coef` times the clipped value loss, over `num_ppo_epochs` passes in `num_mini_batches` steps each.

    Takes the keywords of TRL's online trainers, which are not repeated here, and those of the removed `PPOTrainer`.

    Args:
        model (`str`, [`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]): The policy: path, Hub id or instance.
        reward_funcs (`str`, model, `Callable`, or a list of them, *optional*):
            What is maximised: a DPRM (folder, Hub id, adapter, instance), a reward model with one label, or a TRL
            reward function; several are summed with `args.reward_weights`. `reward_model` is its old name.
        args ([`ExpectedRewardPPOConfig`], *optional*): The run.
        train_dataset, eval_dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            With `prompt` (text or messages), or `input_ids` as the old trainer took them.
        processing_class ([`~transformers.PreTrainedTokenizerBase`], *optional*): Default: the one beside the policy.
        reward_processing_classes (tokenizer or list of them, *optional*): Default: those beside the reward models.
        peft_config ([`~peft.PeftConfig`], *optional*): Trains an adapter; its reference is the backbone without it.
        ref_model ([`~transformers.PreTrainedModel`], *optional*):
            What the KL is measured to. Default: the policy as it starts.
        value_model (`str` or [`~transformers.PreTrainedModel`], *optional*):
            Where the critic starts: a decoder. Default: the first reward model's backbone if it is one with the
            policy's tokenizer, or else the policy's.
        data_collator (`DataCollator`, *optional*): Accepted from old scripts, with a warning; rollouts pad themselves.

    Raises:
        TypeError: for arguments of another class, an encoder as critic, or a reward that is none.
        ValueError: before the first rollout, for options, data, tokenizers, models or engines that do not fit; in a
            rollout, for a reward that is NaN or infinite, with its prompt.
        PermissionError: if `args.output_dir` cannot be written.

    Example:

    ```python
    from datasets import load_dataset
    from trl_dprm import ExpectedRewardPPOConfig, ExpectedRewardPPOTrainer

    trainer = ExpectedRewardPPOTrainer(
        model="Qwen/Qwen3-0.6B",
        reward_funcs="you/your-dprm",
        args=ExpectedRewardPPOConfig("my-policy", kl_coef=0.05, total_episodes=20_000),
        train_dataset=load_dataset("trl-lib/ultrafeedback-prompt", split="train"),
    )
    trainer.train()
    trainer.save_model()
    ```

    Source: Schulman et al. 1707.06347, Ziegler et al. 1909.08593, details of Huang et al. 2403.17031; DPRM
    (2402.09764) for the reward. differs: see the README's migration table.
    """

    _tag_names = ["trl", "trl_dprm", "ppo", "dprm"]  # noqa: RUF012
    _name = "expected-reward PPO"

    def __init__(
        self,
        model: "str | PreTrainedModel | PeftModel",  # noqa: F821
        reward_funcs: "str | PreTrainedModel | Callable | list | None" = None,
        args: ExpectedRewardPPOConfig | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        eval_dataset: Dataset | IterableDataset | DatasetDict | IterableDatasetDict | dict | None = None,
        processing_class: PreTrainedTokenizerBase | ProcessorMixin | None = None,
        reward_processing_classes: PreTrainedTokenizerBase | list[PreTrainedTokenizerBase] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        quantization_config: BitsAndBytesConfig | None = None,
        peft_config: "PeftConfig | None" = None,  # noqa: F821
        tools: list[Callable] | None = None,
        rollout_func: Callable | None = None,
        environment_factory: Callable | dict[str, Callable] | None = None,
        ref_model: PreTrainedModel | None = None,
        reward_model: "str | PreTrainedModel | None" = None,
        value_model: "str | PreTrainedModel | None" = None,
        data_collator: DataCollator | None = None,
    ):
        args = check_arguments(args, model)
        check_writable(args.output_dir)
        expect_every_parameter(args)
        reward_funcs = rewards_of(reward_funcs, reward_model, environment_factory)
        check_models(model, ref_model, data_collator, value_model, reward_funcs)
        shared_reward = None
        if args.share_backbone:
            check_sharing(args, model, peft_config, ref_model, value_model)
            shared_reward = read_reward_adapter(reward_funcs[0] if reward_funcs else None)

        set_seed(args.seed)  # a new adapter and a new value head are random
        with loaded_whole(args):
            model = load_policy(model, args, quantization_config)
            has_adapter = is_peft_model(model)
            if processing_class is None:
                processing_class = load_processing_class(model, args)
            train_dataset = prepare_prompts(train_dataset, "train", processing_class, model, args, tools)
            eval_dataset = prepare_prompts(eval_dataset, "eval", processing_class, model, args, tools)
            given_class = processing_class  # what a reward model's own tokenizer is compared with
            processing_class = safe_tokenizer(processing_class, model.get_input_embeddings().num_embeddings)
            if shared_reward is not None:
                reward_funcs[0] = shared_reward_function(
                    shared_reward, self._read_category_logits, args, given_class, reward_processing_classes
                )
            reward_funcs, reward_names = load_reward_functions(
                reward_funcs, reward_processing_classes, args, given_class
            )
            reference = frozen_reference(model, ref_model, args.beta, has_adapter or peft_config is not None)
            critic = None
            if shared_reward is None:
                critic = make_critic(value_model, model, reward_funcs, processing_class, args.model_init_kwargs)

        with options_for_grpo(args, keeps_adapter=has_adapter), restore_float32_trainables(self, model):
            super().__init__(
                model=model,
                reward_funcs=reward_funcs,
                args=args,
                train_dataset=train_dataset,
                eval_dataset=eval_dataset,
                processing_class=processing_class,
                callbacks=callbacks,
                optimizers=optimizers,
                peft_config=peft_config,
                tools=tools,
                rollout_func=rollout_func,
                environment_factory=environment_factory,
            )
        check_engine(self.accelerator, args, model)
        self.reward_func_names[: len(reward_names)] = reward_names
        self.beta = args.beta
        self.scorer = RolloutScorer(args, self.accelerator)
        self.kl_limit = KLLimit(args.kl_limit, self.accelerator)
        self.shared = None
        if shared_reward is not None:
            self.shared = SharedBackbone(
                self.model, shared_reward, args.disable_dropout, args.seed, args.reuse_frozen_layers
            )
        self._base_model = get_config_model_id(model.config)
        self._last_logged = {}  # by key, for the card
        self._given_prompt_ids = None  # of pre-tokenised prompts, while their rollout is generated
        self._rewards = None  # of the last rollout, by function and over all processes
        self._log_probs = None  # of the last forward with gradients

        add_stop_token(self, args.stop_token_id)
        self.reads_log_probs = reads_log_probs(self, reference)
        set_reference(self, reference)
        if self.shared is None:
            set_critic(self, critic.to(self.model.device), {"values": critic})
        else:
            set_critic(self, self.shared.critic, self.shared.readouts)
        if is_peft_model(self.model):  # not the reference's, the critic's or the reward's adapter
            self.model.save_pretrained = partial(self.model.save_pretrained, selected_adapters=[POLICY])
        for function in self.reward_funcs:
            if hasattr(function, "to"):
                function.to(self.accelerator.device)
        self._set_callbacks()

    def _set_callbacks(self):
        if not self.args.disable_tqdm:
            self.remove_callback(ProgressCallback)
            self.add_callback(RolloutProgressCallback)
        steps_per_rollout = self.args.num_mini_batches * self.num_iterations
        self.add_callback(AtRolloutEnd(steps_per_rollout))
        if self.args.num_sample_generations > 0 and self.eval_dataset is not None:
            self.add_callback(SampleEvery(self, self.args.num_sample_generations, steps_per_rollout))

    def _read_category_logits(self, input_ids, attention_mask):
        """In shared mode: category logits by the reward adapter, through the policy's engine."""
        with self.accelerator.autocast():
            return self.model(input_ids=input_ids, attention_mask=attention_mask, readout="category_logits")

    @property
    def critic(self) -> torch.nn.Module:
        """The critic, which lives inside the policy's language model."""
        return find_critic(self.accelerator.unwrap_model(self.model))

    def _set_signature_columns_if_needed(self):
        super()._set_signature_columns_if_needed()
        if "input_ids" not in self._signature_columns:
            self._signature_columns.append("input_ids")

    def _tokenize_prompts(self, prompts):
        if self._given_prompt_ids is not None:
            return self._given_prompt_ids, None, {}
        return super()._tokenize_prompts(prompts)

    @contextmanager
    def given_prompts(self, rows):
        """Take the token ids of pre-tokenised prompts as they are."""
        self._given_prompt_ids = [row["input_ids"] for row in rows] if "input_ids" in rows[0] else None
        try:
            yield
        finally:
            self._given_prompt_ids = None

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, **options):
        """As TRL's; passes without gradients go by `local_rollout_forward_batch_size`, log probabilities are kept."""
        tensors = model, input_ids, attention_mask, logits_to_keep
        batch_size = options.pop("batch_size", None)
        if not torch.is_grad_enabled():
            batch_size = self.args.local_rollout_forward_batch_size
        is_text = all(value is None or isinstance(value, bool) for value in options.values())
        if self.reads_log_probs and is_text:
            log_probs, entropies = self._read_log_probs(*tensors, batch_size or len(input_ids))
            outputs = log_probs, entropies if options.get("compute_entropy") else None, None
        else:
            outputs = super()._get_per_token_logps_and_entropies(*tensors, batch_size=batch_size, **options)
        self._log_probs = outputs[0].detach()
        return outputs

    def _read_log_probs(self, model, input_ids, attention_mask, length, batch_size):
        """Log-probabilities and entropies of the last `length` tokens, by `log_prob_readout`."""
        parts = []
        for ids, mask in zip(input_ids.split(batch_size), attention_mask.split(batch_size), strict=True):
            options = {"readout": "log_probs", "readout_options": {"length": length}}
            with self.accelerator.autocast():
                parts.append(model(input_ids=ids, attention_mask=mask, **options))
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        self._rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        return self._rewards

    def _prepare_inputs(self, generation_batch):
        """TRL's buffered micro-batches; in every epoch over a rollout they fall into other mini-batches."""
        if self.model.training and self._buffered_inputs is not None and self.args.num_mini_batches > 1:
            epoch, micro_batch = divmod(self._step, self.args.steps_per_generation)
            if micro_batch == 0 and epoch % self.num_iterations != 0:
                order = torch.randperm(len(self._buffered_inputs)).tolist()
                self._buffered_inputs = [self._buffered_inputs[k] for k in order]
        return super()._prepare_inputs(generation_batch)

    def _generate_and_score_completions(self, inputs):
        """TRL's rollout, and what PPO adds to it: values, and for every token its advantage and return."""
        if self.shared is not None:
            self.shared.frozen_layers.forget()
        with self.given_prompts(inputs):
            output = super()._generate_and_score_completions(inputs)
        length = output["completion_ids"].size(1)
        input_ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
        attention_mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
        mask = token_mask(output)
        with torch.no_grad(), disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            if "old_per_token_logps" not in output:
                output["old_per_token_logps"], _, _ = self._get_per_token_logps_and_entropies(
                    self.model, input_ids, attention_mask, length
                )
            chunk = self.args.local_rollout_forward_batch_size
            batches = zip(input_ids.split(chunk), attention_mask.split(chunk), strict=True)
            output["old_values"] = torch.cat([self._values(self.model, *batch, length) for batch in batches])
        if self.shared is not None:
            self.shared.activate_policy()
        sampled = SampledRollout(
            output["old_per_token_logps"],
            output.pop("ref_per_token_logps", None),
            output["old_values"],
            mask,
            self._has_eos(output),
        )
        rewards = weighted_rewards(self._rewards, self.reward_weights)
        rollout, metrics = self.scorer(rewards, sampled, self.model.training)
        self.beta = self.scorer.kl_coef
        self._log_rollout(rollout, metrics)
        output["advantages"], output["returns"] = rollout.advantages, rollout.returns
        output["loss_mask"] = rollout.mask.to(mask.dtype)
        return output

    def _values(self, model, input_ids, attention_mask, length):
        """Value of the state before each of the last `length` tokens: *(batch_size, length)*, float32."""
        with self.accelerator.autocast():
            values = model(input_ids=input_ids, attention_mask=attention_mask, readout="values")
        return values[:, -length - 1 : -1].float()

    def _has_eos(self, output):
        """Whether each completion ended by itself (`torch.Tensor` of shape *(batch_size,)*)."""
        last = (output["completion_mask"].sum(dim=1, keepdim=True) - 1).clamp(min=0)
        stops = torch.tensor(self.eos_token_ids, device=last.device)
        return torch.isin(output["completion_ids"].gather(1, last), stops).squeeze(1)

    def _log_rollout(self, rollout, metrics):
        logged = self._metrics["train" if self.model.training else "eval"]
        logged.pop("frac_reward_zero_std", None)  # of groups, which PPO has not
        for name, value in metrics.items():
            logged[name] = [value] if name in ("kl_coef", "episode") else [*logged[name], value]
        means = self.accelerator.gather(masked_mean(rollout.advantages, rollout.mask, dim=1)).tolist()
        column = self._logs["advantages"]
        for _ in means[: len(column)]:  # TRL has put in its own
            column.pop()
        column.extend(means)

    def _compute_loss(self, model, inputs):
        """TRL's policy loss without its KL term, which is in the reward, plus `vf_coef` times the value loss.

        A single process learns from the value loss at once, before the policy's graph comes into being: policy and
        critic have no trained parameter in common, and of their graphs only one need be in memory.
        """
        mask = inputs["loss_mask"]
        input_ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        attention_mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        values = self._values(model, input_ids, attention_mask, mask.size(1))
        targets = inputs["old_values"], inputs["returns"], self.args.cliprange_value
        value_loss = (clipped_value_loss(values, *targets) * mask).sum() / self._tokens_per_step(inputs)
        value_loss = self.args.vf_coef * value_loss
        if self.model.training and torch.is_grad_enabled() and takes_losses_apart(self):
            self.accelerator.backward(value_loss)
            values, value_loss = values.detach(), value_loss.detach()

        beta, self.beta = self.beta, 0.0
        try:
            policy_loss = super()._compute_loss(model, inputs)
        finally:
            self.beta = beta
        log_probs = self._log_probs
        if self.model.training:
            self.kl_limit.watch(approximate_kl(log_probs, inputs["old_per_token_logps"]), mask)
        facts = step_facts(values.detach(), *targets, log_probs, inputs["old_per_token_logps"], mask)
        self._log_step(policy_loss.detach(), facts)
        return policy_loss + value_loss

    def _tokens_per_step(self, inputs):
        """Mean number of tokens in an optimizer step on one process: TRL's denominator of the `dapo` loss."""
        tokens = inputs["num_items_in_batch"].clamp(min=1.0) / self.accelerator.num_processes
        if not self.model.training:
            return tokens
        return tokens * self.current_gradient_accumulation_steps / self.args.steps_per_generation

    def _log_step(self, policy_loss, facts):
        metrics = self._metrics["train" if self.model.training else "eval"]
        for name, value in step_metrics(self.accelerator.reduce(facts, reduction="sum")).items():
            metrics[name].append(value)
        scale = self.current_gradient_accumulation_steps if self.model.training else 1
        metrics["policy/loss"].append(self.accelerator.gather(policy_loss).mean().item() * scale)

    def training_step(self, model, inputs, num_items_in_batch):
        """One micro-batch; none once the KL limit is passed, until the next rollout."""
        if self._step % (self.args.steps_per_generation * self.num_iterations) == 0:
            self.kl_limit.new_rollout()
        if self.kl_limit.exceeded:
            self._step += 1
            loss = torch.zeros((), device=self.accelerator.device)
        else:
            loss = super().training_step(model, inputs, num_items_in_batch)
        if self.kl_limit.limit is not None and self.accelerator.sync_gradients:
            skip = self.kl_limit.exceeded or self.kl_limit.decide()
            skip_optimizer_step(model, self.optimizer, skip)
            self._metrics["train"]["policy/skipped"].append(float(skip))
        return loss

    @torch.no_grad()
    def generate_completions(self, sampling: bool = False) -> pd.DataFrame | None:
        """Complete the evaluation prompts greedily, print the first rows with their rewards, and return the table.

        Args:
            sampling (`bool`): Only one batch, as a sample during training.

        Returns:
            `pd.DataFrame` with one row per completion and the columns `prompt`, `completion`, one per reward function
            and, of a DPRM, one per category; `None` without an evaluation set.
        """
        if self.eval_dataset is None:
            logger.warning("There is no `eval_dataset` whose prompts could be completed: nothing is generated.")
            return None
        with greedy_generation(self):
            table = complete_evaluation_prompts(self, sampling)
        if self.accelerator.is_main_process:
            show_table(table, f"Completions at step {self.state.global_step}", self.args.report_to)
        return table

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(output_dir if output_dir is not None else self.args.output_dir)
            self._model_card(folder.name).save(folder / "README.md")

    def log(self, logs, start_time=None):
        """As in TRL; the last value of every key is kept for the model card."""
        super().log(logs, start_time)
        self._last_logged.update({name: value for name, value in logs.items() if isinstance(value, float)})

    def create_model_card(self, model_name=None, dataset_name=None, tags=None):
        """Write the policy's card to `args.output_dir`; parameters as in TRL."""
        if self.is_world_process_zero():
            card = self._model_card(model_name, dataset_name, tags)
            card.save(Path(self.args.output_dir) / "README.md")

    def _model_card(self, model_name=None, dataset_name=None, tags=None):
        return policy_model_card(
            model_name or Path(self.args.output_dir).resolve().name,
            self._base_model,
            self.args,
            reward_facts(self.reward_funcs, self.reward_weights),
            self._last_logged,
            dataset_name,
            [tags] if isinstance(tags, str) else tags,
            is_adapter=is_peft_model(self.accelerator.unwrap_model(self.model)),
        )


def token_mask(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """1 at tokens that the policy wrote, 0 at padding, tool output and masked completions: *(batch_size, length)*."""
    mask = tensors["completion_mask"]
    return mask * tensors["tool_mask"] if "tool_mask" in tensors else mask
