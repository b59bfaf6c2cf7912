"""Trains the sample network on scikit-learn's handwritten digits; writes it and its test set beside this script.

An ordinary training run but for one thing: the weights of `mix` pay an L1 penalty, the usual way to a sparse layer.
Most of them end near zero while a few stay large, so levels spread evenly between the extremes leave the many on no
level of their own: this layer suffers most from quantization, and the window shows why.

Run it where the `dev` and `test` extras are installed: `python resources/samples/train_digits.py`.
"""

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.functional import cross_entropy

HERE = Path(__file__).resolve().parent
EPOCHS, BATCH, RATE, L1 = 80, 64, 1e-3, 2e-4

NETWORK = [
    {"op": "linear", "prefix": "embed"},
    {"op": "relu"},
    {"op": "layernorm", "prefix": "norm1", "eps": 1e-5},
    {
        "op": "residual",
        "body": [{"op": "linear", "prefix": "block.fc1"}, {"op": "relu"}, {"op": "linear", "prefix": "block.fc2"}],
    },
    {"op": "layernorm", "prefix": "norm2", "eps": 1e-5},
    {"op": "linear", "prefix": "mix"},
    {"op": "relu"},
    {"op": "linear", "prefix": "head"},
]


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


def build():
    block = OrderedDict(fc1=nn.Linear(320, 320), relu=nn.ReLU(), fc2=nn.Linear(320, 320))
    layers = OrderedDict(
        embed=nn.Linear(64, 320),
        relu1=nn.ReLU(),
        norm1=nn.LayerNorm(320),
        block=Residual(block),
        norm2=nn.LayerNorm(320),
        mix=nn.Linear(320, 192),
        relu2=nn.ReLU(),
        head=nn.Linear(192, 10),
    )
    return nn.Sequential(layers)


def train(net, x, y):
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            loss = cross_entropy(net(x[batch]), y[batch]) + L1 * net.mix.weight.abs().sum()
            loss.backward()
            optimizer.step()
            schedule.step()


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so that sums are taken in one order, and the file comes out the same
    digits = load_digits()
    pixels = (digits.data / 16).astype(np.float32)
    x, x_test, y, y_test = train_test_split(
        pixels, digits.target, test_size=0.25, stratify=digits.target, random_state=0
    )
    net = build()
    train(net, torch.from_numpy(x), torch.from_numpy(y))
    with torch.no_grad():
        right = (net(torch.from_numpy(x_test)).argmax(1).numpy() == y_test).mean()
    print(f"{sum(p.numel() for p in net.parameters())} parameters, {right:.2%} of {len(y_test)} test digits right")
    save_file(net.state_dict(), HERE / "digits.safetensors", {"format": "pt", "qinspect.network": json.dumps(NETWORK)})
    np.savez(HERE / "digits.test.npz", x=x_test, y=y_test.astype(np.int64))


if __name__ == "__main__":
    main()
