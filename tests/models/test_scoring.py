"""What a DPRM returns: padding, batching, forms of output, the pipeline, and what it refuses to read."""

import copy
import warnings

import pytest
import torch
from tiny_models import ENCODERS, TINY_BACKBONES, tiny_stock_model
from transformers import AutoModelForSequenceClassification, pipeline

from trl_dprm import DPRMForSequenceClassification

ALL_BACKBONES = pytest.mark.parametrize("backbone", TINY_BACKBONES)
DECODERS = [name for name in TINY_BACKBONES if name not in ENCODERS]
TOLERANCE = 1e-5 * 2.0  # of the range of the Likert rewards


def left_padded(batch):
    """The same rows with their padding in front."""
    order = batch["attention_mask"].argsort(dim=1, stable=True)
    return {name: value.gather(1, order) for name, value in batch.items()}


def rows(batch):
    """Every row alone, without its padding."""
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        ids = ids[mask.bool()][None]
        yield {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


class TestPadding:
    @ALL_BACKBONES
    def test_sides(self, backbone, tiny_dprm, batch, score):
        model, left = tiny_dprm(backbone), left_padded(batch)
        assert left["attention_mask"][1].tolist() == [0] * 6 + [1] * 4
        assert torch.equal(score(model, left), score(model, batch))

    @ALL_BACKBONES
    def test_more_of_it_changes_nothing(self, backbone, tiny_dprm, batch, score):
        model = tiny_dprm(backbone)
        longer = {name: torch.nn.functional.pad(value, (3, 5)) for name, value in batch.items()}
        torch.testing.assert_close(score(model, longer), score(model, batch), rtol=0, atol=TOLERANCE)

    @ALL_BACKBONES
    def test_a_batch_equals_its_rows(self, backbone, tiny_dprm, batch, score):
        model = tiny_dprm(backbone)
        single = torch.cat([score(model, row) for row in rows(batch)])
        assert single.std() > 0.01
        torch.testing.assert_close(score(model, batch), single, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(score(model, left_padded(batch)), single, rtol=0, atol=TOLERANCE)

    @ALL_BACKBONES
    def test_positions_and_token_types_move_along(self, backbone, tiny_dprm, batch, score):
        model = tiny_dprm(backbone)
        batch = {**batch, "position_ids": torch.arange(10).expand(3, 10), "token_type_ids": batch["input_ids"] % 2}
        assert torch.equal(score(model, left_padded(batch)), score(model, batch))

    @pytest.mark.parametrize("backbone", ["llama", "gpt2"])
    def test_the_last_position_matters_and_the_first_padding_does_not(self, backbone, tiny_dprm, batch, score):
        model, expected = tiny_dprm(backbone), score(tiny_dprm(backbone), batch)
        changed = {**batch, "input_ids": batch["input_ids"].clone()}
        changed["input_ids"][0, 6] += 1
        after = score(model, changed)
        assert after[0] != expected[0] and torch.equal(after[1:], expected[1:])

    @pytest.mark.parametrize("backbone", DECODERS)
    def test_a_padding_token_set_late_reaches_the_classifier(self, backbone, tiny_dprm, batch, score):
        """TRL aligns the model's padding token with the tokenizer's in this way."""
        model = tiny_dprm(backbone)
        expected = score(model, batch)
        ids = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 259)
        assert (ids == 259).sum() == 9
        assert not torch.allclose(score(model, {"input_ids": ids}), expected)
        model.config.get_text_config().pad_token_id = 259
        torch.testing.assert_close(score(model, {"input_ids": ids}), expected, rtol=0, atol=TOLERANCE)

    def test_a_reloaded_model_follows_too(self, tiny_dprm, batch, score, tmp_path):
        tiny_dprm().save_pretrained(tmp_path)
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
        expected = score(model, batch)
        model.config.get_text_config().pad_token_id = 259
        ids = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 259)
        torch.testing.assert_close(score(model, {"input_ids": ids}), expected, rtol=0, atol=TOLERANCE)

    @pytest.mark.parametrize("backbone", DECODERS)
    def test_without_a_padding_token_and_a_mask_only_single_rows(self, backbone, tiny_dprm, batch, score):
        model = tiny_dprm(backbone)
        expected = score(model, batch)[2:]
        model.config.get_text_config().pad_token_id = None
        row = {"input_ids": batch["input_ids"][2:]}
        torch.testing.assert_close(score(model, row), expected, rtol=0, atol=TOLERANCE)
        with pytest.raises(ValueError, match=r"Cannot handle batch sizes > 1 if no padding token is defined"):
            score(model, {"input_ids": batch["input_ids"]})


