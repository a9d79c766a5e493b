"""Data sets, loaders, transforms, and the real data that the notes train on."""

from __future__ import annotations

from tinygrad_notes.data.byte_pair import BytePairEncoding
from tinygrad_notes.data.dataset import Dataset, Subset, TensorDataset, Transformed, collate, random_split
from tinygrad_notes.data.digits import Digits, digits
from tinygrad_notes.data.images import ImageFolder, read_image
from tinygrad_notes.data.loader import DataLoader
from tinygrad_notes.data.padding import pad_collate, padding
from tinygrad_notes.data.readers import cifar10, cifar100, idx_images, read_idx, read_pairs, read_text
from tinygrad_notes.data.samplers import (
    BalancedSampler, BatchSampler, BucketBatchSampler, RandomSampler, Sampler, SequentialSampler, WeightedRandomSampler,
)  # fmt: skip
from tinygrad_notes.data.transforms import enlarge, random_shift
from tinygrad_notes.data.vocabulary import CharacterVocabulary, Vocabulary, WordVocabulary

__all__ = [
    "BalancedSampler", "BytePairEncoding", "CharacterVocabulary", "Vocabulary", "WordVocabulary", "BatchSampler", "BucketBatchSampler", "DataLoader", "Dataset", "Digits", "ImageFolder",
    "RandomSampler", "Sampler", "SequentialSampler", "Subset", "TensorDataset", "Transformed", "WeightedRandomSampler",
    "cifar10", "cifar100", "collate", "digits", "enlarge", "idx_images", "pad_collate", "padding", "random_shift",
    "random_split", "read_idx", "read_image", "read_pairs", "read_text",
]  # fmt: skip
