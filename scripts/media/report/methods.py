"""The methods paragraph: what was run, in words that a paper can take over, and what to cite."""

from __future__ import annotations

from typing import Any

from media.report import annotation_methods
from media.report.figures import spoken
from media.report.references import REFERENCES, Reference
from media.report.scores import STS_TEXT
from media.report.unit_methods import cited, sentences


def references(facts: dict[str, Any]) -> list[Reference]:
    """Return what the paragraph of these facts cites, in its order."""
    names: list[str] = []
    if facts["vad"].get("engine") in REFERENCES:
        names.append(facts["vad"]["engine"])
    for asr in facts["asr"]:
        own = {"canary": ["canary", "salm", "nemo"], "nemo": ["nemo"], "pocketsphinx": ["pocketsphinx"]}
        names += own.get(str(asr.get("backend")), [])
        used = str(asr.get("vad") or "").split(" ")[0].lower()
        names += [used] if used in ("ten", "silero") else []
    names += annotation_methods.cited(facts) + cited(facts)
    if facts["scores"]:
        names += ["whisper"] if facts["scores"][0]["normalizer"] in ("english", "basic") else []
        names.append("bootstrap")
    return [REFERENCES[name] for name in dict.fromkeys(names)]


def paragraph(facts: dict[str, Any]) -> str:
    """Return the paragraph. What is not known is left out, never guessed.

    `facts`: noun, records, audio_s, speech_s (None: not looked for), words, no_speech, truncated, vad
    (settings), asr (list of settings, each with its number of `records`), failures (stage → number), scores
    (what `read_systems` of scores.py returns), versions (name → version); and what annotation_methods.py and
    unit_methods.py take.
    """
    noun = facts["noun"]
    said = [f"The corpus comprised {facts['records']:,} {noun} ({spoken(facts['audio_s'])} of audio in all)."]
    if facts["speech_s"] is not None:
        how = _vad(facts["vad"], facts["versions"])
        share = 100 * facts["speech_s"] / facts["audio_s"] if facts["audio_s"] else 0.0
        said.append(
            f"Speech was detected {how}; {spoken(facts['speech_s'])} ({share:.1f} %) were speech."
            if how
            else f"Speech made up {spoken(facts['speech_s'])} ({share:.1f} %)."
        )
    said += [_asr(asr, facts) for asr in facts["asr"]]
    if facts["asr"]:
        said.append(f"This gave {facts['words']:,} words.")
    if facts["no_speech"]:
        said.append(_count(noun, facts["no_speech"], "had no speech and {} given an empty text."))
    if facts["truncated"]:
        said.append(
            _count(
                noun,
                facts["truncated"],
                "reached the longest answer of the recogniser: the text may end early.",
            )
        )
    for stage, number in facts["failures"].items():
        said.append(_count(noun, number, f"failed at the stage {stage} and {{}} left out."))
    said += annotation_methods.sentences(facts) + sentences(facts)
    if facts["scores"]:
        said.append(_scores(facts["scores"]))
    commit = facts["versions"].get("amela")
    python = facts["versions"].get("python")
    said.append(
        "All stages were run with AMELA"
        + (f" (commit {commit}" + (f", Python {python})" if python else ")") if commit else "")
        + "."
    )
    return " ".join(said)


def _vad(vad: dict[str, Any], versions: dict[str, Any]) -> str:
    if not vad.get("engine"):
        return ""
    name = {"ten": "TEN-VAD", "silero": "Silero VAD"}.get(vad["engine"], str(vad["engine"]))
    version = str(vad.get("version") or "").split(" ")[-1] or versions.get(
        {"ten": "ten-vad", "silero": "silero-vad"}.get(vad["engine"], "")
    )
    details = [f"version {version}"] if version else []
    if vad.get("threshold") is not None:
        details.append(f"threshold {vad['threshold']}")
    if vad.get("offset_ms"):
        details.append(f"decisions shifted {vad['offset_ms']:g} ms earlier")
    if vad.get("adaptive_merge"):
        details.append(f"silences joined adaptively up to {vad['merge_max_s']:g} s")
    elif vad.get("min_silence_s"):
        details.append(f"silences shorter than {vad['min_silence_s']:g} s counted as speech")
    if vad.get("min_speech_s"):
        details.append(f"speech shorter than {vad['min_speech_s']:g} s as silence")
    if vad.get("pad_s"):
        details.append(f"segments padded by {vad['pad_s']:g} s")
    if vad.get("level_db") is not None:
        details.append(f"files brought to {vad['level_db']:g} dB first")
    return f"with {name}" + (f" ({'; '.join(details)})" if details else "")


def _asr(asr: dict[str, Any], facts: dict[str, Any]) -> str:
    backend, model = asr.get("backend"), asr.get("model")
    toolkit = {"canary": "NVIDIA NeMo", "nemo": "NVIDIA NeMo"}.get(str(backend))
    version = facts["versions"].get("nemo_toolkit")
    details = [f"revision {asr['revision']}"] if asr.get("revision") else []
    details += [f"{toolkit} {version}" if version else toolkit] if toolkit else []
    details += [str(asr["dtype"])] if asr.get("dtype") else []
    details += [f"prompt “{asr['prompt'].strip()}”"] if asr.get("prompt") else []
    name = f"PocketSphinx with its model {model}" if backend == "pocketsphinx" else f"the model {model}"
    many = len(facts["asr"]) > 1
    subject = (
        f"{asr['records']:,} {_one(facts['noun'], asr['records'])}" if many else facts["noun"].capitalize()
    )
    verb = "was" if many and asr["records"] == 1 else "were"
    text = f"{subject} {verb} transcribed by {name}" + (f" ({', '.join(details)})" if details else "")
    if asr.get("max_duration_s"):
        text += (
            f"; those longer than {asr['max_duration_s']:g} s were cut at detected silences and joined again"
        )
    return text + "."


def _scores(scores: list[dict[str, Any]]) -> str:
    rates = []
    for row in scores:
        of = "the resynthesis" if row["system"] == STS_TEXT else f"`{row['system']}`"
        named = f" for {of}" if len(scores) > 1 else ""
        rates.append(
            f"{100 * row['wer']:.1f} %{named} (95 % interval {100 * row['wer_low']:.1f} to "
            f"{100 * row['wer_high']:.1f} %, "
            f"{row['resamples']:,.0f} bootstrap draws of recordings)"
        )
    how = {"english": "Whisper's English text normalisation", "basic": "Whisper's basic text normalisation"}
    after = how.get(str(scores[0]["normalizer"]), "collapsing white space only")
    files, words = scores[0]["files"], scores[0]["ref_words"]
    return (
        f"Against the reference transcripts of {files:,.0f} recordings ({words:,.0f} words), after {after}, "
        f"the word error rate over all was {' and '.join(rates)}."
    )


def _one(noun: str, number: int) -> str:
    return noun[:-1] if number == 1 else noun


def _count(noun: str, number: int, rest: str) -> str:
    words = ("", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
    written = words[number] if number < len(words) else f"{number:,}"
    return f"{written} {_one(noun, number)} {rest.format('was' if number == 1 else 'were')}"
