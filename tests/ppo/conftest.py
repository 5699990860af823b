"""Tiny policies, reward models and prompts, and PPO trainers on them in one line."""

import gc
from functools import partial

import pytest
import torch
from accelerate import PartialState
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from shared_models import lora, train_reward_adapter
from tiny_models import tiny_stock_model

from trl_dprm import DPRMForSequenceClassification
from trl_dprm.ppo.critic import new_value_head
from trl_dprm.ppo.expected_reward_ppo_config import ExpectedRewardPPOConfig
from trl_dprm.ppo.expected_reward_ppo_trainer import ExpectedRewardPPOTrainer

disable_progress_bar()

CATEGORIES = {"category_names": ["bad", "fair", "good"], "category_rewards": [-1.0, 0.0, 2.0]}
RUN = {
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "gradient_checkpointing": False,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "num_mini_batches": 2,
    "num_ppo_epochs": 2,
    "response_length": 6,
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "save_strategy": "no",
    "disable_tqdm": True,
    "num_sample_generations": 0,
}


@pytest.fixture(scope="session", autouse=True)
def quick_garbage_collection():
    """Every `train` collects garbage: not among the modules that are imported once and for all."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def reward_folder(tmp_path_factory, backbone, tokenizer):
    """Folder of a tiny anchored DPRM of three categories on the policy's backbone, with a head that discriminates."""
    torch.manual_seed(1)
    model = DPRMForSequenceClassification.from_pretrained(backbone, **CATEGORIES)
    torch.nn.init.normal_(model.score.weight, std=0.5)
    model.config.anchored = True
    folder = tmp_path_factory.mktemp("reward")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def prompts():
    """Sixteen prompts of different lengths."""
    return Dataset.from_dict({"prompt": [f"tell {'me ' * (k % 5)}of {k}" for k in range(16)]})


@pytest.fixture(scope="session")
def eos_policy(tmp_path_factory, tokenizer):
    """Folder of a tiny llama that writes EOS and the token 200 often, so that completions have many lengths."""
    model = tiny_stock_model("llama")
    with torch.no_grad():
        model.lm_head.weight[[2, 200]] *= 30
    folder = tmp_path_factory.mktemp("eos-policy")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def make_ppo_in(backbone, reward_folder, prompts):
    """Function (folder, trainer arguments…, **options) -> `ExpectedRewardPPOTrainer` on the CPU in float32."""

    def make(folder, model=None, reward_funcs=None, train_dataset=None, trainer=None, **options):
        args = ExpectedRewardPPOConfig(**{"output_dir": str(folder / "run"), **RUN, **options})
        return ExpectedRewardPPOTrainer(
            model=backbone if model is None else model,
            reward_funcs=reward_folder if reward_funcs is None else reward_funcs,
            args=args,
            train_dataset=prompts if train_dataset is None else train_dataset,
            **(trainer or {}),
        )

    return make


@pytest.fixture
def make_ppo(make_ppo_in, tmp_path):
    """`make_ppo_in` with a folder for this test."""
    return partial(make_ppo_in, tmp_path)


@pytest.fixture(autouse=True)
def value_heads_that_say_something(monkeypatch):
    """New value heads are zeros, which would make tests of values easy to pass: here they are random, by the seed."""

    def random_head(config):
        head = new_value_head(config)
        torch.nn.init.normal_(head.weight, std=0.2)
        return head

    monkeypatch.setattr("trl_dprm.ppo.critic.new_value_head", random_head)
    monkeypatch.setattr("trl_dprm.ppo.shared_backbone.new_value_head", random_head)


@pytest.fixture(scope="session")
def reward_adapter(backbone, tmp_path_factory):
    """Folder of a DPRM adapter that `DPRMTrainer` trained on the policy's backbone."""
    return train_reward_adapter(backbone, tmp_path_factory.mktemp("reward-adapter"))


@pytest.fixture
def make_shared(make_ppo, reward_adapter):
    """Function (model=None, trainer=None, **options) -> PPO trainer in shared mode on the reward adapter."""

    def make(model=None, trainer=None, reward_funcs=None, **options):
        trainer = {"peft_config": lora(), **(trainer or {})} if model is None or isinstance(model, str) else trainer
        return make_ppo(model, reward_funcs or reward_adapter, trainer=trainer, share_backbone=True, **options)

    return make


@pytest.fixture(scope="session")
def policy():
    """A tiny language model: do not change it."""
    return tiny_stock_model("llama")


@pytest.fixture
def process_state():
    """Loggers of accelerate want it; in a run the arguments make it."""
    PartialState(cpu=True)
