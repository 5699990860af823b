"""Completions of a language model, and what language models think of them, in batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

BATCH_SIZE = 128


@dataclass
class Samples:
    """Completions with their prompts, as texts and as token ids.

    Args:
        prompts, completions (`list[str]`): Texts, without special tokens in the completions.
        prompt_ids, completion_ids (`list[list[int]]`): Tokens without padding; the EOS where a story ended.
    """

    prompts: list[str]
    completions: list[str]
    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]


@torch.no_grad()
def sample_completions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> Samples:
    """One completion per prompt, drawn from the whole vocabulary."""
    set_seed(seed)
    model.eval()
    prompt_ids, completion_ids = tokenizer(prompts)["input_ids"], []
    for start in range(0, len(prompts), BATCH_SIZE):
        rows = [{"input_ids": ids} for ids in prompt_ids[start : start + BATCH_SIZE]]
        batch = tokenizer.pad(rows, padding_side="left", return_tensors="pt").to(model.device)
        drawn = model.generate(
            **batch,
            max_new_tokens=max_new_tokens,
            do_sample=True,
            temperature=temperature,
            top_k=0,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        new = drawn[:, batch["input_ids"].shape[1] :].tolist()
        completion_ids += [_until_eos(ids, tokenizer.eos_token_id) for ids in new]
    completions = tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
    return Samples(prompts, completions, prompt_ids, completion_ids)


def _until_eos(ids, eos):
    return ids[: ids.index(eos) + 1] if eos in ids else ids


@torch.no_grad()
def mean_log_probs(model: PreTrainedModel, prompt_ids: list[list[int]], completion_ids: list[list[int]]) -> np.ndarray:
    """Mean log-probability of a completion's tokens given its prompt, in nats, shape *(num_completions,)*."""
    means = []
    for ids, mask in _batches(prompt_ids, completion_ids, model.device):
        log_probs = _next_token_log_probs(model, ids, mask, temperature=1.0)
        chosen = log_probs.gather(-1, ids[:, 1:, None])[..., 0]
        means.append((chosen * mask[:, 1:]).sum(1) / mask[:, 1:].sum(1))
    return torch.cat(means).double().cpu().numpy()


@torch.no_grad()
def kl_to_reference(
    policy: PreTrainedModel, reference: PreTrainedModel, samples: Samples, temperature: float
) -> np.ndarray:
    """KL of the policy to the reference along completions of the policy, in nats per completion.

    At each token the KL over the vocabulary is exact, so that only the choice of the completions is random.

    Returns:
        `np.ndarray` of shape *(num_completions,)*: sums over the tokens.
    """
    sums = []
    for ids, mask in _batches(samples.prompt_ids, samples.completion_ids, policy.device):
        mine, original = (_next_token_log_probs(model, ids, mask, temperature) for model in (policy, reference))
        sums.append((((mine - original) * mine.exp()).sum(-1) * mask[:, 1:]).sum(1))
    return torch.cat(sums).double().cpu().numpy()


def _batches(prompt_ids, completion_ids, device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and the mask of the completions' tokens, both of shape (batch, length), padded on the right with id 0."""
    for start in range(0, len(prompt_ids), BATCH_SIZE):
        here = slice(start, start + BATCH_SIZE)
        rows = list(zip(prompt_ids[here], completion_ids[here], strict=True))
        ids = [torch.tensor(prompt + completion) for prompt, completion in rows]
        masks = [torch.tensor([False] * len(prompt) + [True] * len(completion)) for prompt, completion in rows]
        yield tuple(pad_sequence(part, batch_first=True).to(device) for part in (ids, masks))


def _next_token_log_probs(model, ids, mask, temperature):
    """Log-probabilities of the tokens 1, 2, … given those before; padding on the right is never looked at."""
    return (model(input_ids=ids).logits[:, :-1].float() / temperature).log_softmax(-1)
