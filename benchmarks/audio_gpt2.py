"""Does a GPT-2 of train_audio_gpt2.py listen, and what does a step of GPT-2 medium take?

    envs/.built/train/bin/python benchmarks/audio_gpt2.py audio --seeds 3
    envs/.built/train/bin/python benchmarks/audio_gpt2.py memory

`audio`: espeak-ng says sentences of 39 words in six manners (make_corpus.py --kind emotion); the text to be
learnt is the manner and the sentence, of which the audio alone tells. A small GPT-2 with random weights is
trained on mel spectra with the right audio, with that of another utterance, and with none; other voices are
held out by each seed. `memory`: MiB of a step as planned on any machine, and measured where there is a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from common import SCRIPTS, print_machine, print_table, run_command

AUDIO = ("real", "shuffled", "zero")
FUSIONS = ("cross", "prefix")
MIB = 2**20
TRAIN = ["captions.json", "--audio-from", "mel", "--base-model", "./lm", "--cross-every", 1, "--stride", 8,
         "--split-by", "speaker", "--train-ratio", 0.8, "--device", "cpu", "--batch-size", 16,
         "--grad-accum-steps", 1, "--learning-rate", 1e-3, "--audio-learning-rate", 1e-3, "--num-epochs", 10,
         "--checkpoint-epochs", 0, "--save-steps", 10_000, "--no-gradient-checkpointing"]  # fmt: skip
PREPARE = """
import json, sys, torch, transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
records = [json.loads(line) for line in open("emotion/manifest.json")]
kept = ("audio_filepath", "duration", "id", "speaker")
with open("captions.json", "w") as file:
    for record in records:
        caption = f"({record['emotion']['label']}) {record['text']}"
        file.write(json.dumps({**{name: record[name] for name in kept}, "text": caption}) + chr(10))
end, parts = "<|endoftext|>", pre_tokenizers.ByteLevel
bpe = Tokenizer(models.BPE())
bpe.pre_tokenizer, bpe.decoder = parts(add_prefix_space=False), decoders.ByteLevel()
texts = [json.loads(line)["text"] for line in open("captions.json")]
bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=600, special_tokens=[end],
                        initial_alphabet=parts.alphabet(), show_progress=False))
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=end, eos_token=end)
tokenizer.save_pretrained("lm")
torch.manual_seed(0)
config = transformers.GPT2Config(vocab_size=len(tokenizer), n_embd=128, n_layer=4, n_head=4, n_positions=256,
                                 bos_token_id=0, eos_token_id=0)
transformers.GPT2LMHeadModel(config).save_pretrained("lm")
"""
MEDIUM = """
import json, sys, time
import torch, transformers
sys.path.insert(0, sys.argv[1])
from networks.audio_gpt2 import MultimodalGPT2
from networks.memory import training_bytes
fusion, every, freeze, checkpoints, precision = json.loads(sys.argv[2])
dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
if not hasattr(transformers.PreTrainedModel, "activation_checkpointing_enable"):  # before 5.23
    transformers.PreTrainedModel.activation_checkpointing_enable = (
        transformers.PreTrainedModel.gradient_checkpointing_enable)
def build(device="cpu"):
    lm = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=1024, n_layer=24, n_head=16))
    model = MultimodalGPT2(lm, 1024, fusion, cross_every=every, freeze_lm=freeze).train().to(device)
    if checkpoints:
        model.checkpoint_layers()
    tokens = torch.zeros(1, 512, dtype=torch.long, device=device)
    frames = torch.zeros(1, 500, 1024, device=device)
    def loss():
        logits = model(tokens, frames, [500])[0].float()
        return torch.nn.functional.cross_entropy(logits, tokens[0], reduction="sum") / 8192
    return model, loss
found = {"planned": training_bytes(build, dtype).total(), "measured": None, "tokens_per_s": None}
if torch.cuda.is_available():
    model, loss = build("cuda")
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=5e-5, fused=True)
    scaler = torch.amp.GradScaler("cuda", enabled=precision == "fp16")
    for step in range(4):
        if step == 1:
            torch.cuda.synchronize()
            start = time.perf_counter()
        for _ in range(16):
            with torch.autocast("cuda", dtype or torch.bfloat16, enabled=dtype is not None):
                value = loss()
            scaler.scale(value).backward()
            del value
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    found["tokens_per_s"] = 3 * 16 * 512 / (time.perf_counter() - start)
    found["measured"] = torch.cuda.max_memory_allocated()
    found["reserved"] = torch.cuda.max_memory_reserved()
