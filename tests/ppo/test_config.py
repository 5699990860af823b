"""Options of a PPO run: the removed `PPOConfig`'s, TRL's, and what is refused."""

import dataclasses
import json
import pickle
import warnings
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml
from transformers import HfArgumentParser
from trl import GRPOConfig, TrlParser

from trl_dprm.ppo.expected_reward_ppo_config import ExpectedRewardPPOConfig
from trl_dprm.ppo.removed_options import (
    ALIASES,
    OLD_OPTIONS,
    REFUSED_OPTIONS,
    WHAT_CHANGED,
    log_key_table,
    migration_table,
)
from trl_dprm.rewards.statistics import STATISTICS

README = Path(__file__).parents[2] / "README.md"
CPU = {"output_dir": "out", "use_cpu": True, "bf16": False, "report_to": "none"}

# Fields and defaults of `PPOConfig` in trl 1.12, written down from its source.
PPO_CONFIG = {
    "learning_rate": 3e-6,
    "dataset_num_proc": None,
    "num_mini_batches": 1,
    "total_episodes": None,
    "local_rollout_forward_batch_size": 64,
    "num_sample_generations": 10,
    "response_length": 53,
    "stop_token": None,
    "stop_token_id": None,
    "temperature": 0.7,
    "missing_eos_penalty": None,
    "sft_model_path": "EleutherAI/pythia-160m",
    "world_size": None,
    "num_total_batches": None,
    "micro_batch_size": None,
    "local_batch_size": None,
    "batch_size": None,
    "local_mini_batch_size": None,
    "mini_batch_size": None,
    "push_to_hub": False,
    "reward_model_path": "EleutherAI/pythia-160m",
    "model_adapter_name": None,
    "ref_adapter_name": None,
    "num_ppo_epochs": 4,
    "whiten_rewards": False,
    "kl_coef": 0.05,
    "kl_estimator": "k1",
    "cliprange": 0.2,
    "vf_coef": 0.1,
    "cliprange_value": 0.2,
    "gamma": 1.0,
    "lam": 0.95,
    "ds3_gather_for_generation": True,
}
OUTCOMES = {
    "world_size": 1,
    "batch_size": 24,
    "local_batch_size": 24,
    "mini_batch_size": 6,
    "local_mini_batch_size": 6,
    "micro_batch_size": 3,
    "num_total_batches": 5,
}


def config(**options):
    return ExpectedRewardPPOConfig(**{**CPU, **options})


def as_flags(options):
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


class TestOldOptions:
    def test_every_option_of_the_old_config_is_an_option(self):
        options = {option.name for option in dataclasses.fields(ExpectedRewardPPOConfig)}
        assert options >= set(PPO_CONFIG)

    @pytest.mark.parametrize("name", sorted(set(PPO_CONFIG) - set(OUTCOMES)))
    def test_defaults_are_the_old_ones(self, name):
        assert getattr(config(), name) == PPO_CONFIG[name]

    @pytest.mark.parametrize("name", sorted(set(PPO_CONFIG) - set(OUTCOMES) - set(REFUSED_OPTIONS)))
    def test_old_values_are_taken(self, name):
        old = PPO_CONFIG[name]
        other = {"stop_token": "eos", "kl_estimator": "k3", "num_mini_batches": 2, "stop_token_id": 5}
        value = other.get(name)
        if value is None:
            value = not old if isinstance(old, bool) else "path" if isinstance(old, str) else old / 2 if old else 3
            value = int(value) if isinstance(old, int) and not isinstance(old, bool) else value
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert getattr(config(**{name: value}, gradient_accumulation_steps=4), name) == value

    def test_defaults_beside_the_old_ones(self):
        args = config()
        assert (args.adaptive_kl, args.kl_target, args.kl_horizon, args.kl_limit) == (False, 6.0, 10000, None)
        assert (args.normalize_rewards, args.share_backbone, args.disable_dropout) == (False, False, True)
        assert (args.num_generations, args.num_generations_eval, args.scale_rewards) == (1, 1, "none")
        assert (args.reward_statistic, args.cvar_level, args.semideviation_weight) == ("expected_reward", 0.1, 1.0)
        assert (args.loss_type, args.reward_category_rewards) == ("dapo", None)

    @pytest.mark.parametrize("name", sorted(REFUSED_OPTIONS))
    def test_an_option_without_counterpart_is_refused_with_the_reason(self, name):
        with pytest.raises(
            ValueError, match=rf"`{name}` is 'x', an option of TRL's removed .* no counterpart"
        ) as error:
            config(**{name: "x"})
        assert REFUSED_OPTIONS[name] in str(error.value)
        assert str(error.value).endswith("Remove it.")

    def test_the_adapter_that_is_trained_anyway_may_be_named(self):
        assert config(model_adapter_name="default").model_adapter_name == "default"


