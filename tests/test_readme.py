"""The README is true: its tree exists, its recipe runs as an array, its commands are understood or run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

import speech
from small_vocoder import make_vocoder
from speech import write_wav

README_NAME = "README.md"
RECORDINGS = 12
SCRATCH = "/data/corpus"  # what the README calls the user's folder


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def readme(repo) -> str:
    """Return the README's text."""
    return (repo / README_NAME).read_text()


@pytest.fixture(scope="module")
def clone(repo, tmp_path_factory):
    """Return a copy of the repository's files with a spoken `corpus/`, its manifest, a reference."""
    root = tmp_path_factory.mktemp("clone")
    names = subprocess.run(
        ["git", "-C", repo, "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=True).stdout.splitlines()  # fmt: skip
    for name in names:
        if (repo / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repo / name, root / name)
    speak_corpus(root / "corpus")
    run(root, "sbatch slurm/vad.slurm CORPUS corpus --engine silero")
    run(root, "sbatch --array=0-1 slurm/asr.slurm metadata/corpus.json --backend pocketsphinx")
    run(root, "python scripts/merge_manifest.py --manifest metadata/corpus.json")
    with open(root / "metadata" / "corpus.json") as file:
        paths = [json.loads(line)["audio_filepath"] for line in file]
    (root / "metadata/ls-clean.csv").write_text(
        "audio_filepath,transcription\n" + "".join(f"{path},the birch canoe\n" for path in paths)
    )
    (root / "speakers.csv").write_text(
        "stem,speaker\n"
        + "".join(f"{os.path.basename(path)[:-4]},s{number}\n" for number, path in enumerate(paths))
    )
    return root


def speak_corpus(folder) -> None:
    """Make short recordings, enough to split them three ways."""
    folder.mkdir()
    for number in range(RECORDINGS):
        voice = ("slt", "rms", "awb")[number % 3]
        write_wav(folder / f"talk{number:02d}.wav", speech.speak("the birch canoe", voice))


def run(root, command: str, ok=(0,)) -> str:
    """Run a command of the README in a clone, sbatch as local_sbatch; return the output of its success."""
    words = shlex.split(
        command.partition("  #")[0].replace(SCRATCH, str(root / "corpus")).replace("CORPUS", "corpus")
    )
    environment = {**os.environ, "AMELA_ENV": "local", "AMELA_ENVS": str(root / "envs-of-test")}
    python = root / "envs-of-test/local/bin/python"
    if not python.exists():
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
    if words[0] == "sbatch":
        words = ["python", "scripts/local_sbatch.py", "--gres=none", "--cpus-per-task=1", *words[1:]]
    if words[0] == "python":
        words[0] = sys.executable
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    logs = "".join(path.read_text()[-1500:] for path in (root / "logs").glob("*.err"))
    assert done.returncode in ok, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n{logs}"
    return done.stdout


def test_the_tree_names_what_exists(readme, repo):
    tree = blocks(readme.split("## What is where")[1], "")[0]
    named = re.findall(r"[A-Za-z_0-9]+\.(?:py|sh|md)\b|[a-z]+/(?=\s)", tree)
    assert len(named) > 20
    for name in set(named) - {"NAME.py"}:
        places = [repo / name, repo / "scripts" / name, repo / "slurm" / name, repo / "envs" / name]
        assert any(place.exists() for place in places), name
    scripts = {path.name for path in (repo / "scripts").glob("*.py")}
    assert scripts <= set(named), f"not in the tree: {scripts - set(named)}"


def test_every_script_has_a_command_in_the_readme(readme, repo):
    for path in (repo / "scripts").glob("*.py"):
        assert path.name in readme or f"slurm/{path.stem}.slurm" in readme


def test_the_recipe_for_a_new_stage_runs_as_an_array(readme, clone):
    recipe = readme.split("## A new stage")[1].split("\n## ")[0]
    script, (launcher, commands) = blocks(recipe, "python")[0], blocks(recipe, "bash")
    (clone / "scripts/count_words.py").write_text(script)
    (clone / "slurm/count_words.slurm").write_text(launcher)
    lines = (clone / "metadata/corpus.json").read_text().splitlines()
    texts = ["the cat and the hat", "one", ""] * (RECORDINGS // 3)
    manifest = clone / "metadata/words.json"
    manifest.write_text(
        "".join(json.dumps({**json.loads(line), "text": text}) + "\n" for line, text in zip(lines, texts))
    )
    for command in commands.strip().splitlines():
        run(clone, command.replace("metadata/corpus.json", "metadata/words.json"))
    assert [json.loads(line)["word_count"] for line in manifest.read_text().splitlines()] == [4, 1, 0] * (
        RECORDINGS // 3
    )


def table_commands(text: str) -> list[str]:
    """Return the commands of the right column of «Coming from another tool»."""
    section = text.split("## Coming from another tool")[1].split("\n## ", maxsplit=1)[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [re.findall(r"`([^`]+)`", row[1])[-1] for row in rows[1:]]


CODEBOOK = "--encoder tests/data/golden/bn.pt --kmeans tests/data/golden/bn.km --layer 2 --device cpu"
VOICE = "--vocoder voice/generator.pt --device cpu"  # of the codebook's 20 units
SMALL = {  # what makes a command run in seconds and without a download, by its script
    "vad": "--engine silero",
    "asr": "--backend pocketsphinx",
    "transcribe": "--backend pocketsphinx --limit 2",
    "encode": CODEBOOK,
    "encode_codec": "--codec mulaw",
    "codec": "--codec mulaw",
    "decode_codec": "--codec mulaw",
    "sts": f"{CODEBOOK} {VOICE}",
    "train": "--num-epochs 1 --device cpu",
    "train_lstm": "--num-epochs 1 --device cpu",
    "generate": "--temperature 1 --top-k none --samples 1 --max-length 30 --device cpu",
    "synthesize": VOICE,
    "tag_emotion": "--backend lexicon",
    "serve_flight": "--port 0 --idle-s 1",
    "embed_pairs": "--model tests/data/golden/bn.pt --layer 2 --device cpu",
}


IN_TRAIN = (  # tests/envs runs them, with small models
    "train_audio_gpt2", "infer_audio_gpt2", "train_ser", "evaluate_ser",
)  # fmt: skip


def stage_of_demo(command: str) -> str:
    """Return a command with the models that need no download; of a grid one point, of babbling the lines."""
    name = re.search(r"(?:scripts|slurm)/(\w+)\.(?:py|slurm)", command)[1]
    if name in IN_TRAIN:
        return f"python scripts/{name}.py --help"
    command = command.replace(" --max_new_tokens 256", "").replace(" --whisper_model medium", "")
    if name in ("encode", "codec", "sts", "train", "features"):
        command = command.replace("--array=0-15", "--array=3" if name == "train" else "--array=0-1")
    if name == "dashboard":
        return f"{command} --help"  # it would go on for ever
    if name == "submit":
        long = re.search(" (babble|annotate|multimodal) ", command)
        return command + (
            " --dry-run" if long else " --local --name workflow --asr-args '--backend pocketsphinx'"
        )
    return f"{command} {SMALL.get(name, '')}"


def test_each_command_for_people_from_other_tools_runs(readme, clone):
    commands = table_commands(readme)
    join = "join metadata/corpus.json metadata/speakers.json --table speakers.csv --by stem --overwrite"
    run(clone, f"python scripts/manifest_tools.py {join}")
    assert len(commands) >= 15
    make_vocoder(clone / "voice", 20)
    (clone / "wavs").symlink_to(clone / "corpus")
    (clone / "texts").mkdir()
    for path in (clone / "corpus").iterdir():
        (clone / "texts" / f"{path.stem}.txt").write_text("the birch canoe")
    for command in commands:
        run(clone, stage_of_demo(command), ok=(0, 4))
    record = json.loads((clone / "metadata/corpus.json").read_text().splitlines()[0])
    assert "text" in record
    assert (clone / "metadata/custom_name.json").exists()


COMMANDS = r"^((?:python scripts/|sbatch )[^\n]*)"


def script_of(repo, command: str, name: str) -> str:
    """Return the script that a command runs: a batch file may have a shorter name."""
    batch_file = repo / "slurm" / f"{name}.slurm"
    found = f"slurm/{name}.slurm" in command and re.search(r"run_stage \S+ (\w+)\.py", batch_file.read_text())
    return found[1] if found else name


def help_of(repo, script: str, words: list[str]) -> str:
    """Return what a script's --help says, that of its sub-command where the first word is one; a batch file
    may have a shorter name than its script.
    """
    path = str(repo / "scripts" / f"{script}.py")
    if not os.path.exists(path):
        found = re.search(r"^run_stage \S+ (\S+)", (repo / f"slurm/{script}.slurm").read_text(), re.MULTILINE)
        path = str(repo / "scripts" / found[1])
    told = subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True, check=True).stdout
    is_command = words and not words[0].startswith("-")
    if is_command and re.search(rf"^ +{re.escape(words[0])}( |$)", told, re.MULTILINE):
        command = [sys.executable, path, words[0], "--help"]
        told += subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return told


def test_each_flag_of_the_sections_is_one_that_its_script_knows(readme, repo):
    sections = readme.split("## Every stage")[1].split("## A new stage")[0]
    checked = 0
    for block in blocks(sections, "bash"):
        for command in re.findall(COMMANDS, block, re.MULTILINE):
            target = re.search(r".*(?:scripts|slurm)/(\w+)\.(?:py|slurm) ?(.*)", command)
            if not target or target[1] in ("STAGE", "train"):
                continue
            words = shlex.split(target[2].partition("  #")[0])
            told = help_of(repo, script_of(repo, target[0], target[1]), words)
            for word in words:
                if word.startswith("--") and " " not in word:
                    assert word.partition("=")[0].replace("_", "-") in told, f"{command}: {word}"
                    checked += 1
    assert checked > 20


def test_the_sections_of_manifest_tools_and_looking_after_a_run_run(readme, clone):
    for title in ("## Manifest tools", "## Looking after a run"):
        for command in re.findall(COMMANDS, readme.split(title)[1].split("\n## ")[0], re.MULTILINE):
            typed = command.replace(" --watch", "").replace("plan.py asr", "plan.py --x-realtime 300 asr")
            if " join " in command:  # the table of the other tools has made these before
                for path in (clone / "metadata").glob("speakers*.json"):
                    path.unlink()
            run(clone, typed, ok=(0, 2) if "doctor" in command else (0,))
