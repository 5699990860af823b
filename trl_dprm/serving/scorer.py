"""The model behind the server: from what clients send to token ids, and from those to scores."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from ..models import DPRMForSequenceClassification
from ..models.distributions import reward_variance
from ..rewards import RewardStatistic
from ..rewards.tokenizers import check_tokenizer_fits
from ..trainer.positions import num_positions
from ..trainer.rows import response_columns, response_token_ids
from ..trainer.scoring import longest_response, score_batch
from ..trainer.tokenization import TokenizationRule
from .answers import ItemScore
from .joined_text import joined_text_reader
from .refusal import Refusal


class Score(NamedTuple):
    """What the model says of one sequence: expected reward, category probabilities *(num_categories,)*, its length."""

    expected_reward: float
    category_probs: np.ndarray
    num_tokens: int


class Scorer:
    """A reward model with the rule from text to ids that it was trained with.

    Ids and scores are those of `trl-dprm score`, by the same code.

    Args:
        model ([`DPRMForSequenceClassification`]): On its device.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): The model's.
        max_length (`int`, *optional*): Longest response with its prompt, in tokens. Default: as in training.
        overlong (`str`): `"refuse"` longer ones or `"score"` them, as far as the backbone has positions.
        joined_text (`str`, *optional*): How clients that join prompt and response have done so: `"plain"` or `"chat"`.

    Raises:
        ValueError: if the tokenizer is another model's, if `max_length` is beyond the backbone's positions, or if
            `joined_text` does not fit the tokenizer.
    """

    def __init__(
        self,
        model: DPRMForSequenceClassification,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int | None = None,
        overlong: str = "refuse",
        joined_text: str | None = None,
    ):
        self.model = model
        self.tokenizer = tokenizer
        self.config = model.config
        self.rule = TokenizationRule.from_config(model.config.tokenization)
        backbone = model.config.text_config
        embeddings = model.get_input_embeddings()
        self._num_embeddings = getattr(embeddings, "num_embeddings", None) or backbone.vocab_size
        check_tokenizer_fits(tokenizer, self._num_embeddings, getattr(model.config, "_name_or_path", ""))
        positions = num_positions(backbone, model)
        if max_length is not None and positions is not None and max_length > positions:
            raise ValueError(f"`max_length` is {max_length}, but the backbone has only {positions} positions.")
        self.limit = positions if overlong == "score" else max_length or longest_response(model)
        # What is too long is refused here; transformers would write so into the server's log, once.
        tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
        self._joined = joined_text_reader(joined_text, tokenizer, self.rule)

    @property
    def reads_joined_text(self) -> bool:
        """Whether it is known how to read prompt and response that were joined before."""
        return self._joined is not None

    def check_statistic(self, statistic: RewardStatistic) -> None:
        """Refuse a statistic that the model cannot give.

        Raises:
            ValueError: for rewards of other categories; for anything but the expected reward of a model without
                meaningful categories.
        """
        statistic.check(self.config)
        if not statistic.is_trained and not self.config.anchored:
            raise ValueError(
                "The model was trained on pairs alone (it is not anchored), so its category probabilities mean "
                "nothing: it has the expected reward only, and no other statistic or `category_rewards`."
            )

    def warm_up(self) -> None:
        """Score one text, so that what is wrong with the model shows before it is asked, and the first is not slow.

        Raises:
            ValueError: as [`score`].
        """
        self.score([self.rule.token_ids(self.tokenizer, "ready")])

    def item_ids(self, rows: Sequence[Mapping]) -> list[list[int]]:
        """Token ids of rows in the columns that `trl-dprm score` reads.

        Raises:
            Refusal: naming the row, for one that cannot be scored.
        """
        sequences = []
        for place, row in enumerate(rows):
            try:
                (column,) = response_columns(row, f"items.{place}")
                ids = response_token_ids(row, column, f"items.{place}", self.tokenizer, self.rule)
            except TemplateError as error:
                raise Refusal(422, f"items.{place}: {error}") from error
            except ValueError as error:  # which names the item
                raise Refusal(422, str(error)) from error
            sequences.append(self._checked(ids, f"items.{place}"))
        return sequences

    def joined_ids(self, texts: Sequence[str], field: str) -> list[list[int]]:
        """Token ids of texts in which prompt and response were joined before.

        Args:
            texts (`list[str]`): With their special tokens.
            field (`str`): Which field they came in, for messages.

        Raises:
            Refusal: naming the text, for one that cannot be scored; for all, if it is not known how they were joined.
        """
        if self._joined is None:
            raise Refusal(
                422,
                f"{field}: prompt and response are joined, and the model's tokenizer has a chat template, so it "
                "cannot be known whether that has rendered the text. Start the server with `--joined_text chat` or "
                "`--joined_text plain`, as the model was trained, or send `prompt` and `completion` to `/score`.",
            )
        sequences = []
        for place, text in enumerate(texts):
            try:
                ids = self._joined.token_ids(text) if text else []
            except ValueError as error:
                raise Refusal(422, f"{field}.{place}: {error}") from error
            sequences.append(self._checked(ids, f"{field}.{place}"))
        return sequences

    def score(self, sequences: Sequence[Sequence[int]]) -> list[Score]:
        """Score sequences of token ids in one forward.

        Raises:
            ValueError: if a reward is not finite.
        """
        rewards, category_probs = score_batch(self.model, sequences)
        scores = [
            Score(reward, probs, len(ids))
            for reward, probs, ids in zip(rewards.tolist(), category_probs, sequences, strict=True)
        ]
        broken = next((score for score in scores if not math.isfinite(score.expected_reward)), None)
        if broken is not None:
            raise ValueError(
                f"The model gave {broken.expected_reward} for {broken.num_tokens} tokens. Check its weights and its "
                "precision: float16 overflows, load it in bfloat16 or float32."
            )
        return scores

    def answers(self, scores: Sequence[Score], statistic: RewardStatistic) -> list[ItemScore]:
        """What clients are told of scores.

        The expected reward under the trained rewards is the model's own number, bit by bit.
        """
        if not self.config.anchored:
            return [ItemScore(reward=one.expected_reward, num_tokens=one.num_tokens) for one in scores]
        probs = torch.from_numpy(np.stack([one.category_probs for one in scores]))
        rewards = [one.expected_reward for one in scores]
        if not statistic.is_trained:
            rewards = statistic(probs, self.config).tolist()
        variances = reward_variance(probs, statistic.rewards(self.config)).tolist()
        return [
            ItemScore(reward=reward, reward_variance=variance, category_probs=row, num_tokens=one.num_tokens)
            for reward, variance, row, one in zip(rewards, variances, probs.tolist(), scores, strict=True)
        ]

    def _checked(self, ids, where):
        if not ids:
            raise Refusal(422, f"{where}: the text is empty, there is nothing to score.")
        if self.limit is not None and len(ids) > self.limit:
            raise Refusal(
                422,
                f"{where}: {len(ids)} tokens, more than the limit of {self.limit}. Shorten it, or start the server "
                "with another `--max_length` or with `--overlong score`. Text is never cut.",
            )
        beyond = max(ids)
        if beyond >= self._num_embeddings:
            raise Refusal(
                422,
                f"{where}: the text has the token {self.tokenizer.convert_ids_to_tokens(beyond)!r}, for which the "
                "model has no embedding.",
            )
        return ids
