"""What the stages ask to be cited: as text, and as BibTeX."""

from __future__ import annotations

from typing import NamedTuple


class Reference(NamedTuple):
    """A work to cite: as text, and as BibTeX."""

    text: str
    bibtex: str


REFERENCES = {
    "ten": Reference(
        "TEN Team (2025). TEN VAD: A low-latency, lightweight and high-performance streaming voice "
        "activity detector. https://github.com/TEN-framework/ten-vad",
        "@misc{tenvad, author = {{TEN Team}}, title = {{TEN VAD}: A Low-Latency, Lightweight and "
        "High-Performance Streaming Voice Activity Detector}, year = {2025}, howpublished = "
        "{\\url{https://github.com/TEN-framework/ten-vad}}}",
    ),
    "silero": Reference(
        "Silero Team (2024). Silero VAD: Pre-trained enterprise-grade voice activity detector (VAD), "
        "number detector and language classifier. https://github.com/snakers4/silero-vad",
        "@misc{silerovad, author = {{Silero Team}}, title = {{Silero VAD}: Pre-trained "
        "Enterprise-Grade Voice Activity Detector ({VAD}), Number Detector and Language Classifier}, "
        "year = {2024}, howpublished = {\\url{https://github.com/snakers4/silero-vad}}}",
    ),
    "canary": Reference(
        "NVIDIA (2025). Canary-Qwen-2.5B, model card. https://huggingface.co/nvidia/canary-qwen-2.5b",
        "@misc{canaryqwen, author = {{NVIDIA}}, title = {{Canary-Qwen-2.5B}, model card}, year = "
        "{2025}, howpublished = {\\url{https://huggingface.co/nvidia/canary-qwen-2.5b}}}",
    ),
    "salm": Reference(
        "Chen, Z., Huang, H., Andrusenko, A., Hrinchuk, O., Puvvada, K. C., Li, J., Ghosh, S., Balam,"
        " J., & Ginsburg, B. (2024). SALM: Speech-augmented language model with in-context learning "
        "for speech recognition and translation. ICASSP 2024. https://arxiv.org/abs/2310.09424",
        "@inproceedings{chen2024salm, author = {Chen, Zhehuai and Huang, He and Andrusenko, Andrei "
        "and Hrinchuk, Oleksii and Puvvada, Krishna C. and Li, Jason and Ghosh, Subhankar and Balam, "
        "Jagadeesh and Ginsburg, Boris}, title = {{SALM}: Speech-Augmented Language Model with "
        "In-Context Learning for Speech Recognition and Translation}, booktitle = {ICASSP}, year = "
        "{2024}}",
    ),
    "nemo": Reference(
        "Kuchaiev, O., Li, J., Nguyen, H., Hrinchuk, O., Leary, R., Ginsburg, B., et al. (2019). "
        "NeMo: A toolkit for building AI applications using neural modules. "
        "https://arxiv.org/abs/1909.09577",
        "@misc{kuchaiev2019nemo, author = {Kuchaiev, Oleksii and Li, Jason and Nguyen, Huyen and "
        "Hrinchuk, Oleksii and Leary, Ryan and Ginsburg, Boris and others}, title = {{NeMo}: a "
        "toolkit for building {AI} applications using {N}eural {M}odules}, year = {2019}, eprint = "
        "{1909.09577}, archivePrefix = {arXiv}}",
    ),
    "pocketsphinx": Reference(
        "Huggins-Daines, D., Kumar, M., Chan, A., Black, A. W., Ravishankar, M., & Rudnicky, A. I. "
        "(2006). PocketSphinx: A free, real-time continuous speech recognition system for hand-held "
        "devices. ICASSP 2006. https://doi.org/10.1109/ICASSP.2006.1659988",
        "@inproceedings{hugginsdaines2006pocketsphinx, author = {Huggins-Daines, David and Kumar, "
        "Mohit and Chan, Arthur and Black, Alan W. and Ravishankar, Mosur and Rudnicky, Alexander "
        "I.}, title = {{PocketSphinx}: A Free, Real-Time Continuous Speech Recognition System for "
        "Hand-Held Devices}, booktitle = {ICASSP}, year = {2006}, doi = "
        "{10.1109/ICASSP.2006.1659988}}",
    ),
    "whisper": Reference(
        "Radford, A., Kim, J. W., Xu, T., Brockman, G., McLeavey, C., & Sutskever, I. (2023). Robust "
        "speech recognition via large-scale weak supervision. ICML 2023. "
        "https://arxiv.org/abs/2212.04356",
        "@inproceedings{radford2023whisper, author = {Radford, Alec and Kim, Jong Wook and Xu, Tao "
        "and Brockman, Greg and McLeavey, Christine and Sutskever, Ilya}, title = {Robust Speech "
        "Recognition via Large-Scale Weak Supervision}, booktitle = {ICML}, year = {2023}}",
    ),
    "bootstrap": Reference(
        "Bisani, M., & Ney, H. (2004). Bootstrap estimates for confidence intervals in ASR "
        "performance evaluation. ICASSP 2004. https://doi.org/10.1109/ICASSP.2004.1326009",
        "@inproceedings{bisani2004bootstrap, author = {Bisani, Maximilian and Ney, Hermann}, title = "
        "{Bootstrap Estimates for Confidence Intervals in {ASR} Performance Evaluation}, booktitle = "
        "{ICASSP}, year = {2004}, doi = {10.1109/ICASSP.2004.1326009}}",
    ),
}
