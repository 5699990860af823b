"""Names under which `datasets` caches prepared rows: another version of this package must not find its own there."""

from collections.abc import Mapping
from pathlib import Path

from datasets import Dataset
from datasets.fingerprint import Hasher


def prepared_fingerprint(dataset: Dataset, facts: Mapping, *files: str | Path) -> str:
    """The fingerprint of rows that code has prepared.

    `datasets` knows a function of a module by its name alone, and would take what older code cached for what this
    code makes.

    Args:
        dataset ([`~datasets.Dataset`]): What is prepared.
        facts (`dict`): All that the result depends on besides, such as the tokenizer.
        files (`str` or `Path`): The modules (`__file__`) that prepare.

    Returns:
        `str`: For `new_fingerprint` of [`~datasets.Dataset.map`].
    """
    return Hasher.hash([dataset._fingerprint, facts, content_of(files)])


def content_of(files):
    """The code itself (list of `bytes`)."""
    return [Path(file).read_bytes() for file in files]
