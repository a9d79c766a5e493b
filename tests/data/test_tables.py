"""Tables: sizes, stratified parts, and standardisation that knows nothing of the test part."""

import numpy as np
import pytest

from tinygrad_notes.data import breast_cancer, diabetes, iris, wine
from tinygrad_notes.errors import DTypeError, ShapeError

pytest.importorskip("sklearn")
# rows, features, classes
FACTS = {iris: (150, 4, 3), wine: (178, 13, 3), breast_cancer: (569, 30, 2), diabetes: (442, 10, 0)}


def arrays(part):
    return [field.numpy() for field in part.tensors]


@pytest.mark.parametrize("load", FACTS)
def test_sizes_and_names(load):
    table = load()
    rows, features, classes = FACTS[load]
    assert len(table.train) + len(table.test) == rows
    assert len(table.test) == -(-rows // 4)
    assert (len(table.features), len(table.classes)) == (features, classes)
    values, target = arrays(table.train)
    assert (values.shape[1], values.dtype) == (features, np.float32)
    assert target.dtype == (np.int64 if classes else np.float32)


@pytest.mark.parametrize("load", FACTS)
def test_the_training_part_alone_sets_mean_and_deviation(load):
    table = load(dtype="float64")
    (train, _), (test, _) = arrays(table.train), arrays(table.test)
    assert np.allclose(train.mean(0), 0, atol=1e-12)
    assert np.allclose(train.std(0), 1)
    assert np.abs(test.mean(0)).max() > 0.01  # not standardised by its own
    raw = load(standardise=False, dtype="float64")
    if load is not diabetes:  # whose scikit-learn form is scaled by all rows
        assert np.allclose(arrays(raw.test)[0], test * table.std + table.mean)
        assert (raw.mean.tolist(), raw.std.tolist()) == ([0] * len(raw.features), [1] * len(raw.features))


@pytest.mark.parametrize("load", [iris, wine, breast_cancer])
def test_parts_are_stratified(load):
    table = load(seed=3)
    shares = [np.bincount(arrays(part)[1]) / len(part) for part in (table.train, table.test)]
    assert np.abs(shares[0] - shares[1]).max() < 0.03


def test_diabetes_as_scikit_learn_scales_it():
    lasso = pytest.importorskip("sklearn.linear_model").Lasso(alpha=1.0)
    values, target = arrays(diabetes(standardise=False, dtype="float64").train)
    assert np.count_nonzero(lasso.fit(values, target).coef_) == 2


def test_the_seed_decides_the_parts():
    first, again, other = (arrays(iris(seed=s).test)[0] for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(iris(test=0.5).test) == 75


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"test": 1}, ShapeError, "wine: test is 1"),
        ({"seed": -1}, ShapeError, "wine: seed is -1"),
        ({"dtype": "int64"}, ShapeError, "wine: dtype is 'int64'"),
        ({"dtype": "x"}, DTypeError, "wine: dtype is 'x'"),
    ],
)
def test_wrong_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        wine(**options)
