"""Say what this machine lacks for AMELA, and what to do about it.

Looks at the environments, TEN-VAD's C++ library, the GPU, SLURM, and at what the file systems of the folders
given do with locks, links and renames. Exit status 0: nothing in the way; 2: mend the lines FAIL first.

  python scripts/doctor.py /scratch/me/amela/metadata
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from amela.cli import parser
from amela.errors import BAD_CALL, OK, CallError, run_main
from amela.probe import mount_of, probe_folder

REPOSITORY = Path(__file__).resolve().parents[1]
ENVS = Path(os.environ.get("AMELA_ENVS") or REPOSITORY / "envs" / ".built")
FEW_GB, FEW_INODES = 10, 100_000
ELSEWHERE = "keep manifests and their .amela folder on another file system"
NO_LOCKS = "no result rests on it; let one person merge at a time"
REMEDIES = {
    "exclusive names": ELSEWHERE, "hard links": ELSEWHERE, "renames": ELSEWHERE,
    "flock": NO_LOCKS, "lockf": NO_LOCKS, "appends": "no result rests on it",
    "new files": "a slow disk: run fewer tasks at once (--array=0-99%20)",
    "clock": "ages of heartbeats are off by as much; tell the site",
}  # fmt: skip


@dataclass
class Finding:
    """One line of the report; state is ok, warn (something works less well) or FAIL."""

    part: str
    state: str
    found: str
    remedy: str = ""


def main() -> int:
    """Print the findings and return 0, or 2 where one of them is FAIL."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "folders",
        nargs="*",
        metavar="FOLDER",
        help="folders that will hold manifests or output (default: metadata/)",
    )
    arguments.add_argument("--json", action="store_true", help="print the findings as JSON")
    args = arguments.parse_args()
    findings = [*_python(), *_environments(), _ten_vad(), *_gpu(), *_slurm(), *_repository()]
    for folder in args.folders or [str(REPOSITORY / "metadata")]:
        findings += _file_system(Path(folder))
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        _print(findings)
    return BAD_CALL if any(finding.state == "FAIL" for finding in findings) else OK


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.part) for finding in findings)
    for finding in findings:
        print(f"{finding.state:4}  {finding.part:{width}}  {finding.found}")
        if finding.remedy:
            print(f"{'':4}  {'':{width}}  → {finding.remedy}")
    counts = {state: sum(f.state == state for f in findings) for state in ("ok", "warn", "FAIL")}
    print("\n" + ", ".join(f"{count} {state}" for state, count in counts.items()))


