"""Tiny random models of transformers in folders, as the hub has them: text classifier and speech encoders."""

from __future__ import annotations

import json
from pathlib import Path

import torch

TEXTS = ("I love this so much", "what a terrible day", "thank you for the help", "the birch canoe slid")


def make_classifier(folder: Path, labels: tuple[str, ...], seed: int = 0, **config: object) -> Path:
    """Write a RoBERTa of two layers that gives a logit a label, with a byte-level BPE of its own."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaForSequenceClassification, RobertaTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(TEXTS * 20, vocab_size=400, special_tokens=special, show_progress=False)
    bpe.save_model(str(folder))
    tokenizer = RobertaTokenizerFast.from_pretrained(str(folder), model_max_length=64)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    small = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=66, pad_token_id=1, type_vocab_size=1,
        id2label=dict(enumerate(labels)), label2id={label: n for n, label in enumerate(labels)},
        initializer_range=0.5,
        **{"problem_type": "multi_label_classification", **config},
    )  # fmt: skip
    RobertaForSequenceClassification(small).save_pretrained(folder)
    return folder


SPEECH = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48,
    "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


def make_encoder(folder: Path, kind: str, normalise: bool = True, **config: object) -> Path:
    """Write a wav2vec2, wav2vec2-bert, hubert, wavlm or whisper of three layers."""
    import transformers

    torch.manual_seed(1)
    if kind == "whisper":
        small = transformers.WhisperConfig(
            vocab_size=60, d_model=32, encoder_layers=3, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=80,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None,
            begin_suppress_tokens=None, **config,
        )  # fmt: skip
        model = transformers.WhisperForConditionalGeneration(small)
        front = {"feature_size": 80, "feature_extractor_type": "WhisperFeatureExtractor"}
    else:
        names = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM",
                 "wav2vec2-bert": "Wav2Vec2Bert"}  # fmt: skip
        shape = SPEECH if kind != "wav2vec2-bert" else {k: v for k, v in SPEECH.items() if "conv" not in k}
        model_class = getattr(transformers, f"{names[kind]}Model")
        model = model_class(getattr(transformers, f"{names[kind]}Config")(**{**shape, **config}))
        front = {"do_normalize": normalise, "feature_size": 1, "sampling_rate": 16_000}
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(front))
    return folder


def make_lm(folder: Path, kind: str, texts: list[str], positions: int = 64) -> Path:
    """Write a causal LM of two layers, gpt2 or llama, without dropout, with a byte-level BPE of the texts."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    end = "<|endoftext|>"
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=320, special_tokens=[end], initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=end, eos_token=end)
    tokenizer.save_pretrained(folder)
    shape = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "max_position_embeddings": positions}
    shape |= {"bos_token_id": 0, "eos_token_id": 0}
    torch.manual_seed(2)
    if kind == "llama":
        config = transformers.LlamaConfig(**shape, intermediate_size=64)
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    else:
        none = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape, **none)).save_pretrained(folder)
    return folder
