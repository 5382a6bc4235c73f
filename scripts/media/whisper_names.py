"""What Whisper's models and languages are called: short names to repositories of the hub, and codes."""

from __future__ import annotations

CTRANSLATE2_REPOS = {  # faster-whisper 1.2, utils.py; the others are Systran/faster-whisper-NAME
    "large": "Systran/faster-whisper-large-v3",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}
OPENAI_REPOS = {"large": "openai/whisper-large-v3", "turbo": "openai/whisper-large-v3-turbo"}
# the languages of Whisper large-v3 (openai/whisper, tokenizer.py); earlier models lack yue
LANGUAGES = """
    af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht
    hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl
    ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo zh yue
""".split()  # noqa: SIM905


def repo_of(name: str, backend: str) -> str:
    """Return the hub's repository of a short name such as large-v3; a hub id or a path as it is."""
    if "/" in name:
        return name
    if backend == "transformers":
        return OPENAI_REPOS.get(name, f"openai/whisper-{name}")
    if name.startswith("distil-"):
        return CTRANSLATE2_REPOS.get(name, f"Systran/faster-distil-whisper-{name.removeprefix('distil-')}")
    return CTRANSLATE2_REPOS.get(name, f"Systran/faster-whisper-{name}")


def language_of(code: str) -> str:
    """Return Whisper's code of a language tag (`en` of en-GB); ValueError where it has none."""
    short = code.lower().replace("_", "-").split("-")[0]
    if short not in LANGUAGES:
        raise ValueError(f"language {code!r} is none of Whisper's; wanted one of {' '.join(LANGUAGES)}")
    return short
