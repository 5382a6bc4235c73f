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
    "hubert": Reference(
        "Hsu, W.-N., Bolte, B., Tsai, Y.-H. H., Lakhotia, K., Salakhutdinov, R., & Mohamed, A. (2021). "
        "HuBERT: Self-supervised speech representation learning by masked prediction of hidden units. "
        "IEEE/ACM Transactions on Audio, Speech, and Language Processing 29. https://arxiv.org/abs/2106.07447",
        "@article{hsu2021hubert, author = {Hsu, Wei-Ning and Bolte, Benjamin and Tsai, Yao-Hung Hubert and "
        "Lakhotia, Kushal and Salakhutdinov, Ruslan and Mohamed, Abdelrahman}, title = {{HuBERT}: "
        "Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units}, journal = "
        "{IEEE/ACM Transactions on Audio, Speech, and Language Processing}, volume = {29}, year = {2021}}",
    ),
    "expresso": Reference(
        "Nguyen, T. A., Hsu, W.-N., D'Avirro, A., Shi, B., Gat, I., et al. (2023). EXPRESSO: A benchmark and "
        "analysis of discrete expressive speech resynthesis. Interspeech 2023. "
        "https://arxiv.org/abs/2308.05725",
        "@inproceedings{nguyen2023expresso, author = {Nguyen, Tu Anh and Hsu, Wei-Ning and D'Avirro, Antony "
        "and Shi, Bowen and Gat, Itai and others}, title = {{EXPRESSO}: A Benchmark and Analysis of Discrete "
        "Expressive Speech Resynthesis}, booktitle = {Interspeech}, year = {2023}}",
    ),
    "gslm": Reference(
        "Lakhotia, K., Kharitonov, E., Hsu, W.-N., Adi, Y., Polyak, A., et al. (2021). On generative spoken "
        "language modeling from raw audio. Transactions of the ACL 9. https://arxiv.org/abs/2102.01192",
        "@article{lakhotia2021gslm, author = {Lakhotia, Kushal and Kharitonov, Eugene and Hsu, Wei-Ning and "
        "Adi, Yossi and Polyak, Adam and others}, title = {On Generative Spoken Language Modeling from Raw "
        "Audio}, journal = {Transactions of the Association for Computational Linguistics}, volume = {9}, "
        "year = {2021}}",
    ),
    "griffinlim": Reference(
        "Griffin, D., & Lim, J. (1984). Signal estimation from modified short-time Fourier transform. IEEE "
        "Transactions on Acoustics, Speech, and Signal Processing 32(2), 236-243.",
        "@article{griffin1984signal, author = {Griffin, Daniel and Lim, Jae}, title = {Signal Estimation "
        "from Modified Short-Time {Fourier} Transform}, journal = {IEEE Transactions on Acoustics, Speech, "
        "and Signal Processing}, volume = {32}, number = {2}, pages = {236--243}, year = {1984}}",
    ),
    "polyak": Reference(
        "Polyak, A., Adi, Y., Copet, J., Kharitonov, E., Lakhotia, K., Hsu, W.-N., Mohamed, A., & Dupoux, E. "
        "(2021). Speech resynthesis from discrete disentangled self-supervised representations. Interspeech "
        "2021. https://arxiv.org/abs/2104.00355",
        "@inproceedings{polyak2021resynthesis, author = {Polyak, Adam and Adi, Yossi and Copet, Jade and "
        "Kharitonov, Eugene and Lakhotia, Kushal and Hsu, Wei-Ning and Mohamed, Abdelrahman and Dupoux, "
        "Emmanuel}, title = {Speech Resynthesis from Discrete Disentangled Self-Supervised Representations}, "
        "booktitle = {Interspeech}, year = {2021}}",
    ),
    "hifigan": Reference(
        "Kong, J., Kim, J., & Bae, J. (2020). HiFi-GAN: Generative adversarial networks for efficient and "
        "high fidelity speech synthesis. NeurIPS 2020. https://arxiv.org/abs/2010.05646",
        "@inproceedings{kong2020hifigan, author = {Kong, Jungil and Kim, Jaehyeon and Bae, Jaekyoung}, title "
        "= {{HiFi-GAN}: Generative Adversarial Networks for Efficient and High Fidelity Speech Synthesis}, "
        "booktitle = {NeurIPS}, year = {2020}}",
    ),
    "lstm": Reference(
        "Hochreiter, S., & Schmidhuber, J. (1997). Long short-term memory. Neural Computation 9(8), "
        "1735-1780.",
        '@article{hochreiter1997lstm, author = {Hochreiter, Sepp and Schmidhuber, J{\\"u}rgen}, title = '
        "{Long Short-Term Memory}, journal = {Neural Computation}, volume = {9}, number = {8}, pages = "
        "{1735--1780}, year = {1997}}",
    ),
    "adamw": Reference(
        "Loshchilov, I., & Hutter, F. (2019). Decoupled weight decay regularization. ICLR 2019. "
        "https://arxiv.org/abs/1711.05101",
        "@inproceedings{loshchilov2019adamw, author = {Loshchilov, Ilya and Hutter, Frank}, title = "
        "{Decoupled Weight Decay Regularization}, booktitle = {ICLR}, year = {2019}}",
    ),
    "whisperx": Reference(
        "Bain, M., Huh, J., Han, T., & Zisserman, A. (2023). WhisperX: Time-accurate speech transcription "
        "of long-form audio. Interspeech 2023. https://arxiv.org/abs/2303.00747",
        "@inproceedings{bain2023whisperx, author = {Bain, Max and Huh, Jaesung and Han, Tengda and "
        "Zisserman, Andrew}, title = {{WhisperX}: Time-Accurate Speech Transcription of Long-Form Audio}, "
        "booktitle = {Interspeech}, year = {2023}}",
    ),
    "goemotions": Reference(
        "Demszky, D., Movshovitz-Attias, D., Ko, J., Cowen, A., Nemade, G., & Ravi, S. (2020). GoEmotions: "
        "A dataset of fine-grained emotions. ACL 2020. https://arxiv.org/abs/2005.00547",
        "@inproceedings{demszky2020goemotions, author = {Demszky, Dorottya and Movshovitz-Attias, Dana and "
        "Ko, Jeongwoo and Cowen, Alan and Nemade, Gaurav and Ravi, Sujith}, title = {{GoEmotions}: A "
        "Dataset of Fine-Grained Emotions}, booktitle = {ACL}, year = {2020}}",
    ),
    "vader": Reference(
        "Hutto, C., & Gilbert, E. (2014). VADER: A parsimonious rule-based model for sentiment analysis of "
        "social media text. ICWSM 2014. https://doi.org/10.1609/icwsm.v8i1.14550",
        "@inproceedings{hutto2014vader, author = {Hutto, C. and Gilbert, Eric}, title = {{VADER}: A "
        "Parsimonious Rule-Based Model for Sentiment Analysis of Social Media Text}, booktitle = {ICWSM}, "
        "year = {2014}}",
    ),
    "phonemizer": Reference(
        "Bernard, M., & Titeux, H. (2021). Phonemizer: Text to phones transcription for multiple languages "
        "in Python. Journal of Open Source Software, 6(68), 3958. https://doi.org/10.21105/joss.03958",
        "@article{bernard2021phonemizer, author = {Bernard, Mathieu and Titeux, Hadrien}, title = "
        "{Phonemizer: Text to Phones Transcription for Multiple Languages in {Python}}, journal = {Journal "
        "of Open Source Software}, volume = {6}, number = {68}, pages = {3958}, year = {2021}}",
    ),
}
