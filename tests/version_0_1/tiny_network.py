import torch
import torch.nn.functional as F
from torch import nn

CLASSES = ["dark", "light", "striped"]


class Tiny(nn.Module):
    input_size = 32

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 12, 3, padding=1, stride=2)
        self.head = nn.Linear(12, 3)

    def forward(self, images):
        seen = F.relu(self.second(F.relu(self.first(images - 0.5))))
        return self.head(seen.mean((2, 3)))


def tiny():
    torch.manual_seed(0)
    return Tiny()
