"""Writes a state dict for net.Digits, in place of your training.

python make_weights.py FILE.safetensors
"""

import sys

import torch
from net import Digits
from safetensors.torch import save_file

torch.manual_seed(0)
save_file(Digits(width=24).state_dict(), sys.argv[1])
