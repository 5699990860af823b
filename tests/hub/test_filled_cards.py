"""`model_cards/` holds the card that each recipe's run wrote, with its figures."""

import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

ROOT = Path(__file__).parents[2]
MEASURING = {"parity"}  # makes tiny models to measure, and keeps none


def recipes_that_make_a_model():
    files = (ROOT / "recipes").glob("*/*.py")
    return {file.parent.name for file in files if ".save_model(" in file.read_text(encoding="utf-8")} - MEASURING


def card_folders():
    return sorted(file.parent for file in (ROOT / "model_cards").glob("*/README.md"))


def test_every_recipe_that_makes_a_model_has_one():
    assert {"convabuse-minilm", "quickstart", "stories-ppo"} <= recipes_that_make_a_model()
    assert {folder.name for folder in card_folders()} == recipes_that_make_a_model()


def test_how_each_was_written_is_told():
    text = (ROOT / "model_cards" / "README.md").read_text(encoding="utf-8")
    assert all(f"| [`{folder.name}`]({folder.name}) |" in text for folder in card_folders())


@pytest.mark.parametrize("folder", card_folders(), ids=lambda folder: folder.name)
class TestCard:
    def test_it_has_what_the_hub_indexes(self, folder):
        card = ModelCard.load(folder / "README.md")
        assert card.data.pipeline_tag in ("text-classification", "text-generation")
        assert {"dprm", "trl", "trl_dprm"} <= set(card.data.tags)
        if card.data.pipeline_tag == "text-classification":
            assert {result.metric_type for result in card.data.eval_results} >= {"loss", "nats_per_vote"}
            assert "## Categories" in card.text and "| 1 |" in card.text

    def test_its_figures_lie_beside_it(self, folder):
        text = (folder / "README.md").read_text(encoding="utf-8")
        linked = re.findall(r"!\[.*?\]\((.*?)\)", text)
        assert {file.name for file in folder.iterdir()} == {"README.md", *linked}
        assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in linked)
        if "text-classification" in text:
            assert "calibration.png" in linked

    def test_no_path_of_a_machine_is_in_it(self, folder):
        assert not re.search(r"(?<![\w.:/])/(?:home|root|tmp|work|Users)/", (folder / "README.md").read_text())