print(json.dumps(found))
"""


def prepare(folder: Path) -> None:
    """Make the corpus, its captions, a language model with random weights, and mel spectra."""
    python = sys.executable
    if not (folder / "emotion").exists():
        run_command([python, SCRIPTS / "make_corpus.py", "emotion", "--kind", "emotion"], cwd=folder)
    run_command([python, "-c", PREPARE], cwd=folder)
    features = ["captions.json", "--features", "mel", "--n-mels", 40, "--device", "cpu"]
    run_command([python, SCRIPTS / "extract_features.py", *features], cwd=folder)


def best(folder: Path, fusion: str, audio: str, seed: int) -> float:
    """Train once; return the lowest validation loss, nats a token."""
    command = [sys.executable, SCRIPTS / "train_audio_gpt2.py", *TRAIN, "--fusion", fusion, "--audio", audio]
    run_command([*command, "--seed", seed], cwd=folder, env={"OMP_NUM_THREADS": "1"})
    (done,) = folder.glob(
        f"checkpoints/audio_gpt2_lm_{fusion}_mel{'' if audio == 'real' else '_' + audio}/*_s{seed}/done.json"
    )
    return float(json.loads(done.read_text())["best_loss"])


def compare_audio(folder: Path, seeds: int, fusions: list[str]) -> None:
    """Print the losses of each kind of audio: mean over the seeds, and deviation."""
    prepare(folder)
    rows = []
    for fusion in fusions:
        losses = {
            audio: [best(folder, fusion, audio, seed) for seed in range(1, seeds + 1)] for audio in AUDIO
        }
        for audio, values in losses.items():
            gains = [value - real for value, real in zip(values, losses["real"])]
            spread = statistics.stdev(gains) if seeds > 1 else 0.0
            each = " ".join(f"{value:.3f}" for value in values)
            more = "" if audio == "real" else f"{statistics.mean(gains):.3f} ± {spread:.3f}"
            rows.append([fusion, audio, f"{statistics.mean(values):.3f}", each, more])
    header = ["fusion", "audio", "nats a token", "by seed", "more than real"]
    print_table("best validation loss, voices that were not trained on", header, rows)


def measure_memory() -> None:
    """Print what a step of GPT-2 medium takes."""
    rows = []
    for case in (("cross", 4, False, True, "fp16"), ("cross", 4, False, True, "bf16"),
                 ("cross", 4, False, False, "fp16"), ("cross", 1, False, True, "fp16"),
                 ("prefix", 4, False, True, "fp16"), ("cross", 4, True, True, "fp16")):  # fmt: skip
        words = [sys.executable, "-c", MEDIUM, str(SCRIPTS), json.dumps(case)]
        env = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
        found = json.loads(run_command(words, env=env).output.splitlines()[-1])
        fusion, every, freeze, checkpoints, precision = case
        name = f"{fusion}{f' every {every}' if fusion == 'cross' else ''}{', LM frozen' if freeze else ''}"
        sizes = [found["planned"], found["measured"], found.get("reserved")]
        speed = found["tokens_per_s"]
        rows.append([name, "yes" if checkpoints else "no", precision,
                     *("" if size is None else f"{size / MIB:,.0f}" for size in sizes),
                     "" if speed is None else f"{speed:,.0f}"])  # fmt: skip
    header = ["GPT-2 medium", "checkpoints", "", "planned", "measured", "reserved", "tokens/s"]
    print_table("MiB of a step, 1 × 512 tokens, 500 frames of 1024 numbers", header, rows)
    print(run_command(["nvidia-smi", "-L"]).output if rows[0][4] else "no GPU here: nothing measured")


def main() -> None:
    """Run what was asked for."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("what", choices=["audio", "memory"])
    flags.add_argument("--seeds", type=int, default=3, metavar="N", help="of split, weights and order")
    flags.add_argument("--fusions", nargs="+", choices=FUSIONS, default=list(FUSIONS))
    flags.add_argument("--folder", type=Path, help="keep corpus and runs there (default: a temporary one)")
    args = flags.parse_args()
    print_machine()
    if args.what == "memory":
        measure_memory()
        return
    with tempfile.TemporaryDirectory() as made:
        folder = (args.folder or Path(made)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        compare_audio(folder, args.seeds, args.fusions)


if __name__ == "__main__":
    main()
