"""From the columns of a dataset row to what the trainer needs of it: responses as token ids, targets, pair facts."""

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Real

from transformers import PreTrainedTokenizerBase

from ..models.distributions import PROBABILITY_TOLERANCE
from .tokenization import TokenizationRule

ROUNDED_SHARE = 0.005  # shares may come with two decimals
PAIR_VOTES = ("chosen_vote_share", "tie_vote_share")
PREPARED_COLUMNS = (
    "response_ids",
    "response_target_probs",
    "response_target_weight",
    "pair_weight",
    *PAIR_VOTES,
    "margin",
    "row",
    "length",
)


def prepare_row(
    example: Mapping,
    row: int,
    tokenizer: PreTrainedTokenizerBase,
    rule: TokenizationRule,
    category_names: Sequence[str],
    on_votes: bool = False,
) -> dict:
    """Check one dataset row and turn it into `PREPARED_COLUMNS`.

    A row is a *pair* (`chosen` and `rejected`, or `chosen_ids` and `rejected_ids`) or a *single* response
    (`completion`, `messages`, `text` or `input_ids`); `None` in a column means that the row lacks it, so both kinds
    may stand in one dataset.

    Args:
        example (`dict`): The row, in TRL's columns and those of the README's table.
        row (`int`): Its place in the dataset, for messages and to recognise it after gathering.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): Of the reward model.
        rule ([`TokenizationRule`]): From text to ids.
        category_names (`list[str]`): For the length of targets and for messages.
        on_votes (`bool`): For evaluation: where a row has `target_counts` with votes in them, its target is their
            shares and its weight their number, whatever `target_probs` and `vote_weight` say for training.

    Returns:
        `dict`: `response_ids` (one list of ids, or two with the chosen first), `response_target_probs` (as many lists
        of *num_categories* floats, zeros where there is no target), `response_target_weight` (0 where there is none),
        `pair_weight` (0 for a single response), `chosen_vote_share`, `tie_vote_share` (NaN where it is not known),
        `margin`, `row`, `length` (the longest, in tokens).

    Raises:
        ValueError: naming row, column, value and remedy, for anything that cannot be learned from.
    """
    example = {name: value for name, value in example.items() if value is not None}
    sides = response_columns(example, row)
    response_ids = [response_token_ids(example, side, row, tokenizer, rule) for side in sides]
    weight = _number(example, "vote_weight", row, default=None, low=0.0)
    targets = [_target(example, side, row, category_names, weight, on_votes) for side in sides]
    is_pair = len(sides) == 2
    misplaced = [name for name in ("target_probs", "target_counts") if is_pair and name in example]
    if misplaced:
        raise ValueError(
            f"Row {row} is a pair, so `{misplaced[0]}` does not say which response it speaks of. Name it "
            f"`chosen_{misplaced[0]}` or `rejected_{misplaced[0]}`."
        )
    if not is_pair and targets[0][1] is None:
        raise ValueError(
            f"Row {row} has one response but neither `target_probs` nor `target_counts`: there is nothing to learn "
            "from it. Add one of them, or a second response as `chosen`/`rejected`."
        )
    return {
        "response_ids": response_ids,
        "response_target_probs": [probs for probs, _ in targets],
        "response_target_weight": [target_weight or 0.0 for _, target_weight in targets],
        "pair_weight": (1.0 if weight is None else weight) if is_pair else 0.0,
        **_vote_shares(example, row),
        "margin": _number(example, "margin", row, default=0.0),
        "row": row,
        "length": max(len(ids) for ids in response_ids),
    }


def response_columns(example: Mapping, row: int | str) -> tuple[str, ...]:
    """Names of the columns that hold the responses of a row without `None`s: two for a pair, one for a single one.

    Args:
        example (`dict`): The row.
        row (`int` or `str`): Its place in the dataset, or the name of an item that is no row, for messages.

    Raises:
        ValueError: naming the row, if there is no response, or only one side of a pair.
    """
    for pair in (("chosen_ids", "rejected_ids"), ("chosen", "rejected")):
        present = [name for name in pair if name in example]
        if len(present) == 2:
            return pair
        if present:
            other = pair[1 - pair.index(present[0])]
            raise ValueError(f"{_called(row)} has `{present[0]}` but no `{other}`: a pair needs both.")
    for name in ("input_ids", "completion", "messages", "text"):
        if name in example:
            return (name,)
    raise ValueError(
        f"{_called(row)} has no response. It has the columns {sorted(example)}; expected `prompt` and `completion`, "
        "`messages`, `text`, `chosen` and `rejected`, or the tokenised `input_ids` or `chosen_ids` and `rejected_ids`."
    )


