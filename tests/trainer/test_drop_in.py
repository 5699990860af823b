"""A TRL reward script runs with only the trainer class exchanged, and does the same arithmetic on pairs."""

import inspect

import pytest
import torch
import torch.nn.functional as F
import trl
from datasets import Dataset
from reward_rows import pair_rows, pairs
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer
from trl import RewardConfig, RewardTrainer
from trl.trainer.base_trainer import _BaseTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from trl_dprm import DPRMForSequenceClassification, DPRMTrainer, DPRMTrainingArguments
from trl_dprm.trainer.card_and_pushes import CardAndPushes
from trl_dprm.trainer.collator import DataCollatorForDistributionalPreference
from trl_dprm.trainer.preparation import prepare_dataset
from trl_dprm.trainer.tokenization import TokenizationRule
from trl_dprm.trainer.whole_checkpoints import WholeCheckpoints

OVERRIDDEN = {  # method -> parameters that ours relies on
    "_prepare_dataset": ["self", "dataset", "processing_class", "args", "dataset_name"],
    "_set_signature_columns_if_needed": ["self"],
    "_get_num_items_in_batch": ["self", "batch_samples", "device"],
    "compute_loss": ["self", "model", "inputs", "return_outputs", "num_items_in_batch"],
    "training_step": ["self", "args", "kwargs"],
    "prediction_step": ["self", "model", "inputs", "prediction_loss_only", "ignore_keys"],
    "evaluation_loop": [
        "self",
        "dataloader",
        "description",
        "prediction_loss_only",
        "ignore_keys",
        "metric_key_prefix",
    ],
    "evaluate": ["self", "eval_dataset", "ignore_keys", "metric_key_prefix"],
    "predict": ["self", "test_dataset", "ignore_keys", "metric_key_prefix"],
    "_load_from_checkpoint": ["self", "resume_from_checkpoint", "model"],
    "_load_best_model": ["self"],
    "_save_checkpoint": ["self", "model", "trial"],
    "_finalize_training": ["self", "trial", "num_train_samples", "start_time"],
    "_push_from_checkpoint": ["self", "checkpoint_folder"],
    "push_to_hub": ["self", "commit_message", "blocking", "token", "revision", "private", "kwargs"],
    "_save": ["self", "output_dir", "state_dict"],
    "create_model_card": ["self", "model_name", "dataset_name", "tags"],
}


def reward_script(trainer_class, model, args, dataset, **arguments):
    """What TRL's documentation shows, for either class."""
    trainer = trainer_class(model=model, args=args, train_dataset=dataset, eval_dataset=dataset, **arguments)
    trainer.train()
    trainer.save_model(args.output_dir)
    return trainer


@pytest.mark.parametrize("with_prompt", [True, False])
def test_script_with_a_model_path(backbone, run_arguments, with_prompt):
    dataset = pairs(9) if with_prompt else pairs(9).remove_columns("prompt")
    args = run_arguments(RewardConfig, eval_strategy="steps", eval_steps=2)
    theirs = reward_script(RewardTrainer, backbone, args, dataset)
    ours = reward_script(
        DPRMTrainer, backbone, run_arguments(RewardConfig, eval_strategy="steps", eval_steps=2), dataset
    )
    for stage in ("loss", "eval_loss"):
        of_trl, of_ours = (
            next(entry for entry in trainer.state.log_history if stage in entry) for trainer in (theirs, ours)
        )
        assert set(of_trl) - {"epoch"} <= set(of_ours)  # whoever reads TRL's logs finds them
    reloaded = AutoModelForSequenceClassification.from_pretrained(args.output_dir, num_labels=1)
    assert isinstance(reloaded, DPRMForSequenceClassification)
    assert AutoTokenizer.from_pretrained(args.output_dir).pad_token == "<pad>"


def test_script_with_a_model_instance(backbone, run_arguments, tokenizer):
    model = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=1)
    embedding = model.model.embed_tokens.weight
    trainer = reward_script(
        DPRMTrainer, model, run_arguments(RewardConfig), pairs(9), processing_class=tokenizer, peft_config=None
    )
    assert trainer.model.base_model.embed_tokens.weight is embedding  # the backbone is trained, not a copy
    assert trainer.model.config.num_categories == 5


def test_script_with_a_model_instance_and_no_tokenizer(backbone, run_arguments):
    model = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=1)
    trainer = DPRMTrainer(model, run_arguments(), train_dataset=pairs(4))
    assert trainer.processing_class.name_or_path == backbone


def test_no_arguments(backbone, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "transformers.training_args.is_torch_bf16_gpu_available", lambda: True
    )  # TRL's default is bf16
    trainer = DPRMTrainer(backbone, train_dataset=pairs(4))
    assert isinstance(trainer.args, DPRMTrainingArguments)
    assert trainer.args.output_dir.endswith("-DPRM")


def test_every_option_of_a_reward_config_is_kept(run_arguments):
    theirs = run_arguments(RewardConfig, center_rewards_coefficient=0.3, max_length=77, seed=5, weight_decay=0.2)
    ours = DPRMTrainingArguments.from_reward_config(theirs)
    for name in theirs.to_dict():
        assert getattr(ours, name) == getattr(theirs, name), name


def test_constructor_has_trl_s_parameters_in_its_order():
    ours, theirs = (inspect.signature(trainer.__init__).parameters for trainer in (DPRMTrainer, RewardTrainer))
    assert list(ours) == list(theirs)
    for name in ours:
        assert (ours[name].default, ours[name].kind) == (theirs[name].default, theirs[name].kind), name


