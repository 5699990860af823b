"""Any stock sequence classifier, read as a distribution over preference categories."""

import copy
import inspect
import itertools
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import AutoConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
from transformers.utils import ModelOutput, find_adapter_config_file, logging

from .base_precision_dprm import warn_of_other_precision
from .checkpoint_dprm import (
    adapter_base,
    adapter_base_revision,
    align_memory,
    check_head_is_finite,
    check_loaded,
    keep_differentiable_on_cpu,
    load_adapter,
    naming_unreadable_tensors,
    only_what_lies_there,
    replace_checkpoint,
    set_quantization,
    with_categories,
    writable_folder,
)
from .configuration_dprm import DPRMConfig
from .distributions import expected_reward
from .packed_weights_dprm import check_packed_weights, hold_cast_notices, warn_of_neighbours
from .rope_dprm import check_rope_is_read  # noqa: F401 - transformers 4 fetches only the files that this one names

logger = logging.get_logger(__name__)

CODE_FILES = (
    "base_precision_dprm.py",
    "checkpoint_dprm.py",
    "configuration_dprm.py",
    "distributions.py",
    "modeling_dprm.py",
    "packed_weights_dprm.py",
    "rope_dprm.py",
)
_HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
_PUSH_ARGUMENTS = ("repo_id", "commit_message", "commit_description", "private", "revision", "create_pr", "tags")


@dataclass
class DPRMOutput(ModelOutput):
    """Output of [`DPRMForSequenceClassification`].

    Args:
        logits (`torch.Tensor` of shape *(batch_size, 1)*):
            Expected reward, float32: what every consumer of a scalar reward model reads.
        category_logits (`torch.Tensor` of shape *(batch_size, num_categories)*):
            Unnormalised log-probabilities of the preference categories, float32.
        hidden_states (`tuple` of `torch.Tensor` of shape *(batch_size, sequence_length, hidden_size)*, *optional*):
            Hidden states of the backbone, of the right-padded inputs.
        attentions (`tuple` of `torch.Tensor`, *optional*):
            Attention weights of the backbone, of the right-padded inputs.
    """

    logits: torch.Tensor | None = None
    category_logits: torch.Tensor | None = None
    hidden_states: tuple | None = None
    attentions: tuple | None = None


