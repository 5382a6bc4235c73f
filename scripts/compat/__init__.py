"""What the stack of 2021 (fairseq, textlesslib) needs to run here; used only in the environment `sts`."""
