"""Prompts of a PPO run: as text or token ids, and what is refused of them before the first rollout."""

import pytest
from datasets import Dataset, DatasetDict, IterableDataset
from tiny_arguments import arguments
from tiny_models import VOCAB_SIZE, tiny_stock_model

from trl_dprm.ppo import prompts
from trl_dprm.ppo.prompts import context_length, prepare_prompts
from trl_dprm.trainer import fingerprint

pytestmark = pytest.mark.usefixtures("process_state")

BOS, EOS, PAD = 1, 2, 0


@pytest.fixture
def prepared(policy, tokenizer, tmp_path):
    """Function (rows or dataset, name="train", processing_class=None, tools=None, **options) -> prepared dataset."""

    def prepare(dataset, name="train", processing_class=None, tools=None, **options):
        if isinstance(dataset, list):
            dataset = Dataset.from_list(dataset)
        processing_class = tokenizer if processing_class is None else processing_class
        return prepare_prompts(dataset, name, processing_class, policy, arguments(tmp_path, **options), tools)

    return prepare


def texts(*prompts):
    return [{"prompt": prompt} for prompt in prompts]


def tokenised(*rows):
    return [{"input_ids": row} for row in rows]


def stream(rows):
    return IterableDataset.from_generator(lambda: iter(rows))


class TestPrompts:
    def test_text_and_messages_come_back_as_they_are(self, prepared):
        messages = [[{"role": "user", "content": word}] for word in ("one", "two")]
        for rows in (texts("one", "two"), texts(*messages)):
            assert prepared(rows).to_list() == rows

    def test_other_columns_stay_for_the_reward_functions(self, prepared):
        rows = [{"prompt": "one", "answer": 1}, {"prompt": "two", "answer": 2}]
        assert prepared(rows).to_list() == rows

    def test_no_dataset_is_trl_s_to_judge(self, prepared):
        assert prepared(None) is None

    def test_several_evaluation_sets(self, prepared):
        sets = DatasetDict(a=Dataset.from_list(tokenised([9, 8])), b=Dataset.from_list(texts("one")))
        prepared_sets = prepared(sets, name="eval")
        assert isinstance(prepared_sets, DatasetDict)
        assert prepared_sets["a"]["input_ids"][0] == [9, 8]

    def test_what_another_version_cached_is_not_taken_for_ours(self, prepared, tmp_path, monkeypatch):
        """`datasets` knows a function of a module by its name, so that old code's rows would come back."""
        Dataset.from_list(tokenised([PAD, 9, 8], [PAD, PAD, 7])).save_to_disk(tmp_path / "saved")
        ours = prompts.prepare_ids

        def prepare_ids_of_another_version(batch, rows, **reading):
            return {name: values[::-1] for name, values in ours(batch, rows, **reading).items()}

        other = prepare_ids_of_another_version
        other.__module__, other.__qualname__, other.__name__ = prompts.__name__, "prepare_ids", "prepare_ids"
        with monkeypatch.context() as patched:
            patched.setattr(prompts, "prepare_ids", other)
            patched.setattr(fingerprint, "content_of", lambda files: "another version")
            assert prepared(Dataset.load_from_disk(tmp_path / "saved"))["input_ids"][:] == [[7], [9, 8]]
            assert list((tmp_path / "saved").glob("cache-*.arrow"))
        assert prepared(Dataset.load_from_disk(tmp_path / "saved"))["input_ids"][:] == [[9, 8], [7]]

    def test_ids_get_their_text(self, prepared, tokenizer):
        ids = [tokenizer(text)["input_ids"] for text in ("once", "upon a time")]
        assert ids[0][0] == BOS
        dataset = prepared(tokenised(*ids))
        assert dataset["input_ids"][:] == ids
        assert dataset["prompt"][:] == ["once", "upon a time"]

    def test_special_tokens_of_a_chat_stay_in_the_text(self, prepared, tokenizer):
        messages = [{"role": "user", "content": "once"}]
        ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
        assert prepared(tokenised(ids, ids))["prompt"][0] == "user: once</s>"

    @pytest.mark.parametrize("padded", [[PAD, PAD, 9, 8], [9, 8, PAD, PAD], [PAD, 9, 8, PAD]])
    def test_padding_is_removed_by_the_padding_token(self, prepared, padded):
        assert prepared(tokenised(padded, [9, 8]))["input_ids"][:] == [[9, 8], [9, 8]]

    def test_padding_inside_a_prompt_is_a_token_of_it(self, prepared):
        assert prepared(tokenised([PAD, 9, PAD, 8], [7]))["input_ids"][0] == [9, PAD, 8]

    def test_padding_is_removed_by_the_mask_and_the_mask_is_dropped(self, prepared, own_tokenizer):
        own_tokenizer.pad_token = own_tokenizer.eos_token
        rows = [
            {"input_ids": [EOS, EOS, 9, EOS], "attention_mask": [0, 0, 1, 1]},
            {"input_ids": [9, 8, EOS, EOS], "attention_mask": [1, 1, 0, 0]},
        ]
        dataset = prepared(rows, processing_class=own_tokenizer)
        assert dataset["input_ids"][:] == [[9, EOS], [9, 8]]
        assert "attention_mask" not in dataset.column_names

    def test_the_old_example_s_padding_token_is_removed_too(self, prepared, own_tokenizer):
        own_tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        rows = tokenised([VOCAB_SIZE, 9, 8], [9, 8, 7])
        assert prepared(rows, processing_class=own_tokenizer)["input_ids"][:] == [[9, 8], [9, 8, 7]]

    def test_one_eos_in_front_or_behind_is_no_padding(self, prepared, own_tokenizer):
        own_tokenizer.pad_token = own_tokenizer.eos_token
        rows = tokenised([EOS, 9, EOS], [9, 8])
        assert prepared(rows, processing_class=own_tokenizer)["input_ids"][0] == [EOS, 9, EOS]

    def test_ids_beside_text(self, prepared, caplog):
        rows = [{"prompt": "told", "input_ids": [9, 8]}, {"prompt": "so", "input_ids": [7]}]
        assert prepared(rows).to_list() == rows
        assert "the policy reads the ids, reward functions get the text" in caplog.text

    def test_streams(self, prepared, tokenizer):
        ids = tokenizer("once")["input_ids"]
        assert list(prepared(stream(texts("one", "two")))) == texts("one", "two")
        rows = [{"input_ids": [PAD, *ids], "attention_mask": [0] + [1] * len(ids)}]
        assert list(prepared(stream(rows))) == [{"input_ids": ids, "prompt": "once"}]

    def test_a_prompt_may_fill_the_context_to_the_last_token(self, prepared, policy):
        assert context_length(policy) == 128
        assert len(prepared(tokenised([9] * 100, [9]), response_length=28)) == 2

    def test_without_a_bound_on_positions_no_prompt_is_too_long(self, tokenizer, tmp_path):
        policy = tiny_stock_model("llama")
        del policy.config.max_position_embeddings
        rows = Dataset.from_list(tokenised([9] * 1000, [9]))
        assert len(prepare_prompts(rows, "train", tokenizer, policy, arguments(tmp_path))) == 2

    def test_prompts_with_images_are_not_measured(self, prepared):
        rows = [{"prompt": "x" * 500, "image": "a"}, {"prompt": "x", "image": None}]
        assert len(prepared(rows)) == 2
        with pytest.raises(ValueError, match="Row 0 of the train dataset: the prompt has 501 tokens"):
            prepared([rows[0] | {"image": None}, rows[1] | {"image": "a"}])