class TestTwoNames:
    values = {"kl_coef": 0.3, "cliprange": 0.1, "num_ppo_epochs": 2, "response_length": 9}

    @pytest.mark.parametrize("old", sorted(ALIASES))
    @pytest.mark.parametrize("given", ["old", "now", "both"])
    def test_either_name_sets_both(self, old, given):
        names = {"old": [old], "now": [ALIASES[old]], "both": [old, ALIASES[old]]}[given]
        args = config(**dict.fromkeys(names, self.values[old]))
        assert getattr(args, old) == getattr(args, ALIASES[old]) == self.values[old]

    @pytest.mark.parametrize("old", sorted(ALIASES))
    def test_neither_name_gives_the_old_default(self, old):
        assert getattr(config(), old) == getattr(config(), ALIASES[old]) == PPO_CONFIG[old]

    @pytest.mark.parametrize("old", sorted(ALIASES))
    def test_values_that_conflict_are_refused(self, old):
        now, value = ALIASES[old], self.values[old]
        with pytest.raises(
            ValueError, match=rf"`{old}` is {value} and `{now}` is {2 * value}, but .* two names of one"
        ):
            config(**{old: value, now: 2 * value})

    def test_a_default_that_is_given_conflicts_too(self):
        with pytest.raises(ValueError, match=r"`kl_coef` is 0.05 and `beta` is 0.0"):
            config(kl_coef=0.05, beta=0.0)

    @pytest.mark.parametrize("old", sorted(ALIASES))
    def test_assigning_one_assigns_the_other(self, old):
        args = config()
        setattr(args, old, self.values[old])
        assert getattr(args, ALIASES[old]) == self.values[old]
        setattr(args, ALIASES[old], PPO_CONFIG[old])
        assert getattr(args, old) == PPO_CONFIG[old]