@pytest.mark.parametrize("method", OVERRIDDEN)
def test_overridden_methods_have_the_parameters_that_we_lean_on(method):
    theirs = inspect.signature(getattr(RewardTrainer, method)).parameters
    assert list(theirs) == OVERRIDDEN[method], f"TRL or transformers changed {method}"
    assert set(inspect.signature(getattr(DPRMTrainer, method)).parameters) >= set(theirs) - {"self"}


def test_every_override_is_under_contract():
    inherited = {name for base in (RewardTrainer, _BaseTrainer, Trainer) for name in vars(base)}
    ours = vars(WholeCheckpoints) | vars(CardAndPushes) | vars(DPRMTrainer)
    overridden = {name for name, value in ours.items() if callable(value) and name in inherited}
    assert overridden - {"__init__", "train", "__doc__"} == set(OVERRIDDEN)
    assert list(inspect.signature(Trainer.train).parameters)[:2] == ["self", "resume_from_checkpoint"]


def test_trl_still_has_the_names_that_we_lean_on(make_trainer):
    trainer = make_trainer(pairs(4))
    assert {"train", "eval"} == set(trainer._metrics)
    assert trainer._total_train_tokens == 0 and trainer._tp_size == 1
    assert trl.__version__.startswith("1.16.")


def conversation(text):
    return [{"role": "user", "content": "Say it"}, {"role": "assistant", "content": text}]


FORMATS = {
    "prompt": pair_rows(3),
    "no prompt": [{"chosen": "a fine dog", "rejected": "a dog</s>"}, {"chosen": "x", "rejected": "y"}],
    "completion empty after an EOS": [{"prompt": "Say</s>", "chosen": "", "rejected": "x"}],
    "conversation": [{"chosen": conversation("well"), "rejected": conversation("ill")}],
    "conversational prompt": [
        {
            "prompt": conversation("so")[:1],
            "chosen": conversation("yes")[1:],
            "rejected": conversation("no")[1:],
            "chat_template_kwargs": {"shout": True},
        }
    ],
    "tools": [
        {
            "prompt": conversation("so")[:1],
            "chosen": conversation("yes")[1:],
            "rejected": conversation("no")[1:],
            "tools": '[{"type": "function", "function": {"name": "add", "description": "adds", "parameters": {}}}]',
        }
    ],
}
TEMPLATE = (
    "{% if tools %}{{ tools[0]['function']['name'] }}{% endif %}{% if shout %}HEY{% endif %}"
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"
)


@pytest.mark.parametrize("name", FORMATS)
def test_token_ids_are_trl_s(name, make_trainer, tokenizer, run_arguments, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", TEMPLATE)
    args = run_arguments(RewardConfig, max_length=None)
    dataset = Dataset.from_list(FORMATS[name])
    theirs = RewardTrainer._prepare_dataset(make_trainer(pairs(4)), dataset, tokenizer, args, "train")
    ours = prepare_dataset(dataset, "train", tokenizer, TokenizationRule(), ["a", "b"])
    assert ours["response_ids"] == [[c, r] for c, r in zip(theirs["chosen_ids"], theirs["rejected_ids"], strict=True)]
    text = tokenizer.decode(ours["response_ids"][0][0])
    assert ("HEY" in text, "add" in text) == (name == "conversational prompt", name == "tools")


def test_the_same_rows_are_overlong(make_trainer, tokenizer, run_arguments):
    limit = 30
    theirs = RewardTrainer._prepare_dataset(
        make_trainer(pairs(4)), pairs(20), tokenizer, run_arguments(RewardConfig, max_length=limit), "train"
    )
    ours = prepare_dataset(pairs(20), "train", tokenizer, TokenizationRule(max_length=limit), ["a", "b"])
    assert 0 < len(ours) < 20
    assert [ids[0] for ids in ours["response_ids"]] == theirs["chosen_ids"]


@pytest.mark.parametrize("pad_to_multiple_of", [None, 8])
def test_collator_lays_pairs_out_as_trl_does(tokenizer, pad_to_multiple_of):
    prepared = prepare_dataset(pairs(5), "train", tokenizer, TokenizationRule(), ["a", "b"])
    rows = [{"chosen_ids": c, "rejected_ids": r, "margin": 0.0} for c, r in prepared["response_ids"]]
    theirs = DataCollatorForPreference(0, pad_to_multiple_of)(rows)
    ours = DataCollatorForDistributionalPreference(0, pad_to_multiple_of)(list(prepared))
    for name, values in theirs.items():
        assert torch.equal(ours[name], values), name


@pytest.mark.parametrize("center_rewards_coefficient", [None, 0.3])
def test_first_loss_on_pairs_is_trl_s_formula(make_trainer, center_rewards_coefficient):
    dataset = pairs(4).add_column("margin", [0.0, 0.5, 1.0, -0.5])
    trainer = make_trainer(dataset, center_rewards_coefficient=center_rewards_coefficient)
    batch = next(iter(trainer.get_train_dataloader()))
    loss, outputs = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
    expected = -F.logsigmoid(chosen - rejected - batch["margin"]).mean()
    if center_rewards_coefficient is not None:
        expected += center_rewards_coefficient * (chosen + rejected).square().mean()
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
