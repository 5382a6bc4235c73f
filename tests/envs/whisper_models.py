"""Tiny random models in the file formats of the real ones: Whisper for transformers and CTranslate2, a
wav2vec 2.0 aligner, a pyannote diarization pipeline. Built in seconds, offline.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

SENTENCES = [
    "the birch canoe slid on the smooth planks",
    "glue the sheet to the dark blue background",
    "0123456789",
]
TEXT_NUDGE, END_NUDGE, HEARING = 6.0, 8.5, 3.0  # words, and the end of the text, are likelier than the rest
LETTERS = "abcdefghijklmnopqrstuvwxyz'"


def _tokenizer(folder: Path):
    """A byte-level BPE with Whisper's special tokens in Whisper's order, so that their ids resolve."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import WhisperTokenizerFast
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet))
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES),
               "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>",
               "<|notimestamps|>", *(f"<|{i * 0.02:.2f}|>" for i in range(1501))]  # fmt: skip
    told = json.loads(bpe.to_str())
    model = told["model"]
    model["vocab"][""] = len(model["vocab"])  # by this token, 50256, CTranslate2 knows a multilingual model
    bpe = Tokenizer.from_str(json.dumps(told))
    bpe.add_special_tokens(special)
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return WhisperTokenizerFast(
        tokenizer_object=bpe, bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>",
        pad_token="<|endoftext|>", additional_special_tokens=special[1:]), LANGUAGES  # fmt: skip


def build_whisper(folder: Path) -> Path:
    """A Whisper of 0.4 million random weights as transformers saves it."""
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    tokenizer, languages = _tokenizer(folder)
    ids = tokenizer.convert_tokens_to_ids
    config = WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=80, d_model=64, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=128, decoder_ffn_dim=128,
        max_target_positions=448, decoder_start_token_id=ids("<|startoftranscript|>"),
        pad_token_id=ids("<|endoftext|>"), bos_token_id=ids("<|endoftext|>"),
        eos_token_id=ids("<|endoftext|>"), suppress_tokens=[], begin_suppress_tokens=[],
        init_std=0.2, tie_word_embeddings=False)  # fmt: skip
    torch.manual_seed(1)
    model = WhisperForConditionalGeneration(config).eval()
    tokens = {number: token for token, number in tokenizer.get_vocab().items()}
    words = [number for number, token in tokens.items() if set(token) <= {*LETTERS, "\u0120"} and token]
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "encoder_attn" in name and weights.ndim > 1:  # what it says shall depend on what it hears
                weights.mul_(HEARING)
        nudge = torch.nn.functional.normalize(torch.randn(config.d_model), dim=0)
        model.model.decoder.layer_norm.bias += nudge  # so that a row of proj_out + a x nudge scores a more
        model.proj_out.weight[words] += TEXT_NUDGE * nudge  # most tokens are timestamps
        model.proj_out.weight[[n for n in words if tokens[n].startswith("\u0120")]] += nudge
        model.proj_out.weight[config.eos_token_id] += END_NUDGE * nudge
    model.generation_config = GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id, eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id, bos_token_id=config.bos_token_id, max_length=48,
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": ids(f"<|{code}|>") for code in languages},
        task_to_id={"transcribe": ids("<|transcribe|>"), "translate": ids("<|translate|>")},
        no_timestamps_token_id=ids("<|notimestamps|>"), prev_sot_token_id=ids("<|startofprev|>"),
        max_initial_timestamp_index=50, suppress_tokens=[], begin_suppress_tokens=[],
        alignment_heads=[[1, 0]])  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def convert(whisper: Path, folder: Path) -> Path:
    """The same weights as CTranslate2's converter writes them."""
    from ctranslate2.converters import TransformersConverter

    copied = ["tokenizer.json", "preprocessor_config.json"]
    with contextlib.redirect_stdout(io.StringIO()):
        TransformersConverter(str(whisper), copy_files=copied).convert(str(folder))
    return folder


def build_aligner(folder: Path) -> Path:
    """A wav2vec 2.0 with a CTC head over letters; digits and other letters are unknown to it."""
    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    folder.mkdir(parents=True)
    vocabulary = {
        token: number for number, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS])
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), pad_token="<pad>", word_delimiter_token="|")
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        pad_token_id=0)  # fmt: skip
    torch.manual_seed(2)
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=False, do_normalize=True)
    Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    return folder


def build_diarizer(folder: Path) -> Path:
    """A pyannote speaker-diarization pipeline: somebody always speaks, random embeddings say who."""
    import numpy as np
    import torch
    import yaml
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import XVectorSincNet
    from pyannote.audio.models.segmentation import PyanNet

    torch.manual_seed(3)
    segmenter = PyanNet(lstm={"hidden_size": 8, "num_layers": 1}, linear={"hidden_size": 8, "num_layers": 1})
    segmenter.specifications = Specifications(
        problem=Problem.MULTI_LABEL_CLASSIFICATION, resolution=Resolution.FRAME, duration=2.0,
        classes=["speaker#1", "speaker#2"])  # fmt: skip
    segmenter.build()
    with torch.no_grad():
        segmenter.classifier.weight.zero_()
        segmenter.classifier.bias.copy_(torch.tensor([4.0, -4.0]))
    embedder = XVectorSincNet(dimension=16)
    embedder.specifications = Specifications(
        problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=2.0,
        classes=["a", "b"])  # fmt: skip
    embedder.build()
    for name, model in {"segmentation": segmenter, "embedding": embedder}.items():
        (folder / name).mkdir(parents=True)
        saved = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams),
                 "pytorch-lightning_version": "2.6.6"}  # fmt: skip
        model.on_save_checkpoint(saved)
        torch.save(saved, folder / name / "pytorch_model.bin")
    (folder / "plda").mkdir()
    eye = np.eye(16)
    np.savez(folder / "plda/xvec_transform.npz", mean1=np.zeros(16), mean2=np.zeros(16), lda=eye)
    np.savez(folder / "plda/plda.npz", mu=np.zeros(16), tr=eye, psi=np.ones(16))
    config = {
        "pipeline": {"name": "pyannote.audio.pipelines.SpeakerDiarization", "params": {
            "segmentation": "$model/segmentation", "embedding": "$model/embedding", "plda": "$model/plda",
            "clustering": "AgglomerativeClustering"}},
        "params": {"segmentation": {"threshold": 0.5, "min_duration_off": 0.0},
                   "clustering": {"method": "centroid", "threshold": 0.7, "min_cluster_size": 1}},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder
