"""Open a codec by name. Each has sample_rate_hz, hop (samples a frame), channels, codebooks (those it
encodes with), most_codebooks (those it can decode), codebook_size, segment and stride (samples, or None),
and

    encode(blocks (channels, n)) -> codes (frames, codebooks) int16, scales (segments,) or None, samples
    decode(codes, scales or None, samples or None) -> blocks (channels, n)

for audio of any length in bounded memory.
"""

from __future__ import annotations

from typing import Any

from media.codecs import ENCODEC, ENCODEC_48KHZ, MULAW, NEMO, CodecError


def open_codec(
    name: str,
    path: str | None,
    device: str,
    bandwidth_kbps: float | None = None,
    codebooks: int | None = None,
) -> Any:
    """Return the codec; CodecError for a choice that it does not have, WeightsError for a file that is not
    its.
    """
    if bandwidth_kbps is not None and name not in (ENCODEC, ENCODEC_48KHZ):
        raise CodecError(f"--bandwidth-kbps is for EnCodec; {name} has none to choose")
    if codebooks is not None and not name.startswith("dac_"):
        raise CodecError(f"--codebooks is for DAC; {name} has none to choose")
    if name == MULAW:
        from media.mulaw import Mulaw

        return Mulaw()
    from networks.encoder import prepare_device

    place = prepare_device(device)
    assert path is not None
    if name == NEMO:
        from networks.nemo_codec import NemoCodec, load_nemo

        return NemoCodec(load_nemo(path, place), place)
    from networks.codec_weights import load_dac, load_encodec
    from networks.weights import WeightsError

    if name.startswith("dac_"):
        from networks.dac_codec import Dac

        codec: Any = Dac(load_dac(path).to(place), codebooks)
        wanted = {"dac_16khz": 16_000, "dac_24khz": 24_000, "dac_44khz": 44_100}[name]
        if codec.sample_rate_hz != wanted:
            raise WeightsError(
                f"{path}: a model of {codec.sample_rate_hz} Hz; wanted {wanted} for --codec {name}"
            )
        return codec
    from networks.encodec_codec import open_encodec

    return open_encodec(load_encodec(path, name == ENCODEC_48KHZ).to(place), path, bandwidth_kbps)


def open_vocos(path: str, device: str) -> Any:
    """Return Vocos as the decoder of EnCodec's 24 kHz codes; WeightsError where the folder has none."""
    from networks.encoder import prepare_device
    from networks.vocos_decoder import Vocos

    return Vocos(path, prepare_device(device))
