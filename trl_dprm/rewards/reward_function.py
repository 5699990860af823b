"""A reward model as a TRL reward function: one piece of code for every policy trainer and for best-of-n."""

import itertools
import json
from collections.abc import Callable, Sequence

import torch
from accelerate import PartialState
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin
from transformers.utils import logging

from ..models import DPRMConfig
from ..models.distributions import reward_variance
from ..trainer.model_loading import unwrap_peft
from ..trainer.positions import num_positions
from ..trainer.scoring import batches_by_length, right_padded
from ..trainer.tokenization import Text, TokenizationRule
from .finite_rewards import check_finite, quoted
from .statistics import RewardStatistic
from .tokenizers import check_tokenizer_fits, text_tokenizer, valid_pad_token_id

logger = logging.get_logger(__name__)  # `accelerate`'s would refuse to speak before a trainer exists

CategoryForward = Callable[[Tensor, Tensor], Tensor]


class RewardModelFunction:
    """A TRL reward function over a reward model: text to ids by the checkpoint's rule, ids to rewards, and logs.

    Every call reports, through the hooks that TRL's trainers pass, what an anchored DPRM thinks of the policy's
    completions: `proxy/<category>` (mean probability), `proxy/expected_reward` and `proxy/disagreement`
    (mean standard deviation of the reward: disagreement among people, not the model's ignorance) as metrics, and the
    category probabilities of each completion as columns of the completions table. It is called *proxy* because the
    policy is optimised against this very opinion. An unanchored model reports its expected reward only.

    Plain text gets special tokens and EOS by the rule, so a completion that was cut off is scored as if it had ended:
    penalising or masking it is the policy trainer's business. A prompt that comes as `input_ids`, to a model that
    reads the policy's tokens, is scored as exactly those ids and the sampled ones.

    Args:
        model ([`~transformers.PreTrainedModel`], [`~peft.PeftModel`] or `Callable`): A DPRM, or a sequence classifier
            with one label. With `config` given: a function of `input_ids` and `attention_mask`, both of shape
            *(num_sequences, length)*, that returns category logits *(num_sequences, num_categories)*.
        processing_class ([`~transformers.PreTrainedTokenizerBase`] or [`~transformers.ProcessorMixin`]): The model's.
        statistic ([`RewardStatistic`], *optional*): What of the distribution is the reward. Default: its mean.
        batch_size (`int`): Completions in one forward.
        name (`str`, *optional*): For log keys and messages. Default: the last part of the checkpoint's path.
        log_prefix (`str`): Put before category names in log keys, where several DPRMs give rewards.
        chat_template_kwargs (`dict`, *optional*): For the chat template, under those that a row brings.
        config ([`DPRMConfig`], *optional*): Describes what a function in place of a model returns.

    Attributes:
        shares_policy_tokenizer (`bool`): Set by whoever knows the policy: its token ids may be read as they are.
        num_positions (`int`, *optional*): Most tokens that the backbone reads.

    Raises:
        TypeError: for something that is no reward model.
        ValueError: for a classifier with several labels, a tokenizer with ids beyond the model's embeddings or without
            a padding token, or a statistic that the model cannot give.
    """

    def __init__(
        self,
        model: PreTrainedModel | CategoryForward,
        processing_class: PreTrainedTokenizerBase | ProcessorMixin,
        statistic: RewardStatistic | None = None,
        batch_size: int = 32,
        name: str | None = None,
        log_prefix: str = "",
        chat_template_kwargs: dict | None = None,
        config: DPRMConfig | None = None,
    ):
        if config is None:
            check_is_reward_model(model)
        self.model = model if config is None else None
        self.config = unwrap_peft(model).config if config is None else config
        self.processing_class = processing_class
        self.statistic = statistic or RewardStatistic()
        self.batch_size = batch_size
        self.log_prefix = log_prefix
        self.chat_template_kwargs = chat_template_kwargs or {}
        self.shares_policy_tokenizer = False
        self.placed_at_first_call = False
        default_name = (getattr(self.config, "_name_or_path", "") or self.config.model_type).rstrip("/").split("/")[-1]
        self.__name__ = name or default_name

        self.is_distributional = self.config.model_type == DPRMConfig.model_type
        self.rule = TokenizationRule.from_config(getattr(self.config, "tokenization", None))
        self._forward = model
        self._device = torch.device("cpu")
        self._backbone_config = self.config.get_text_config()
        self._num_embeddings = self._count_embeddings()
        self.num_positions = num_positions(self._backbone_config, self.model)
        self._warned_of_length = False
        self._check_statistic()
        self._choose_padding()

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer itself, of a multimodal `processing_class` too."""
        return text_tokenizer(self.processing_class)

    @property
    def device(self) -> torch.device:
        """Where the token ids are sent."""
        return self._device if self.model is None else self.model.device

    def to(self, device: torch.device | str) -> "RewardModelFunction":
        """Move the model, unless quantisation or a device map has placed it; returns itself."""
        self._device = torch.device(device)
        self.placed_at_first_call = False
        if self.model is not None:
            inner = unwrap_peft(self.model)
            if not getattr(inner, "is_quantized", False) and not getattr(inner, "hf_device_map", None):
                self.model.to(device)
        return self

    def __call__(
        self,
        prompts: Sequence[Text],
        completions: Sequence[Text],
        completion_ids: Sequence[Sequence[int]] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        log_extra: Callable[[str, list], None] | None = None,
        **columns: Sequence,
    ) -> list[float]:
        """Rewards of completions, as TRL's online trainers ask for them.

        Args:
            prompts (`list[str]` or `list[list[dict]]`): Plain or conversational.
            completions (`list[str]` or `list[list[dict]]`): Of the same kind, one per prompt.
            completion_ids (`list[list[int]]`, *optional*): As they were sampled.
            log_metric, log_extra (`Callable`, *optional*): TRL's hooks.
            columns (sequences): The other columns of the dataset. Read are `tools` and `chat_template_kwargs`, and
                `input_ids` where the model shares the policy's tokenizer.

        Returns:
            `list[float]`, one finite reward per completion.

        Raises:
            ValueError: naming prompt and completion, for a reward that is not finite or token ids that the model
                cannot read.
        """
        sequences = self._sequences(prompts, completions, completion_ids, columns)
        logits = self.logits(sequences)
        probs = logits.softmax(-1) if self.is_distributional else None
        rewards = logits[:, 0] if probs is None else self.statistic(probs, self.config)
        remedy = "Check its weights and its precision: float16 overflows, load it in bfloat16 or float32."
        rewards = check_finite(rewards.tolist(), prompts, completions, f"reward model '{self.__name__}'", remedy)
        if probs is not None and len(probs):
            self._log(probs, log_metric, log_extra)
        return rewards

    def token_ids(
        self,
        prompt: Text,
        completion: Text,
        tools: list | str | None = None,
        chat_template_kwargs: dict | None = None,
    ) -> list[int]:
        """Token ids of a completion with its prompt, by the rule that the model was trained with.

        A scalar reward model stores no rule; it gets that of `trl.RewardTrainer`.

        Args:
            prompt, completion (`str` or `list[dict]`): Both plain or both messages.
            tools (`list` or its JSON, *optional*): For the chat template.
            chat_template_kwargs (`dict`, *optional*): For the chat template.

        Returns:
            `list[int]`, not truncated.

        Raises:
            ValueError: naming prompt and completion, if they make no ids.
        """
        try:
            ids = self.rule.token_ids(
                self.tokenizer,
                completion,
                prompt=prompt,
                tools=json.loads(tools) if isinstance(tools, str) else tools,
                chat_template_kwargs={**self.chat_template_kwargs, **(chat_template_kwargs or {})},
            )
        except (TypeError, ValueError) as error:  # such as a missing chat template
            raise ValueError(
                f"The reward model '{self.__name__}' cannot read {quoted(prompt, completion)}: {error}"
            ) from error
        return ids

    @torch.no_grad()
    def logits(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """What the model says of token ids, in batches of like length.

        Args:
            sequences (`list[list[int]]`): Token ids, each with at least one.

        Returns:
            `Tensor` of shape *(num_sequences, num_categories)*, or *(num_sequences, 1)* of a scalar model; float32, on
            the CPU, in the order of the sequences.
        """
        if self.placed_at_first_call:
            self.to(PartialState().device)
        width = self.config.num_categories if self.is_distributional else 1
        logits = torch.empty(len(sequences), width, dtype=torch.float32)
        for places in batches_by_length([len(sequence) for sequence in sequences], self.batch_size):
            batch = [sequences[place] for place in places]
            inputs = right_padded(batch, self._padding_for(batch), self.device)
            logits[torch.from_numpy(places)] = self._read(**inputs).float().cpu()
        return logits

    def _read(self, input_ids, attention_mask):
        if self.model is None:
            return self._forward(input_ids, attention_mask)
        self.model.eval()
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        return output.category_logits if self.is_distributional else output.logits

    def _sequences(self, prompts, completions, completion_ids, columns):
        given = columns.get("input_ids") if self.shares_policy_tokenizer and completion_ids is not None else None
        sequences = []
        for place, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            if given is not None:
                ids = [int(token) for token in (*given[place], *completion_ids[place])]
            else:
                of_row = {
                    name: columns[name][place] for name in ("tools", "chat_template_kwargs") if columns.get(name)
                }
                ids = self.token_ids(prompt, completion, **of_row)
            self._check_ids(ids, prompt, completion)
            sequences.append(ids)
        return sequences

    def _check_ids(self, ids, prompt, completion):
        of_what = f"for {quoted(prompt, completion)}"
        positions = self.num_positions
        beyond = next((token for token in ids if not 0 <= token < self._num_embeddings), None)
        if not ids:
            raise ValueError(f"The reward model '{self.__name__}' got no tokens {of_what}.")
        if beyond is not None:
            raise ValueError(
                f"The reward model '{self.__name__}' has {self._num_embeddings} token embeddings, but got the id "
                f"{beyond} {of_what}. Is the tokenizer, or are the `input_ids`, another model's?"
            )
        if positions is not None and len(ids) > positions:
            raise ValueError(
                f"The reward model '{self.__name__}' has {positions} positions, but got {len(ids)} tokens {of_what}. "
                "Shorten or remove the prompt, or lower `max_completion_length`: a cut text has another reward."
            )
        if self.rule.max_length is not None and len(ids) > self.rule.max_length and not self._warned_of_length:
            self._warned_of_length = True
            logger.warning(
                f"The reward model '{self.__name__}' was trained on at most {self.rule.max_length} tokens, but got "
                f"{len(ids)} {of_what}: it extrapolates. This is said once."
            )

    def _count_embeddings(self):
        embeddings = None if self.model is None else unwrap_peft(self.model).get_input_embeddings()
        return getattr(embeddings, "num_embeddings", None) or self._backbone_config.vocab_size

    def _check_statistic(self):
        if self.is_distributional:
            self.statistic.check(self.config)
        elif not self.statistic.is_trained:
            raise ValueError(
                f"The reward model '{self.__name__}' gives one number, not a distribution, so it has no statistic "
                f"`{self.statistic.statistic}` and no `category_rewards`. Use a DPRM, or leave both at their defaults."
            )
        if self.is_distributional and not self.statistic.is_trained and not self.config.anchored:
            logger.warning(
                f"The reward model '{self.__name__}' is unanchored: it was trained on pairs alone, so its category "
                "probabilities mean nothing beyond its expected reward, and neither does another statistic of them."
            )

    def _choose_padding(self):
        check_tokenizer_fits(self.tokenizer, self._num_embeddings, self.__name__)
        trained_with = getattr(self._backbone_config, "pad_token_id", None)
        self._pad_token_id = valid_pad_token_id(self.tokenizer, trained_with, self._num_embeddings, self.__name__)
        if self._pad_token_id is not None:
            self._backbone_config.pad_token_id = self._pad_token_id

    def _padding_for(self, sequences):
        """The padding id; stock pooling reads the last token that is none, so a makeshift one ends no sequence."""
        if self._pad_token_id is not None:
            return self._pad_token_id
        ends = {sequence[-1] for sequence in sequences}
        self._backbone_config.pad_token_id = next(token for token in itertools.count() if token not in ends)
        return self._backbone_config.pad_token_id

    def _log(self, probs, log_metric, log_extra):
        rewards = self.statistic.rewards(self.config)
        metrics = {"expected_reward": (probs * torch.tensor(rewards)).sum(-1)}
        columns = {}
        if self.config.anchored:
            metrics["disagreement"] = reward_variance(probs, rewards).sqrt()
            columns = dict(zip(self.config.category_names, probs.unbind(-1), strict=True))
        if log_metric is not None:
            for name, values in (columns | metrics).items():
                log_metric(f"proxy/{self.log_prefix}{name}", values.mean().item())
        if log_extra is not None:
            for name, values in columns.items():
                log_extra(f"{self.log_prefix}{name}", values.tolist())


def check_is_reward_model(model: nn.Module) -> None:
    """Refuse what gives no reward: language models, and classifiers with several labels that are no DPRM.

    Raises:
        TypeError: for an object without a model's configuration, or a generating model.
        ValueError: for a classifier with several labels.
    """
    inner = unwrap_peft(model) if isinstance(model, nn.Module) else model
    config = getattr(inner, "config", None)
    if not isinstance(inner, nn.Module) or config is None:
        raise TypeError(
            f"`{type(model).__name__}` is no reward model: pass a path, a Hub id, a DPRM, a sequence classifier with "
            "one label, or a function that returns rewards."
        )
    if config.model_type == DPRMConfig.model_type:
        return
    if hasattr(inner, "can_generate") and inner.can_generate():
        raise TypeError(
            f"`{type(inner).__name__}` is a language model, no reward model. Train a DPRM from it with `DPRMTrainer`."
        )
    if config.num_labels != 1:
        labels = ", ".join(map(str, config.id2label.values()))
        raise ValueError(
            f"`{type(inner).__name__}` has {config.num_labels} labels, {labels}, and does not say what each is worth: "
            "its first logit is no reward. Make a DPRM of it: "
            "`DPRMForSequenceClassification.from_classifier(model, category_names=..., category_rewards=...)`."
        )
