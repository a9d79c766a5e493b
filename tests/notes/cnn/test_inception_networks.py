"""Inception networks: what their facts do not say."""

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import notes
from tinygrad_notes.notes.cnn import googlenet
from tinygrad_notes.notes.cnn.inception_v2_bn import WINDOW, StepAccuracy
from tinygrad_notes.notes.cnn.inception_v3 import InceptionV3, small_inception_v3
from tinygrad_notes.notes.cnn.inception_v4_resnet import (
    InceptionResNetV2,
    InceptionV4,
    ResidualInception,
    small_inception_resnet,
)
from tinygrad_notes.notes.note import Run, without_memory
from tinygrad_notes.training.progress import Progress


@pytest.mark.parametrize("make", [small_inception_v3, small_inception_resnet])
def test_the_small_networks_classify_small_images_and_learn_in_every_parameter(make):
    tn.manual_seed(0)
    model = make()
    x = np.random.default_rng(0).standard_normal((3, 1, 16, 16)).astype(np.float32)
    output = model(x)
    assert output.shape == (3, 10)
    tn.cross_entropy(output, np.arange(3)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_inception_v4_and_inception_resnet_halve_the_smallest_images_they_take():
    x = tn.zeros((1, 1, 75, 75))
    for model in (InceptionV4(1, 10, 32, (1, 1, 1)), InceptionResNetV2(1, 10, 32, (1, 1, 1))):
        with tn.no_grad():
            assert model.eval()(x).shape == (1, 10)


def test_only_the_last_residual_block_is_neither_scaled_nor_rectified():
    blocks = [m for m in without_memory(InceptionResNetV2).modules() if isinstance(m, ResidualInception)]
    assert [block.last for block in blocks] == [False] * 39 + [True]
    assert [block.scale for block in blocks[:39]] == [0.17] * 10 + [0.10] * 20 + [0.20] * 9


def test_the_auxiliary_heads_reach_the_blocks_they_look_at_and_no_others():
    tn.manual_seed(0)
    model = googlenet.small_googlenet(heads=True, divide=16)
    x = np.random.default_rng(0).standard_normal((2, 1, 32, 32)).astype(np.float32)
    for head, reached in ((1, 1), (2, 4)):
        model.zero_grad()
        model.outputs(x)[head].sum().backward()
        blocks = list(model.stages[3])[:5]
        touched = [any(p.grad is not None for p in block.parameters()) for block in blocks]
        assert touched == [i < reached for i in range(5)]
        assert model.fc.weight.grad is None


def test_the_auxiliary_head_of_inception_v3_gives_logits():
    model = InceptionV3(1, 10, 16, (32,), (128,), 1, small_images=True, head=True).eval()
    with tn.no_grad():
        assert model.head_output(tn.zeros((1, 1, 35, 35))).shape == (1, 10)


def test_steps_to_a_goal_are_counted_in_batches():
    accuracy = StepAccuracy()
    for i in range(2 * WINDOW):
        accuracy.update(tn.tensor([[0.0, 1.0]]), np.array([int(i >= WINDOW)]))
    assert accuracy.recent()[0] == 0
    assert accuracy.steps_to(0.5) == WINDOW + WINDOW // 2
    assert accuracy.steps_to(1.0) == 2 * WINDOW
    assert accuracy.steps_to(1.5) == 2 * WINDOW + 1


def test_a_short_demo_of_one_block_leaves_a_picture_of_its_paths(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    outcome = notes.get("inception-block").demo(Run(folder=tmp_path, epochs=1, progress=Progress(style="none")))
    assert outcome.pictures == [tmp_path / "paths.png"]
    assert outcome.pictures[0].read_bytes().startswith(b"\x89PNG")
    assert outcome.metrics["test_accuracy"] > 2 * outcome.metrics["majority_class"]
