"""What a reader is shown of a row, if texts are to be shown."""

from collections.abc import Sequence

from datasets import Dataset

from ..trainer.rows import response_columns


def response_texts(dataset: Dataset, rows: Sequence[int], sides: Sequence[int]) -> list[str]:
    """The text of each response, the prompt before it.

    Args:
        dataset ([`~datasets.Dataset`]): In the columns that training takes.
        rows (sequence of `int`): Which rows.
        sides (sequence of `int`): 0 for the single or the chosen response, 1 for the rejected one.

    Returns:
        `list[str]`, as many; a response given as token ids is called so.
    """
    texts = []
    for row, side in zip(rows, sides, strict=True):
        example = {name: value for name, value in dataset[int(row)].items() if value is not None}
        column = response_columns(example, int(row))[side]
        prompt = "" if column in ("messages", "text") else _plain(example.get("prompt", ""))
        response = "(given as token ids)" if column.endswith("ids") else _plain(example[column])
        texts.append(f"{prompt} {response}".strip())
    return texts


def _plain(text) -> str:
    """A conversation as one line per message."""
    if isinstance(text, str):
        return text
    return "\n".join(f"{message['role']}: {message.get('content', '')}" for message in text)
