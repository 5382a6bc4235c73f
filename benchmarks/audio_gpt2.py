"""What a training step of GPT-2 medium that listens takes: planned on any machine, measured where a GPU is.

    envs/.built/train/bin/python benchmarks/audio_gpt2.py

AdamW, 16 batches of one text of 512 tokens and 500 frames of 1,024 numbers a step, random weights.
"""

from __future__ import annotations

import json
import sys

from common import SCRIPTS, print_machine, print_table, run_command

MIB = 2**20
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
    with torch.device(device):
        lm = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=1024, n_layer=24, n_head=16))
        model = MultimodalGPT2(lm, 1024, fusion, cross_every=every, freeze_lm=freeze).train()
        tokens, frames = torch.zeros(1, 512, dtype=torch.long), torch.zeros(1, 500, 1024)
    if checkpoints:
        model.checkpoint_layers()
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


def main() -> None:
    """Print what a step takes."""
    print_machine()
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


if __name__ == "__main__":
    main()
