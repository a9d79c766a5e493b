"""The short demonstrations show what they are for."""

from tests.notes.short_demos import short_demo
from tinygrad_notes.notes.cnn import receptive_field


def test_most_of_the_matrix_of_a_convolution_is_zero(tmp_path):
    metrics = short_demo("conv2d-im2col", tmp_path).metrics
    assert metrics["part_of_v_that_is_zero"] == 1 - 9 / 256
    assert metrics["numbers_in_columns_for_each_pixel"] == 9 * 14**2 / 16**2
    assert all(value > 0 for name, value in metrics.items() if name.startswith("milliseconds"))


def test_pooling_makes_a_shift_count_less(tmp_path):
    metrics = short_demo("pooling", tmp_path).metrics
    assert metrics.pop("moved_by_a_shift_global_average_pooling") < 1e-6
    assert max(metrics, key=metrics.get) == "moved_by_a_shift_no_pooling"
    for kind in ("average", "max"):
        by_size = [metrics[f"moved_by_a_shift_{kind}_pooling_{size}"] for size in ("2x2", "4x4")]
        assert by_size[1] < by_size[0]


def test_the_middle_of_a_field_counts_most(tmp_path):
    metrics = short_demo("receptive-field", tmp_path).metrics
    fields = [value for name, value in metrics.items() if name.startswith("field")]
    middles = [value for name, value in metrics.items() if name.startswith("middle")]
    assert fields == [expected for _, expected, _ in receptive_field.NETWORKS.values()]
    assert all(0.4 * field < middle < field for field, middle in zip(fields, middles))


def test_windows_of_one_pixel_do_not_see_an_order(tmp_path):
    metrics = short_demo("conv-1x1", tmp_path).metrics
    assert metrics["same_answer_when_shuffled_1x1"] > 0.99  # sums in another order may tip a tie
    assert metrics["same_answer_when_shuffled_3x3"] < 0.99


def test_what_was_cut_off_is_not_needed_to_read(tmp_path):
    metrics = short_demo("network-surgery", tmp_path, epochs=2).metrics
    assert metrics["accuracy_in_strips"] > metrics["majority_class"] + 0.2


def test_gradients_of_a_plain_stack_fade(tmp_path):
    metrics = short_demo("conv-stack-shortcut", tmp_path).metrics
    assert {f"test_accuracy_{kind}_{depth}" for kind in ("plain", "shortcut") for depth in (4, 31)} <= set(metrics)
