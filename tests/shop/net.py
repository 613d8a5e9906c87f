"""Models that the tests hand to the command line, as a user would: from a file in the current folder."""

import os
import signal
import time

import torch


class Net(torch.nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, width, 3), torch.nn.BatchNorm2d(width), torch.nn.ReLU(), torch.nn.Conv2d(width, width, 3)
        )
        self.head = torch.nn.Linear(width, 10)

    def forward(self, image):
        return self.head(self.features(image).mean((2, 3)))


class Frozen(Net):
    """Any batch in PyTorch; a tracer writes the example's into the graph."""

    def forward(self, image):
        return self.head(self.features(image).mean((2, 3)).reshape(int(image.shape[0]), -1))


class Doubled(Net):
    """Any batch below nine in PyTorch; torch.export finds that only one size is certain."""

    def forward(self, image):
        return super().forward(image) if image.shape[0] != 2 else 2 * super().forward(image)


class Sleeper(Net):
    def __init__(self):
        super().__init__()
        print("asleep", flush=True)
        time.sleep(60)


class Raises(Net):
    def __init__(self):
        raise RuntimeError("no such luck")


class Crashes(Net):
    """What a native library does at its worst."""

    def __init__(self):
        os.kill(os.getpid(), signal.SIGSEGV)


def no_module():
    return 3
