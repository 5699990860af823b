"""Streams of several shards over several processes, which must not wait for each other."""

from accelerate.utils import gather_object
from datasets import IterableDataset


def check_one_shard(stream: IterableDataset, name: str, num_processes: int) -> None:
    """Refuse to evaluate on several processes what they would read in unequal parts: they would wait for each other.

    Args:
        stream ([`~datasets.IterableDataset`]): For evaluation.
        name (`str`): What the message calls it.
        num_processes (`int`): Of the run.

    Raises:
        ValueError: for a stream of several shards, if there are several processes.
    """
    if num_processes > 1 and stream.num_shards > 1:
        raise ValueError(
            f"The {name} dataset is a stream of {stream.num_shards} shards, which {num_processes} processes would "
            "read in unequal parts. Evaluate on a map-style dataset, on a stream of one shard, or on one process."
        )


def endless_shares(stream: IterableDataset, num_processes: int, process_index: int) -> IterableDataset:
    """Let every process read its share of a training stream again and again, for as long as the run lasts.

    accelerate deals a stream of at least as many shards as processes out by shards. A process that came to the end of
    a smaller share within an optimizer step would leave the others waiting for its part of that step. Repeated shares
    have no end: the run ends after `max_steps`, which a stream needs anyway. Rows of small shares are seen more often.

    Args:
        stream ([`~datasets.IterableDataset`]): For training.
        num_processes, process_index (`int`): Of the run, and the place of this process in it.

    Returns:
        [`~datasets.IterableDataset`]; the stream itself where every process reads all of it.

    Raises:
        ValueError: on all processes, if the share of one has no rows.
    """
    if num_processes == 1 or stream.num_shards < num_processes:
        return stream
    first = next(iter(stream.shard(num_processes, process_index)), None)
    has_rows = gather_object([first is not None])
    if not all(has_rows):
        raise ValueError(
            f"The train dataset is a stream of {stream.num_shards} shards for {num_processes} processes, and the "
            f"shards of process {has_rows.index(False)} have no rows (that fit `max_length`). Spread the rows over "
            "the shards, or train on fewer processes."
        )
    return stream.repeat(None)
