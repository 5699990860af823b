"""What is judged: each model as it is, and with what validation votes give it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from ..metrics.arrays import distribution_table
from ..preferences import fit_model_prior_strength
from .recalibration import has_temperature, recalibrated
from .reward_readout import fit_reward_readout


@dataclass(frozen=True)
class ItemPredictions:
    """What one model says of the items of a report.

    Args:
        category_probs (array of shape `(N, K)`): prediction for each item, rows sum to 1.
        prior_strength (`float`, *optional*): how many annotators the model is worth (`DPRMConfig.prior_strength`).
            Where validation votes are given it is fitted on them instead.
        validation_probs (array of shape `(M, K)`, *optional*): prediction for each validation item: a temperature and
            the prior strength are fitted on their votes.
    """

    category_probs: ArrayLike
    prior_strength: float | None = None
    validation_probs: ArrayLike | None = None


@dataclass(frozen=True)
class ItemRewards:
    """What a model that gives one number says of the items of a report: validation votes read out a distribution.

    Args:
        rewards (array of shape `(N,)`): of each item, in any unit.
        validation_rewards (array of shape `(M,)`): of each validation item: [`fit_reward_readout`] is fitted on their
            votes, and the prior strength of what it says.
    """

    rewards: ArrayLike
    validation_rewards: ArrayLike


@dataclass(frozen=True)
class ModelForm:
    """A model as it is, recalibrated, or read out.

    Args:
        name (`str`): of the model.
        temperature (`float`, *optional*): what the logits are divided by, fitted on validation votes; `None` for the
            model as it is.
        read_out (`bool`): whether its distributions were read out of rewards, by validation votes.
    """

    name: str
    temperature: float | None
    read_out: bool

    @property
    def title(self) -> str:
        """What sentences, tables and figures call it."""
        if self.read_out:
            return f"{self.name}, read out"
        return self.name if self.temperature is None else f"{self.name}, recalibrated"

    @property
    def is_fitted(self) -> bool:
        """Whether validation votes have had a say in the distributions."""
        return self.read_out or self.temperature is not None


@dataclass(frozen=True)
class Subject(ModelForm):
    """A model before it is measured.

    Args:
        name, temperature, read_out: As in [`ModelForm`].
        category_probs (`np.ndarray` of shape `(N, K)`): What is judged.
        prior_strength (`float`, *optional*), prior_strength_source (`str`): How many annotators it is worth.
        validation_probs (`np.ndarray` of shape `(M, K)`, *optional*): Of the validation items.
    """

    category_probs: np.ndarray
    prior_strength: float | None
    prior_strength_source: str
    validation_probs: np.ndarray | None = None


def shown_forms(models: Sequence[ModelForm]) -> list[ModelForm]:
    """What stands beside each other in figures and tables of groups: like beside like.

    An only model in all its forms; several as they are; but where one has no form without the help of validation
    votes, every one with it.

    Args:
        models (sequence of [`ModelForm`]): of a report.

    Example:

    >>> models = [ModelForm("ours", None, False), ModelForm("ours", 1.2, False), ModelForm("bt", None, True)]
    >>> [model.title for model in shown_forms(models)]
    ['ours, recalibrated', 'bt, read out']
    """
    if len({model.name for model in models}) == 1:
        return list(models)
    if not any(model.read_out for model in models):
        return [model for model in models if not model.is_fitted]
    fitted = {model.name for model in models if model.is_fitted}
    return [model for model in models if model.is_fitted or model.name not in fitted]


class Firsts(NamedTuple):
    """What others are compared with, of shape `(N, K)`.

    Attributes:
        raw (`np.ndarray`): The first model's predictions, as they are.
        fitted (`np.ndarray`, *optional*): The same with what validation votes give them, if anything.
    """

    raw: np.ndarray
    fitted: np.ndarray | None

    @classmethod
    def of(cls, subjects: Sequence[Subject]) -> Self:
        """From all forms of all models, the first model's ahead."""
        first = subjects[0]
        tables = [
            distribution_table("category_probs", subject.category_probs)
            for subject in subjects
            if subject is first or (subject.name == first.name and subject.is_fitted)
        ]
        return cls(tables[0], tables[-1] if len(tables) > 1 or first.is_fitted else None)


def subjects_of(
    models: Mapping[str, ItemPredictions | ItemRewards | ArrayLike], validation_counts: ArrayLike | None
) -> list[Subject]:
    """Each model as it is and, where there are validation votes, with a temperature fitted on them; or read out.

    Args:
        models, validation_counts: As in [`item_report`].

    Raises:
        ValueError: for rewards without validation votes.
    """
    return [subject for given in models.items() for subject in _of_model(*given, validation_counts)]


def without_temperature(subjects: Sequence[Subject]) -> list[str]:
    """Which models have no recalibrated form although there were validation votes, in a sentence.

    Args:
        subjects (sequence of [`Subject`]): Of a report.
    """
    fitted = {subject.name for subject in subjects if subject.is_fitted}
    names = [
        subject.name for subject in subjects if subject.validation_probs is not None and subject.name not in fitted
    ]
    if not names:
        return []
    return [
        f"No temperature was fitted for {', '.join(names)}: all validation votes are for one category, or each is for "
        "the category that the model calls most probable."
    ]


def _of_model(name: str, predictions: ItemPredictions | ItemRewards | ArrayLike, validation_counts) -> list[Subject]:
    if isinstance(predictions, ItemRewards):
        return [_read_out(name, predictions, validation_counts)]
    if not isinstance(predictions, ItemPredictions):
        predictions = ItemPredictions(predictions)
    probs = np.asarray(predictions.category_probs, dtype=np.float64)
    if validation_counts is None or predictions.validation_probs is None:
        source = "stored with the model" if predictions.prior_strength is not None else "not known"
        return [Subject(name, None, False, probs, predictions.prior_strength, source)]
    validation = np.asarray(predictions.validation_probs, dtype=np.float64)
    as_it_is = Subject(name, None, False, probs, *_fitted_strength(validation, validation_counts), validation)
    if not has_temperature(validation, validation_counts):
        return [as_it_is]
    after, validation_after, temperature = recalibrated(probs, validation, validation_counts)
    return [
        as_it_is,
        Subject(
            name, temperature, False, after, *_fitted_strength(validation_after, validation_counts), validation_after
        ),
    ]


def _read_out(name: str, predictions: ItemRewards, validation_counts: ArrayLike | None) -> Subject:
    """Distributions of a model that has none of its own."""
    if validation_counts is None:
        raise ValueError(
            f"`{name}` gives one number for an item, and without validation votes nothing says which distribution "
            "goes with it. Give validation_counts."
        )
    readout = fit_reward_readout(predictions.validation_rewards, validation_counts)
    probs, validation = map(readout.category_probs, (predictions.rewards, predictions.validation_rewards))
    return Subject(name, None, True, probs, *_fitted_strength(validation, validation_counts), validation)


def _fitted_strength(validation_probs: np.ndarray, validation_counts: ArrayLike) -> tuple[float | None, str]:
    """How many annotators the model is worth by the validation votes, `None` where these cannot tell."""
    try:
        estimate = fit_model_prior_strength(validation_probs, validation_counts)
    except ValueError as error:
        return None, f"not known: {error}"
    if estimate.boundary is not None:
        return None, f"the validation votes put it at {estimate.boundary}"
    return estimate.prior_strength, "fitted on validation votes"
