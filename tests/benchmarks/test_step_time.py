"""What distributions cost: a step of `DPRMTrainer` against one of `trl.RewardTrainer`, same model, same pairs."""

import gc
import time
from statistics import median

import pytest
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback
from trl import RewardConfig, RewardTrainer

from trl_dprm import DPRMTrainer

pytestmark = pytest.mark.benchmark
ROUNDS, STEPS = 10, 4
ALLOWED = 1.05


class StepTimes(TrainerCallback):
    """Wall-clock seconds from the end of one optimizer step to the end of the next, the first of each run left out."""

    def __init__(self):
        self.seconds = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.last = None

    def on_step_end(self, args, state, control, **kwargs):
        now = time.perf_counter()
        if self.last is not None:
            self.seconds.append(now - self.last)
        self.last = now


@pytest.fixture(scope="module")
def backbone(tmp_path_factory, tokenizer):
    """Folder of a llama of 15 million parameters."""
    folder = str(tmp_path_factory.mktemp("llama-15M"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pairs():
    """Tokenised pairs of 16 to 64 tokens."""
    generator = torch.Generator().manual_seed(0)

    def ids():
        length = int(torch.randint(16, 65, (1,), generator=generator))
        return torch.randint(3, 32000, (length,), generator=generator).tolist()

    return Dataset.from_list([{"chosen_ids": ids(), "rejected_ids": ids()} for _ in range(64)])


def test_step_takes_no_longer_than_trl_s(backbone, pairs, tmp_path, capsys):
    trainers, times = {}, {}
    for trainer_class in (RewardTrainer, DPRMTrainer):
        args = RewardConfig(
            str(tmp_path / trainer_class.__name__),
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            max_steps=STEPS,
            per_device_train_batch_size=4,
        )
        times[trainer_class] = StepTimes()
        trainers[trainer_class] = trainer_class(backbone, args, train_dataset=pairs, callbacks=[times[trainer_class]])
    for trainer in trainers.values():  # both warm before either is timed
        trainer.train()
    for recorded in times.values():
        recorded.seconds.clear()
    for turn in range(ROUNDS):
        for trainer_class in sorted(trainers, key=lambda c: c.__name__, reverse=bool(turn % 2)):
            gc.collect()
            trainers[trainer_class].train()
    theirs, ours = (median(times[trainer_class].seconds) for trainer_class in (RewardTrainer, DPRMTrainer))
    size = trainers[DPRMTrainer].model.num_parameters() / 1e6
    with capsys.disabled():
        print(
            f"\nmedian step, {size:.0f} M parameters, 4 pairs: DPRMTrainer {ours * 1e3:.1f} ms, RewardTrainer "
            f"{theirs * 1e3:.1f} ms, ratio {ours / theirs:.3f} ({ROUNDS} interleaved runs of {STEPS} steps each)"
        )
    assert ours / theirs <= ALLOWED