class DPRMForSequenceClassification(PreTrainedModel):
    r"""Distributional preference reward model over any decoder or encoder that transformers can classify with.

    The stock classifier with one label per category does the work; its children stand on this model under their stock
    names, so that checkpoints, adapters and quantisation see the backbone's own names. `logits` is the expected reward
    \\(\sum_k \mathrm{softmax}(z)_k r_k\\) of shape *(batch_size, 1)*, `category_logits` is *z*.

    With an attention mask neither the padding side nor the padding id matters: rows are moved to the right-padded
    form, padded by the backbone's own id, before the backbone reads them. Decoders are then read as stock ones are: at
    the last token that is not `config.text_config.pad_token_id`. Where that is the EOS token, a final EOS is skipped.
    The head (and a pooler) is kept and run in float32, because bfloat16 rewards tie.

    Args:
        config ([`DPRMConfig`]): With a `text_config`.

    Raises:
        ValueError: if `config.text_config` is missing, transformers has no sequence classifier for it, or it is of an
            encoder–decoder, or reads the last position whatever the mask says (XLNet).

    Source:
        DPRM (arXiv 2402.09764). differs: the paper prompts a causal model; here the head is a classifier's.

    Example:

    ```python
    >>> import torch
    >>> from transformers import LlamaConfig
    >>> from trl_dprm import DPRMConfig, DPRMForSequenceClassification
    >>> backbone = LlamaConfig(
    ...     vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    ... )
    >>> backbone.pad_token_id = 0
    >>> model = DPRMForSequenceClassification(DPRMConfig(backbone))
    >>> output = model(torch.tensor([[5, 6, 7, 0], [8, 9, 10, 11]]))
    >>> output.logits.shape, output.category_logits.shape
    (torch.Size([2, 1]), torch.Size([2, 5]))

    ```
    """

    config_class = DPRMConfig
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flash_attn_2 = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config):
        super().__init__(config)
        config.check_categories()
        if type(config.text_config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
            raise ValueError(
                f"No sequence classifier in transformers for `text_config` of type "
                f"`{type(config.text_config).__name__}`. Choose a backbone that `AutoModelForSequenceClassification` "
                "supports."
            )
        if config.text_config.num_labels != config.num_categories:
            raise ValueError(
                f"The backbone's classifier has {config.text_config.num_labels} labels, but the configuration "
                f"{config.num_categories} categories ({', '.join(config.category_names)}). Make a new `DPRMConfig` "
                "instead of changing the categories of one."
            )
        stock_class = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config.text_config)]
        if getattr(config.text_config, "is_encoder_decoder", False):
            raise ValueError(
                f"`{stock_class.__name__}` is an encoder–decoder, which is not supported: it reads the state of an "
                "EOS token and needs equally many in every row. Choose a decoder, such as Llama, or an encoder, such "
                "as BERT."
            )
        if getattr(config.text_config, "summary_type", None) == "last":
            raise ValueError(
                f"`{stock_class.__name__}` reads the last position of a batch, padding or not, so its scores would "
                "depend on what else is in the batch. Choose another decoder or encoder."
            )
        stock = stock_class(config.text_config)
        # The stock classifier is no child: it and this model share one dictionary of children, so a child replaced
        # in one (by PEFT, by quantisation) is replaced in the other.
        self.__dict__["_stock_classifier"] = stock
        self.__dict__["_modules"] = stock._modules
        self.base_model_prefix = stock.base_model_prefix
        self._stock_arguments = frozenset(inspect.signature(stock.forward).parameters)

        self.head_names = _head_names(stock)
        self.new_heads = tuple(self.head_names)  # those that are random, until weights are loaded or trained
        self._run_heads_in_float32()
        self.post_init()
        # After `post_init`, which refuses dotted names in transformers 4: the first set skips quantisation, the second
        # loads in float32.
        self._keep_in_fp32_modules = {*(self._keep_in_fp32_modules or ()), *self.head_names}
        self._keep_in_fp32_modules_strict = {*(self._keep_in_fp32_modules_strict or ()), *self.head_names}

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        token_type_ids=None,
        inputs_embeds=None,
        labels=None,
        use_cache=None,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
    ):
        """Score sequences.

        Args:
            input_ids (`torch.LongTensor` of shape *(batch_size, sequence_length)*, *optional*): Token ids.
            attention_mask (`torch.Tensor` of shape *(batch_size, sequence_length)*, *optional*):
                1 for tokens, 0 for padding on either side, by any id. Without it the backbone's padding token says
                which positions are padding, to decoders only.
            position_ids, token_type_ids (`torch.LongTensor` of shape *(batch_size, sequence_length)*, *optional*):
                Passed to backbones that take them.
            inputs_embeds (`torch.Tensor` of shape *(batch_size, sequence_length, hidden_size)*, *optional*):
                Instead of `input_ids`. Decoders then read the last position, so they refuse rows with padding.
            labels: Refused. Train with [`DPRMTrainer`].
            use_cache (`bool`, *optional*): Accepted and ignored: a score needs no cache.
            output_attentions, output_hidden_states, return_dict (`bool`, *optional*): As in transformers.

        Returns:
            [`DPRMOutput`], or a tuple of its entries with `return_dict=False`.

        Raises:
            ValueError: if `labels` is passed, or `inputs_embeds` with padding to a decoder.
        """
        if labels is not None:
            raise ValueError("A DPRM takes no `labels`: train it with `DPRMTrainer` on `target_probs` or on pairs.")
        given = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            "token_type_ids": token_type_ids,
            "inputs_embeds": inputs_embeds,
        }
        arguments = {name: value for name, value in given.items() if value is not None}
        stock = self._stock_classifier
        if attention_mask is not None and attention_mask.dim() == 2:
            arguments = _right_padded(arguments)
            pad_token_id = self._pad_token_id()
            if pad_token_id is None:
                stock, pad_token_id = _with_makeshift_padding(stock, **arguments)
            if input_ids is not None:
                padding = arguments["attention_mask"] == 0
                arguments["input_ids"] = arguments["input_ids"].masked_fill(padding, pad_token_id)
        if "use_cache" in self._stock_arguments:  # a decoder, whose classifier finds the last token by `input_ids`
            arguments["use_cache"] = False
            if input_ids is None and attention_mask is not None and not attention_mask.all():
                raise ValueError(
                    "Decoders cannot score `inputs_embeds` with padding: pass `input_ids`, or rows of one length."
                )
        if output_attentions is not None:
            arguments["output_attentions"] = output_attentions
        if output_hidden_states is not None:
            arguments["output_hidden_states"] = output_hidden_states
        stock_output = stock(**arguments, return_dict=True)

        category_logits = stock_output.logits.float()
        reward = expected_reward(category_logits.softmax(-1), self.config.category_rewards)
        output = DPRMOutput(
            logits=reward.unsqueeze(-1),
            category_logits=category_logits,
            hidden_states=stock_output.hidden_states,
            attentions=stock_output.attentions,
        )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    def category_probs(self, output):
        """Probability of each preference category in the population.

        Args:
            output ([`DPRMOutput`]): Of this model.

        Returns:
            `torch.Tensor` of shape *(batch_size, num_categories)*, float32, rows sum to one. Feed it to the functions
            of [`trl_dprm.models.distributions`] for variance, quantiles, CVaR and win probability.

        Warns:
            UserWarning: if the model is unanchored, that is, was trained on pairs alone: they identify differences of
            expected reward, not the categories.
        """
        if not self.config.anchored:
            warnings.warn(
                "This model is unanchored: no category votes were in its training data, so its category probabilities "
                "mean nothing beyond the expected reward. Train on `target_probs` or `target_counts` to anchor them.",
                stacklevel=2,
            )
        return output.category_logits.softmax(-1)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path,
        *model_args,
        category_names=None,
        category_rewards=None,
        ground_cost=None,
        config=None,
        **kwargs,
    ):
        """Reload a DPRM, or start one from any checkpoint of a supported backbone.

        A foreign checkpoint may be a causal or masked language model, a headless model or a stock classifier. Its own
        head is kept only if it is a classifier with as many labels as there are categories, and otherwise replaced by
        a random one (seed it with `transformers.set_seed`) with a warning. A folder with a DPRM adapter loads the base
        that it names and the adapter on top.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`): Folder or Hub id.
            category_names, category_rewards, ground_cost: As in [`DPRMConfig`]. A DPRM reloads without them; given
                ones replace those of its configuration and must describe as many categories.
            config ([`DPRMConfig`], *optional*): Instead of the checkpoint's.
            kwargs: Arguments of [`~transformers.PreTrainedModel.from_pretrained`].

        Returns:
            [`DPRMForSequenceClassification`] in evaluation mode.

        Raises:
            ValueError: if a backbone tensor is missing or has another shape, if a DPRM's head is missing, has another
                shape or holds NaN, if the categories given do not fit the checkpoint's, if there is no path, or if a
                pickle is asked for.

        Example:

        ```python
        model = DPRMForSequenceClassification.from_pretrained(
            "Qwen/Qwen3-0.6B", category_names=["bad", "fair", "good"], category_rewards=[-1.0, 0.0, 1.0]
        )
        ```
        """
        if pretrained_model_name_or_path is None:
            raise ValueError(
                "No folder or Hub id was given. A model of a `state_dict` in memory is made by "
                "`DPRMForSequenceClassification(config)` and its `load_state_dict(state_dict)`."
            )
        if kwargs.pop("use_safetensors", True) is False:
            raise ValueError("DPRM weights are read from safetensors only, `use_safetensors=False` is refused.")
        if kwargs.pop("num_labels", 1) != 1:
            raise ValueError("`num_labels` of a DPRM is always 1. Give the categories by `category_rewards`.")
        with_info = kwargs.pop("output_loading_info", False)
        kwargs.pop("ignore_mismatched_sizes", None)  # decided here: heads of foreign checkpoints only
        kwargs.pop("adapter_kwargs", None)  # from an Auto class, which would load the adapter a second time

        hub_arguments = {name: kwargs[name] for name in _HUB_ARGUMENTS if name in kwargs}
        if config is None:
            config = AutoConfig.from_pretrained(
                pretrained_model_name_or_path,
                trust_remote_code=kwargs.get("trust_remote_code", False),
                **hub_arguments,
            )
        config = with_categories(config, category_names, category_rewards, ground_cost)

        adapter_file = find_adapter_config_file(pretrained_model_name_or_path, **hub_arguments)
        weights = pretrained_model_name_or_path if adapter_file is None else adapter_base(adapter_file)
        if adapter_file is not None:
            kwargs.pop("subfolder", None)  # it is the adapter's, not its base's
            kwargs["revision"] = adapter_base_revision(adapter_file) or "main"
        weights_config, _ = DPRMConfig.get_config_dict(
            weights, **{name: kwargs[name] for name in _HUB_ARGUMENTS if name in kwargs}
        )
        foreign = weights_config.get("model_type") != DPRMConfig.model_type
        set_quantization(config, weights_config.get("quantization_config"))
        with naming_unreadable_tensors(weights), only_what_lies_there(weights):
            model, info = super().from_pretrained(
                weights,
                *model_args,
                config=config,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **kwargs,
            )
        new_head = check_loaded(model, info, weights, foreign, warn=adapter_file is None)
        check_packed_weights(model, weights)
        model.new_heads = tuple(h for h in model.head_names if any(t.startswith(f"{h}.") for t in new_head))
        if adapter_file is not None:
            load_adapter(model, pretrained_model_name_or_path, hub_arguments, new_head)
            model.new_heads = ()
        check_head_is_finite(model, pretrained_model_name_or_path)
        align_memory(model)
        keep_differentiable_on_cpu(model)
        warn_of_neighbours(model)
        hold_cast_notices(model)
        warn_of_other_precision(model, pretrained_model_name_or_path)
        return (model, info) if with_info else model

    @classmethod
    def from_classifier(cls, classifier, category_names=None, category_rewards=None, ground_cost=None):
        """Start a DPRM from a stock sequence classifier in memory: its backbone is shared, not copied.

        Its head is kept where its shape fits (as many labels as categories) and otherwise made new, with a warning.

        Args:
            classifier ([`~transformers.PreTrainedModel`]): Such as `AutoModelForSequenceClassification` returns.
            category_names, category_rewards, ground_cost: As in [`DPRMConfig`].

        Returns:
            [`DPRMForSequenceClassification`] on the classifier's device, in its training mode.

        Raises:
            ValueError: for a quantised classifier, or one that transformers does not list.
        """
        if getattr(classifier, "hf_quantizer", None) is not None:
            raise ValueError(
                "A quantised classifier cannot be taken over. Pass its folder or Hub id and `quantization_config`."
            )
        config = with_categories(classifier.config, category_names, category_rewards, ground_cost)
        config.name_or_path = classifier.config.name_or_path
        with torch.device("meta"):
            model = cls(config)
        setattr(model, model.base_model_prefix, classifier.base_model)
        model._run_heads_in_float32()  # a pooler came with the backbone
        replaced = []
        for name in model.head_names:
            if name.startswith(f"{model.base_model_prefix}."):
                continue  # a pooler came with the backbone
            new, old = model.get_submodule(name), classifier.get_submodule(name)
            new.to_empty(device=classifier.device)
            if {k: v.shape for k, v in new.state_dict().items()} == {k: v.shape for k, v in old.state_dict().items()}:
                new.load_state_dict(old.state_dict())
            else:
                new.apply(model._init_weights)
                replaced.append(name)
        model.new_heads = tuple(replaced)
        if replaced:
            logger.warning(
                f"The head ({', '.join(replaced)}) was made for {classifier.config.num_labels} labels: it is "
                f"replaced by a new, random one for {config.num_categories} categories. Train it before use."
            )
        return model.train(classifier.training)

    def save_pretrained(self, save_directory, is_main_process=True, push_to_hub=False, **kwargs):
        """Save weights, configuration and the code that reads them; arguments as in transformers.

        With `push_to_hub` those of [`~transformers.PreTrainedModel.push_to_hub`] are taken too; `repo_id` defaults to
        the folder's name.

        The folder holds a loadable checkpoint before and after, never in between: everything is written beside it,
        `config.json` goes away first and comes back last.

        Raises:
            NotADirectoryError: if `save_directory` is a file.
            PermissionError: if it is not writable.
        """
        if not is_main_process:
            return super().save_pretrained(save_directory, is_main_process=False, **kwargs)
        folder = writable_folder(save_directory)
        push_arguments = {name: kwargs.pop(name) for name in _PUSH_ARGUMENTS if name in kwargs}
        push_arguments |= {name: kwargs[name] for name in ("token", "max_shard_size") if name in kwargs}
        with tempfile.TemporaryDirectory(prefix=".incomplete-", dir=folder) as staging:
            super().save_pretrained(staging, is_main_process=True, **kwargs)
            config = copy.deepcopy(self.config)
            if not getattr(self, "_hf_peft_config_loaded", False):
                config.base_precision = None  # the weights are these, not those below an adapter
            config.save_pretrained(staging)  # beside a loaded adapter, too, where transformers leaves it out
            for name in CODE_FILES:
                shutil.copyfile(Path(__file__).parent / name, Path(staging) / name)
            replace_checkpoint(Path(staging), folder)
        if push_to_hub:
            self.push_to_hub(**{"repo_id": folder.name, **push_arguments})

    def train(self, mode=True):
        """Set training mode, also of the stock classifier that shares the children."""
        self._stock_classifier.training = mode
        return super().train(mode)

    def get_input_embeddings(self):
        """The backbone's token embeddings (`torch.nn.Module`)."""
        return self.base_model.get_input_embeddings()

    def set_input_embeddings(self, value):
        """Replace the backbone's token embeddings by `value` (`torch.nn.Module`)."""
        self.base_model.set_input_embeddings(value)

    def _pad_token_id(self):
        """That of the backbone; `None` where it has none, or one beyond its embeddings."""
        pad_token_id = getattr(self.config.text_config.get_text_config(), "pad_token_id", None)
        num_embeddings = getattr(self.get_input_embeddings(), "num_embeddings", None)
        if pad_token_id is None or num_embeddings is None or 0 <= pad_token_id < num_embeddings:
            return pad_token_id
        return None

    def _init_weights(self, module):
        self._stock_classifier._init_weights(module)

    def _run_heads_in_float32(self):
        """Heads are made in float32 whatever the backbone's precision, and run in it under autocast too."""
        for name in self.head_names:
            head = self.get_submodule(name)
            head.to(torch.promote_types(next(head.parameters()).dtype, torch.float32))
            head.forward = partial(_forward_without_autocast, head)


