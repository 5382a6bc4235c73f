"""Lints the #SBATCH lines of batch files: prints file:line: complaint, exit status 1 if there is any.

    python tests/sbatch_lint.py slurm/*.slurm

shellcheck takes #SBATCH lines for comments; here stands what SLURM ignores without a word, or loses work by.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

WANTED = (
    "job-name",
    "output",
    "error",
    "open-mode=append",
    "requeue",
    "signal=B:USR1@",
    "cpus-per-task",
    "mem",
    "time",
)


def complaints(path: Path) -> list[str]:
    """Returns one line for each fault of a batch file, [] where there is none."""
    text = path.read_bytes().decode("utf-8")
    lines = text.split("\n")
    found = [(1, "first line must be #!/bin/bash")] if lines[0] != "#!/bin/bash" else []
    if "\r" in text:
        found.append((1, "CRLF line ends: sbatch refuses them; type: dos2unix"))
    first_command = next(
        (n for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")), len(lines)
    )
    options = ""
    for number, line in enumerate(lines, start=1):
        if re.match(r"#\s+SBATCH|#sbatch", line):
            found.append((number, "a mere comment to SLURM; wanted #SBATCH without a blank, in capitals"))
        elif re.match(r"\s*#SBATCH", line):
            options += line.strip().removeprefix("#SBATCH").strip() + "\n"
            if number > first_command:
                found.append((number, "after the first command: SLURM ignores it"))
            if "$" in line or "~" in line:
                found.append((number, "variables and ~ are not expanded in #SBATCH lines"))
    found += [
        (1, f"no --{option}") for option in WANTED if not re.search(f"^--{option}", options, re.MULTILINE)
    ]
    name = "%x_%A_%a" if "--array=" in options else "%x_%j"  # %a without an array is 4294967294
    for option, ending in (("output", "out"), ("error", "err")):
        wanted = f"--{option}=logs/{name}.{ending}"
        if f"{wanted}\n" not in options:
            found.append((1, f"wanted {wanted} (logs/ is in git: SLURM makes no folders)"))
    if not re.search(r'"\$@"\s*$', text):
        found.append((len(lines), 'must end in run_stage … "$@": arguments pass through untouched'))
    return [f"{path}:{number}: {complaint}" for number, complaint in found]


if __name__ == "__main__":
    everything = [line for name in sys.argv[1:] for line in complaints(Path(name))]
    print("\n".join(everything) or f"{len(sys.argv) - 1} batch files are fine")
    sys.exit(bool(everything))
