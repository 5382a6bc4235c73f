"""What the methods paragraph says of units, resynthesis and language models, and what is cited for them."""

from __future__ import annotations

from typing import Any

from media.report.models import setting_name

VOCODERS = {"griffinlim": "the Griffin-Lim algorithm from the mean log-mel spectrum of each unit"}
FIXED = {  # of a run, in words
    "embedding_dim": "embedding of {}",
    "hidden_size": "hidden size {}",
    "num_layers": "{} layer(s)",
    "dropout": "dropout {}",
    "learning_rate": "learning rate {}",
    "batch_size": "batches of {} sequences",
    "num_epochs": "at most {} epochs",
    "seed": "seed {}",
}


def sentences(facts: dict[str, Any]) -> list[str]:
    """Return the sentences. `facts`: noun, units, encode and sts (settings beside their files), runs and
    varied (of grid_runs.py), config (of the best run), generated (records of samples).
    """
    said = []
    if facts["encode"]:
        said.append(_encoded(facts["encode"], facts["noun"], facts["units"]))
    if facts["sts"]:
        said.append(_resynthesised(facts["sts"]))
    if facts["config"]:
        said.append(_trained(facts["runs"], facts["varied"], facts["config"]))
    if facts["generated"]:
        said.append(_generated(facts["generated"]))
    return said


def cited(facts: dict[str, Any]) -> list[str]:
    """Return the names of the works to cite, in the order of the sentences."""
    names = []
    if facts["encode"]:
        expresso = "mhubert" in str(facts["encode"].get("encoder"))
        names += ["hubert", *(["expresso"] if expresso else []), "gslm"]
    if facts["sts"]:
        names += ["griffinlim"] if facts["sts"].get("vocoder") == "griffinlim" else ["polyak", "hifigan"]
    if facts["config"]:
        names += ["lstm"] if facts["config"].get("arch") == "lstm" else []
        names.append("adamw")
    return names


def _encoded(settings: dict[str, Any], noun: str, units: int) -> str:
    encoder, details = settings.get("encoder"), []
    if encoder == "mfcc":
        features = "39 mel-frequency cepstral coefficients (13 with first and second derivatives)"
    else:
        features = f"the features of layer {settings.get('layer')} of {encoder}"
        details = [f"revision {settings['encoder_revision']}"] if settings.get("encoder_revision") else []
        details += [str(settings["dtype"])] if settings.get("dtype") else []
    text = f"{noun.capitalize()} were encoded as discrete units: {features}" + _in_brackets(details)
    if settings.get("hop_s"):
        text += f", one frame each {1000 * settings['hop_s']:g} ms"
    centres = f"{settings['vocabulary']:,} centres" if settings.get("vocabulary") else "centres"
    codebook = [f"revision {settings['kmeans_revision']}"] if settings.get("kmeans_revision") else []
    text += f", each frame as the nearest of the {centres} of the k-means codebook {settings.get('kmeans')}"
    text += _in_brackets(codebook)
    if settings.get("dedup"):
        text += "; repetitions of a unit were dropped"
    return f"{text}. This gave {units:,} units."


def _resynthesised(settings: dict[str, Any]) -> str:
    vocoder = str(settings.get("vocoder"))
    details = [
        f"{name.split('_')[-1]} {settings[name]}"
        for name in ("speaker", "style", "vocoder_revision")
        if settings.get(name)
    ]
    return f"Speech was made of the units again by {VOCODERS.get(vocoder, vocoder)}{_in_brackets(details)}."


def _trained(runs: list[dict[str, Any]], varied: list[str], config: dict[str, Any]) -> str:
    kind = "LSTM" if config.get("arch") == "lstm" else str(config.get("arch")).upper()
    grid = "; ".join(f"{setting_name(name).lower()} {_values(runs, name)}" for name in varied)
    fixed = [form.format(config[name]) for name, form in FIXED.items() if name in config.keys() - {*varied}]
    text = (
        f"On the units of {config['files']:,} files ({config['train_units']:,} to train, "
        f"{config['valid_units']:,} to validate), {len(runs)} {kind} language models ({grid}) were trained "
        f"with AdamW ({', '.join(fixed)})."
    )
    best = runs[0]
    own = ", ".join(f"{setting_name(name).lower()} {value}" for name, value in best["settings"].items())
    return (
        f"{text} The best of them by validation loss ({own}) reached {best['best_loss']:.3f} nats a unit, a "
        f"perplexity of {best['perplexity']:.1f}."
    )


def _generated(records: list[dict[str, Any]]) -> str:
    found = []
    for name, title in (("temperature", "temperature"), ("top_k", "top-k"), ("top_p", "top-p")):
        values = sorted({record[name] for record in records if record.get(name) is not None})
        found += [f"{title} {_listed(values)}"] if values else []
    at = f" at {'; '.join(found)}" if found else ""
    return f"From a language model, {len(records):,} samples were drawn unit by unit{at}."


def _values(runs: list[dict[str, Any]], name: str) -> str:
    values = {run["settings"][name] for run in runs if name in run["settings"]}
    return _listed(sorted(values, key=lambda value: (isinstance(value, str), value)))


def _listed(values: list[Any]) -> str:
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)


def _in_brackets(details: list[str]) -> str:
    return f" ({', '.join(details)})" if details else ""
