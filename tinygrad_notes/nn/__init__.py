"""Layers, containers and initialisers.

Names, arguments, parameter names and layouts are PyTorch's (``dim`` is ``axis``).
"""

from __future__ import annotations

from tinygrad_notes.nn import init
from tinygrad_notes.nn.activation import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from tinygrad_notes.nn.attention import MultiheadAttention
from tinygrad_notes.nn.containers import ModuleDict, ModuleList, Sequential
from tinygrad_notes.nn.convolution import Conv2d, ConvTranspose2d
from tinygrad_notes.nn.dropout import Dropout
from tinygrad_notes.nn.embedding import Embedding
from tinygrad_notes.nn.init import Parameter
from tinygrad_notes.nn.linear import Linear
from tinygrad_notes.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss, KLDivLoss, L1Loss, MSELoss, NLLLoss
from tinygrad_notes.nn.module import IncompatibleKeys, Module
from tinygrad_notes.nn.normalization import BatchNorm1d, BatchNorm2d, LayerNorm
from tinygrad_notes.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from tinygrad_notes.nn.recurrent import GRU, LSTM, RNN
from tinygrad_notes.nn.shape import Flatten, Identity

__all__ = [
    "GELU", "GRU", "LSTM", "RNN", "AdaptiveAvgPool2d", "AvgPool2d", "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d",
    "Conv2d", "ConvTranspose2d", "CrossEntropyLoss", "Dropout", "Embedding", "Flatten", "Identity",
    "IncompatibleKeys", "KLDivLoss", "L1Loss", "LayerNorm", "LeakyReLU", "Linear", "LogSoftmax", "MSELoss",
    "MaxPool2d", "Module", "ModuleDict", "ModuleList", "MultiheadAttention", "NLLLoss", "Parameter", "ReLU",
    "Sequential", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh", "init",
]  # fmt: skip
