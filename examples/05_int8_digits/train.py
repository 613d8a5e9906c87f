"""Trains the network on the training digits, the same way each time, and writes digits.safetensors."""

from __future__ import annotations

import torch
from digits import Digits, Net
from safetensors.torch import save_file
from torch.nn import functional

torch.manual_seed(0)
torch.set_num_threads(1)
net, train, test = Net(), Digits("train"), Digits("test")
images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
for _ in range(40):
    for batch in torch.randperm(len(images)).split(64):
        optimizer.zero_grad()
        functional.cross_entropy(net(images[batch]), labels[batch]).backward()
        optimizer.step()
save_file(net.state_dict(), "digits.safetensors")
right = net(torch.from_numpy(test.images)).argmax(1) == torch.from_numpy(test.labels)
print(f"{right.float().mean():.4f} of {len(test)} test digits")
