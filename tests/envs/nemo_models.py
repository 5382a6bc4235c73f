"""Tiny random NeMo models, built on the spot: the real classes and file formats, seconds on a CPU, no
network.
"""

from __future__ import annotations

from pathlib import Path

LLM_WIDTH, ENCODER_WIDTH = 64, 48
SENTENCES = [
    "the child almost hurt the small dog",
    "sunday is the best part of the week",
    "user assistant transcribe",
]

TRANSFORMER, LOSSES = "nemo.collections.asr.modules.transformer", "nemo.collections.common.losses"
PREPROCESSOR = {
    "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
    "sample_rate": 16000,
    "normalize": "per_feature",
    "window_size": 0.025,
    "window_stride": 0.01,
    "features": 80,
    "n_fft": 512,
    "log": True,
    "frame_splicing": 1,
    "dither": 0.0,
    "pad_to": 0,
}
ENCODER = {
    "_target_": "nemo.collections.asr.modules.ConformerEncoder",
    "feat_in": 80,
    "feat_out": -1,
    "n_layers": 2,
    "d_model": ENCODER_WIDTH,
    "subsampling": "dw_striding",
    "subsampling_factor": 8,
    "subsampling_conv_channels": 16,
    "ff_expansion_factor": 2,
    "n_heads": 4,
    "self_attention_model": "rel_pos",
    "conv_kernel_size": 9,
    "dropout": 0.0,
    "dropout_pre_encoder": 0.0,
    "dropout_emb": 0.0,
    "dropout_att": 0.0,
}
PROMPT = {
    "decodercontext": "",
    "source_lang": "<|en|>",
    "target_lang": "<|en|>",
    "emotion": "<|emo:undefined|>",
    "pnc": "<|pnc|>",
    "itn": "<|noitn|>",
    "diarize": "<|nodiarize|>",
    "timestamp": "<|notimestamp|>",
}


