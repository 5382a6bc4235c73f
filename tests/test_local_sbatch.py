"""local_sbatch.py: batch files without SLURM; tests/test_slurm.py shows the same files on a cluster."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amela.batch_file import parse_array, read_directives
from amela.errors import CallError

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/local_sbatch.py"
HEADER = """\
#!/bin/bash
#SBATCH --job-name=job
#SBATCH --array=0-3
#SBATCH --output=logs/%x_%A_%a.out
#SBATCH --error=logs/%x_%A_%a.err
#SBATCH --open-mode=append
"""
SINGLE = HEADER.replace("#SBATCH --array=0-3\n", "").replace("%A_%a", "%j")
PRINT_ENV = """python3 - "$@" <<'PY'
import json, os, sys, time
print(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ), "began": time.time()}))
PY
sleep ${SLEEP_S:-0}
date +%s.%N > ended_$SLURM_ARRAY_TASK_ID
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "logs").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def local_sbatch(
    text: str, *arguments: str, options: tuple[str, ...] = (), **env: str
) -> subprocess.CompletedProcess[str]:
    Path("job.slurm").write_text(text)
    command = [sys.executable, str(SCRIPT), *options, "job.slurm", *arguments]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=60)


def start(text: str, *options: str) -> subprocess.Popen[str]:
    Path("job.slurm").write_text(text)
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *options, "job.slurm"], stdout=subprocess.PIPE, text=True
    )


def seen(job: str = "job") -> dict[int, dict]:
    """What each task printed, by its index."""
    logs = Path("logs").glob(f"{job}_*.out")
    tasks = [json.loads(path.read_text().splitlines()[0]) for path in logs]
    return {int(task["env"]["SLURM_ARRAY_TASK_ID"]): task for task in tasks}


def wait_for(path: str) -> None:
    end = time.monotonic() + 20
    while not list(Path().glob(path)):
        assert time.monotonic() < end, f"{path} does not appear"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("text", "indices", "at_once"),
    [
        ("0-15%4", list(range(16)), 4),
        ("0,5,12", [0, 5, 12], None),
        ("0-15:5", [0, 5, 10, 15], None),
        ("3", [3], None),
        ("1,1,2", [1, 2], None),
        ("5,0-1%0", [0, 1, 5], None),
    ],
)
def test_array_texts(text: str, indices: list[int], at_once: int | None) -> None:
    assert parse_array(text) == (indices, at_once)


@pytest.mark.parametrize("text", ["5-1", "a", "", "0-", "0-3%", "1,,2", "-1", "0-4:0"])
def test_array_texts_that_sbatch_refuses(text: str) -> None:
    with pytest.raises(CallError, match=r"wanted e\.g\. 0-15"):
        parse_array(text)


def test_directives_end_at_the_first_command(work: Path) -> None:
    Path("x").write_text(
        "#!/bin/bash\n#SBATCH -J a -c 4\n# text\n\n#SBATCH --mem 2G # note\necho\n#SBATCH --mem=9G\n"
    )
    assert read_directives(Path("x")) == {"job-name": "a", "cpus-per-task": "4", "mem": "2G"}
    Path("x").write_text("echo\n")
    with pytest.raises(CallError, match="wanted #!/bin/bash"):
        read_directives(Path("x"))


def test_variables_and_log_names_are_those_of_slurm(work: Path) -> None:
    done = local_sbatch(HEADER + PRINT_ENV, "a b", "--x_y=1", options=("--array=0,5,12",), SLURM_JOB_ID="99")
    assert done.returncode == 0, done.stderr
    tasks = seen()
    assert sorted(tasks) == [0, 5, 12]
    array = tasks[0]["env"]["SLURM_ARRAY_JOB_ID"]
    assert Path(f"logs/job_{array}_12.err").exists()
    for task in tasks.values():
        env = task["env"]
        assert task["argv"] == ["a b", "--x_y=1"]
        assert env["SLURM_ARRAY_TASK_COUNT"] == "3"
        assert (env["SLURM_ARRAY_TASK_MIN"], env["SLURM_ARRAY_TASK_MAX"]) == ("0", "12")
        assert (env["SLURM_JOB_NAME"], env["SLURM_SUBMIT_DIR"]) == ("job", str(work))
        assert "SLURM_RESTART_COUNT" not in env
    ids = {index: task["env"]["SLURM_JOB_ID"] for index, task in tasks.items()}
    assert ids[12] == array  # as in SLURM the last task carries the array's own id
    assert len(set(ids.values())) == 3