class TestPaddingByTheMask:
    """Masked positions may hold any id; the last token is found by the mask."""

    @staticmethod
    def padded_by(batch, token):
        return {**batch, "input_ids": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, token)}

    @ALL_BACKBONES
    @pytest.mark.parametrize("in_config", [0, 2, 259, None, -1, 260], ids=lambda pad: f"config={pad}")
    def test_a_batch_equals_its_rows_whatever_the_padding(self, backbone, in_config, tiny_dprm, batch, score):
        model = tiny_dprm(backbone)
        model.config.text_config.pad_token_id = in_config
        batch["input_ids"][0, 6], batch["input_ids"][1, 3] = 0, 1  # ids that one would choose to pad by
        expected = torch.cat([score(model, row) for row in rows(batch)])
        assert expected.std() > 0.01
        for token in (0, 1, 2, 259, 1000, -100):  # the last two have no embedding
            padded = self.padded_by(batch, token)
            for side in (padded, left_padded(padded)):
                torch.testing.assert_close(score(model, side), expected, rtol=0, atol=TOLERANCE)
        assert model.config.text_config.pad_token_id == in_config

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_a_tokenizer_that_pads_by_eos(self, side, tiny_dprm, tokenizer, score):
        """The model's own padding token is another: the final EOS is read, the padding after it is not."""
        model, texts = tiny_dprm(), ["a short one</s>", "and a longer one</s>", "none"]
        alone = [tokenizer(text, return_tensors="pt") for text in texts]
        expected = torch.cat([score(model, row) for row in alone])
        tokenizer = copy.deepcopy(tokenizer)  # other tests use it too
        tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, side
        padded = tokenizer(texts, padding=True, return_tensors="pt")
        assert padded["input_ids"][2, 0 if side == "left" else -1] == model.config.text_config.eos_token_id
        torch.testing.assert_close(score(model, padded), expected, rtol=0, atol=TOLERANCE)

    @pytest.mark.parametrize("backbone", DECODERS)
    def test_the_models_own_padding_token_is_skipped_at_the_end_of_a_row(self, backbone, tiny_dprm, batch, score):
        """As stock classifiers do, and as every model whose padding token is EOS was trained."""
        model = tiny_dprm(backbone)
        model.config.text_config.pad_token_id = 2
        with_eos = {name: value.clone() for name, value in batch.items()}
        with_eos["input_ids"][0, 7], with_eos["attention_mask"][0, 7] = 2, 1
        expected = score(model, batch)
        for token in (2, 259):
            padded = self.padded_by(with_eos, token)
            for side in (padded, left_padded(padded)):
                torch.testing.assert_close(score(model, side), expected, rtol=0, atol=TOLERANCE)

    @ALL_BACKBONES
    def test_the_stock_export_gives_equal_logits(self, backbone, tiny_dprm, batch):
        model = tiny_dprm(backbone)
        model.config.text_config.pad_token_id = 2
        own = self.padded_by(batch, 2)
        with torch.no_grad():
            ours, stock = model(**own).category_logits, model._stock_classifier(**own).logits
        torch.testing.assert_close(ours, stock, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("backbone", DECODERS)
    @pytest.mark.parametrize("in_config", [0, None])
    def test_gradients(self, backbone, in_config, tiny_dprm, batch):
        def gradients(batch):
            model.zero_grad()
            model(**batch).category_logits.square().sum().backward()
            return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

        model = tiny_dprm(backbone)
        expected = gradients(batch)
        model.config.text_config.pad_token_id = in_config
        actual = gradients(self.padded_by(batch, 259))
        assert actual.keys() == expected.keys()
        for name, gradient in actual.items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("backbone", DECODERS)
    def test_embeddings_of_full_rows_need_no_padding_token(self, backbone, tiny_dprm, batch, score):
        model = tiny_dprm(backbone)
        batch["attention_mask"][:] = 1
        model.config.text_config.pad_token_id = None
        embedded = {"inputs_embeds": model.get_input_embeddings()(batch["input_ids"])}
        expected = score(model, batch)
        embedded["attention_mask"] = batch["attention_mask"]
        torch.testing.assert_close(score(model, embedded), expected, rtol=0, atol=TOLERANCE)

    @pytest.mark.parametrize("in_config", [0, None])
    def test_compiled(self, in_config, tiny_dprm, batch, score):
        torch._dynamo.reset()
        model = tiny_dprm()
        model.config.text_config.pad_token_id = in_config
        compiled = torch.compile(model, backend="eager")
        for token in (259, 1, 0):
            padded = self.padded_by(batch, token)
            torch.testing.assert_close(score(compiled, padded), score(model, batch), rtol=0, atol=TOLERANCE)


class TestOutput:
    @ALL_BACKBONES
    def test_expected_reward_and_category_logits(self, backbone, tiny_dprm, batch):
        rewards = [1.0, 0.5, -1.0, -1.0, -1.5, -3.0]
        output = tiny_dprm(backbone, category_rewards=rewards)(**batch)
        assert (output.logits.shape, output.category_logits.shape) == ((3, 1), (3, 6))
        assert output.logits.dtype == output.category_logits.dtype == torch.float32
        exps = output.category_logits.detach().double().exp()
        by_hand = [sum(r * e for r, e in zip(rewards, row, strict=True)) / sum(row) for row in exps.tolist()]
        torch.testing.assert_close(output.logits[:, 0].tolist(), by_hand, rtol=1e-5, atol=1e-6)
        assert output.logits.requires_grad and list(output.keys()) == ["logits", "category_logits"]

    @pytest.mark.parametrize("backbone", ["llama", "gpt2", "bert", "modernbert"])
    def test_tuple(self, backbone, tiny_dprm, batch):
        model = tiny_dprm(backbone)
        expected = model(**batch)
        by_argument = model(**batch, return_dict=False)
        model.config.return_dict = False
        for output in (by_argument, model(**batch)):
            assert type(output) is tuple and len(output) == 2
            assert torch.equal(output[0], expected.logits) and torch.equal(output[1], expected.category_logits)

    @ALL_BACKBONES
    def test_hidden_states_on_request(self, backbone, tiny_dprm, batch):
        model = tiny_dprm(backbone)
        assert model(**batch).hidden_states is None
        hidden_states = model(**batch, output_hidden_states=True).hidden_states
        assert len(hidden_states) == 3 and all(state.shape == (3, 10, 32) for state in hidden_states)

    @pytest.mark.parametrize("backbone", ["llama", "bert"])
    def test_attentions_on_request(self, backbone, tiny_dprm, batch):
        model = tiny_dprm(backbone)
        model.set_attn_implementation("eager")
        attentions = model(**batch, output_attentions=True).attentions
        assert len(attentions) == 2 and attentions[0].shape == (3, 4, 10, 10)

    @ALL_BACKBONES
    def test_embeddings_instead_of_ids(self, backbone, tiny_dprm, batch, score):
        model = tiny_dprm(backbone)
        (row,) = list(rows(batch))[2:]
        embedded = {"inputs_embeds": model.get_input_embeddings()(row["input_ids"])}
        torch.testing.assert_close(score(model, embedded), score(model, row), rtol=0, atol=TOLERANCE)

    @pytest.mark.parametrize("backbone", DECODERS)
    def test_padded_embeddings_are_refused_by_decoders(self, backbone, tiny_dprm, batch, score):
        model = tiny_dprm(backbone)
        embeddings = model.get_input_embeddings()(batch["input_ids"])
        with pytest.raises(ValueError, match=r"`inputs_embeds` with padding: pass `input_ids`, or rows of one length"):
            score(model, {"inputs_embeds": embeddings, "attention_mask": batch["attention_mask"]})

    @pytest.mark.parametrize("backbone", ENCODERS)
    def test_padded_embeddings_are_read_by_encoders(self, backbone, tiny_dprm, batch, score):
        model = tiny_dprm(backbone)
        embedded = {"inputs_embeds": model.get_input_embeddings()(batch["input_ids"])}
        embedded["attention_mask"] = batch["attention_mask"]
        torch.testing.assert_close(score(model, embedded), score(model, batch), rtol=0, atol=TOLERANCE)

    def test_use_cache_is_accepted_and_changes_nothing(self, tiny_dprm, batch, score):
        model = tiny_dprm()
        assert torch.equal(score(model, batch, use_cache=True), score(model, batch))

    def test_an_unanchored_model_warns_when_its_categories_are_read(self, tiny_dprm, batch):
        model = tiny_dprm()
        output = model(**batch)
        with pytest.warns(
            UserWarning, match=r"unanchored: no category votes .* Train on `target_probs` or `target_co"
        ):
            probs = model.category_probs(output)
        model.config.anchored = True
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = model.category_probs(output)
        exps = output.category_logits.exp()
        torch.testing.assert_close(again, exps / exps.sum(-1, keepdim=True))
        assert torch.equal(probs, again)


class TestPipeline:
    texts = ("a short one", "and one that is quite a bit longer than the other", "third")

    @pytest.mark.parametrize("backbone", ["llama", "gpt2", "gpt_neox", "bert", "modernbert"])
    @pytest.mark.parametrize("batch_size", [1, 3])
    def test_the_score_is_the_expected_reward(self, backbone, batch_size, tiny_dprm, tokenizer, score, tmp_path):
        model = tiny_dprm(backbone, category_rewards=[-9.0, -5.0, 0.0, 4.0, 9.0])
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        classify = pipeline("text-classification", model=str(tmp_path), device="cpu")
        found = classify(list(self.texts), batch_size=batch_size)
        expected = [score(model, tokenizer(text, return_tensors="pt")).item() for text in self.texts]
        assert [row["label"] for row in found] == ["expected_reward"] * 3
        assert [row["score"] for row in found] == pytest.approx(expected, abs=1e-5 * 18)
        assert max(abs(value) for value in expected) > 1  # a sigmoid could not say this


class TestFromClassifier:
    @pytest.mark.parametrize("backbone", ["llama", "gpt2", "bert", "modernbert"])
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_the_same_as_from_its_folder(self, backbone, dtype, batch, tmp_path):
        tiny_stock_model(backbone, "classifier", num_labels=5).to(getattr(torch, dtype)).save_pretrained(tmp_path)
        classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path)
        ours = DPRMForSequenceClassification.from_classifier(classifier)
        expected = DPRMForSequenceClassification.from_pretrained(tmp_path)
        assert ours.base_model is classifier.base_model
        assert {n: t.dtype for n, t in ours.state_dict().items()} == {
            n: t.dtype for n, t in expected.state_dict().items()
        }
        for autocast in (False, True):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                assert torch.equal(ours(**batch).category_logits, expected(**batch).category_logits)

    def test_a_head_for_other_labels_is_new(self, checkpoint, caplog):
        classifier = AutoModelForSequenceClassification.from_pretrained(
            checkpoint("llama", "classifier", num_labels=7)
        )
        model = DPRMForSequenceClassification.from_classifier(classifier, category_rewards=[0.0, 1.0])
        assert model.score.weight.shape == (2, 32) and model.score.weight.std() > 0
        assert (
            "head (score) was made for 7 labels: it is replaced by a new, random one for 2 categories" in caplog.text
        )

    def test_it_saves_and_reloads(self, checkpoint, batch, score, tmp_path):
        classifier = AutoModelForSequenceClassification.from_pretrained(checkpoint("bert", "classifier", num_labels=7))
        model = DPRMForSequenceClassification.from_classifier(classifier, category_rewards=[0.0, 1.0])
        model.save_pretrained(tmp_path)
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
        assert torch.equal(score(again, batch), score(model, batch))

    def test_a_quantised_one_is_refused(self, checkpoint):
        classifier = AutoModelForSequenceClassification.from_pretrained(checkpoint("llama", "classifier"))
        classifier.hf_quantizer = object()
        with pytest.raises(ValueError, match=r"quantised classifier cannot be taken over. Pass its folder or Hub id"):
            DPRMForSequenceClassification.from_classifier(classifier)

    def test_training_mode_is_kept(self, checkpoint):
        classifier = AutoModelForSequenceClassification.from_pretrained(checkpoint("llama", "classifier"))
        assert not DPRMForSequenceClassification.from_classifier(classifier).training
        assert DPRMForSequenceClassification.from_classifier(classifier.train()).training
