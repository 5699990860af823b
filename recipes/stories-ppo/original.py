"""The story model before any training: policy to start from, reference, and measure of fluency."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from arguments import RecipeArguments
from files import write_json
from prompts import make_prompts
from sampling import Samples, mean_log_probs, sample_completions
from tastes import fluency_bounds, story_traits
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase


@dataclass
class Original:
    """The model with its own completions of the `eval` prompts, the *reference samples* that rewards are scaled on.

    Args:
        model ([`~transformers.PreTrainedModel`]), tokenizer ([`~transformers.PreTrainedTokenizerBase`]): As loaded.
        prompts (`dict[str, list[str]]`): Openings of each part.
        samples ([`Samples`]): Reference samples, two per `eval` prompt.
        log_probs (`np.ndarray` of shape *(num_completions,)*): Of the reference samples, mean per token.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompts: dict[str, list[str]]
    samples: Samples
    log_probs: np.ndarray

    def traits(self, prompt_ids, completion_ids, completions, log_probs=None) -> dict[str, np.ndarray]:
        """Traits of any completions, their fluency by this model's log-probabilities; see `tastes.story_traits`."""
        if log_probs is None:
            log_probs = mean_log_probs(self.model, prompt_ids, completion_ids)
        return story_traits(completions, log_probs, fluency_bounds(self.log_probs))

    def traits_of(self, samples: Samples) -> dict[str, np.ndarray]:
        """Traits of samples."""
        return self.traits(samples.prompt_ids, samples.completion_ids, samples.completions)


def load_original(arguments: RecipeArguments) -> Original:
    """Load the model; its reference samples are drawn once per output folder, so that every process has the same."""
    model = AutoModelForCausalLM.from_pretrained(arguments.policy, dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(arguments.policy)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise ValueError(f"The tokenizer of {arguments.policy} needs a padding token other than its EOS token.")
    prompts = make_prompts()
    file = Path(arguments.output_dir, "reference_samples.json")
    if not file.exists():
        drawn = sample_completions(
            model, tokenizer, 2 * prompts["eval"], arguments.max_new_tokens, arguments.temperature, seed=0
        )
        log_probs = mean_log_probs(model, drawn.prompt_ids, drawn.completion_ids)
        write_json(file, {"samples": asdict(drawn), "log_probs": log_probs.tolist()})
    content = json.loads(file.read_text(encoding="utf-8"))
    return Original(model, tokenizer, prompts, Samples(**content["samples"]), np.array(content["log_probs"]))
