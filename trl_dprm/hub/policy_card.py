"""The model card of a policy that PPO trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from .card_tables import markdown_table, metric_value, run_table
from .model_card import checkpoint_in_card, hub_link, is_hub_id, template_path

_TEMPLATE = "policy_model_card.md"
_TAGS = ("ppo", "dprm", "trl", "trl_dprm")
_METRICS = {
    "reward": "Mean reward of the completions, as the reward functions gave it",
    "reward/after_kl": "Mean of what PPO maximised: the reward, normalised and penalised as set, less the KL penalty",
    "kl": "KL to the reference, nats per completion",
    "entropy": "Entropy per token, nats",
    "completions/mean_length": "Tokens per completion",
    "completions/clipped_ratio": "Share of completions that ran out of tokens",
    "value/explained_variance": "Share of the returns' variance that the critic explains",
}


@dataclass(frozen=True)
class RewardFacts:
    """What a card says of one reward.

    Args:
        name (`str`): Hub id or path of the reward model, or name of the function.
        kind (`str`): Of what it is, in words.
        weight (`float`): In the sum of the rewards.
        statistic (`str`, *optional*): What of a distribution was the reward, in words.
        categories (`list[tuple[str, float]]`, *optional*): Names and the rewards that were maximised.
    """

    name: str
    kind: str
    weight: float = 1.0
    statistic: str | None = None
    categories: Sequence[tuple[str, float]] | None = None


def policy_model_card(
    model_name: str,
    base_model: str | None,
    training: "ExpectedRewardPPOConfig",  # noqa: F821
    rewards: Sequence[RewardFacts],
    metrics: dict[str, float],
    dataset_name: str | None = None,
    tags: list[str] | None = None,
    is_adapter: bool = False,
) -> ModelCard:
    """Fill the policy card's template with what is known of a run. No machine path gets into it.

    Args:
        model_name (`str`): Title.
        base_model (`str`, *optional*): Hub id or path of the policy that training started from.
        training ([`ExpectedRewardPPOConfig`]): The run.
        rewards (`list[RewardFacts]`): What was maximised.
        metrics (`dict[str, float]`): The last values that were logged, by key; may be empty.
        dataset_name (`str`, *optional*): Hub id or path of the prompts.
        tags (`list[str]`, *optional*): More tags for the Hub.
        is_adapter (`bool`): Whether the folder holds a PEFT adapter.

    Returns:
        [`~huggingface_hub.ModelCard`].
    """
    base_id = base_model if is_hub_id(base_model) else None
    return ModelCard.from_template(
        ModelCardData(
            model_name=model_name,
            library_name="peft" if is_adapter else "transformers",
            pipeline_tag="text-generation",
            base_model=base_id,
            base_model_relation=base_id and ("adapter" if is_adapter else "finetune"),
            datasets=[dataset_name] if is_hub_id(dataset_name) else None,
            tags=[*_TAGS, *(tags or [])],
        ),
        template_path=str(template_path(_TEMPLATE)),
        model_name=model_name,
        base_model=hub_link(base_model, "checkpoint"),
        dataset_name=hub_link(dataset_name, "dataset", "https://huggingface.co/datasets/"),
        checkpoint=checkpoint_in_card(training.hub_model_id),
        is_adapter=is_adapter,
        distributional=any(reward.categories for reward in rewards),
        reward_names=" + ".join(_linked(reward) for reward in rewards),
        reward_table=_reward_table(rewards),
        category_tables=[(_last(reward.name), _category_table(reward)) for reward in rewards if reward.categories],
        training_table=_training_table(training),
        metric_table=_metric_table(metrics),
        max_completion_length=training.max_completion_length,
        temperature=training.temperature,
    )


def _linked(reward):
    return hub_link(reward.name, "reward model") if "/" in reward.name else f"`{reward.name}`"


def _last(name):
    return name if is_hub_id(name) else Path(name).name


def _reward_table(rewards):
    rows = [[_linked(r), r.kind, r.statistic or "", f"{r.weight:g}"] for r in rewards]
    return markdown_table(["reward", "kind", "statistic", "weight"], rows)


def _category_table(reward):
    return markdown_table(["category", "reward"], [[name, f"{value:g}"] for name, value in reward.categories])


def _training_table(training):
    rows = [
        ["completions per rollout", training.batch_size],
        ["epochs, mini-batches per epoch", f"{training.num_iterations}, {training.num_mini_batches}"],
        ["KL coefficient, estimator", f"{training.beta:g}{_adaptive(training)}, {training.kl_estimator}"],
        ["clip ranges of policy and value", f"{training.epsilon:g}, {training.cliprange_value:g}"],
        ["discount, λ of the advantages", f"{training.gamma:g}, {training.lam:g}"],
        ["value loss coefficient", f"{training.vf_coef:g}"],
        ["temperature, longest completion", f"{training.temperature:g}, {training.max_completion_length} tokens"],
    ]
    if training.missing_eos_penalty is not None:
        rows.append(["penalty of a completion without end", f"{training.missing_eos_penalty:g}"])
    return markdown_table(["training", ""], rows + run_table(training))


def _adaptive(training):
    return f" at first, adapted to {training.kl_target:g} nats" if training.adaptive_kl else ""


def _metric_table(metrics):
    shown = {name: meaning for name, meaning in _METRICS.items() if name in metrics}
    shown |= {name: "The reward model's own opinion" for name in metrics if name.startswith("proxy/")}
    rows = [[f"`{name}`", metric_value(metrics[name]), meaning] for name, meaning in shown.items()]
    return markdown_table(["metric", "value", "meaning"], rows) if rows else None
