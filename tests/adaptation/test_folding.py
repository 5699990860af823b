"""Maps folded into heads: the model's probabilities are the map's, after saving, reloading and stock loading too."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy.special import softmax
from tiny_models import tiny_config, tiny_stock_model
from torch import nn
from transformers import AutoModelForSequenceClassification, DebertaV2Config, DistilBertConfig, RobertaConfig

from trl_dprm import DPRMConfig, DPRMForSequenceClassification
from trl_dprm.adaptation import LogitMap, fold_logit_map, last_linear

REWARDS = [-1.0, 0.25, 2.0]
ROWS = torch.tensor([[5, 9, 30, 31, 200, 77, 8, 3], [6, 90, 91, 4, 9, 12, 55, 7]])
SMALL = {
    "vocab_size": 260,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
OTHERS = {
    "roberta": lambda: RobertaConfig(**SMALL, max_position_embeddings=40),
    "deberta-v2": lambda: DebertaV2Config(**SMALL),
    "distilbert": lambda: DistilBertConfig(vocab_size=260, dim=32, n_layers=1, n_heads=2, hidden_dim=32),
}
LAYERS = {
    "llama": "score",
    "gpt2": "score",
    "bert": "classifier",
    "modernbert": "classifier",
    "roberta": "classifier.out_proj",
    "deberta-v2": "classifier",
    "distilbert": "classifier",
}
MATRIX = np.array([[1.2, -0.3, 0.1], [0.0, 0.7, 0.3], [0.4, 0.1, 0.5]])
BIAS = np.array([0.5, -1.0, 0.25])


def make(backbone):
    text_config = OTHERS[backbone]() if backbone in OTHERS else tiny_config(backbone)
    torch.manual_seed(0)
    model = DPRMForSequenceClassification(DPRMConfig(text_config, category_rewards=REWARDS, prior_strength=7.0))
    linear = model.get_submodule(LAYERS[backbone])
    with torch.no_grad():
        linear.weight.mul_(20)
        if linear.bias is not None:
            linear.bias.copy_(torch.tensor([0.8, -0.4, 0.1]))
    return model.eval()


def category_logits(model):
    with torch.no_grad():
        return model(ROWS, attention_mask=torch.ones_like(ROWS)).category_logits.double().numpy()


def map_for(model):
    _, linear = last_linear(model)
    return LogitMap(MATRIX, BIAS if linear.bias is not None else np.zeros(3))


@pytest.mark.parametrize("backbone", LAYERS)
def test_the_reloaded_model_has_the_mapped_probabilities(backbone, tmp_path):
    model = make(backbone)
    name, linear = last_linear(model)
    assert name == LAYERS[backbone] and linear.out_features == 3
    logit_map = map_for(model)
    expected = logit_map.probs(category_logits(model))
    assert np.abs(expected - softmax(category_logits(model), axis=1)).max() > 0.05
    fold_logit_map(model, logit_map)
    model.save_pretrained(tmp_path)
    reloaded = DPRMForSequenceClassification.from_pretrained(tmp_path).eval()
    np.testing.assert_allclose(softmax(category_logits(reloaded), axis=1), expected, rtol=0, atol=1e-6)
    with torch.no_grad():
        rewards = AutoModelForSequenceClassification.from_pretrained(tmp_path)(ROWS).logits[:, 0]
    np.testing.assert_allclose(rewards, expected @ REWARDS, rtol=0, atol=5e-6)
    assert reloaded.config.prior_strength is None


def test_the_prior_strength_of_the_mapped_model_can_be_given():
    model = make("bert")
    fold_logit_map(model, map_for(model), prior_strength=3.5)
    assert model.config.prior_strength == 3.5


def test_a_bfloat16_backbone_keeps_its_float32_head(tmp_path):
    make("bert").save_pretrained(tmp_path)
    model = DPRMForSequenceClassification.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    expected = map_for(model).probs(category_logits(model))
    fold_logit_map(model, map_for(model))
    assert model.classifier.weight.dtype == torch.float32
    np.testing.assert_allclose(softmax(category_logits(model), axis=1), expected, rtol=0, atol=1e-6)


def test_as_many_categories_as_hidden_units_do_not_confuse():
    text_config = tiny_config("modernbert", hidden_size=32)
    model = DPRMForSequenceClassification(DPRMConfig(text_config, category_rewards=[float(k) for k in range(32)]))
    assert last_linear(model)[0] == "classifier"


def test_a_head_without_biases_takes_none_and_the_remedy_is_named():
    model = make("llama")
    before = model.score.weight.clone()
    with pytest.raises(
        ValueError, match=r"`score` of this backbone has no bias.*`--map temperature`, or `--map matrix`"
    ):
        fold_logit_map(model, LogitMap(np.eye(3), BIAS))
    assert torch.equal(model.score.weight, before) and model.config.prior_strength == 7.0
    fold_logit_map(model, LogitMap(np.eye(3), [2.0, 2.0, 2.0]))  # one number for all changes no probability


@pytest.mark.parametrize(
    "lora", [{"modules_to_save": ["score"], "target_modules": ["q_proj"]}, {"target_modules": ["score"]}]
)
def test_a_head_of_an_adapter_is_refused(lora):
    model = make("llama")
    get_peft_model(model, LoraConfig(r=2, **lora))
    with pytest.raises(ValueError, match="belongs to an adapter.*Merge first: `trl-dprm merge"):
        fold_logit_map(model, LogitMap.identity(3))


def test_a_quantised_head_is_refused():
    model = make("bert")
    model.classifier.weight = nn.Parameter(model.classifier.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match="`classifier` is quantised: load the model in full precision"):
        fold_logit_map(model, LogitMap.identity(3))


def test_a_head_that_ends_in_no_linear_layer_is_refused():
    model = make("bert")
    model.classifier = nn.Sequential(nn.Linear(32, 4), nn.Tanh())
    with pytest.raises(ValueError, match=r"BertConfig \(classifier\) ends in no linear layer of 3 outputs"):
        fold_logit_map(model, LogitMap.identity(3))


def test_a_map_of_other_categories_is_refused():
    with pytest.raises(ValueError, match="The map is of 4 categories and the head `classifier` of 3"):
        fold_logit_map(make("bert"), LogitMap.identity(4))


def test_the_stock_classifier_of_the_same_tensors_agrees():
    model = make("bert")
    expected = map_for(model).probs(category_logits(model))
    fold_logit_map(model, map_for(model))
    stock = tiny_stock_model("bert", "classifier", num_labels=3)
    stock.load_state_dict(model.state_dict())
    with torch.no_grad():
        logits = stock(ROWS, attention_mask=torch.ones_like(ROWS)).logits
    np.testing.assert_allclose(logits.softmax(1).numpy(), expected, rtol=0, atol=1e-6)
