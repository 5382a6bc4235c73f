"""Lines a second and memory of phonemize.py over many lines, beside phonemizer called line by line.

    envs/.built/text/bin/python benchmarks/phonemize.py

Each line is another sentence of 12 words, of 400 that look English. `EspeakBackend a line` makes a backend
for each, as programs do that keep none; a few hundred lines show what that costs. One process, one core.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

from common import SCRIPTS, print_machine, print_table, run_command

TEXTS = """
import json, random, sys, time
from pathlib import Path
sys.path.insert(0, {scripts!r})
lines, voice = {lines}, {voice!r}
def resident_mb():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) * 1024 / 1e6
chance = random.Random(0)
syllables = [a + b for a in "b d f g k l m n p r s t".split() for b in "ar ee ing on ute ake ill".split()]
words = [chance.choice(syllables) + chance.choice(["", "er", "ly", "s", *syllables]) for _ in range(400)]
texts = (" ".join(chance.choices(words, k=12)).capitalize() + "." for _ in range(lines))
"""
MANIFEST = """
with open({manifest!r}, "w") as file:
    for number, text in enumerate(texts):
        print(json.dumps({{"id": str(number), "text": text, "lang": voice}}), file=file)
"""
PHONEMIZER = """
import espeakng_loader
from phonemizer.backend import EspeakBackend
from phonemizer.backend.espeak.wrapper import EspeakWrapper
EspeakWrapper.set_library(espeakng_loader.get_library_path())
EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
options = dict(preserve_punctuation=True, with_stress=True, language_switch="remove-flags")
"""
CASES = {
    "ours": """
from media.phonemes import ESPEAK, Options, Phonemizer
phonemizer = Phonemizer(ESPEAK, Options())
say = lambda text: phonemizer.phones(text, phonemizer.voice(voice))
""",
    "ours, language told by langdetect": """
from media.phonemes import ESPEAK, Options, Phonemizer
from media.languages import detect
phonemizer = Phonemizer(ESPEAK, Options())
say = lambda text: (detect(text), phonemizer.phones(text, voice))  # words of no language
""",
    "phonemize() a line": """
from phonemizer import phonemize
say = lambda text: phonemize(text, language=voice, strip=True, **options)
""",
    "EspeakBackend a line": """
say = lambda text: EspeakBackend(voice, **options).phonemize([text], strip=True)[0]
""",
}
END = """
for _ in range(10):
    say(next(texts))
first, began = resident_mb(), time.process_time()
count = sum(1 for _ in map(say, texts))
spent = time.process_time() - began
print(count, spent, first, resident_mb())
"""


def measure(case: str, lines: int, voice: str) -> list[object]:
    """Return a row of the table."""
    begin = TEXTS.format(scripts=str(SCRIPTS), lines=lines + 10, voice=voice) + PHONEMIZER
    command = [sys.executable, "-W", "ignore", "-c", begin + CASES[case] + END]
    count, spent_s, first_mb, last_mb = map(float, run_command(command).output.split()[-4:])
    grown_kb = (last_mb - first_mb) * 1000 / count
    return [
        case,
        f"{count:,.0f}",
        f"{count / spent_s:,.0f}",
        f"{first_mb:.0f}",
        f"{last_mb:.0f}",
        f"{grown_kb:.2f}",
    ]


def whole_stage(lines: int, voice: str) -> list[object]:
    """Return a row of the command itself, one worker; memory is the peak of its largest process."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = f"{folder}/corpus.json"
        texts = TEXTS.format(scripts=str(SCRIPTS), lines=lines, voice=voice)
        run_command([sys.executable, "-c", texts + MANIFEST.format(manifest=manifest)])
        run = run_command([sys.executable, SCRIPTS / "phonemize.py", manifest, "--workers", 1])
    rate = f"{lines / run.cpu_s:,.0f}"
    return ["phonemize.py, manifest to manifest", f"{lines:,}", rate, "", f"{run.peak_mb:.0f} (peak)", ""]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--voice", default="en-us")
    args = parser.parse_args()
    print_machine()
    many = {"ours": args.lines, "phonemize() a line": args.lines}
    rows = []
    for case in CASES:
        few = 300 if "EspeakBackend" in case else max(300, args.lines // 20)
        rows.append(measure(case, many.get(case, few), args.voice))
        print(f"{case}: done", file=sys.stderr, flush=True)
    rows.append(whole_stage(args.lines, args.voice))
    columns = ["case", "lines", "lines a CPU second", "MB after 10 lines", "MB at the end", "kB a line"]
    print_table(f"Text to IPA, {args.voice}, 12 words a line", columns, rows)


if __name__ == "__main__":
    main()