def _output(*command: str, timeout_s: float = 10) -> str | None:
    """Return what a command prints, or None where it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _python() -> list[Finding]:
    here = f"{platform.python_version()} at {sys.executable}"
    findings = [Finding("python", "ok", here)]
    try:
        import filelock

        findings.append(Finding("filelock", "ok", filelock.__version__))
    except ImportError:
        findings.append(
            Finding(
                "filelock",
                "warn",
                "not in this Python: two merges at once do not wait for each other",
                "use the Python of an environment, or pip install filelock",
            )
        )
    return findings


def _environments() -> list[Finding]:
    listing = _output("bash", str(REPOSITORY / "envs" / "create.sh"), "--list") or ""
    remedies = {
        "whole": "",
        "missing": "",
        "outdated": "built from other pins than the files have now: envs/create.sh {}",
        "foreign": "not made by envs/create.sh, so it may be half an environment: "
        "mv {path} {path}.old, then envs/create.sh {}",
    }
    findings = []
    for line in listing.splitlines():
        name, state, path = line.split(" ", 2)
        found = "not built" if state == "missing" else f"{state}, {path}"
        findings.append(
            Finding(
                f"env {name}",
                "warn" if state in ("outdated", "foreign") else "ok",
                found,
                remedies[state].format(name, path=path),
            )
        )
    if all(" missing " in line for line in listing.splitlines()):
        findings.append(
            Finding("envs", "FAIL", f"no environment in {ENVS}", "envs/create.sh local, or make demo")
        )
    return findings


def _ten_vad() -> Finding:
    """TEN-VAD needs LLVM's C++ library, which no wheel has: try it in an environment that is built."""
    pythons = [ENVS / name / "bin" / "python" for name in ("vad", "local")]
    python = next((path for path in pythons if path.exists()), None)
    if python is None:
        return Finding("ten-vad", "ok", "not tried: neither the environment vad nor local is built")
    done = subprocess.run(
        [python, "-c", "from media import ten; ten.load()"],
        cwd=REPOSITORY / "scripts", capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return Finding("ten-vad", "ok", f"loads in {python.parents[1]}: vad.py --engine ten runs")
    problem, _, remedy = done.stderr.strip().rpartition("\n")[2].partition(": ")[2].partition("; ")
    return Finding("ten-vad", "warn", problem, remedy)


def _gpu() -> list[Finding]:
    listing = _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    if not listing:
        return [
            Finding(
                "gpu",
                "ok",
                "none here (login nodes often have none; asr.py --backend pocketsphinx needs none)",
            )
        ]
    findings = [Finding("gpu", "ok", line) for line in listing.splitlines()]
    python = ENVS / "asr" / "bin" / "python"
    if python.exists():
        question = "import torch; print(torch.cuda.is_available(), torch.__version__)"
        seen = _output(str(python), "-c", question, timeout_s=120)
        state, version = (seen or "False (torch does not import)").split(" ", 1)
        findings.append(
            Finding(
                "gpu in env asr",
                "ok" if state == "True" else "FAIL",
                f"torch {version}, sees a GPU: {state}",
                ""
                if state == "True"
                else "a CPU build of torch, or a driver too old for it: "
                "compare `nvidia-smi` with the wheel's CUDA, then build envs/create.sh asr again",
            )
        )
    return findings


def _slurm() -> list[Finding]:
    if shutil.which("sbatch") is None:
        return [Finding("slurm", "ok", "no sbatch here: scripts/local_sbatch.py runs the same batch files")]
    version = _output("sbatch", "--version")
    if version is None:
        return [
            Finding(
                "slurm",
                "warn",
                "sbatch is installed, but finds no configuration of a cluster",
                "set SLURM_CONF where there is a cluster; scripts/local_sbatch.py needs none",
            )
        ]
    config = _output("scontrol", "show", "config")
    if config is None:
        return [
            Finding(
                "slurm",
                "FAIL",
                f"{version}, but the controller does not answer within 10 s",
                "type `scontrol ping`; is SLURM_CONF right? scripts/local_sbatch.py needs no SLURM",
            )
        ]
    value = dict(re.findall(r"^(\w+)\s+= (.*)$", config, re.MULTILINE))
    findings = [Finding("slurm", "ok", f"{version}, cluster {value.get('ClusterName')}")]
    largest = int(value.get("MaxArraySize", 1001)) - 1
    findings.append(
        Finding(
            "slurm arrays",
            "ok",
            f"largest index {largest} (MaxArraySize {largest + 1}), "
            f"MaxJobCount {value.get('MaxJobCount')}; submit.py makes several arrays beyond that",
        )
    )
    if value.get("JobRequeue") == "0":
        findings.append(Finding("slurm requeue", "ok", "off by default here; our batch files ask for it"))
    partitions = _output("sinfo", "-h", "-o", "%P %a %l %D nodes %c CPUs %m MB %G") or "none"
    findings.append(
        Finding("partitions", "ok" if partitions != "none" else "FAIL", partitions.replace("\n", "; "))
    )
    default = any(line.split()[0].endswith("*") for line in partitions.splitlines())
    if not (default or os.environ.get("SBATCH_PARTITION")):
        findings.append(
            Finding(
                "site.env",
                "warn",
                "no default partition and SBATCH_PARTITION is not set",
                "cp slurm/site.env.example slurm/site.env and fill it in",
            )
        )
    return findings


def _repository() -> list[Finding]:
    findings = []
    for name in ("logs", "metadata", "output"):
        folder = REPOSITORY / name
        if not os.access(folder, os.W_OK):
            findings.append(
                Finding(
                    name,
                    "FAIL",
                    f"{folder}: missing or not writable",
                    f"mkdir -p {folder}, or work in a copy of the repository that is yours",
                )
            )
    if shutil.which("ffmpeg") is None:
        findings.append(
            Finding(
                "ffmpeg",
                "warn",
                "not on PATH here: m4a files cannot be read",
                "module load ffmpeg (in slurm/site.env), or build the environment with conda",
            )
        )
    return findings


def _file_system(folder: Path) -> list[Finding]:
    if not folder.is_dir():
        raise CallError(f"{folder}: no such folder; wanted one that will hold manifests: mkdir -p {folder}")
    point, kind, options = mount_of(folder)
    notes = [option for option in options.split(",") if "lock" in option]
    findings = [Finding(str(folder), "ok", f"{kind} mounted at {point} {' '.join(notes)}".rstrip())]
    disk = os.statvfs(folder)
    free_gb, inodes = disk.f_bavail * disk.f_frsize / 1e9, disk.f_favail
    tight = free_gb < FEW_GB or (disk.f_files > 0 and inodes < FEW_INODES)
    findings.append(
        Finding(
            "  free",
            "warn" if tight else "ok",
            f"{free_gb:.0f} GB, {inodes:,} new files" + ("" if disk.f_files else " (no limit stated)"),
            "make room: a stage stops with status 75 on a full disk, and goes on later" if tight else "",
        )
    )
    try:
        probes = probe_folder(folder)
    except OSError as exc:
        return [
            *findings,
            Finding(
                "  writing", "FAIL", f"{exc.strerror}: {exc.filename}", "a folder this user may write to"
            ),
        ]
    for probe in probes:
        state = "ok" if probe.holds else "FAIL" if probe.needed else "warn"
        findings.append(
            Finding("  " + probe.name, state, probe.found, "" if probe.holds else REMEDIES[probe.name])
        )
    return findings


if __name__ == "__main__":
    run_main(main)
