"""A tiny backbone, tiny data and a model that the command line trained on them."""

import json

import pytest
import yaml
from datasets import Dataset, DatasetDict
from tiny_models import tiny_stock_model
from tiny_runs import RUN, flags, judged_rows, pair_rows

from trl_dprm.cli import main


@pytest.fixture(scope="session")
def backbone(tmp_path_factory, tokenizer):
    """Folder of a tiny llama with its tokenizer."""
    folder = tmp_path_factory.mktemp("backbone")
    tiny_stock_model("llama").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def judged(tmp_path_factory):
    """Folder of a data set with category votes: 24 training and 9 test rows."""
    folder = tmp_path_factory.mktemp("judged")
    DatasetDict(train=Dataset.from_list(judged_rows(24, 0)), test=Dataset.from_list(judged_rows(9, 1))).save_to_disk(
        folder
    )
    return str(folder)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """JSONL file of pairs."""
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in pair_rows(12)))
    return str(file)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, backbone, judged):
    """Folder of an anchored model, trained by `trl-dprm train`."""
    folder = str(tmp_path_factory.mktemp("trained"))
    main(["train", *flags({"model_name_or_path": backbone, "dataset_name": judged, "output_dir": folder, **RUN})])
    return folder


@pytest.fixture(scope="session")
def trained_on_pairs(tmp_path_factory, backbone, pairs):
    """Folder of an unanchored model, trained by `trl-dprm train`."""
    folder = str(tmp_path_factory.mktemp("trained-on-pairs"))
    main(["train", *flags({"model_name_or_path": backbone, "dataset_name": pairs, "output_dir": folder, **RUN})])
    return folder


@pytest.fixture
def yaml_file(tmp_path):
    """Function (options) -> path of a YAML file with them."""

    def write(options):
        file = tmp_path / "options.yaml"
        file.write_text(yaml.safe_dump(options))
        return str(file)

    return write


@pytest.fixture
def failure(capsys):
    """Function (argv) -> exit code and what was printed to stderr."""

    def run(argv):
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(argv)
        return exit_.value.code, capsys.readouterr().err

    return run
