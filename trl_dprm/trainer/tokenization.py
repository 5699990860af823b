"""The rule from text to token ids: a reward belongs to ids, so whatever scores text must make the same ones."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from accelerate.logging import get_logger
from transformers import PreTrainedTokenizerBase, ProcessorMixin

logger = get_logger(__name__)

Text = str | list[dict]


@dataclass(frozen=True)
class TokenizationRule:
    """How a response and what came before it become one sequence of token ids.

    The ids equal those that `trl.RewardTrainer` makes: a plain prompt and completion are joined and tokenised as one
    text, a conversation goes through the tokenizer's chat template. differs: a tokenizer without an EOS token (BERT's)
    is served too. The rule is stored in [`DPRMConfig`] as `tokenization`.

    Args:
        add_special_tokens (`bool`):
            Whether plain text gets the tokenizer's special tokens. Chat templates bring theirs.
        append_eos (`bool`): Whether plain text gets the EOS token where it does not end with it already.
        max_length (`int` or `None`): Longest sequence that training took, in tokens; longer ones were left out.

    Example:

    ```python
    >>> from trl_dprm.trainer.tokenization import TokenizationRule
    >>> TokenizationRule.from_config(TokenizationRule(max_length=64).to_config())
    TokenizationRule(add_special_tokens=True, append_eos=True, max_length=64)

    ```
    """

    add_special_tokens: bool = True
    append_eos: bool = True
    max_length: int | None = None

    @classmethod
    def from_config(cls, tokenization: dict | None) -> "TokenizationRule":
        """The rule stored in `DPRMConfig.tokenization`, the default one where nothing is stored."""
        return cls(**(tokenization or {}))

    def to_config(self) -> dict:
        """The rule as `DPRMConfig.tokenization` holds it."""
        return asdict(self)

    def token_ids(
        self,
        tokenizer: PreTrainedTokenizerBase,
        completion: Text,
        prompt: Text | None = None,
        tools: list | None = None,
        chat_template_kwargs: dict | None = None,
    ) -> list[int]:
        """Token ids of one response with its prompt.

        Args:
            tokenizer ([`~transformers.PreTrainedTokenizerBase`]): Of the reward model.
            completion (`str` or `list[dict]`): The response, plain or as messages.
            prompt (`str` or `list[dict]`, *optional*): What it answers, of the same kind.
            tools (`list`, *optional*): For the chat template.
            chat_template_kwargs (`dict`, *optional*): For the chat template.

        Returns:
            `list[int]`, not truncated.

        Raises:
            TypeError: if the response is of another type, or one of prompt and completion is plain text and the other
                a conversation.
            ValueError: for a conversation, if the tokenizer has no chat template.
        """
        if not isinstance(completion, str | list):
            raise TypeError(f"The response is {type(completion).__name__}: give plain text or a list of messages.")
        if prompt is not None and isinstance(prompt, str) != isinstance(completion, str):
            raise TypeError(
                f"The prompt is {type(prompt).__name__} and the completion {type(completion).__name__}: both must be "
                "plain text or both a list of messages."
            )
        text = completion if prompt is None else prompt + completion
        if not isinstance(text, str):
            require_chat_template(tokenizer, chat_template_kwargs)
            template = tokenizer.apply_chat_template(
                text, tokenize=True, return_dict=True, tools=tools, **(chat_template_kwargs or {})
            )
            return list(template["input_ids"])
        if self.append_eos and tokenizer.eos_token is not None and not completion.endswith(tokenizer.eos_token):
            text += tokenizer.eos_token
        return list(tokenizer(text, add_special_tokens=self.add_special_tokens)["input_ids"])


def require_chat_template(
    processing_class: PreTrainedTokenizerBase | ProcessorMixin, options: Mapping | None = None
) -> None:
    """Refuse a conversation that no chat template turns into text.

    Args:
        processing_class ([`~transformers.PreTrainedTokenizerBase`] or [`~transformers.ProcessorMixin`]): The reader.
        options (`dict`, *optional*): For the chat template; a `chat_template` may be among them.

    Raises:
        ValueError: naming the remedies.
    """
    if not getattr(processing_class, "chat_template", None) and not (options or {}).get("chat_template"):
        raise ValueError(
            "this is a conversation, but the tokenizer has no chat template. Set `tokenizer.chat_template`, use a "
            "chat model's tokenizer, or give plain text."
        )


def warn_if_eos_is_pad(tokenizer: PreTrainedTokenizerBase) -> None:
    """Warn where stock pooling, which reads the last token that is no padding, will not read the EOS."""
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id == tokenizer.pad_token_id:
        logger.warning(
            f"The padding token is the EOS token ({tokenizer.eos_token!r}): a final EOS is taken for padding, so the "
            "reward is read one token before it, in training and wherever the model is used. To have it read at the "
            "EOS, set another padding token: `tokenizer.pad_token = tokenizer.unk_token`, or a new one with "
            "`tokenizer.add_special_tokens` and `model.resize_token_embeddings`."
        )