def _head_names(stock):
    """Names of the modules between backbone and category logits that hold parameters, poolers included."""
    names = [
        name
        for name, child in stock.named_children()
        if name != stock.base_model_prefix and next(child.parameters(), None) is not None
    ]
    pooler = getattr(stock.base_model, "pooler", None)
    return names if pooler is None else [*names, f"{stock.base_model_prefix}.pooler"]


def _forward_without_autocast(head, hidden_states, *args):
    """Run a head in the precision of its own weights, float32 unless somebody cast the whole model."""
    dtype = next(head.parameters()).dtype
    with torch.autocast(hidden_states.device.type, enabled=False):
        return type(head).forward(head, hidden_states.to(dtype), *args)


def _right_padded(arguments):
    """Move the tokens of every row to its left end, in order: then no backbone can see the padding side."""
    order = arguments["attention_mask"].ne(0).long().argsort(dim=1, descending=True, stable=True)
    return {
        name: value.gather(1, order.view(*order.shape, *(1,) * (value.dim() - 2)).expand_as(value))
        for name, value in arguments.items()
    }


@torch.compiler.disable
def _with_makeshift_padding(stock, attention_mask, input_ids=None, **others):
    """The stock classifier with a padding token for these right-padded rows, and its id, which ends none of them.

    The classifier is a view on the same modules with a configuration of its own: the model's stays as it is, for other
    threads and for saving.
    """
    ends = set()
    if input_ids is not None:
        last = attention_mask.ne(0).sum(1) - 1
        ends = set(input_ids.gather(1, last.clamp(min=0).unsqueeze(1)).flatten().tolist())
    pad_token_id = next(token for token in itertools.count() if token not in ends)
    view = copy.copy(stock)
    view.config = copy.deepcopy(stock.config)
    view.config.get_text_config().pad_token_id = pad_token_id
    return view, pad_token_id
