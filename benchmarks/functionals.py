"""Prosody functionals beside openSMILE's eGeMAPSv02 and Praat: Pearson's r over recordings, and speed.

    OMP_NUM_THREADS=1 AMELA_SPEECH=… envs/.built/oracles/bin/python benchmarks/functionals.py

Recordings are those of asr/ and vad/ of the folder of real speech. One thread; ours times pitch, spectra and
functionals, from samples in memory.
"""

from __future__ import annotations

import sys

from common import ROOT, SCRIPTS, compare, print_machine, print_table, time_call

sys.path[:0] = [str(SCRIPTS), str(ROOT / "tests")]


def main() -> None:
    """Print the tables."""
    import torch

    from media.audio import load_mono
    from prosody_oracles import SAMPLE_RATE, correlations, egemaps, ours, praat
    from speech import real_speech

    torch.set_num_threads(1)
    print_machine()
    real = real_speech()
    if real is None:
        sys.exit("no real speech: set AMELA_SPEECH to the folder that has asr/ and vad/")
    sounds = [load_mono(path) for folder in ("asr", "vad") for path in sorted((real / folder).glob("*.wav"))]
    own, smile, praats = ([function(sound) for sound in sounds] for function in (ours, egemaps, praat))
    with_smile, with_praat = correlations(own, smile), correlations(own, praats)
    shared = [{name: one[name] for name in with_praat} for one in smile]
    between = correlations(praats, shared)
    rows = [
        [
            name,
            f"{value:.2f}",
            *(f"{found[name]:.2f}" if name in found else "" for found in (with_praat, between)),
        ]
        for name, value in with_smile.items()
    ]
    columns = ["", "ours, eGeMAPS", "ours, Praat", "Praat, eGeMAPS"]
    print_table(f"Pearson's r over {len(sounds)} recordings", columns, rows)
    seconds = sum(map(len, sounds)) / SAMPLE_RATE
    cases = {"ours": ours, "openSMILE eGeMAPSv02": egemaps, "Praat, five of them": praat}
    runs = compare(
        {name: lambda f=f: time_call(lambda: [f(sound) for sound in sounds]) for name, f in cases.items()}, 3
    )
    print_table(
        f"Speed, one thread, {seconds:.0f} s",
        ["", "x real time", "x real time, CPU"],
        [[name, f"{seconds / run.wall_s:.0f}", f"{seconds / run.cpu_s:.0f}"] for name, run in runs.items()],
    )


if __name__ == "__main__":
    main()
