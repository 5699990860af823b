"""Everything that a run computes from its samples, again by stock models row by row, double loops and numpy."""

import copy

import numpy as np
import pytest
import torch
from double_loop import advantages_by_double_loop
from tiny_models import tiny_stock_model

from trl_dprm.ppo.readouts import language_model

LENGTH, TEMPERATURE, STOP = 7, 0.7, 200


def share_of_early_bytes(completion_ids, prompts, **columns):
    """Not applicable to every fourth prompt."""
    return [
        None if prompt.endswith(("1", "5")) else 4 * sum(token < 132 for token in ids) / len(ids)
        for prompt, ids in zip(prompts, completion_ids, strict=True)
    ]


def length_in_tokens(completion_ids, prompts, **columns):
    return [
        None if prompt.endswith(("5", "7")) else float(len(ids))
        for prompt, ids in zip(prompts, completion_ids, strict=True)
    ]


def with_tool_output(prompts, trainer):
    """A rollout whose third token in every completion came from outside; the shortest has two tokens of its own."""
    generator = torch.Generator().manual_seed(0)
    tokenizer = trainer.processing_class
    completions = [torch.randint(4, 260, (3 + k % 4,), generator=generator).tolist() for k in range(len(prompts))]
    return {
        "prompt_ids": tokenizer(prompts)["input_ids"],
        "completion_ids": completions,
        "logprobs": [[0.0] * len(ids) for ids in completions],
        "env_mask": [[int(place != 2) for place in range(len(ids))] for ids in completions],
    }


CASES = {
    "several rewards": {},
    "penalty and whitened rewards": {"missing_eos_penalty": 1.5, "whiten_rewards": True},
    "k3, discount": {"kl_estimator": "k3", "gamma": 0.9, "lam": 0.8},
    "truncated left out": {"mask_truncated_completions": True},
    "stop token": {"stop_token_id": STOP, "missing_eos_penalty": 1.0},
    "normalised": {"normalize_rewards": True},
    "no reference": {"kl_coef": 0.0},
    "small chunks": {"local_rollout_forward_batch_size": 3},
    "tool output": {},
}


SLOW = ("no reference", "normalised")


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CASES]
)
def run(request, make_ppo_in, eos_policy, tmp_path_factory):
    """A run of two optimizer steps on one rollout, and what it computed."""
    options = CASES[request.param]
    reference = tiny_stock_model("llama", seed=5)
    value_model = tiny_stock_model("llama", "classifier", seed=7, num_labels=1)
    stock = copy.deepcopy((reference, value_model))
    trainer = make_ppo_in(
        tmp_path_factory.mktemp("run"),
        eos_policy,
        [share_of_early_bytes, length_in_tokens],
        trainer={
            "ref_model": reference,
            "value_model": value_model,
            "rollout_func": with_tool_output if request.param == "tool output" else None,
        },
        **{"response_length": LENGTH, "reward_weights": [1.0, 0.5], "max_steps": 2, "num_ppo_epochs": 1, **options},
    )
    seen = {"steps": [], "options": trainer.args, "models": stock}
    generate, compute_loss = trainer._generate_and_score_completions, trainer._compute_loss

    def recorded_rollout(rows):
        seen["prompts"] = [row["prompt"] for row in rows]
        seen["rollout"] = generate(rows)
        seen["rewards"] = trainer._rewards.clone()
        return seen["rollout"]

    def recorded_loss(model, inputs):
        state = copy.deepcopy(language_model(trainer.model).state_dict())
        loss = compute_loss(model, inputs)
        seen["steps"].append((state, inputs, loss.item()))
        return loss

    trainer._generate_and_score_completions, trainer._compute_loss = recorded_rollout, recorded_loss
    trainer.train()
    seen["log"] = trainer.state.log_history
    return seen


def load_policy(state):
    model = tiny_stock_model("llama")
    model.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("value_model.")})
    return model


@torch.no_grad()
def log_probs_by_row(model, tensors):
    """One forward per row, without padding, by the stock model."""
    return _by_row(tensors, lambda ids: model(input_ids=ids).logits[0].div(TEMPERATURE).log_softmax(-1), gather=True)


@torch.no_grad()
def values_by_row(backbone, weight, tensors):
    return _by_row(tensors, lambda ids: backbone(input_ids=ids).last_hidden_state[0] @ weight[0], gather=False)


def _by_row(tensors, read, gather):
    result = np.zeros(tensors["completion_ids"].shape)
    for row in range(len(result)):
        prompt = tensors["prompt_ids"][row][tensors["prompt_mask"][row].bool()]
        completion = tensors["completion_ids"][row][tensors["completion_mask"][row].bool()]
        if not len(completion):
            continue
        out = read(torch.cat([prompt, completion])[None])[len(prompt) - 1 : -1]
        out = out.gather(1, completion[:, None])[:, 0] if gather else out
        result[row, : len(completion)] = out.numpy()
    return result


def close(ours, theirs, tolerance=2e-5):
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=tolerance, atol=tolerance)


def token_mask(tensors):
    mask = tensors["completion_mask"]
    return (mask * tensors["tool_mask"] if "tool_mask" in tensors else mask).bool().numpy()


