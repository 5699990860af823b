"""`trl-dprm export`: a trained model as a stock classifier that vLLM and TEI can serve."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from trl import ModelConfig

from ..hub.export import NOT_FOR_TRAINERS, export_classifier
from ..hub.stored_dprm import stored_config
from ..trainer.reading import naming_source
from .parsing import CommandParser, errors_as_messages, option_of


@dataclass
class ExportArguments:
    """What is exported, and where to."""

    model: str = field(metadata={"help": "PATH|HUB_ID of a trained model; merge an adapter first (`trl-dprm merge`)."})
    output: str = field(metadata={"help": "Folder to write; it must not exist, or be empty."})
    dual: bool = field(
        default=False,
        metadata={
            "help": "Put the reward model into the same folder, for who loads it with `trust_remote_code=True`. Not "
            "for trainers: without that they would silently train on the first category."
        },
    )
    revision: str = option_of(ModelConfig, "model_revision")
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that lies beside the tokenizer."})


def main(argv: Sequence[str] | None = None) -> None:
    """Write the classifier and say what its labels are."""
    parser = CommandParser(
        "export", "Write a model as a stock classifier with one label per category.", (ExportArguments,)
    )
    (arguments,) = parser.parse(argv)
    with errors_as_messages("export"):
        with naming_source(arguments.model, "model (`--model`)"):
            folder = export_classifier(
                arguments.model,
                arguments.output,
                dual=arguments.dual,
                revision=arguments.revision,
                trust_remote_code=arguments.trust_remote_code,
            )
        config = stored_config(arguments.model, arguments.revision)
        rewards = zip(config.category_names, config.category_rewards, strict=True)
        print(f"Labels and their rewards: {', '.join(f'{name} {reward:g}' for name, reward in rewards)}")
        if not config.anchored:
            print(
                "The model was trained on pairs alone (it is not anchored): its probabilities mean nothing beyond "
                "their expected reward."
            )
        if arguments.dual:
            print(NOT_FOR_TRAINERS)
        print(f"Classifier: {folder} (README.md says how its probabilities become rewards)")


if __name__ == "__main__":
    main()
