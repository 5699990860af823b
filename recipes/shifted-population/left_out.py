"""ConvAbuse without one of its annotators, who then arrives with new votes."""

import numpy as np
from arguments import RecipeArguments
from crowds import convabuse
from crowds.convabuse import JudgedTurns
from crowds.ratings import NO_VOTE, num_votes, target_counts
from crowds.training import Budget, JudgedTexts
from shift import NUM_EVALUATIONS, Shift


def annotators(arguments: RecipeArguments) -> list[str]:
    """Who is left out, one after the other.

    Raises:
        ValueError: for a name that is not among the annotators.
    """
    known = convabuse.read_turns(arguments.dataset, arguments.dataset_split).annotators
    unknown = sorted(set(arguments.left_out or []) - set(known))
    if unknown:
        raise ValueError(f"`left_out` holds {', '.join(unknown)}; the annotators are {', '.join(known)}.")
    return arguments.left_out or known


def left_out_shift(arguments: RecipeArguments, annotator: str, seed: int) -> Shift:
    """Old votes are the other annotators', new ones and those to foretell the left-out annotator's.

    Items of the training part that the annotator judged are kept out of training altogether: new votes fall on items
    that the model has not read with others' votes on them. Their order is drawn by the seed.
    """
    turns = convabuse.read_turns(arguments.dataset, arguments.dataset_split)
    training = turns.part("train")
    own = own_votes(training, annotator)
    pool = judged_by(training, annotator)
    order = np.random.default_rng(seed).permutation(len(pool.texts))
    test = judged_by(turns.part("test"), annotator)
    return Shift(
        name=f"{annotator}-seed-{seed}",
        categories=convabuse.CATEGORIES,
        train=votes_of_the_others(training.rows(own == NO_VOTE), annotator),
        validation=votes_of_the_others(turns.part("validation"), annotator),
        pool=JudgedTexts(pool.texts.iloc[order].reset_index(drop=True), pool.counts[order]),
        test_texts=test.texts,
        test_probs=test.counts,
        budget=Budget(
            arguments.convabuse_steps,
            arguments.convabuse_batch_size,
            arguments.convabuse_learning_rate,
            NUM_EVALUATIONS,
        ),
        backbone=arguments.backbone,
        seed=seed,
    )


def own_votes(turns: JudgedTurns, annotator: str) -> np.ndarray:
    """One annotator's ratings, shape *(num_items,)*."""
    return turns.ratings[:, turns.annotators.index(annotator)]


def judged_by(turns: JudgedTurns, annotator: str) -> JudgedTexts:
    """The items that the annotator judged, with that one vote."""
    own = own_votes(turns, annotator)
    judged = own != NO_VOTE
    return JudgedTexts(
        turns.texts[judged].reset_index(drop=True), target_counts(own[judged, None], len(convabuse.CATEGORIES))
    )


def votes_of_the_others(turns: JudgedTurns, annotator: str) -> JudgedTexts:
    """The items that others judged, with their votes alone."""
    others = np.delete(turns.ratings, turns.annotators.index(annotator), axis=1)
    judged = num_votes(others) > 0
    return JudgedTexts(
        turns.texts[judged].reset_index(drop=True), target_counts(others[judged], len(convabuse.CATEGORIES))
    )
