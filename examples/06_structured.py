"""Takes channels and whole blocks out of a residual network for digits, and rebuilds it in its own class."""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import featherweight as fw
from _trained import trained
from featherweight.data.resolve import find
from featherweight.recipes.recipe import Step


class Block(nn.Module):
    """relu(x + f(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """The image, a little changed."""
        return torch.relu(x + self.norm(self.conv(x)))


class Net(nn.Module):
    """A convolution, six blocks of 16 channels, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, stride=2, padding=1)
        self.blocks, self.head = nn.Sequential(*(Block(16) for _ in range(6))), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Ten logits for each image."""
        logits: Tensor = self.head(self.blocks(torch.relu(self.stem(x.reshape(-1, 1, 8, 8)))).mean((2, 3)))
        return logits


def main(folder: Path) -> None:
    """A third of the blocks, then a quarter of the multiply-adds of what is left."""
    training = fw.Training(optimizer="adamw", learning_rate=4e-3, batch_size=64, epochs=8)
    task = trained(Net, find("digits"), training, name="structured", seed=0)
    blocks = Step.of("pruning.layer.block_removal", ratio=1 / 3)
    channels = Step.of("pruning.filter.norm", ratio=0.25, of="macs", repair="least_squares", epochs=2)
    result = fw.compress(task.build(), fw.Recipe(name="structured", steps=(blocks, channels)), fw.Context(task))
    for entry in result.ledger:
        print(f"{entry.technique}: score {entry.score_before:.3f} -> {entry.score_after:.3f}")
    fw.save(result, folder / "structured.fwt")
    again = fw.rebuild(Net(), folder / "structured.fwt")
    left = [name for name, module in again.blocks.named_children() if isinstance(module, Block)]
    print(f"rebuilt: {len(left)} of 6 blocks, {again.stem.out_channels} of 16 channels")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
