"""Tables of scikit-learn: iris, wine, breast cancer, diabetes; split first, then standardised by the training part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinygrad_notes.data.dataset import TensorDataset
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.lazy import load
from tinygrad_notes.ops.arguments import count, number
from tinygrad_notes.tensor import as_dtype


@dataclass(frozen=True)
class Table:
    """Two parts of a table; an item is a row of features and its target, int64 for a class and floating for a value.

    ``mean`` and ``std`` are those of the training features and standardise both parts; ``classes`` are the names of
    the classes, none for a value.

    >>> tn.data.wine().features[:2]
    ('alcohol', 'malic_acid')
    """

    train: TensorDataset
    test: TensorDataset
    features: tuple[str, ...]
    classes: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray


def iris(test: float = 0.25, seed: int = 0, standardise: bool = True, dtype: str = "float32") -> Table:
    """150 flowers of 3 species by 4 lengths (Fisher 1936). See :func:`wine` for the arguments.

    >>> table = tn.data.iris()
    >>> len(table.train), len(table.test), table.train[0][0].shape
    (112, 38, (4,))
    """
    return _table("iris", test, seed, standardise, dtype)


def wine(test: float = 0.25, seed: int = 0, standardise: bool = True, dtype: str = "float32") -> Table:
    """178 wines of 3 growers by 13 chemical measures (Forina et al.).

    ``test``: the part set aside, stratified by class, with scikit-learn's ``random_state=seed``. Mean and deviation are
    those of the training rows alone, so that nothing of the test part is known in training. ``standardise=False``
    leaves the features as scikit-learn gives them. ``dtype`` is that of the features and of values.

    >>> table = tn.data.wine()
    >>> len(table.train), len(table.test), table.train[0][0].shape
    (133, 45, (13,))
    """
    return _table("wine", test, seed, standardise, dtype)


def breast_cancer(test: float = 0.25, seed: int = 0, standardise: bool = True, dtype: str = "float32") -> Table:
    """569 tumours, malignant (0) or benign (1), by 30 measures of cell nuclei (Street, Wolberg & Mangasarian 1993).

    >>> table = tn.data.breast_cancer()
    >>> len(table.train), len(table.test), table.train[0][0].shape
    (426, 143, (30,))
    """
    return _table("breast_cancer", test, seed, standardise, dtype)


def diabetes(test: float = 0.25, seed: int = 0, standardise: bool = True, dtype: str = "float32") -> Table:
    """442 patients by 10 measures, and how far their diabetes went in a year (Efron et al. 2004), a value.

    The features are the measured ones, standardised by the training part. ``standardise=False`` gives scikit-learn's
    default instead, which is centred and scaled by all rows, test part included: for comparison with published
    coefficients only.

    >>> table = tn.data.diabetes()
    >>> len(table.train), len(table.test), table.train[0][0].shape
    (331, 111, (10,))
    """
    return _table("diabetes", test, seed, standardise, dtype)


def _table(name: str, test: float, seed: int, standardise: bool, dtype: str) -> Table:
    if not 0 < number(test, f"{name}: test") < 1:
        raise ShapeError(f"{name}: test is {test!r}, expected a part between 0 and 1")
    count(seed, f"{name}: seed", 0)
    try:
        floating = as_dtype(dtype)
    except DTypeError as error:
        raise DTypeError(f"{name}: {error}") from None
    if floating.kind != "f":
        raise ShapeError(f"{name}: dtype is {dtype!r}, expected a floating one")
    options = {"scaled": not standardise} if name == "diabetes" else {}
    bunch = getattr(load("sklearn.datasets"), f"load_{name}")(**options)
    values, target = np.asarray(bunch.data, np.float64), np.asarray(bunch.target)
    classes = tuple(str(c) for c in getattr(bunch, "target_names", ()))
    target = target.astype(np.int64 if classes else floating)
    split = load("sklearn.model_selection").train_test_split
    train_rows, test_rows = split(
        np.arange(len(values)), test_size=test, random_state=seed, stratify=target if classes else None
    )
    mean, std = np.zeros(values.shape[1]), np.ones(values.shape[1])
    if standardise:
        mean, std = values[train_rows].mean(0), values[train_rows].std(0)
        std[std == 0] = 1
    standard = ((values - mean) / std).astype(floating)
    parts = [TensorDataset(standard[rows], target[rows]) for rows in (train_rows, test_rows)]
    return Table(parts[0], parts[1], tuple(map(str, bunch.feature_names)), classes, mean, std)
