"""Responses, pairs with votes, and folds of whole clusters: what every method reads, the test votes apart."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import pandas as pd
from arguments import RecipeArguments
from transformers import AutoTokenizer

from trl_dprm.trainer.tokenization import TokenizationRule

VOTES = ["first_votes", "tie_votes", "second_votes"]
TARGETS = ["first_target", "tie_target", "second_target"]
SECRET = [*VOTES, *TARGETS, "gold"]
VALIDATION = -1  # the fold that is never trained on or tested


@dataclass
class PairData:
    """Pairs of responses as people judged them.

    Args:
        responses (`pd.DataFrame`): `response_id`, `prompt`, `completion`.
        pairs (`pd.DataFrame`):
            `pair_id`; `cluster`, what is kept together (the title, the prompt); `first` and `second`, response ids;
            `first_votes`, `tie_votes`, `second_votes`, what is evaluated; `first_target`, `tie_target`,
            `second_target`, the same as shares for training, where a graded judgment may be split; `gold`, 1 where
            the first response should win, -1 where the second should, 0 where neither.
        left_out (`dict[str, int]`): How many pairs were left out, by reason.
    """

    responses: pd.DataFrame
    pairs: pd.DataFrame
    left_out: dict[str, int]


Reader = Callable[[str, str], PairData]


def cluster_parts(clusters: pd.Series, validation_share: float, num_folds: int) -> dict[str, int]:
    """The fold of each cluster, `VALIDATION` for those of the validation part.

    In the order of BLAKE2b of their names the first are validation, the others go round the folds: a rule that needs
    no stored list and that no result can bend.

    Args:
        clusters (`pd.Series` of `str`): One per pair.
        validation_share (`float`): Share of the clusters, rounded, at least one.
        num_folds (`int`): Folds of the others.

    Raises:
        ValueError: if there are fewer tested clusters than folds.
    """
    names = sorted(clusters.unique(), key=lambda name: blake2b(name.encode(), digest_size=8).digest())
    num_validation = max(1, round(validation_share * len(names)))
    tested = names[num_validation:]
    if len(tested) < num_folds:
        raise ValueError(f"{len(tested)} clusters are left to test, fewer than {num_folds} folds: lower `num_folds`.")
    folds = {name: place % num_folds for place, name in enumerate(tested)}
    return dict.fromkeys(names[:num_validation], VALIDATION) | folds


def without_overlong(data: PairData, backbone: str, max_length: int) -> PairData:
    """Leave out the pairs with a text of more tokens than `max_length`: a response is never cut."""
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    lengths = data.responses.assign(length=[len(ids) for ids in token_ids(tokenizer, data.responses)])
    kept = set(lengths.loc[lengths["length"] <= max_length, "response_id"])
    fits = data.pairs["first"].isin(kept) & data.pairs["second"].isin(kept)
    left_out = data.left_out | {f"longer than {max_length} tokens": int((~fits).sum())}
    return PairData(lengths[lengths["length"] <= max_length], data.pairs[fits].reset_index(drop=True), left_out)


def token_ids(tokenizer, responses: pd.DataFrame) -> list[list[int]]:
    """The ids that `DPRMTrainer` trains on, so that every method reads the same."""
    rule = TokenizationRule()
    texts = zip(responses["prompt"], responses["completion"], strict=True)
    return [rule.token_ids(tokenizer, completion, prompt) for prompt, completion in texts]


def prepare(arguments: RecipeArguments, read: Reader) -> None:
    """Write responses, pairs without votes, and the votes of each fold in a file of its own, once per folder.

    A training opens the votes of every fold but its own. Only `read_test_votes` opens those, and only `table.py` calls
    it.
    """
    folder = Path(arguments.output_dir, "data")
    if (folder / "pairs.parquet").exists():
        return
    data = without_overlong(read(arguments.dataset, arguments.dataset_split), arguments.backbone, arguments.max_length)
    fold_of = cluster_parts(data.pairs["cluster"], arguments.validation_share, arguments.num_folds)
    pairs = data.pairs.assign(fold=data.pairs["cluster"].map(fold_of))
    folder.mkdir(parents=True, exist_ok=True)
    data.responses.to_parquet(folder / "responses.parquet", index=False)
    (folder / "left_out.json").write_text(json.dumps(data.left_out, indent=2) + "\n", encoding="utf-8")
    for fold, rows in pairs.groupby("fold"):
        rows[["pair_id", *SECRET]].to_parquet(_votes_file(arguments, fold), index=False)
    pairs.drop(columns=SECRET).to_parquet(folder / "pairs.parquet", index=False)  # last: now the folder is whole


def read_fold(arguments: RecipeArguments, seed: int) -> dict[str, pd.DataFrame]:
    """What the trainings of one seed may see.

    Returns:
        `dict[str, pd.DataFrame]`: `responses`; `train`, the pairs drawn for this seed, and `validation`, with votes;
        `test`, without.
    """
    folder, tested = Path(arguments.output_dir, "data"), seed % arguments.num_folds
    pairs = pd.read_parquet(folder / "pairs.parquet")
    others = [fold for fold in range(arguments.num_folds) if fold != tested]
    train = pd.concat([_with_votes(arguments, pairs, fold) for fold in others])
    return {
        "responses": pd.read_parquet(folder / "responses.parquet"),
        "train": train.sample(min(arguments.num_train_pairs, len(train)), random_state=seed),
        "validation": _with_votes(arguments, pairs, VALIDATION),
        "test": pairs[pairs["fold"] == tested].reset_index(drop=True),
    }


def read_test_votes(arguments: RecipeArguments, seed: int) -> pd.DataFrame:
    """The tested pairs of a seed's fold with their votes, in the order of `read_fold`."""
    pairs = pd.read_parquet(Path(arguments.output_dir, "data", "pairs.parquet"))
    return _with_votes(arguments, pairs, seed % arguments.num_folds)


def _with_votes(arguments, pairs, fold):
    votes = pd.read_parquet(_votes_file(arguments, fold))
    return pairs[pairs["fold"] == fold].merge(votes, on="pair_id", how="left", validate="one_to_one")


def _votes_file(arguments, fold):
    name = "validation" if fold == VALIDATION else f"fold-{fold}"
    return Path(arguments.output_dir, "data", f"votes-{name}.parquet")


def judged_responses(responses: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The responses that stand in these pairs, once each, by id: what is scored for a part."""
    judged = set(pairs["first"]) | set(pairs["second"])
    return responses[responses["response_id"].isin(judged)].sort_values("response_id").reset_index(drop=True)