class TestBadDatasets:
    TOO_LONG = (
        r"the prompt has 101 tokens; with a completion of up to 28 .* that is 129, and the policy reads at most 128"
    )
    BAD_ROWS = {
        "ids too long": ({"input_ids": [9] * 101}, TOO_LONG),
        "text too long": ({"prompt": "x" * 100}, TOO_LONG),  # and <s>
        "messages too long": ({"prompt": [{"role": "user", "content": "x" * 200}]}, "the prompt has"),
        "id beyond the vocabulary": (
            {"input_ids": [9, VOCAB_SIZE]},
            r"token id 260 \(None\) is none of the policy's, which has 260 embeddings. Tokenise with",
        ),
        "negative id": ({"input_ids": [-100, 9]}, r"token id -100 \(None\) is none of the policy's"),
        "no ids": ({"input_ids": []}, "column `input_ids`: the prompt is empty. Correct or remove"),
        "padding alone": ({"input_ids": [PAD, PAD]}, "the prompt has no tokens. Correct or remove the row"),
        "ids that are None": ({"input_ids": None}, "column `input_ids`: the prompt is empty"),
        "text that is None": ({"prompt": None}, "column `prompt`: None is neither text nor a list of messages"),
        "mask of another length": (
            {"input_ids": [9, 8], "attention_mask": [1]},
            "2 ids, but `attention_mask` has 1. Make them equally long",
        ),
    }

    @pytest.mark.parametrize("kind", ["map-style", "stream"])
    @pytest.mark.parametrize("case", sorted(BAD_ROWS))
    def test_a_bad_row_is_named(self, case, kind, prepared):
        bad, message = self.BAD_ROWS[case]
        good = {"input_ids": [9, 8]} if "input_ids" in bad else {"prompt": "good"}
        if "attention_mask" in bad:
            good["attention_mask"] = [1, 1]
        if isinstance(bad.get("prompt"), list):  # a column has one type
            good = {"prompt": [{"role": "user", "content": "x"}]}
        rows = [good, good, bad, good]
        with pytest.raises(ValueError, match=rf"Row 2 of the train dataset.*{message}"):
            list(prepared(rows if kind == "map-style" else stream(rows)))

    def test_lists_of_no_messages(self, prepared):
        with pytest.raises(
            ValueError, match=r"Row 0 of .* column `prompt`: \[1, 2\] is neither text nor a list of me"
        ):
            prepared(texts([1, 2], [3]))

    def test_text_with_a_token_beyond_the_vocabulary(self, prepared, own_tokenizer):
        own_tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        with pytest.raises(ValueError, match=r"Row 1 of the train dataset: token id 260 \('\[PAD\]'\) is none of"):
            prepared(texts("one", "two[PAD]"), processing_class=own_tokenizer)

    def test_padding_that_could_be_the_prompt_s_own_asks_for_a_mask(self, prepared, own_tokenizer):
        own_tokenizer.pad_token = own_tokenizer.eos_token
        message = r"Row 0 .* begins or ends with 2 padding tokens \(id 2\), which are EOS or BOS .* `attention_mask`"
        for padded in ([EOS, EOS, 9], [9, EOS, EOS]):
            with pytest.raises(ValueError, match=message):
                prepared(tokenised(padded, [9]), processing_class=own_tokenizer)

    def test_options_of_the_chat_template_count(self, prepared, own_tokenizer):
        own_tokenizer.chat_template = "{{ 'x' * (n | default(1)) }}"
        rows = texts(*[[{"role": "user", "content": "x"}]] * 2)
        prepared(rows, processing_class=own_tokenizer)
        with pytest.raises(ValueError, match="Row 0 of the train dataset: the prompt has 200 tokens"):
            prepared(rows, processing_class=own_tokenizer, chat_template_kwargs={"n": 200})

    def test_tools_count(self, prepared, own_tokenizer):
        own_tokenizer.chat_template = "{{ tools | string }}"

        def weather(city: str) -> str:
            """
            Weather of a city.

            Args:
                city: Its name.
            """
            return city

        rows = texts(*[[{"role": "user", "content": "x"}]] * 2)
        prepared(rows, processing_class=own_tokenizer)
        with pytest.raises(ValueError, match="Row 0 of the train dataset: the prompt has"):
            prepared(rows, processing_class=own_tokenizer, tools=[weather])

    @pytest.mark.parametrize("kind", ["map-style", "stream"])
    def test_a_conversation_without_a_chat_template(self, kind, prepared, own_tokenizer):
        own_tokenizer.chat_template = None
        rows = texts(*[[{"role": "user", "content": "x"}]] * 2)
        with pytest.raises(ValueError, match="Row 0 of the train dataset, column `prompt`: this is a conv.* Set `tok"):
            list(prepared(rows if kind == "map-style" else stream(rows), processing_class=own_tokenizer))
        template = {"chat_template": "{{ messages[0]['content'] }}"}
        prepared(rows, processing_class=own_tokenizer, chat_template_kwargs=template)

    EMPTY = r"The train dataset is empty. Check how it was made, and the name of its split"

    @pytest.mark.parametrize("dataset", [Dataset.from_dict({"prompt": []}), Dataset.from_dict({}), stream([])])
    def test_an_empty_dataset(self, dataset, prepared):
        with pytest.raises(ValueError, match=self.EMPTY):
            prepared(dataset)

    @pytest.mark.parametrize("kind", ["map-style", "stream"])
    def test_no_column_of_prompts(self, kind, prepared):
        rows = [{"query": "one"}, {"query": "two"}]
        message = r"columns \['query'\], but neither `prompt` \(text or messages\) nor `input_ids`. Rename"
        with pytest.raises(ValueError, match=message):
            prepared(rows if kind == "map-style" else stream(rows))

    def test_fewer_rows_than_a_rollout(self, prepared):
        message = r"has 3 rows, but a rollout takes 4 prompts \(8 completions over 1 processes, `num_generations` 2\)"
        options = {"gradient_accumulation_steps": 4, "num_generations": 2}
        with pytest.raises(ValueError, match=message):
            prepared(texts("a", "b", "c"), **options)
        assert len(prepared(texts("a", "b", "c", "d"), **options)) == 4
        assert len(prepared(texts("a", "b", "c"), name="eval", **options)) == 3

    def test_splits_in_place_of_a_dataset(self, prepared):
        with pytest.raises(
            TypeError, match=r"`train_dataset` is a mapping of the splits \['test', 'train'\]: pass one"
        ):
            prepared(DatasetDict(train=Dataset.from_list(texts("a")), test=Dataset.from_list(texts("a"))))

    def test_a_list_in_place_of_a_dataset(self, policy, tokenizer, tmp_path):
        with pytest.raises(TypeError, match=r"The train dataset is a `list`; .* `datasets.Dataset.from_list\(rows\)`"):
            prepare_prompts(texts("a"), "train", tokenizer, policy, arguments(tmp_path))

    def test_a_bad_row_of_one_evaluation_set_is_named_with_it(self, prepared):
        sets = {"a": Dataset.from_list(texts("one")), "b": Dataset.from_list(tokenised([PAD]))}
        with pytest.raises(ValueError, match=r"Row 0 of the eval \(b\) dataset: the prompt has no tokens"):
            prepared(sets, name="eval")
