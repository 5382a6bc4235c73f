"""Causal language models of transformers: with their weights, or as a config that a checkpoint fills."""

from __future__ import annotations

from typing import Any

from networks.hf_folder import load_model, load_tokenizer
from networks.weights import WeightsError


def load_lm(folder: str) -> Any:
    """Return the model in a Hugging Face folder, float32, ready to be trained; WeightsError where it is no
    whole causal LM.
    """
    from transformers import AutoModelForCausalLM

    return load_model(AutoModelForCausalLM, folder, spare=_is_mask).requires_grad_(True)


def empty_lm(folder: str) -> Any:
    """Return a model of the folder's config, its weights random."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return AutoModelForCausalLM.from_config(config)
    except Exception as error:
        raise WeightsError(f"{folder}: no causal LM: {type(error).__name__}: {str(error)[:300]}") from error


def save_shape(folder: str, to: str) -> None:
    """Save what makes a checkpoint whole, config and tokenizer, without the weights."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    config.save_pretrained(to)
    load_tokenizer(folder).save_pretrained(to)


def positions_of(lm: Any) -> int | None:
    """Return how many tokens a model takes at most, None where it does not say."""
    return getattr(lm.config.get_text_config(), "max_position_embeddings", None)


def _is_mask(key: str) -> bool:
    """Tell the causal masks that older files of GPT-2 hold among the weights."""
    return key.endswith((".attn.bias", ".attn.masked_bias"))