def test_single_job_has_no_array(work: Path) -> None:
    assert local_sbatch(SINGLE + "env").returncode == 0
    (log,) = Path("logs").glob("job_*.out")
    assert "SLURM_ARRAY" not in log.read_text()
    assert re.fullmatch(r"job_\d+\.out", log.name)


def test_throttle(work: Path) -> None:
    assert (
        local_sbatch(HEADER + PRINT_ENV, options=("--array=0-5%2", "--jobs=6"), SLEEP_S="0.3").returncode == 0
    )
    times = [(task["began"], float(Path(f"ended_{index}").read_text())) for index, task in seen().items()]
    overlap = [sum(began <= moment < ended for began, ended in times) for moment, _ in times]
    assert max(overlap) == 2


def test_machine_is_shared_out(work: Path) -> None:
    header = HEADER + "#SBATCH --cpus-per-task=999\n#SBATCH --gres=gpu:1\n"
    assert local_sbatch(header + PRINT_ENV, CUDA_VISIBLE_DEVICES="4,5").returncode == 0
    for task in seen().values():
        assert int(task["env"]["SLURM_CPUS_PER_TASK"]) <= (os.cpu_count() or 1)
        assert task["env"]["CUDA_VISIBLE_DEVICES"] in ("4", "5")


def test_highest_status_and_the_error_line_are_told(work: Path) -> None:
    text = HEADER + 'if [[ $SLURM_ARRAY_TASK_ID == 2 ]]; then echo "ERROR: no such disk" >&2; exit 3; fi\n'
    done = local_sbatch(text)
    assert done.returncode == 3
    assert "task 2 failed, status 3" in done.stdout
    assert "ERROR: no such disk" in done.stdout
    assert "3 completed, 1 failed" in done.stdout
    assert local_sbatch(SINGLE + "kill -9 $$").returncode == 137


def test_missing_logs_folder_is_named(work: Path) -> None:
    Path("logs").rmdir()
    done = local_sbatch(HEADER)
    assert done.returncode == 2
    assert done.stderr.startswith("ERROR: no folder logs/")
    assert "mkdir logs" in done.stderr


def test_usr1_reaches_the_batch_script_which_is_run_again_when_it_asks(work: Path) -> None:
    text = (
        HEADER
        + """
echo "began ${SLURM_RESTART_COUNT:-never}"; [[ -n ${SLURM_RESTART_COUNT:-} ]] && exit 0
trap 'touch "$AMELA_LOCAL_SBATCH"; exit 75' USR1
touch ready_$SLURM_ARRAY_TASK_ID; while :; do sleep 0.1; done
"""
    )
    process = start(text, "--array=0")
    wait_for("ready_0")
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output
    (log,) = Path("logs").glob("*.out")
    assert log.read_text() == "began never\nbegan 1\n"


def test_a_task_that_stops_without_asking_is_not_run_again(work: Path) -> None:
    done = local_sbatch(SINGLE + "echo x; exit 75")
    assert done.returncode == 75
    assert "job stopped, status 75" in done.stdout
    assert [path.read_text() for path in Path("logs").glob("*.out")] == ["x\n"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stop_signals_reach_the_tasks_as_term_and_no_new_one_starts(work: Path, number: int) -> None:
    text = (
        HEADER
        + """
trap 'touch term_$SLURM_ARRAY_TASK_ID "$AMELA_LOCAL_SBATCH"; exit 75' TERM
touch ready_$SLURM_ARRAY_TASK_ID; while :; do sleep 0.1; done
"""
    )
    process = start(text, "--jobs=2")
    wait_for("ready_1")
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 75
    assert sorted(path.name for path in Path().glob("term_*")) == ["term_0", "term_1"]
    assert "2 stopped, 2 not started" in output


def test_a_task_that_was_only_starting_is_stopped_and_not_failed(work: Path) -> None:
    process = start(SINGLE + "touch ready_x; while :; do sleep 0.1; done")  # no trap yet: bash dies of TERM
    wait_for("ready_x")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 75
    assert "job stopped, status 75" in output


def test_a_second_ctrl_c_kills(work: Path) -> None:
    process = start(SINGLE + "trap '' TERM; touch ready_x; while :; do sleep 0.1; done")
    wait_for("ready_x")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 137


def test_later_edits_do_not_reach_the_tasks(work: Path) -> None:
    process = start(
        HEADER + "touch ready_$SLURM_ARRAY_TASK_ID; sleep 0.5; echo old\n", "--jobs=1", "--array=0-1"
    )
    wait_for("ready_0")
    Path("job.slurm").write_text("echo new\n" * 100)
    process.communicate(timeout=20)
    assert [path.read_text() for path in Path("logs").glob("*.out")] == ["old\n", "old\n"]
