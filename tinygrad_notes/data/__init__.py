"""Data sets, loaders, samplers, transforms, vocabularies, readers, and the real data that the notes train on."""

from __future__ import annotations

from tinygrad_notes.data.augmentation import (
    colour_jitter,
    cutmix,
    cutout,
    mixup,
    mosaic,
    normalise,
    random_crop,
    random_horizontal_flip,
    random_rotation,
    random_vertical_flip,
    rotate,
)  # fmt: skip
from tinygrad_notes.data.byte_pair import BytePairEncoding
from tinygrad_notes.data.dataset import Dataset, Subset, TensorDataset, Transformed, collate, random_split
from tinygrad_notes.data.digits import Digits, digits
from tinygrad_notes.data.distortion import (
    background_noise,
    elastic_deformation,
    gaussian_blur,
    gaussian_noise,
    pixelate,
    random_erasing,
    random_gaussian_blur,
    random_resized_crop,
    salt_and_pepper_noise,
    sharpen,
)
from tinygrad_notes.data.hangul import Syllable, hangul_pairs, split_syllables, syllables
from tinygrad_notes.data.images import ImageFolder, read_image
from tinygrad_notes.data.loader import DataLoader
from tinygrad_notes.data.names import Name, NamePair, character_names, name_pairs
from tinygrad_notes.data.padding import pad_collate, padding
from tinygrad_notes.data.readers import cifar10, cifar100, idx_images, read_idx, read_pairs, read_text
from tinygrad_notes.data.samplers import (
    BalancedSampler,
    BatchSampler,
    BucketBatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    WeightedRandomSampler,
)  # fmt: skip
from tinygrad_notes.data.scenes import clips, compose, digit_scenes, moving_digits, place, placed_digits
from tinygrad_notes.data.tables import Table, breast_cancer, diabetes, iris, wine
from tinygrad_notes.data.text import Corpus, ngram_perplexities, topics, windows
from tinygrad_notes.data.transforms import enlarge, random_shift, resize
from tinygrad_notes.data.vocabulary import CharacterVocabulary, Vocabulary, WordVocabulary

__all__ = [
    "BalancedSampler", "BatchSampler", "BucketBatchSampler", "BytePairEncoding", "CharacterVocabulary", "Corpus",
    "DataLoader", "Dataset", "Digits", "ImageFolder", "Name", "NamePair", "RandomSampler", "Sampler",
    "SequentialSampler", "Subset", "Syllable", "Table", "TensorDataset", "Transformed", "Vocabulary",
    "WeightedRandomSampler", "WordVocabulary", "background_noise", "breast_cancer", "character_names", "cifar10",
    "cifar100", "clips", "collate", "colour_jitter", "compose", "cutmix", "cutout", "diabetes", "digit_scenes",
    "digits", "elastic_deformation", "enlarge", "gaussian_blur", "gaussian_noise", "hangul_pairs", "idx_images", "iris",
    "mixup", "mosaic", "moving_digits", "name_pairs", "ngram_perplexities", "normalise", "pad_collate", "padding",
    "pixelate", "place", "placed_digits", "random_crop", "random_erasing", "random_gaussian_blur",
    "random_horizontal_flip", "random_resized_crop", "random_rotation", "random_shift", "random_split",
    "random_vertical_flip", "read_idx", "read_image", "read_pairs", "read_text", "resize", "rotate",
    "salt_and_pepper_noise", "sharpen", "split_syllables", "syllables", "topics", "windows", "wine",
]  # fmt: skip
