"""Encoders, codebooks and vocoders against what the original programs gave; files that must be refused."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import golden
from networks.encoder import Encoder, TooShortError, deduplicate
from networks.hifigan import index_of, load_hifigan
from networks.hubert import load_fairseq
from networks.kmeans import load_kmeans
from networks.weights import WeightsError, read_weights

CLOSE = 1e-5
torch.set_num_threads(1)


def encoder(variant: str, chunk_s: float = 100.0, dtype: str = "float32") -> Encoder:
    model, kmeans = str(golden.hubert(f"{variant}.pt")), str(golden.hubert(f"{variant}.km"))
    return Encoder(model, golden.KMEANS_LAYER, kmeans, "cpu", dtype, chunk_s)


@pytest.mark.parametrize("variant", golden.VARIANTS)
@pytest.mark.parametrize("layer", range(1, golden.LAYERS + 1))
def test_features_are_those_of_fairseq(variant: str, layer: int) -> None:
    model, hop, normalise = load_fairseq(golden.hubert(f"{variant}.pt"), layer)
    assert (hop, normalise, len(model.encoder["layers"]), model.shortest) == (320, False, layer, 400)
    for reference in golden.hubert_reference(variant):
        found = model(torch.from_numpy(reference["wav"])[None])[0].numpy()
        assert np.abs(found - reference[layer]).max() <= CLOSE


@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_units_are_those_of_fairseq_in_any_order_and_batch(variant: str) -> None:
    encode, references = encoder(variant), golden.hubert_reference(variant)
    for order in (1, -1):
        for reference in references[::order]:
            units = encode.units(iter([reference["wav"]]))
            assert units.dtype == np.int16
            assert np.array_equal(units, reference["units"])
            short, durations = deduplicate(units)
            assert np.array_equal(short, reference["dedup_units"])
            assert np.array_equal(durations, reference["dedup_durations"])
    for reference in references:  # equal lengths in one batch
        samples = torch.from_numpy(np.stack([reference["wav"], reference["wav"][::-1], reference["wav"]]))
        units = encode.kmeans(encode.model(samples)).numpy()
        assert np.array_equal(units[0], reference["units"])
        assert np.array_equal(units[2], reference["units"])


def units_elsewhere(variant: str) -> list[list[int]]:
    encode = encoder(variant)
    return [encode.units([reference["wav"]]).tolist() for reference in golden.hubert_reference(variant)]


@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_two_processes_give_the_same_units(variant: str) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        one, other = pool.map(units_elsewhere, [variant, variant], chunksize=1)
    assert one == other == [reference["units"].tolist() for reference in golden.hubert_reference(variant)]


def test_chunks_are_cut_as_textlesslib_cuts_them_however_blocks_come() -> None:
    encode, wav = encoder("bn", chunk_s=0.5), golden.hubert_reference("bn")[0]["wav"]
    wav = np.concatenate([wav, wav[:399]])
    pieces = [wav[at : at + 8000] for at in range(0, len(wav), 8000)]
    expected = np.concatenate([encode.units([piece]) for piece in pieces if len(piece) >= 400])
    assert np.array_equal(encode.units([wav]), expected)
    assert np.array_equal(encode.units(np.array_split(wav, 7)), expected)


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_a_recording_below_one_unit_is_refused(samples: int) -> None:
    with pytest.raises(TooShortError, match="at least 400"):
        encoder("base").units([np.zeros(samples, np.float32)])
    assert len(encoder("base").units([np.zeros(400, np.float32)])) == 1


def changed(path: Path, folder: Path, change) -> Path:
    """A copy of a checkpoint whose state dict was changed."""
    content = read_weights(path)
    content.pop("task_state", None)
    change(content["model"] if "model" in content else content["generator"])
    torch.save(content, folder / path.name)
    return folder / path.name


def keys(variant: str) -> list[str]:
    return list(read_weights(golden.SMALL / f"{variant}.pt")["model"])


@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_a_key_removed_renamed_or_reshaped_is_refused_by_name(variant: str, tmp_path: Path) -> None:
    for key in keys(variant):
        for harm in ("removed", "renamed", "reshaped"):

            def change(state: dict, key: str = key, harm: str = harm) -> None:
                value = state.pop(key)
                if harm == "renamed":
                    state[f"{key}x"] = value
                elif harm == "reshaped":
                    state[key] = value[..., :-1] if value.dim() else value[None]

            with pytest.raises(WeightsError) as error:
                load_fairseq(changed(golden.SMALL / f"{variant}.pt", tmp_path, change), 1)
            module = re.sub(
                r"(\.\d)?\.(weight|bias|running_mean|running_var|num_batches_tracked)(_[gv])?$", "", key
            )
            assert module in str(error.value), (key, harm)


def test_a_nan_weight_is_refused(tmp_path: Path) -> None:
    path = changed(
        golden.SMALL / "bn.pt", tmp_path, lambda state: state["layer_norm.weight"].fill_(float("nan"))
    )
    with pytest.raises(WeightsError, match=r"layer_norm\.weight"):
        load_fairseq(path, 1)


def test_a_layer_that_is_not_there_is_refused() -> None:
    for layer in (0, 4):
        with pytest.raises(WeightsError, match="layers 1 to 3"):
            load_fairseq(golden.SMALL / "bn.pt", layer)


class Harm:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_malicious_files_are_refused_and_do_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = read_weights(golden.SMALL / "bn.pt")
    torch.save({**content, "task_state": Harm(trace)}, tmp_path / "encoder.pt")
    (tmp_path / "plain.km").write_bytes(pickle.dumps(Harm(trace)))
    (tmp_path / "packed.km").write_bytes(zlib.compress(pickle.dumps(Harm(trace))))
    raw = (golden.SMALL / "bn.km").read_bytes()  # becomes an array of objects, which joblib would unpickle
    assert raw.count(b"\x8c\x02f4") == 1
    (tmp_path / "objects.km").write_bytes(
        raw.replace(b"\x8c\x02f4", b"\x8c\x02O8") + pickle.dumps(Harm(trace))
    )
    np.save(tmp_path / "centres.npy", np.array([Harm(trace)], dtype=object), allow_pickle=True)
    torch.save({"centres": Harm(trace)}, tmp_path / "centres.pt")
    torch.save({"generator": {"dict.weight": Harm(trace)}}, tmp_path / "generator.pt")
    (tmp_path / "config.json").write_text("{}")
    trace.rmdir() if trace.exists() else None
    with pytest.raises(WeightsError, match=r"refused.*mkdir"):
        load_fairseq(tmp_path / "encoder.pt", 1)
    for name in ("plain.km", "packed.km", "objects.km"):
        with pytest.raises(WeightsError, match="refused"):
            load_kmeans(tmp_path / name)
    with pytest.raises(WeightsError):
        load_kmeans(tmp_path / "centres.npy")
    with pytest.raises(WeightsError, match=r"refused.*mkdir"):
        load_kmeans(tmp_path / "centres.pt")
    with pytest.raises(WeightsError, match=r"refused.*mkdir"):
        load_hifigan(tmp_path / "generator.pt")
    content.pop("task_state")
    for text in (f"__import__('os').mkdir({str(trace)!r})", "[(512,10,5)] * 10**9", "[(512,10)]", "(" * 500):
        content["cfg"]["model"]["conv_feature_layers"] = text
        torch.save(content, tmp_path / "encoder.pt")
        with pytest.raises(WeightsError, match="conv_feature_layers"):
            load_fairseq(tmp_path / "encoder.pt", 1)
    assert not trace.exists()


def test_cut_files_are_refused(tmp_path: Path) -> None:
    for name in ("bn.pt", "bn.km"):
        whole = (golden.SMALL / name).read_bytes()
        for part in (0, 1, 100, len(whole) // 2, len(whole) - 1):
            (tmp_path / name).write_bytes(whole[:part])
            with pytest.raises(WeightsError):
                load_fairseq(tmp_path / name, 1) if name.endswith(".pt") else load_kmeans(tmp_path / name)
    for load in (load_kmeans, lambda path: load_fairseq(path, 1)):
        with pytest.raises(WeightsError, match="No such file"):
            load(tmp_path / "nothing")


def test_centres_come_from_all_formats(tmp_path: Path) -> None:
    centres = load_kmeans(golden.SMALL / "bn.km", golden.WIDTH).centres.numpy().astype(np.float32)
    np.save(tmp_path / "c.npy", centres)
    np.savez(tmp_path / "c.npz", centres=centres, inertia=np.float32(1))
    torch.save({"centres": torch.from_numpy(centres)}, tmp_path / "c.pt")
    packed = zlib.compress((golden.SMALL / "bn.km").read_bytes())
    (tmp_path / "c.km").write_bytes(packed)
    for path in tmp_path.iterdir():
        assert np.array_equal(load_kmeans(path).centres.numpy(), centres), path
    with pytest.raises(WeightsError, match="width 48"):
        load_kmeans(tmp_path / "c.npy", 768)


@pytest.mark.parametrize("name", ["expresso", "plain", "durations"])
def test_waveforms_are_those_of_textlesslib_and_chunks_change_nothing(name: str) -> None:
    model, _, _ = load_hifigan(golden.hifigan(f"{name}.generator.pt"))
    found = np.load(golden.hifigan(f"{name}.ref.npz"))
    waves = [key for key in found if key.startswith("wav_")]
    assert len(waves) >= 3
    for key in waves:
        index, speaker, style = (int(part.lstrip("spktyle")) for part in key.split("_")[1:])
        units = torch.from_numpy(found[f"units_{index}"])
        if model.dur_predictor is not None:
            units = model.spell_out(units)
        whole = model(units, speaker, style)
        assert len(whole) == 320 * len(units)
        assert np.abs(whole.numpy() - found[key]).max() <= CLOSE
        for size in (1, 7, 50):
            chunked = torch.cat(list(model.chunks(units, speaker, style, size)))
            assert (chunked - whole).abs().max() <= CLOSE


def test_speakers_and_styles_go_by_name() -> None:
    _, speakers, styles = load_hifigan(golden.hifigan("expresso.generator.pt"))
    assert index_of("lj", speakers, "speaker") == 4
    assert index_of("read-whisper", styles, "style") == 3
    assert index_of(None, speakers, "speaker") == 0
    with pytest.raises(WeightsError, match="--speaker nobody: wanted one of: ex01, ex02"):
        index_of("nobody", speakers, "speaker")
    with pytest.raises(WeightsError, match="has no styles"):
        index_of("read-happy", [], "style")


def test_a_vocoder_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    for file in golden.hifigan("").glob("expresso.*"):
        if file.suffix in (".json", ".txt"):
            shutil.copyfile(file, tmp_path / file.name)
    source = golden.hifigan("expresso.generator.pt")
    for key in (
        "dict.weight",
        "style.weight",
        "ups.1.weight_g",
        "resblocks.4.convs2.1.bias",
        "conv_post.weight_v",
    ):
        for rename in (False, True):

            def change(state: dict, key: str = key, rename: bool = rename) -> None:
                value = state.pop(key)
                if rename:
                    state[f"{key}.x"] = value

            with pytest.raises(WeightsError) as error:
                load_hifigan(changed(source, tmp_path, change))
            assert key.rsplit("_", 1)[0] in str(error.value)
    for key in ("dict.weight", "spkr.weight", "style.weight"):  # a row less, which would still fit

        def cut(state: dict, key: str = key) -> None:
            state[key] = state[key][:-1].clone()

        with pytest.raises(WeightsError, match=key):
            load_hifigan(changed(source, tmp_path, cut))
    shutil.copyfile(source, tmp_path / source.name)
    (tmp_path / "expresso.speakers.txt").write_text("one\n" * 7)
    with pytest.raises(WeightsError, match=r"speakers\.txt: 7 names for a table of 6"):
        load_hifigan(tmp_path / source.name)
    config = tmp_path / "expresso.config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_in_dim": 32}))
    with pytest.raises(WeightsError, match=r"conv_pre\.weight has shape"):
        load_hifigan(tmp_path / source.name)


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2", "wavlm"])
def test_hugging_face_folders(kind: str, tmp_path: Path) -> None:
    import transformers
    from safetensors.torch import load_file, save_file

    from networks.hf_encoder import load_folder

    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(
        kind, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
        conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    original = transformers.AutoModel.from_config(config).eval()
    original.save_pretrained(tmp_path)
    model, hop, shortest, epsilon = load_folder(str(tmp_path), 2)
    assert (hop, shortest, epsilon) == (320, 400, None)
    samples = torch.randn(1, 5000)
    with torch.no_grad():
        expected = original(samples, output_hidden_states=True).hidden_states[2]
        assert (model(samples) - expected).abs().max() <= CLOSE
    weights = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in weights if "layers.0" in name)
    fewer = {name: value for name, value in weights.items() if name != gone}
    save_file(fewer, tmp_path / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    with pytest.raises(WeightsError, match=f"missing {gone}"):
        load_folder(str(tmp_path), 2)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="layers 1 to 3"):
        load_folder(str(tmp_path), 4)
