"""An adapter says in which precision its base was, and loading it on another one is warned of, with the remedy."""

import json
import logging
import re

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from quantised import SIZES, int8, nf4
from transformers import AutoConfig, AutoModelForSequenceClassification, BitsAndBytesConfig
from transformers.utils import logging as hf_logging

from trl_dprm import DPRMConfig, DPRMForSequenceClassification
from trl_dprm.models.base_precision_dprm import base_precision

THREE = {"category_rewards": [-1.0, 0.25, 2.0]}
NF4 = {"bits": 4, "quant_type": "nf4", "double_quant": True, "compute_dtype": "float32", "dtype": "float32"}
IN_BITS = [
    pytest.param({"quantization_config": nf4(), "dtype": "float32"}, NF4, "4 bits", id="4 bits"),
    pytest.param(
        {"quantization_config": int8(), "dtype": "float32"},
        {"bits": 8, "threshold": 6.0, "dtype": "float32"},
        "8 bits",
        id="8 bits",
    ),
    pytest.param({"dtype": "bfloat16"}, {"dtype": "bfloat16"}, "bfloat16", id="bfloat16"),
]


@pytest.fixture
def base(checkpoint):
    return checkpoint("llama", "headless", **SIZES)


@pytest.fixture
def adapter(base, tmp_path):
    """Function (**loading) -> (PEFT model, folder of its adapter with what `DPRMTrainer` writes beside it)."""

    def make(**loading):
        if "quantization_config" in loading:
            pytest.importorskip("bitsandbytes")
        dprm = DPRMForSequenceClassification.from_pretrained(base, **THREE, **loading)
        dprm.config.base_precision = base_precision(dprm)
        model = get_peft_model(
            dprm, LoraConfig(task_type="SEQ_CLS", target_modules="all-linear", modules_to_save=dprm.head_names)
        ).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    torch.nn.init.normal_(parameter, std=0.1)
        model.save_pretrained(tmp_path / "adapter")
        config = DPRMConfig.from_dict(dprm.config.to_dict())
        config.__dict__.pop("quantization_config", None)  # as `DPRMTrainer` does
        config.save_pretrained(tmp_path / "adapter")
        return model, tmp_path / "adapter"

    return make


@pytest.fixture
def warnings_of(caplog):
    """Function (function, *arguments, **options) -> what it returns, and what it warned of precisions."""

    def call(function, *arguments, **options):
        hf_logging.enable_propagation()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            result = function(*arguments, **options)
        hf_logging.disable_propagation()
        return result, [record.getMessage() for record in caplog.records if "adapter was trained" in record.message]

    return call


@pytest.mark.parametrize(("loading", "recorded", "name"), IN_BITS)
class TestOtherPrecision:
    def test_it_is_recorded_and_survives_reloading(self, loading, recorded, name, adapter, tmp_path):
        _, folder = adapter(**loading)
        assert json.loads((folder / "config.json").read_text())["base_precision"] == recorded
        for loader in (DPRMConfig, AutoConfig):
            config = loader.from_pretrained(folder)
            assert config.base_precision == recorded
            config.save_pretrained(tmp_path / "again")
            assert (tmp_path / "again" / "config.json").read_text() == (folder / "config.json").read_text()

    @pytest.mark.parametrize("loader", [DPRMForSequenceClassification, AutoModelForSequenceClassification])
    def test_full_precision_is_warned_of_and_the_remedy_is_right(
        self, loading, recorded, name, loader, adapter, warnings_of, batch, score
    ):
        model, folder = adapter(**loading)
        again, (warning,) = warnings_of(loader.from_pretrained, folder, dtype="float32")
        assert re.search(
            rf"trained on a base in {name}.*but the base is loaded in full precision \(float32\)", warning
        )
        assert not torch.equal(score(again, batch), score(model, batch))
        remedy = re.search(r"load with `([^`]+)`", warning)[1]
        options = eval(f"dict({remedy})", {"BitsAndBytesConfig": BitsAndBytesConfig})
        again, said = warnings_of(loader.from_pretrained, folder, **options)
        assert said == []
        assert torch.equal(score(again, batch), score(model, batch))

    def test_peft_s_own_way_is_warned_of_too(self, loading, recorded, name, adapter, base, warnings_of):
        _, folder = adapter(**loading)
        config = AutoConfig.from_pretrained(folder)
        _, said = warnings_of(DPRMForSequenceClassification.from_pretrained, base, config=config, dtype="float32")
        assert len(said) == 1

    def test_an_adapter_saved_again_keeps_it_and_a_merged_model_has_none(
        self, loading, recorded, name, adapter, warnings_of, tmp_path
    ):
        _, folder = adapter(**loading)
        DPRMForSequenceClassification.from_pretrained(folder, **loading).save_pretrained(tmp_path / "again")
        assert DPRMConfig.from_pretrained(tmp_path / "again").base_precision == recorded
        full = DPRMForSequenceClassification.from_pretrained(
            _base_of(folder),
            config=AutoConfig.from_pretrained(folder),
            dtype="float32",
        )
        PeftModel.from_pretrained(full, folder).merge_and_unload().save_pretrained(tmp_path / "merged")
        assert "base_precision" not in json.loads((tmp_path / "merged" / "config.json").read_text())
        _, said = warnings_of(DPRMForSequenceClassification.from_pretrained, tmp_path / "merged")
        assert said == []


def _base_of(folder):
    return json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]


def test_the_kind_of_4_bits_counts(adapter, warnings_of):
    _, folder = adapter(quantization_config=nf4(), dtype="float32")
    fp4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="fp4", bnb_4bit_compute_dtype="float32")
    _, (warning,) = warnings_of(
        DPRMForSequenceClassification.from_pretrained, folder, quantization_config=fp4, dtype="float32"
    )
    assert "in 4 bits (nf4, double quantisation, computing in float32; the rest in float32)" in warning
    assert "loaded in 4 bits (fp4, computing in float32; the rest in float32)" in warning
    flags = "`--load_in_4bit --bnb_4bit_quant_type nf4 --use_bnb_nested_quant --dtype float32`"
    assert warning.endswith(f"on the command line {flags}.")


def test_nothing_is_recorded_of_full_precision(adapter, warnings_of):
    _, folder = adapter(dtype="float32")
    assert "base_precision" not in json.loads((folder / "config.json").read_text())
    _, said = warnings_of(DPRMForSequenceClassification.from_pretrained, folder)
    assert said == []


def test_8_bit_forwards_do_not_say_at_every_layer_that_they_cast(base, batch, caplog):
    pytest.importorskip("bitsandbytes")
    model = DPRMForSequenceClassification.from_pretrained(base, quantization_config=int8(), dtype="float32", **THREE)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        model(**batch)
        logging.getLogger("bitsandbytes.autograd._functions").warning("another message")
    assert [record.getMessage() for record in caplog.records] == ["another message"]