def scores_of(run, mask):
    """Weighted, normalised and penalised scores of the rows; NaN where no function applies."""
    args, rollout = run["options"], run["rollout"]
    ids = [
        row[keep.bool()].tolist()
        for row, keep in zip(rollout["completion_ids"], rollout["completion_mask"], strict=True)
    ]
    if args.mask_truncated_completions:  # the rewards saw them all the same
        rewards = run["rewards"].numpy()
        return np.where(np.isnan(rewards).all(1), np.nan, np.nansum(rewards * [1.0, 0.5], 1))
    first = share_of_early_bytes(completion_ids=ids, prompts=run["prompts"])
    second = length_in_tokens(completion_ids=ids, prompts=run["prompts"])
    scores = np.array(
        [
            np.nan if a is None and b is None else (a or 0.0) + 0.5 * (b or 0.0)
            for a, b in zip(first, second, strict=True)
        ]
    )
    if args.normalize_rewards:
        scores = scores / np.nanstd(scores, ddof=1)
    if args.missing_eos_penalty:
        ends = {2, args.stop_token_id}
        scores -= args.missing_eos_penalty * np.array([row[-1] not in ends for row in ids])
    return scores


def whitened(values, mask, shift_mean):
    kept = values[mask]
    white = (values - kept.mean()) / np.sqrt(kept.var(ddof=1) + 1e-8) + (0 if shift_mean else kept.mean())
    return white * mask


def test_log_probs_and_values(run):
    rollout, (_, value_model) = run["rollout"], run["models"]
    first_state = run["steps"][0][0]
    mask = rollout["completion_mask"].bool().numpy()
    close(rollout["old_per_token_logps"] * mask, log_probs_by_row(load_policy(first_state), rollout))
    close(rollout["old_values"] * mask, values_by_row(value_model.model, value_model.score.weight, rollout))
    assert (mask.sum(1) < LENGTH).any() or run["options"].mask_truncated_completions
    assert len({int(row.sum()) for row in rollout["prompt_mask"]}) > 1, "prompts of different lengths"


def test_rewards_advantages_and_returns(run):
    rollout, args, (reference, _) = run["rollout"], run["options"], run["models"]
    mask = token_mask(rollout)
    scores = scores_of(run, mask)
    counts = mask & ~np.isnan(scores)[:, None]
    kl = rollout["old_per_token_logps"].numpy() - log_probs_by_row(reference, rollout)
    if args.kl_estimator == "k3":
        kl = np.exp(-kl) - 1 + kl
    rewards = -args.kl_coef * kl * counts
    for row in np.flatnonzero(counts.any(1)):
        rewards[row, np.flatnonzero(counts[row])[-1]] += scores[row]
    log = run["log"][0]
    scored = counts.any(1)
    assert log["reward/after_kl"] == pytest.approx(rewards[scored].sum(1).mean(), rel=1e-4)
    assert log["reward/score"] == pytest.approx(scores[scored].mean(), rel=1e-5)
    if args.kl_coef:
        assert log["kl"] == pytest.approx((kl * mask)[mask.any(1)].sum(1).mean(), rel=1e-4)
    else:
        assert "kl" not in log
    if args.whiten_rewards:
        rewards = whitened(rewards, counts, shift_mean=False)
    values = rollout["old_values"].numpy()
    advantages = advantages_by_double_loop(rewards, values, counts, args.gamma, args.lam)
    close(rollout["returns"], (advantages + values) * counts, 1e-4)
    close(rollout["advantages"], whitened(advantages, counts, shift_mean=True), 1e-4)
    assert (rollout["loss_mask"].bool().numpy() == counts).all()
    assert not counts.all(1).all() and counts.any(), "some completion is short, left out, or has tool output"


def test_losses_of_every_micro_batch(run):
    args, steps = run["options"], run["steps"]
    tokens = token_mask(run["rollout"]).sum() / args.num_mini_batches
    assert len(steps) == 4
    for state, inputs, loss in steps:
        value_model = copy.deepcopy(run["models"][1])
        value_model.model.load_state_dict(_critic_part(state, "value_model.backbone."))
        weight = state["value_model.head.weight"]
        ratio = np.exp(log_probs_by_row(load_policy(state), inputs) - inputs["old_per_token_logps"].numpy())
        advantages = inputs["advantages"].numpy()
        policy_loss = -np.minimum(ratio * advantages, ratio.clip(0.8, 1.2) * advantages)
        values, old = values_by_row(value_model.model, weight, inputs), inputs["old_values"].numpy()
        returns = inputs["returns"].numpy()
        clipped = old + (values - old).clip(-args.cliprange_value, args.cliprange_value)
        value_loss = 0.5 * np.maximum((values - returns) ** 2, (clipped - returns) ** 2)
        mask = inputs["loss_mask"].bool().numpy()
        expected = (policy_loss[mask].sum() + args.vf_coef * value_loss[mask].sum()) / tokens
        assert loss == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert abs(ratio - 1)[mask].max() > 1e-3 or not mask.any(), "the second mini-batch is off policy"


def _critic_part(state, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