def build_salm(folder: Path) -> Path:
    """Save a SALM (Qwen3 + LoRA behind a Conformer) as a folder that needs nothing beside it; return the
    folder.
    """
    import torch
    from nemo.collections.speechlm2.models import SALM

    torch.manual_seed(0)
    llm = _qwen(folder / "llm")
    model = SALM(
        {
            "pretrained_llm": str(llm),
            "pretrained_asr": None,
            "pretrained_weights": False,
            "audio_locator_tag": "<|audioplaceholder|>",
            "prompt_format": "qwen",
            "freeze_params": [],
            "prevent_freeze_params": [],
            "lora": {
                "task_type": "CAUSAL_LM",
                "r": 4,
                "lora_alpha": 8,
                "target_modules": ["q_proj", "v_proj"],
            },
            "perception": {
                "target": "nemo.collections.speechlm2.modules.perception.AudioPerceptionModule",
                "preprocessor": PREPROCESSOR,
                "encoder": ENCODER,
                "output_dim": LLM_WIDTH,
                "modality_adapter": {
                    "_target_": "nemo.collections.speechlm2.modules.perception.IdentityConnector",
                    "d_model": ENCODER_WIDTH,
                },
            },
        }
    )
    model.save_pretrained(str(folder / "salm"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "salm" / name).write_bytes((llm / name).read_bytes())
    (folder / "salm" / "llm_backbone").mkdir()
    (folder / "salm" / "llm_backbone" / "config.json").write_bytes((llm / "config.json").read_bytes())
    return folder / "salm"


def _qwen(folder: Path) -> Path:
    """A Qwen3 of two layers with a byte-level tokenizer of its own."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast, Qwen3Config

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        SENTENCES, vocab_size=400, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        initializer_range=0.5,
        hidden_size=LLM_WIDTH,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        architectures=["Qwen3ForCausalLM"],
    )
    config.save_pretrained(folder)
    return folder


def build_ctc(path: Path, layers: int = 2, width: int = ENCODER_WIDTH) -> Path:
    """Save a CTC model over characters as a .nemo file; return its path."""
    import torch
    from nemo.collections.asr.models import EncDecCTCModel
    from omegaconf import DictConfig

    torch.manual_seed(0)
    letters = [" ", *"abcdefghijklmnopqrstuvwxyz", "'"]
    decoder = {
        "_target_": "nemo.collections.asr.modules.ConvASRDecoder",
        "feat_in": width,
        "num_classes": len(letters),
        "vocabulary": letters,
    }
    model = EncDecCTCModel(
        DictConfig(
            {
                "sample_rate": 16000,
                "labels": letters,
                "preprocessor": PREPROCESSOR,
                "encoder": {**ENCODER, "n_layers": layers, "d_model": width},
                "decoder": decoder,
                "decoding": {"strategy": "greedy_batch"},
            }
        )
    )
    _centre(model)
    model.save_to(str(path))
    return path


def _centre(model) -> None:
    """Take the mean over time out of the letters' scores: random weights alone hear the same letter all the
    time.
    """
    import torch

    letters = model.eval().decoder.decoder_layers[0]
    with torch.no_grad():
        model.encoder.pre_encode.out.weight *= 30
        noise = 0.1 * torch.randn(1, 64000)
        features, length = model.preprocessor(input_signal=noise, length=torch.tensor([64000]))
        heard, _ = model.encoder(audio_signal=features, length=length)
        letters.bias.copy_(-letters.weight[:, :, 0] @ heard[0].mean(dim=1))


def build_multitask(path: Path) -> Path:
    """Save a Canary-type encoder-decoder, prompted with languages, as a .nemo file; return its path."""
    import sentencepiece
    import torch
    from nemo.collections.asr.models import EncDecMultiTaskModel
    from nemo.collections.common.tokenizers import CanaryTokenizer
    from nemo.utils.app_state import AppState
    from omegaconf import DictConfig

    torch.manual_seed(0)
    folder = path.parent / "tokenizers"
    special = [
        "<|en|>",
        "<|de|>",
        "<|pnc|>",
        "<|nopnc|>",
        "<|itn|>",
        "<|noitn|>",
        "<|timestamp|>",
        "<|notimestamp|>",
        "<|diarize|>",
        "<|nodiarize|>",
        "<|startofcontext|>",
        "<|emo:undefined|>",
        "<|transcribe|>",
        "<|translate|>",
    ]
    (folder / "special").mkdir(parents=True)
    CanaryTokenizer.build_special_tokenizer(special, str(folder / "special"))
    for lang in ("en", "de"):
        (folder / lang).mkdir()
        text = folder / lang / "text.txt"
        text.write_text("\n".join(SENTENCES * 20))
        sentencepiece.SentencePieceTrainer.train(
            input=str(text),
            model_prefix=str(folder / lang / "tokenizer"),
            vocab_size=48,
            model_type="bpe",
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            minloglevel=2,
        )
        vocab = sentencepiece.SentencePieceProcessor(model_file=str(folder / lang / "tokenizer.model"))
        (folder / lang / "vocab.txt").write_text("\n".join(vocab.id_to_piece(i) for i in range(len(vocab))))
    tokenizers = {lang: {"dir": str(folder / lang), "type": "bpe"} for lang in ("en", "de")}
    tokenizers["spl_tokens"] = {"dir": str(folder / "special"), "type": "bpe"}
    block = {
        "num_layers": 2,
        "inner_size": 96,
        "num_attention_heads": 4,
        "hidden_act": "relu",
        "max_sequence_length": 256,
        "attn_score_dropout": 0.0,
        "attn_layer_dropout": 0.0,
        "ffn_dropout": 0.0,
        "embedding_dropout": 0.0,
    }
    AppState().model_restore_path = None  # else the last .nemo restored in this process is looked into
    model = EncDecMultiTaskModel(
        DictConfig(
            {
                "sample_rate": 16000,
                "prompt_format": "canary2",
                "prompt_defaults": [{"role": "user", "slots": PROMPT}],
                "preprocessor": PREPROCESSOR,
                "encoder": ENCODER,
                "tokenizer": {
                    "type": "agg",
                    "dir": None,
                    "langs": tokenizers,
                    "custom_tokenizer": {
                        "_target_": "nemo.collections.common.tokenizers.canary_tokenizer.CanaryTokenizer",
                        "tokenizers": None,
                    },
                },
                "model_defaults": {
                    "asr_enc_hidden": ENCODER_WIDTH,
                    "lm_enc_hidden": ENCODER_WIDTH,
                    "lm_dec_hidden": ENCODER_WIDTH,
                },
                "transf_encoder": {
                    "_target_": f"{TRANSFORMER}.transformer_encoders.TransformerEncoder",
                    "num_layers": 0,
                    "hidden_size": ENCODER_WIDTH,
                    **{
                        k: v
                        for k, v in block.items()
                        if k not in ("num_layers", "max_sequence_length", "embedding_dropout")
                    },
                },
                "transf_decoder": {
                    "_target_": f"{TRANSFORMER}.get_nemo_transformer",
                    "model_name": None,
                    "pretrained": False,
                    "encoder": None,
                    "config_dict": {
                        **block,
                        "hidden_size": ENCODER_WIDTH,
                        "num_token_types": 0,
                        "learn_positional_encodings": False,
                        "pre_ln": True,
                        "vocab_size": None,
                    },
                },
                "head": {
                    "_target_": "nemo.collections.asr.parts.submodules.token_classifier.TokenClassifier",
                    "num_layers": 1,
                    "activation": "relu",
                    "log_softmax": True,
                    "hidden_size": ENCODER_WIDTH,
                    "num_classes": None,
                    "dropout": 0.0,
                    "use_transformer_init": True,
                },
                "decoding": {
                    "strategy": "beam",
                    "beam": {"beam_size": 1, "len_pen": 0.0, "max_generation_delta": 20},
                },
                "loss": {
                    "_target_": f"{LOSSES}.smoothed_cross_entropy.SmoothedCrossEntropyLoss",
                    "label_smoothing": 0.0,
                    "pad_id": None,
                },
            }
        )
    )
    model.save_to(str(path))
    return path
