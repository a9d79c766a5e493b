"""Data sets, loaders, transforms, and the real data that the notes train on."""

from __future__ import annotations

from tinygrad_notes.data.dataset import Dataset, Subset, TensorDataset, Transformed, collate, random_split
from tinygrad_notes.data.digits import Digits, digits
from tinygrad_notes.data.loader import DataLoader
from tinygrad_notes.data.transforms import enlarge, random_shift

__all__ = [
    "DataLoader", "Dataset", "Digits", "Subset", "TensorDataset", "Transformed", "collate", "digits", "enlarge",
    "random_shift", "random_split",
]  # fmt: skip
