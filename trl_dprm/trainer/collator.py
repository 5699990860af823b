"""Rows of single responses and of pairs, mixed, in one batch."""

from dataclasses import dataclass

import torch
from transformers.data.data_collator import DataCollatorMixin
from trl.trainer.utils import pad


@dataclass
class DataCollatorForDistributionalPreference(DataCollatorMixin):
    """Pads prepared rows (`prepare_row`) into one batch of *num_responses* sequences.

    The first *num_rows* sequences are the single or chosen responses, the others the rejected ones of the pairs, in
    row order: on pairs alone this is the layout of TRL's `DataCollatorForPreference`.

    Args:
        pad_token_id (`int`): Padding token, on the right.
        pad_to_multiple_of (`int`, *optional*): Pad sequences to a multiple of this length.
        return_tensors (`str`): Only `"pt"`.

    Returns:
        `dict` of tensors: `input_ids` and `attention_mask` *(num_responses, length)*; `target_probs` *(num_responses,
        num_categories)* and `target_weight` *(num_responses,)*, zeros where there is no target; `is_pair`,
        `pair_weight` (0 where a row is no pair), `chosen_vote_share`, `tie_vote_share` (NaN where it is not known),
        `margin` and `row`, each *(num_rows,)*.

    Example:

    ```python
    >>> from trl_dprm.trainer.collator import DataCollatorForDistributionalPreference
    >>> facts = {"pair_weight": 0.0, "chosen_vote_share": 1.0, "tie_vote_share": float("nan"), "margin": 0.0, "row": 0}
    >>> rows = [
    ...     {"response_ids": [[5, 6]], "response_target_probs": [[1.0, 0.0]], "response_target_weight": [3.0], **facts}
    ... ]
    >>> batch = DataCollatorForDistributionalPreference(pad_token_id=0)(rows)
    >>> batch["input_ids"].tolist(), batch["target_weight"].tolist()
    ([[5, 6]], [3.0])

    ```
    """

    pad_token_id: int
    pad_to_multiple_of: int | None = None
    return_tensors: str = "pt"

    def torch_call(self, examples: list[dict]) -> dict[str, torch.Tensor]:
        """Pad and stack prepared rows; what the class says."""
        pairs = [example for example in examples if len(example["response_ids"]) == 2]
        responses = [(example, 0) for example in examples] + [(example, 1) for example in pairs]
        ids = [torch.tensor(example["response_ids"][side]) for example, side in responses]

        def padded(sequences, value):
            return pad(sequences, value, padding_side="right", pad_to_multiple_of=self.pad_to_multiple_of)

        def per_response(column):
            return torch.tensor([example[column][side] for example, side in responses], dtype=torch.float32)

        def per_row(column, dtype=torch.float32):
            return torch.tensor([example[column] for example in examples], dtype=dtype)

        return {
            "input_ids": padded(ids, self.pad_token_id),
            "attention_mask": padded([torch.ones_like(sequence) for sequence in ids], 0),
            "target_probs": per_response("response_target_probs"),
            "target_weight": per_response("response_target_weight"),
            "is_pair": torch.tensor([len(example["response_ids"]) == 2 for example in examples]),
            "pair_weight": per_row("pair_weight"),
            "chosen_vote_share": per_row("chosen_vote_share"),
            "tie_vote_share": per_row("tie_vote_share"),
            "margin": per_row("margin"),
            "row": per_row("row", torch.int64),
        }


def chosen_and_rejected(values: torch.Tensor, is_pair: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Split what is known per response of such a batch into the two sides of its pairs.

    Args:
        values (`torch.Tensor` of shape *(num_responses, ...)*): In the collator's order.
        is_pair (`torch.Tensor` of shape *(num_rows,)*): As the collator gives it.

    Returns:
        Two tensors of shape *(num_pairs, ...)*.
    """
    num_rows = len(is_pair)
    return values[:num_rows][is_pair], values[num_rows:]


def by_row(values: torch.Tensor, is_pair: torch.Tensor) -> torch.Tensor:
    """Arrange what is known per response of such a batch by rows.

    Args:
        values, is_pair: As in `chosen_and_rejected`.

    Returns:
        `torch.Tensor` of shape *(num_rows, 2, ...)*, NaN where a row has no second response.
    """
    rows = values.new_full((len(is_pair), 2, *values.shape[1:]), float("nan"))
    rows[:, 0] = values[: len(is_pair)]
    rows[is_pair, 1] = values[len(is_pair) :]
    return rows
