"""The description of a distributional preference reward model. It travels to the Hub beside the weights."""

import math
from numbers import Real

from transformers import AutoConfig, PretrainedConfig

from .rope_dprm import check_rope_is_read, rope_for_transformers_4

LIKERT_CATEGORY_NAMES = ("strongly disagree", "disagree", "neutral", "agree", "strongly agree")
LIKERT_CATEGORY_REWARDS = (-1.0, -0.5, 0.0, 0.5, 1.0)

AUTO_MAP = {
    "AutoConfig": "configuration_dprm.DPRMConfig",
    "AutoModel": "modeling_dprm.DPRMForSequenceClassification",
    "AutoModelForSequenceClassification": "modeling_dprm.DPRMForSequenceClassification",
}
OWN_FIELDS = (
    "category_names",
    "category_rewards",
    "ground_cost",
    "bradley_terry_scale",
    "prior_strength",
    "anchored",
    "tokenization",
    "base_precision",
)
"""What a DPRM's `config.json` holds beside the backbone's description and transformers' own fields."""
DUAL_KEY = "dprm"
"""Where `config.json` of a folder that is also a stock classifier (`trl-dprm export --dual`) keeps the DPRM's part."""


class DPRMConfig(PretrainedConfig):
    r"""Configuration of a [`DPRMForSequenceClassification`]: a backbone and the preference categories on top of it.

    It describes a *model* and is saved in `config.json`; a training run is described by [`DPRMTrainingArguments`].
    To every consumer that knows nothing of categories the model is a regression with the one label
    `"expected_reward"`; the number of categories is `len(category_rewards)`.

    Args:
        text_config (`PretrainedConfig` or `dict`, *optional*):
            Configuration of the backbone: any model that transformers has a sequence classifier for. `None` is allowed
            because transformers builds empty configurations to compare with; no model can be made from it.
        category_names (`list[str]`, *optional*):
            One distinct name per category. Defaults to five Likert categories, or to `category_1 … category_K` where
            only `category_rewards` is given.
        category_rewards (`list[float]`, *optional*):
            Reward of each category, finite, in any order, ties allowed. Defaults to −1, −0.5, 0, 0.5, 1.
        ground_cost (`str` or `list[list[float]]`, *optional*, defaults to `"rewards"`):
            What it costs to move one unit of probability from one category to another: `"rewards"` (distance between
            their rewards), `"ranks"` (distance between their places in the list), or a *(num_categories,
            num_categories)* matrix, non-negative with a zero diagonal.
        bradley_terry_scale (`float`, *optional*, defaults to 1.0):
            κ > 0 in `P(chosen beats rejected) = σ(κ · (expected reward difference))`, fitted in training.
        prior_strength (`float`, *optional*):
            How many annotators the model's distribution is worth as a Dirichlet prior; fitted on validation votes.
            `None` where it was not fitted.
        anchored (`bool`, *optional*, defaults to `False`):
            Whether the model was trained on category votes. Pairs alone do not identify the categories.
        tokenization (`dict`, *optional*):
            The rule from text to token ids used in training: `add_special_tokens` (`bool`), `append_eos` (`bool`),
            `max_length` (`int` or `None`). `None` where the model was not trained by [`DPRMTrainer`].
        base_precision (`dict`, *optional*):
            Of an adapter: the precision of the base that it was trained on, such as `{"bits": 4, "quant_type": "nf4",
            "double_quant": True, "compute_dtype": "float32", "dtype": "float32"}`, `{"bits": 8, "threshold": 6.0,
            "dtype": "float32"}` or `{"dtype": "bfloat16"}`. `None` for float32, of full models, and where it was not
            trained by [`DPRMTrainer`]. Loading on a base in another precision warns.
        kwargs:
            Arguments of [`~transformers.PretrainedConfig`].

    Raises:
        ValueError: if names and rewards differ in length or a value is out of its range; the message names it.

    Example:

    ```python
    >>> from transformers import LlamaConfig
    >>> from trl_dprm import DPRMConfig
    >>> config = DPRMConfig(LlamaConfig(), category_names=["bad", "fair", "good"], category_rewards=[-1.0, 0.0, 1.0])
    >>> config.num_categories, config.num_labels, config.id2label
    (3, 1, {0: 'expected_reward'})
    >>> config.cost_matrix
    [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]

    ```
    """

    model_type = "dprm"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012
    is_composition = True

    def __init__(
        self,
        text_config=None,
        category_names=None,
        category_rewards=None,
        ground_cost="rewards",
        bradley_terry_scale=1.0,
        prior_strength=None,
        anchored=False,
        tokenization=None,
        base_precision=None,
        **kwargs,
    ):
        if category_rewards is None:
            if category_names is not None and len(category_names) != len(LIKERT_CATEGORY_REWARDS):
                raise ValueError(
                    f"`category_names` has {len(category_names)} names but `category_rewards` is missing; the default "
                    f"rewards are for {len(LIKERT_CATEGORY_REWARDS)} Likert categories. Pass one reward per name."
                )
            category_names = category_names or LIKERT_CATEGORY_NAMES
            category_rewards = LIKERT_CATEGORY_REWARDS
        elif category_names is None:
            category_names = [f"category_{k + 1}" for k in range(len(category_rewards))]
        self.category_names = [str(name) for name in category_names]
        self.category_rewards = _finite_floats("category_rewards", category_rewards)
        self.ground_cost = ground_cost if isinstance(ground_cost, str) else [list(row) for row in ground_cost]
        self.bradley_terry_scale = bradley_terry_scale
        self.prior_strength = prior_strength
        self.anchored = anchored
        self.tokenization = tokenization
        self.base_precision = base_precision
        self.check_categories()

        if isinstance(text_config, dict):
            description = text_config
            text_config = AutoConfig.for_model(**description)
            check_rope_is_read(type(text_config), description)
        if text_config is not None:
            text_config.id2label = dict(enumerate(self.category_names))
            text_config.label2id = {name: k for k, name in enumerate(self.category_names)}
            text_config.problem_type = "single_label_classification"  # softmax, also for a regression's backbone
        self.text_config = text_config

        if kwargs.pop("num_labels", 1) != 1:
            raise ValueError(
                "`num_labels` of a DPRM is always 1 (the expected reward). The number of categories is the length of "
                "`category_rewards`."
            )
        kwargs.update(
            id2label={0: "expected_reward"},
            label2id={"expected_reward": 0},
            problem_type="regression",
            auto_map=AUTO_MAP,
        )
        super().__init__(**kwargs)

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        """As in transformers; of a folder that is also a stock classifier, the DPRM that it is."""
        content, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if DUAL_KEY not in content:
            return content, kwargs
        own = {name: content.pop(name, None) for name in (DUAL_KEY, "auto_map", "dtype")}
        return {
            **dprm_fields(own[DUAL_KEY]),
            "model_type": cls.model_type,
            "dtype": own["dtype"],
            "text_config": content,
        }, kwargs

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """As in transformers, but what is given beside the file is checked together with it.

        Raises:
            ValueError: for the description of another kind of model, and for values that do not fit each other.
        """
        described = config_dict.get("model_type", cls.model_type)
        if described != cls.model_type:
            raise ValueError(
                f"This is the configuration of a model of type `{described}`, not of a DPRM: its categories and their "
                "rewards are not in it. Use the DPRM's own folder (of an export, that which was exported), or make a "
                "new one, `DPRMConfig(text_config, category_names=..., category_rewards=...)`."
            )
        given = {name: kwargs.pop(name) for name in OWN_FIELDS if name in kwargs}
        given = {name: value for name, value in given.items() if value is not None}
        return super().from_dict({**config_dict, **given}, **kwargs)

    @property
    def num_categories(self):
        """Number of preference categories K (`int`)."""
        return len(self.category_rewards)

    @property
    def category_positions(self):
        """Position of each category on a line (`list[float]` of length K), `None` for an explicit cost matrix."""
        if self.ground_cost == "rewards":
            return list(self.category_rewards)
        if self.ground_cost == "ranks":
            return [float(k) for k in range(self.num_categories)]
        return None

    @property
    def cost_matrix(self):
        """Cost of moving one unit of probability from category i to j (`list[list[float]]`, K × K)."""
        positions = self.category_positions
        if positions is None:
            return [list(row) for row in self.ground_cost]
        return [[abs(a - b) for b in positions] for a in positions]

    def to_dict(self):
        """The configuration as a `dict`, with RoPE also spelt as transformers 4 reads it.

        Where the backbone came from, perhaps a folder of this machine, is left out, as transformers does of the whole.
        """
        content = super().to_dict()
        if content.get("base_precision") is None:
            content.pop("base_precision", None)  # it is of adapters alone
        backbone = content.get("text_config") or {}
        backbone.pop("_name_or_path", None)
        rope_parameters = backbone.get("rope_parameters")
        if rope_parameters:
            backbone |= rope_for_transformers_4(backbone["model_type"], rope_parameters) or {}
        return content

    def check_categories(self):
        """Refuse values that are out of their range or do not fit each other, such as after a change by hand.

        Raises:
            ValueError: naming the field.
        """
        names, rewards = self.category_names, self.category_rewards
        if len(names) != len(rewards):
            raise ValueError(
                f"`category_names` has {len(names)} entries and `category_rewards` has {len(rewards)}: each category "
                "needs one name and one reward."
            )
        if len(names) < 2:
            raise ValueError(f"A distribution needs at least two categories, got {len(names)}: {names}.")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"`category_names` must be distinct, but {repeated} occur more than once.")
        if isinstance(self.ground_cost, str):
            if self.ground_cost not in ("rewards", "ranks"):
                raise ValueError(
                    f'`ground_cost` is "rewards", "ranks" or a {len(names)} × {len(names)} matrix, got '
                    f'"{self.ground_cost}".'
                )
        else:
            self.ground_cost = _checked_cost_matrix(self.ground_cost, len(names))
        if not (_is_finite(self.bradley_terry_scale) and self.bradley_terry_scale > 0):
            raise ValueError(f"`bradley_terry_scale` must be positive and finite, got {self.bradley_terry_scale}.")
        if self.prior_strength is not None and not (_is_finite(self.prior_strength) and self.prior_strength > 0):
            raise ValueError(
                f"`prior_strength` is a positive number of annotators or None, got {self.prior_strength}."
            )


def dprm_fields(dual):
    """Arguments of [`DPRMConfig`] in what a dual folder's `config.json` holds under `DUAL_KEY` (`dict`)."""
    return {name: value for name, value in dual.items() if name != "not_for_trainers"}


def _is_finite(value):
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _finite_floats(name, values):
    for k, value in enumerate(values):
        if not _is_finite(value):
            raise ValueError(f"`{name}[{k}]` must be a finite number, got {value!r}.")
    return [float(value) for value in values]


def _checked_cost_matrix(cost, num_categories):
    if len(cost) != num_categories or any(len(row) != num_categories for row in cost):
        shape = f"{len(cost)} rows of lengths {sorted({len(row) for row in cost})}"
        raise ValueError(f"`ground_cost` must be a {num_categories} × {num_categories} matrix, got {shape}.")
    for i, row in enumerate(cost):
        for j, value in enumerate(row):
            if not _is_finite(value) or value < 0:
                raise ValueError(f"`ground_cost[{i}][{j}]` must be a non-negative finite number, got {value!r}.")
            if i == j and value != 0:
                raise ValueError(f"`ground_cost[{i}][{i}]` must be 0: staying in a category is free. Got {value}.")
    return [[float(value) for value in row] for row in cost]