def response_token_ids(
    example: Mapping, side: str, row: int | str, tokenizer: PreTrainedTokenizerBase, rule: TokenizationRule
) -> list[int]:
    """Token ids of the response in column `side` of a row, with its prompt.

    Args:
        example (`dict`): The row.
        side (`str`): Of `response_columns`.
        row (`int` or `str`): Its place in the dataset, or the name of an item that is no row, for messages.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): Of the reward model.
        rule ([`TokenizationRule`]): From text to ids.

    Raises:
        ValueError: naming row and column, if it is empty, neither plain text nor messages, or messages of which none
            is the assistant's.
    """
    where, remedy = _place(row, side), f"Remove the {'row' if isinstance(row, int) else 'item'}."
    if side.endswith("_ids"):
        ids = list(example[side])
        beyond = next((token for token in ids if not 0 <= token < len(tokenizer)), None)
        if beyond is not None:
            raise ValueError(
                f"{where}: {beyond} is no token id of the tokenizer, which has {len(tokenizer)}. "
                "Were the ids made by another tokenizer?"
            )
    else:
        prompt = None if side in ("messages", "text") else example.get("prompt")
        if not example[side] and not prompt:
            raise ValueError(f"{where}: the response is empty. {remedy}")
        tools = example.get("tools")
        try:
            ids = rule.token_ids(
                tokenizer,
                example[side],
                prompt=prompt,
                tools=json.loads(tools) if isinstance(tools, str) else tools,
                chat_template_kwargs=example.get("chat_template_kwargs"),
            )
        except (TypeError, ValueError) as error:  # such as a missing chat template
            raise ValueError(f"{where}: {error}") from error
        if _is_conversation(example[side]) and all(message.get("role") != "assistant" for message in example[side]):
            raise ValueError(f"{where}: no message is of the role `assistant`: there is no response. {remedy}")
    if not ids:
        raise ValueError(f"{where}: the response is empty. {remedy}")
    return ids


def _called(row):
    return f"Row {row}" if isinstance(row, int) else row


def _place(row, side):
    return f"Row {row}, column `{side}`" if isinstance(row, int) else f"{row}.{side}"


def _is_conversation(response):
    return isinstance(response, Sequence) and bool(response) and isinstance(response[0], Mapping)


def _target(example, side, row, category_names, weight, on_votes):
    """Target probabilities of one response and the weight of their loss, `None` where the row has no target."""
    prefix = {"chosen": "chosen_", "chosen_ids": "chosen_", "rejected": "rejected_", "rejected_ids": "rejected_"}
    prefix = prefix.get(side, "")
    counts_name, probs_name = f"{prefix}target_counts", f"{prefix}target_probs"
    num_votes = None
    counts = probs = None
    if counts_name in example:
        counts = _vector(example, counts_name, row, category_names)
        num_votes = sum(counts)
        if num_votes == 0 and probs_name not in example:
            raise ValueError(
                f"Row {row}, column `{counts_name}`: no votes. Remove the row, or give `{probs_name}` from a prior."
            )
    if probs_name in example:
        probs = _vector(example, probs_name, row, category_names)
        if abs(sum(probs) - 1) > PROBABILITY_TOLERANCE:
            raise ValueError(
                f"Row {row}, column `{probs_name}`: the probabilities {probs} sum to {sum(probs):.6g}, not to 1. "
                f"Divide by the sum, or pass votes as `{counts_name}`."
            )
    if counts is not None and (probs is None or (on_votes and num_votes)):
        probs = [count / num_votes for count in counts]
        weight = num_votes if on_votes else weight
    if probs is None:
        return [0.0] * len(category_names), None
    if weight is None:
        weight = num_votes if num_votes else 1.0
    return probs, weight


def _vote_shares(example, row):
    """Shares for the chosen response (ties as half a vote) and for ties, which must leave room for each other."""
    chosen = _number(example, "chosen_vote_share", row, default=1.0, low=0.0, high=1.0)
    tie = _number(example, "tie_vote_share", row, default=math.nan, low=0.0, high=1.0)
    room = 2 * min(chosen, 1 - chosen)
    if tie > room + 2 * ROUNDED_SHARE:
        given = f"{chosen:g}" if "chosen_vote_share" in example else f"not given, which means {chosen:g}"
        raise ValueError(
            f"Row {row}: `tie_vote_share` is {tie:g} but `chosen_vote_share` {given}. A tie is half a vote for either "
            f"response, so that with these ties `chosen_vote_share` lies between {tie / 2:g} and {1 - tie / 2:g}: "
            "give there the share who prefer the chosen response plus half of `tie_vote_share`."
        )
    return {"chosen_vote_share": chosen, "tie_vote_share": tie if math.isnan(tie) else min(tie, room)}


def _vector(example, name, row, category_names):
    """One number per category from a column of a row, each finite and at least 0."""
    values = example[name]
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(
            f"Row {row}, column `{name}`: {values!r} is no list of numbers. Give one number per category "
            f"({', '.join(category_names)})."
        )
    if len(values) != len(category_names):
        raise ValueError(
            f"Row {row}, column `{name}`: {len(values)} values for {len(category_names)} categories "
            f"({', '.join(category_names)}). Give one per category, or set `category_names` and `category_rewards`."
        )
    for name_of_category, value in zip(category_names, values, strict=True):
        if not isinstance(value, Real) or not math.isfinite(value) or value < 0:
            raise ValueError(
                f"Row {row}, column `{name}`: {value!r} for category '{name_of_category}' is not a finite number of "
                "at least 0. Correct or remove the row."
            )
    return [float(value) for value in values]


def _number(example, name, row, default, low=-math.inf, high=math.inf):
    """A number within bounds from a column of a row, or the default where the row lacks it."""
    if name not in example:
        return default
    value = example[name]
    if not (isinstance(value, Real) and math.isfinite(value) and low <= value <= high):
        bounds = {(0.0, math.inf): "a finite number of at least 0", (0.0, 1.0): "a share between 0 and 1"}
        raise ValueError(
            f"Row {row}, column `{name}`: {value!r} is not {bounds.get((low, high), 'a finite number')}. Correct or "
            "remove the row."
        )
    return float(value)
