"""PyTorch models and the readers of their checkpoints; no fairseq, no scikit-learn, no arbitrary pickles."""
