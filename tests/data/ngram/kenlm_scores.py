"""Print, for each line of test.txt, kenlm's log10 probability of each unit by ours.arpa, as JSON."""

import json

import kenlm

model = kenlm.Model("ours.arpa")
with open("test.txt") as file:
    print(json.dumps([[round(chance, 7) for chance, *_ in model.full_scores(line, bos=True, eos=False)]
                      for line in file]))  # fmt: skip
