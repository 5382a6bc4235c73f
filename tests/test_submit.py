"""submit.py: whole workflows on a real SLURM, run twice, after failures and cancels, and without SLURM."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import submit as submit_py
from amela import grid
from amela.causes import causes, final_states, format_time, grown, parse_memory_mb, parse_time_s
from amela.errors import CallError
from amela.workflow import Wish, missing_steps
from small_vocoder import make_vocoder
from toy import reference, results_of, write_toy_manifest

TOY_WORKFLOW = """
WORKFLOWS["toy"] = (
    Step("toy_stage", "{manifest}", stage="toy"),
    Step("merge", "--manifest {manifest} --stage toy", merges="toy", after_any=("toy_stage",)),
    Step("after", "{manifest}", after_ok=("merge",), makes="output/after.txt"),
)
"""
UNITS = 12  # of the small vocoder
AFTER = "import sys\nopen('output/after.txt', 'w').write(open(sys.argv[1]).read())\n"


@pytest.fixture
def here(checkout: Path) -> Path:
    """Return a checkout with a toy manifest and the workflow `toy`: stage → merge → a last step."""
    write_toy_manifest(checkout / "metadata/x.json")
    script = checkout / "scripts/submit.py"
    script.write_text(script.read_text().replace("\nFROM_FOLDER", TOY_WORKFLOW + "\nFROM_FOLDER"))
    (checkout / "scripts/after.py").write_text(AFTER)
    launcher = (checkout / "slurm/merge.slurm").read_text()
    (checkout / "slurm/after.slurm").write_text(
        launcher.replace("merge_manifest", "after").replace("merge", "after")
    )
    return checkout


def submit(cluster, *arguments: object, status: int = 0, env: dict[str, str] | None = None) -> str:
    command = [sys.executable, "scripts/submit.py", *map(str, arguments)]
    done = subprocess.run(
        command, env={**cluster.env, **(env or {})}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def jobs_of(output: str) -> dict[str, str]:
    """Job ids by the name of the step."""
    return dict(re.findall(r"^(\w+) +job (\d+) ", output, re.MULTILINE))


def test_lines_are_those_on_record(cluster, checkout):
    words = ["--shards=40", "--at-once=10", "--field=pred_text", "--vad-args", "--engine silero"]
    words += ["--asr-args=--backend nemo --model 'a b'", "--asr-sbatch=--time=1-0 --partition=gpu"]
    words += ["--asr_eval-args", "--ref text"]
    (checkout / "corpus").mkdir()
    lines = submit(cluster, "corpus", "corpus", *words, "--dry-run").replace(
        str(checkout / "corpus"), "/data/corpus"
    )
    record = Path(__file__).parent / "data/submit_corpus.txt"
    assert lines.splitlines() == record.read_text().splitlines()


def test_lines_of_units_and_babble_are_those_on_record(cluster, checkout):
    (checkout / "metadata/corpus.json").write_text('{"audio_filepath": "/a.wav"}\n')
    (checkout / "checkpoints/lstm_h8/corpus_s42").mkdir(parents=True)
    words = ["--train-args=--grid grid.json", "--train-sbatch=--array=0-3", "--encode-args", "--layer 9"]
    lines = submit(cluster, "units", "metadata/corpus.json", "--shards=4", *words, "--dry-run")
    words = ["--generate-args", "--samples 2", "--vad-args=--engine silero", "--field=pred_text", "--dry-run"]
    lines += submit(cluster, "babble", "checkpoints/lstm_h8/corpus_s42/", *words)
    record = Path(__file__).parent / "data/submit_units_and_babble.txt"
    assert lines.replace(f"{checkout}/", "").splitlines() == record.read_text().splitlines()


def test_dry_run_is_a_script_that_does_it(cluster, here):
    lines = submit(cluster, "toy", "metadata/x.json", "--shards=3", "--dry-run")
    assert not (here / "metadata/.amela").exists()
    ids = cluster.run("bash", "-ec", lines + "\necho $toy_stage $merge $after", cwd=here).split()
    assert all(set(cluster.wait_for(job).values()) == {"COMPLETED"} for job in ids)
    assert (here / "output/after.txt").read_bytes() == reference(here)


def test_twice_and_nothing_is_done_twice(cluster, here):
    first = submit(
        cluster, "toy", "metadata/x.json", "--shards=6", "--at-once=2", "--toy_stage-args", "--seconds=0.03"
    )
    jobs = jobs_of(first)
    assert list(jobs) == ["toy_stage", "merge", "after"]
    assert "--array=0-5%2" in first
    again = submit(cluster, "toy", "metadata/x.json")
    assert again.startswith("still in the queue: ")
    assert "nothing submitted" in again
    for job in jobs.values():
        assert set(cluster.wait_for(job).values()) == {"COMPLETED"}
    assert (here / "output/after.txt").read_bytes() == reference(here)
    assert submit(cluster, "toy", "metadata/x.json").startswith("nothing is missing")
    (here / "output/after.txt").unlink()
    assert list(jobs_of(submit(cluster, "toy", "metadata/x.json", "--wait"))) == ["after"]
    assert (here / "output/after.txt").exists()


def test_what_failed_is_done_again_and_what_waited_for_it(cluster, here):
    words = ["toy", "metadata/x.json", "--shards=4", "--toy_stage-args", "--seconds=0.05"]
    jobs = jobs_of(submit(cluster, *words))
    cluster.wait(lambda: results_of(here, 2) >= 4, 30, "results of task 2")
    cluster.run("scancel", f"{jobs['toy_stage']}_2")
    assert set(cluster.wait_for(jobs["merge"]).values()) == {
        "FAILED"
    }  # afterany: it ran, and says what is missing
    assert cluster.field(jobs["merge"], "ExitCode") == "4:0"
    assert set(cluster.wait_for(jobs["after"]).values()) == {"CANCELLED"}  # afterok, and not pending for ever
    again = submit(cluster, *words, "--wait")
    assert "toy_stage: tasks of job" in again
    assert "1 cancelled; the same again" in again
    assert list(jobs_of(again)) == ["toy_stage", "merge", "after"]
    assert (here / "output/after.txt").read_bytes() == reference(here)


def test_time_that_ran_out_is_doubled(cluster, here):
    deaf = "--signal=B:CONT@1"  # as if the site did not send the signal before the limit
    words = ["toy", "metadata/x.json", "--shards=2", "--toy_stage-args", "--seconds=0.5"]
    jobs = jobs_of(submit(cluster, *words, f"--toy_stage-sbatch={deaf}"))
    cluster.wait(lambda: results_of(here, 1) >= 1, 30, "results of task 1")
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 2))
    cluster.run("scontrol", "update", f"JobId={jobs['toy_stage']}_1", f"EndTime={soon}")
    cluster.wait(
        lambda: cluster.tasks(jobs["toy_stage"])[f"{jobs['toy_stage']}_1"] == "TIMEOUT", 70, "the limit"
    )
    cluster.run("scancel", f"{jobs['toy_stage']}_0")
    cluster.wait_for(jobs["after"])
    again = submit(cluster, *words[:-1], "--seconds=0")
    assert "1 cancelled, 1 time; --time 1:00:00 → 02:00:00" in again
    assert cluster.field(jobs_of(again)["toy_stage"], "TimeLimit") == "02:00:00"
    cluster.wait_for(jobs_of(again)["after"])
    assert (here / "output/after.txt").read_bytes() == reference(here)


def test_several_arrays_beyond_max_array_size(cluster, here):
    output = submit(cluster, "toy", "metadata/x.json", "--shards=40", "--wait")
    jobs = jobs_of(output)
    assert list(jobs)[:3] == ["toy_stage_1", "toy_stage_2", "merge"]
    assert "--num-shards=40 --shard-offset=33" in output
    assert len(list((here / "metadata/.amela/x.json/toy/deals").glob("*.json"))) == 1
    assert (here / "output/after.txt").read_bytes() == reference(here)


def test_snapshot_keeps_later_edits_from_queued_tasks(cluster, here):
    subprocess.run(["git", "init", "-q"], check=True)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "add", "scripts", "slurm"], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    version = subprocess.run(
        [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    output = submit(
        cluster, "toy", "metadata/x.json", "--shards=2", "--snapshot", "--toy_stage-sbatch=--hold"
    )
    assert f"the jobs run the code in output/code/{version}" in output
    for name in (
        "scripts/toy_stage.py",
        "scripts/amela/stage.py",
        "slurm/prologue.sh",
        "scripts/merge_manifest.py",
    ):
        (here / name).write_text("exit 9 # being edited (")
    jobs = jobs_of(output)
    cluster.run("scontrol", "release", jobs["toy_stage"])
    for job in jobs.values():
        assert set(cluster.wait_for(job).values()) == {"COMPLETED"}
    assert (
        f"  code    {here}/output/code/{version} {version}\n"
        in Path(f"logs/toy_stage_{jobs['toy_stage']}_1.out").read_text()
    )


def test_real_corpus_from_folder_to_report(cluster, checkout):
    from speech import speak, write_wav

    for index, sentence in enumerate(["where is the red ball", "the dog sleeps", "come and see the moon"]):
        write_wav(checkout / f"corpus/sub {index}/said it.wav", speak(sentence))
    output = submit(cluster, "corpus", "corpus", "--shards=2", "--asr-args=--backend pocketsphinx", "--wait")
    assert list(jobs_of(output)) == ["vad", "asr", "merge", "export", "report"]
    manifest = (checkout / "metadata/corpus.json").read_text()
    assert manifest.count('"asr_segments":') == manifest.count('"speech": [') == 3
    assert (checkout / "output/corpus_report.html").stat().st_size > 10_000
    assert len(list((checkout / "output/corpus").rglob("*.TextGrid"))) == 3
    assert submit(cluster, "corpus", "corpus").startswith("nothing is missing")


def test_site_settings_reach_sbatch(cluster, here):
    (here / "slurm/site.env").write_text("export SBATCH_PARTITION=nowhere FOO=1\n")
    text = submit(cluster, "toy", "metadata/x.json", status=2)
    assert "ERROR: sbatch slurm/toy_stage.slurm: " in text
    assert "invalid partition" in text.lower()
    (here / "slurm/site.env").write_text("exit 3\n")
    assert "slurm/site.env: bash stops in it with status 3" in submit(
        cluster, "toy", "metadata/x.json", status=2
    )


def test_bad_calls_say_what_to_type(cluster, here):
    assert "no such manifest; wanted JSON lines" in submit(cluster, "toy", "metadata/none.json", status=2)
    assert "no such folder; wanted a folder of audio" in submit(
        cluster, "corpus", "metadata/x.json", status=2
    )
    shutil.rmtree("logs")
    assert "type: mkdir logs" in submit(cluster, "toy", "metadata/x.json", status=2)
    os.chdir("metadata")
    command = [sys.executable, "../scripts/submit.py", "toy", "x.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"type: cd {here}" in done.stderr


def test_a_name_belongs_to_one_folder(cluster, checkout):
    for folder in ("a/corpus", "b/corpus"):
        (checkout / folder).mkdir(parents=True)
    jobs = jobs_of(submit(cluster, "corpus", "a/corpus", "--vad-sbatch=--hold"))
    text = submit(cluster, "corpus", "b/corpus", status=2)
    assert "metadata/corpus.json was made of" in text
    assert "wanted another --name" in text
    cluster.run("scancel", *jobs.values())


@pytest.fixture
def trained(checkout: Path) -> Path:
    """Return the folder of a run that learnt nothing, in a checkout with a vocoder for its units."""
    import torch

    from networks import unit_lm

    make_vocoder(checkout / "voice", UNITS)
    run = checkout / "checkpoints/lstm_h8/corpus_s42"
    run.mkdir(parents=True)
    config = {"arch": "lstm", "vocab_size": UNITS, "hidden_size": 8, "num_layers": 1, "dropout": 0.0,
              "embedding_dim": 8, "max_units": 4096}  # fmt: skip
    torch.save({"config": config, "model": unit_lm.build(config).state_dict()}, run / "best.pt")
    torch.save(torch.arange(UNITS).repeat(20), run / "units.pt")
    file = {"id": "a", "units_filepath": str(run / "units.pt"), "unit_count": 20 * UNITS, "split": "train"}
    for name, content in (("config.json", config), ("done.json", {}), ("files.json", file)):
        (run / name).write_text(json.dumps(content) + "\n")
    return run


def test_babbling_from_model_to_report_and_again_only_what_is_missing(trained, checkout):
    command = [sys.executable, "scripts/submit.py", "babble", str(trained), "--local", "--name=babble"]
    steps = {
        "generate": "--samples 1 --max-length 80 --temperature 1 --top-k 5 none --top-p none --device cpu",
        "synthesize": "--vocoder voice/generator.pt --device cpu",
        "vad": "--engine silero",
        "asr": "--backend pocketsphinx",
    }
    words = [f"--{name}-args={said}" for name, said in steps.items()]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=200)
    logs = "".join(path.read_text() for path in Path("logs").glob("*.err"))
    assert done.returncode == 0, done.stdout + logs
    records = [json.loads(line) for line in Path("metadata/babble.json").read_text().splitlines()]
    names = [f"temp1.0_topk{top_k}_toppnone_00001" for top_k in (5, "none")]
    assert [record["id"] for record in records] == names
    for record in records:
        assert record["unit_count"] == 80
        assert record["duration"] == 1.6
        assert Path(record["audio_filepath"]).is_file()
        assert record["audio_filepath"] == record["synthesis_filepath"]
        assert "text" in record
    figures = json.loads(Path("output/babble/generation_report.json").read_text())["figures"]
    assert figures["all"]["words_a_second"] == sum(len(record["text"].split()) for record in records) / 3.2
    assert len(Path("output/babble/generation_log.csv").read_text().splitlines()) == 3
    assert Path("output/babble_report.html").stat().st_size > 10_000
    said = subprocess.run([*command, *words], capture_output=True, text=True, timeout=60).stdout
    assert said.startswith("nothing is missing")
    Path("output/babble_report.html").unlink()
    said = subprocess.run([*command, *words], capture_output=True, text=True, timeout=60).stdout
    assert re.findall(r"^— (\w+)", said, re.MULTILINE) == ["report"]


def test_training_is_done_when_each_run_of_its_grid_is(checkout):
    manifest = checkout / "metadata/corpus.json"
    manifest.write_text('{"id": "a"}\n')
    steps = [step for step in submit_py.WORKFLOWS["units"] if step.name == "train"]
    values = {"manifest": str(manifest), "name": "corpus", "field": ""}
    wishes = {"train": Wish([], [])}
    assert missing_steps(steps, values, wishes) == steps
    points = [{"hidden_size": 8}, {"hidden_size": 16}]
    folders = [str(checkout / "checkpoints" / f"h{point['hidden_size']}") for point in points]
    grid.freeze("checkpoints", "corpus", points, folders)
    for folder in folders:
        assert missing_steps(steps, values, wishes) == steps
        Path(folder).mkdir()
        Path(folder, "done.json").write_text("{}\n")
    assert missing_steps(steps, values, wishes) == []


@pytest.fixture
def no_slurm(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH has what a laptop has, without sbatch."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "git", "env", "hostname", "date", "paste", "timeout", "basename", "cat", "sleep"):
        if shutil.which(name):
            (folder / name).symlink_to(shutil.which(name))
    return {**os.environ, "PATH": str(folder)}


def test_without_slurm_the_same_files_run_here(here, no_slurm):
    command = [sys.executable, "scripts/submit.py", "toy", "metadata/x.json", "--shards=3"]
    dry = subprocess.run(
        [*command, "--dry-run"], env=no_slurm, capture_output=True, text=True
    ).stdout.splitlines()
    assert dry[0] == "python scripts/local_sbatch.py --array=0-2 slurm/toy_stage.slurm metadata/x.json"
    done = subprocess.run(command, env=no_slurm, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (here / "output/after.txt").read_bytes() == reference(here)
    done = subprocess.run(command, env=no_slurm, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("nothing is missing")
    local = subprocess.run([*command, "--local"], capture_output=True, text=True, timeout=60)
    assert local.stdout.startswith("nothing is missing")


def test_ctrl_c_without_slurm_and_the_same_command_goes_on(here, no_slurm):
    command = [
        sys.executable,
        "scripts/submit.py",
        "toy",
        "metadata/x.json",
        "--shards=2",
        "--toy_stage-args",
    ]
    process = subprocess.Popen([*command, "--seconds=0.1"], env=no_slurm, stdout=subprocess.PIPE, text=True,
                               start_new_session=True)  # fmt: skip
    end = time.monotonic() + 30
    while results_of(here, 0) < 4:
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 75, output
    assert "stopped: the same command goes on from here" in output
    kept = results_of(here, 0)
    done = subprocess.run([*command, "--seconds=0"], env=no_slurm, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert kept >= 4
    assert (here / "output/after.txt").read_bytes() == reference(here)


def test_a_failed_step_without_slurm_keeps_the_next_from_running(here, no_slurm):
    command = [sys.executable, "scripts/submit.py", "toy", "metadata/x.json", "--shards=1"]
    (here / "scripts/merge_manifest.py").write_text("raise SystemExit(4)\n")
    done = subprocess.run(command, env=no_slurm, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4
    assert "after: not run, as merge failed" in done.stdout


SACCT = """\
14_0|COMPLETED
14_1|TIMEOUT
14_2|OUT_OF_MEMORY
14_3|CANCELLED by 1000
14_4|NODE_FAIL
14_5|FAILED
14_[6-15]|PENDING
"""


def test_causes_by_accounting(tmp_path, monkeypatch):
    sacct = tmp_path / "sacct"
    sacct.write_text(f"#!/bin/sh\ncat <<'EOF'\n{SACCT}EOF\n")
    sacct.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    why = causes(final_states(["14"]), None)
    assert why == Counter(time=1, memory=1, cancelled=1, node=1, failed=1)
    assert grown({"time": "12:00:00", "mem": "64G"}, why) == {"time": "1-00:00:00", "mem": "98304M"}
    assert grown({"time": "12:00:00", "mem": "64G"}, Counter(cancelled=1, failed=2, unknown=3)) == {}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("1:30", 90),
        ("12:00:00", 43200),
        ("2-00", 172800),
        ("1-12:30", 131400),
        ("1-0:0:9", 86409),
    ],
)
def test_times(text, seconds):
    assert parse_time_s(text) == seconds
    assert parse_time_s(format_time(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "mb"), [("64G", 65536), ("900", 900), ("900M", 900), ("1T", 1048576), ("2048K", 2)]
)
def test_memory(text, mb):
    assert parse_memory_mb(text) == mb


def test_times_and_memory_that_slurm_would_refuse():
    with pytest.raises(CallError, match=r"wanted e\.g\. 90"):
        parse_time_s("UNLIMITED")
    with pytest.raises(CallError, match=r"wanted e\.g\. 64G"):
        parse_memory_mb("lots")