class TestBatches:
    options = {
        "per_device_train_batch_size": 3,
        "gradient_accumulation_steps": 8,
        "num_mini_batches": 4,
        "num_ppo_epochs": 2,
        "total_episodes": 100,
    }

    def test_a_rollout_is_cut_into_mini_batches(self):
        args = config(**self.options)
        assert (args.generation_batch_size, args.steps_per_generation) == (24, 8)
        assert args.gradient_accumulation_steps == 2
        assert args.optimizer_steps_per_rollout == 8

    def test_episodes_become_optimizer_steps_of_whole_rollouts(self):
        assert config(**self.options).max_steps == 5 * 4 * 2  # ceil(100 / 24) rollouts, mini-batches, epochs

    def test_without_episodes_the_epochs_decide(self):
        args = config(**self.options | {"total_episodes": None})
        assert (args.max_steps, args.num_total_batches) == (-1, None)

    @pytest.mark.parametrize("name", sorted(OUTCOMES))
    def test_outcomes_can_be_read_and_not_assigned(self, name):
        args = config(**self.options)
        assert getattr(args, name) == OUTCOMES[name]
        with pytest.raises(AttributeError, match=f"`{name}` follows from other options and cannot be assigned"):
            setattr(args, name, 7)

    @pytest.mark.parametrize("name", sorted(OUTCOMES))
    def test_a_given_outcome_must_be_the_true_one(self, name):
        assert getattr(config(**self.options, **{name: OUTCOMES[name]}), name) == OUTCOMES[name]
        message = rf"`{name}` is no option but an outcome: 7 was given, and the other options make it {OUTCOMES[name]}"
        with pytest.raises(ValueError, match=message + r"\. .*Remove it; a rollout is set by"):
            config(**self.options, **{name: 7})

    @pytest.mark.parametrize(
        (
            "given",
            "cut",
        ),  # (rows at a time, accumulation, mini-batches) -> (rows at a time, accumulation, micro-batches)
        [
            ((2, 8, 4), (2, 2, 8)),
            ((64, 1, 4), (16, 1, 4)),  # worked in the old loop, whose micro-batches were then mini-batches
            ((8, 3, 2), (6, 2, 4)),
            ((6, 2, 3), (4, 1, 3)),
        ],
    )
    def test_a_micro_batch_lies_within_a_mini_batch(self, given, cut):
        rows, accumulation, mini_batches = given
        args = config(
            per_device_train_batch_size=rows, gradient_accumulation_steps=accumulation, num_mini_batches=mini_batches
        )
        found = (args.per_device_train_batch_size, args.gradient_accumulation_steps, args.steps_per_generation)
        assert found == cut
        assert (args.batch_size, args.mini_batch_size) == (rows * accumulation, rows * accumulation // mini_batches)

    def test_rows_that_no_cut_divides(self):
        with pytest.raises(ValueError, match=r"`num_mini_batches` is 4, but a rollout has 10 rows .* a divisor"):
            config(per_device_train_batch_size=2, gradient_accumulation_steps=5, num_mini_batches=4)

    def test_trl_s_own_cut_gives_the_number_of_mini_batches(self):
        steps = config(per_device_train_batch_size=2, steps_per_generation=6, gradient_accumulation_steps=2)
        assert (steps.num_mini_batches, steps.batch_size, steps.gradient_accumulation_steps) == (3, 12, 2)
        rows = config(per_device_train_batch_size=2, generation_batch_size=12, gradient_accumulation_steps=3)
        assert (rows.num_mini_batches, rows.steps_per_generation) == (2, 6)

    BAD = {
        "mini-batches against TRL's cut": (
            {"steps_per_generation": 4, "num_mini_batches": 2},
            r"`num_mini_batches` is 2, but `steps_per_generation`, 4, and `gradient_accumulation_steps`, 1, make 4",
        ),
        "an optimizer step over two rollouts": (
            {"steps_per_generation": 2, "gradient_accumulation_steps": 4},
            r"A rollout has 2 micro-batches per process .* `gradient_accumulation_steps`, 4, does not divide",
        ),
        "rollout given twice": (
            {"steps_per_generation": 2, "generation_batch_size": 24},
            r"`generation_batch_size` is 24, but `steps_per_generation`, 2, makes it 16 .* Give one of them",
        ),
        "episodes against steps": (
            {"total_episodes": 80, "max_steps": 3},
            r"`total_episodes`, 80, are 10 rollouts or 40 optimizer steps, but `max_steps` is 3. Give one",
        ),
        "a rollout of one": (
            {"per_device_train_batch_size": 1},
            r"A rollout has one completion: .* Raise `per_device_train_batch_size` or `gradient_accumulation_steps`",
        ),
        "groups that do not fit": (
            {"num_generations": 3},
            r"generation_batch_size \(8\) must be divisible by num_gen",
        ),
        "no completion": ({"num_generations": 0}, r"`num_generations` is 0; it must be an integer of at least 1"),
        "half a completion": ({"num_generations": 1.5}, r"`num_generations` is 1.5; it must be an integer"),
        "groups of None": ({"num_generations": None}, r"`num_generations` is None; it must be an integer"),
        "no completion in evaluation": ({"num_generations_eval": 0}, r"`num_generations_eval` is 0; it must be"),
        "no row": ({"per_device_train_batch_size": 0}, r"`per_device_train_batch_size` is 0; it must be an integer"),
        "no accumulation": ({"gradient_accumulation_steps": 0}, r"`gradient_accumulation_steps` is 0; it must be"),
    }

    @pytest.mark.parametrize("case", sorted(BAD))
    def test_bad_batches_are_refused(self, case):
        options, message = self.BAD[case]
        with pytest.raises(ValueError, match=message):
            config(**options)

    def test_several_completions_per_prompt(self):
        args = config(num_generations=4, num_generations_eval=None)
        assert (args.num_generations, args.num_generations_eval) == (4, 4)

    def test_one_row_on_each_of_several_processes_is_a_rollout(self, monkeypatch):
        """Only the launcher's variable says so before the state is made, which one process cannot have of two."""
        args = config()
        args.per_device_train_batch_size, args.generation_batch_size = 1, None
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert args._divisor_of_rollout() == 2
        monkeypatch.setenv("WORLD_SIZE", "1")
        with pytest.raises(ValueError, match="A rollout has one completion"):
            args._divisor_of_rollout()


class TestValues:
    BAD = {
        "gamma": (1.01, "between 0 and 1"),
        "lam": (-0.1, "between 0 and 1"),
        "cliprange": (0.0, "a finite number above 0"),
        "cliprange_value": (0.0, r"above 0 \(`inf` turns the clipping off\)"),
        "vf_coef": (-1.0, "a finite number of at least 0"),
        "kl_coef": (float("nan"), "a finite number of at least 0"),
        "temperature": (0.0, "a finite number above 0"),
        "missing_eos_penalty": (-1.0, "a finite number above 0"),
        "num_ppo_epochs": (0, "an integer of at least 1"),
        "response_length": (0, "an integer of at least 1"),
        "num_mini_batches": (0, "an integer of at least 1"),
        "total_episodes": (0, "an integer of at least 1"),
        "local_rollout_forward_batch_size": (0, "an integer of at least 1"),
        "num_sample_generations": (-1, "an integer of at least 0"),
        "stop_token_id": (-1, "an integer of at least 0"),
        "kl_target": (0.0, "a finite number above 0"),
        "kl_horizon": (float("inf"), "a finite number above 0"),
        "kl_limit": (0.0, "a finite number above 0"),
        "cvar_level": (0.0, "above 0 and at most 1"),
        "semideviation_weight": (1.5, "between 0 and 1"),
    }

    @pytest.mark.parametrize("name", sorted(BAD))
    def test_out_of_range(self, name):
        value, meaning = self.BAD[name]
        with pytest.raises(ValueError, match=rf"`{name}`\)? is {value}; it must be {meaning}"):
            config(**{name: value})

    def test_bounds_belong_to_the_ranges(self):
        args = config(gamma=0.0, lam=1, cvar_level=1.0, semideviation_weight=0.0, kl_coef=0.0, stop_token_id=0)
        assert (args.gamma, args.lam, args.beta, args.stop_token_id) == (0.0, 1, 0.0, 0)
        assert config(cliprange_value=float("inf")).cliprange_value == float("inf")

    REFUSED = {
        "scale_rewards": ("group", "PPO's baseline is the critic, .* Use 'none' or False"),
        "multi_objective_aggregation": ("normalize_then_sum", "it normalises within the group"),
        "loss_type": ("cispo", "the others replace PPO's clipped ratio per token. Use 'dapo' or 'bnpo'"),
        "importance_sampling_level": ("sequence", "PPO's ratio and advantage belong to a token"),
        "off_policy_mask_threshold": (0.5, "it masks by the sign of one advantage per completion"),
        "use_bias_correction_kl": (False, "the KL is in the reward"),
        "sync_ref_model": (True, "the KL is to the policy that the run started from"),
    }

    @pytest.mark.parametrize("name", sorted(REFUSED))
    def test_what_contradicts_ppo_is_refused_with_the_reason(self, name):
        value, reason = self.REFUSED[name]
        with pytest.raises(ValueError, match=rf"`{name}` is {value!r}, which PPO cannot honour: {reason}"):
            config(**{name: value})

    @pytest.mark.parametrize("name", sorted(REFUSED))
    def test_what_is_refused_is_an_option_of_grpo(self, name):
        assert name in {option.name for option in dataclasses.fields(GRPOConfig)}

    def test_scaled_rewards_may_be_turned_off_by_either_spelling(self):
        assert config(scale_rewards=False).scale_rewards == "none"

    CONTRADICTIONS = {
        "two stop tokens": ({"stop_token": "eos", "stop_token_id": 0}, "`stop_token` and `stop_token_id` are both"),
        "penalty for what is masked": (
            {"missing_eos_penalty": 1.0, "mask_truncated_completions": True},
            "nothing would learn from the penalty. Choose one",
        ),
        "nothing to adapt": ({"adaptive_kl": True, "beta": 0.0}, "`adaptive_kl` multiplies .* which is 0"),
        "unknown estimator": ({"kl_estimator": "k2"}, "`kl_estimator` is 'k2'; use 'k1' or 'k3'"),
        "unknown stop token": ({"stop_token": "."}, "`stop_token` is '.'; use None or 'eos'"),
        "unknown statistic": ({"reward_statistic": "median"}, "`reward_statistic` is 'median'; use 'expected_reward'"),
        "no JSON": ({"reward_category_rewards": "{bad: 1}"}, "`reward_category_rewards` is '{bad: 1}', which is no"),
        "a number": ({"reward_category_rewards": "3"}, "`reward_category_rewards` is 3; give a list"),
    }

    @pytest.mark.parametrize("case", sorted(CONTRADICTIONS))
    def test_contradictions_are_refused(self, case):
        options, message = self.CONTRADICTIONS[case]
        with pytest.raises(ValueError, match=message):
            config(**options)

    def test_k3_in_the_reward_warns(self):
        with pytest.warns(UserWarning, match="`kl_estimator='k3'` in the reward hardly holds the policy"):
            config(kl_estimator="k3")


class TestWaysToGiveThem:
    options = {
        "kl_coef": 0.3,
        "cliprange": 0.1,
        "num_ppo_epochs": 2,
        "max_completion_length": 9,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 6,
        "num_mini_batches": 3,
        "total_episodes": 24,
        "stop_token": "eos",
        "missing_eos_penalty": 1.0,
        "reward_statistic": "cvar",
        "cvar_level": 0.25,
    }

    def check(self, args):
        expected = config(**self.options, reward_category_rewards={"bad": -5.0})
        assert args.to_dict() == expected.to_dict()

    @pytest.mark.parametrize("parser", [HfArgumentParser, TrlParser])
    def test_flags(self, parser):
        flags = as_flags({**CPU, **self.options, "reward_category_rewards": '{"bad": -5.0}'})
        self.check(parser(ExpectedRewardPPOConfig).parse_args_into_dataclasses(flags)[0])

    def test_yaml(self, tmp_path):
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump({**CPU, **self.options, "reward_category_rewards": {"bad": -5.0}}))
        self.check(TrlParser(ExpectedRewardPPOConfig).parse_args_and_config(["--config", str(file)])[0])

    def test_conflicts_between_flags_and_yaml_are_seen(self, tmp_path):
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump({**CPU, "beta": 0.1}))
        with pytest.raises(ValueError, match=r"`kl_coef` is 0.2 and `beta` is 0.1"):
            TrlParser(ExpectedRewardPPOConfig).parse_args_and_config(["--config", str(file), "--kl_coef", "0.2"])

    @pytest.mark.parametrize("name", ["exp_name", "batch_size"])
    def test_the_reason_of_a_refusal_is_seen_from_flags(self, name):
        flags = as_flags({**CPU, name: 7})
        with pytest.raises(ValueError, match=f"`{name}` is"):
            HfArgumentParser(ExpectedRewardPPOConfig).parse_args_into_dataclasses(flags)

    def test_rewards_of_all_categories_as_a_list(self):
        assert config(reward_category_rewards="[-1, 0.5]").reward_category_rewards == [-1, 0.5]

    def test_help_renders(self):
        text = TrlParser(ExpectedRewardPPOConfig).format_help()
        assert "--num_ppo_epochs" in text

    def test_pickle(self):
        args = config(**self.options)
        loaded = pickle.loads(pickle.dumps(args))
        assert loaded.to_dict() == args.to_dict()
        loaded.kl_coef = 0.7
        assert loaded.beta == 0.7
        assert args.beta == 0.3

    def test_dict_and_json_keep_every_option(self):
        args = config(**self.options)
        assert args.to_dict()["stop_token"] == "eos"  # transformers hides whatever ends in `_token`
        assert json.loads(args.to_json_string())["kl_coef"] == 0.3
        assert ExpectedRewardPPOConfig(**args.to_dict()).to_dict() == args.to_dict()

    def test_a_copy_with_another_option(self):
        args = dataclasses.replace(config(**self.options), learning_rate=0.1)
        assert (args.learning_rate, args.batch_size, args.max_steps) == (0.1, 12, 12)

    def test_the_statistics_on_the_command_line_are_those_there_are(self):
        choices = get_type_hints(ExpectedRewardPPOConfig)["reward_statistic"]
        assert get_args(choices) == STATISTICS

    def test_every_option_explains_itself(self):
        own = set(ExpectedRewardPPOConfig.__annotations__)
        options = [option for option in dataclasses.fields(ExpectedRewardPPOConfig) if option.name in own]
        assert len(options) > 30
        assert not [option.name for option in options if not option.metadata.get("help")]


class TestMigrationTable:
    def test_every_old_option_has_one_row(self):
        names = [option.name for option in OLD_OPTIONS]
        assert sorted(names) == sorted([*PPO_CONFIG, "exp_name"])

    @pytest.mark.parametrize("option", OLD_OPTIONS, ids=lambda option: option.name)
    def test_defaults_in_the_table_are_the_old_ones(self, option):
        stated = option.default.strip('"')
        expected = PPO_CONFIG.get(option.name)
        assert (float(stated) if isinstance(expected, float) else stated) == (
            expected if isinstance(expected, float) else str(expected)
        )

    def test_cells_are_whole(self):
        for table, width in ((migration_table(), 4), (log_key_table(), 3)):
            lines = table.splitlines()[1:-1]
            assert {line.count("|") for line in lines} == {width + 1}
            assert all(cell.strip() for line in lines for cell in line.strip("|").split("|"))

    @pytest.mark.parametrize(
        "rendered", [migration_table(), log_key_table(), WHAT_CHANGED], ids=["options", "log keys", "sentences"]
    )
    def test_the_readme_has_what_is_rendered(self, rendered):
        assert rendered in README.read_text(encoding="utf-8"), "paste it: python -m trl_dprm.ppo.removed_options"
