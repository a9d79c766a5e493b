"""Wrong calls of training, notes and the command."""

from __future__ import annotations

from tests.wrong_calls.errors import C, CommandError, D, DivergenceError, S, UnknownNoteError

AREAS: dict[str, list[tuple]] = {
    "training and checkpoints": [
        ("training.load_checkpoint(file)", FileNotFoundError, "checkpoint FILE does not exist"),
        ("training.load_checkpoint(file)", C,
         "checkpoint FILE: not a safetensors file, truncated or damaged",
         "training.save_checkpoint(file, {'a': x})\nfile.write_bytes(file.read_bytes()[:-4])"),
        ("training.load_checkpoint(file)", C,
         "checkpoint FILE: damaged, its content does not match its SHA-256",
         "training.save_checkpoint(file, {'a': x})\nfile.write_bytes(file.read_bytes()[:-1] + b'!')"),
        ("training.load_checkpoint(file)", C, "checkpoint FILE: not a safetensors file", "file.write_text('hello')"),
        ("training.load_checkpoint(file)", C,
         "checkpoint FILE: a safetensors file, but not a checkpoint of a training run",
         "from safetensors.numpy import save_file\nsave_file({'a': np.ones(3)}, file)"),
        ("training.save_checkpoint(file, {'a': object()})", D,
         "checkpoint: a is object, expected arrays, numbers, strings"),
        ("trainer(nn.Linear(3, 4)).load(file)", C,
         "checkpoint FILE: of another model\n  weight is (2, 3) float32 in the checkpoint",
         "trainer(linear).save(file)"),
        ("trainer(linear, optim.Adam(linear.parameters())).load(file)", C,
         "checkpoint FILE: of another run; Adam.load_state_dict: a group lacks ['betas', 'eps']",
         "trainer(linear).save(file)"),
        ("trainer(linear).load(file)", C,
         "checkpoint FILE: of another run; it has no entry 'model'", "training.save_checkpoint(file, {'a': 1})"),
        ("trainer(linear, accumulate=0)", S, "Trainer: accumulate is 0, expected at least 1"),
        ("trainer(5, sgd)", D, "Trainer: model is int, expected Module"),
        ("trainer(linear, loader=[]).fit(1)", S, "Trainer: the loader gave no batch to learn from"),
        ("trainer(linear, loader=[(x, labels[:1])]).fit(1)", S,
         "cross_entropy: input has shape (2, 2), target (1,), expected labels"),
        ("trainer(linear, loader=[(x * nan, labels)]).fit(1)", DivergenceError,
         "the loss is nan in epoch 1, at step 1 of the run"),
        ("training.Accuracy().update(x, labels[:1])", S,
         "Accuracy: outputs of shape (2, 3) give classes of shape (2,)"),
    ],
    "notes and the command": [
        ("notes.get('lenett')", UnknownNoteError, "there is no note 'lenett'; did you mean cnn-recipe-lenet?"),
        ("command('show', 'lenett')", CommandError,
         "exit code 2: tinygrad-notes: there is no note 'lenett'; did you mean cnn-recipe-lenet?"),
        ("command('run', '--family', 'cn')", CommandError,
         "exit code 2: tinygrad-notes: there is no family 'cn'; did you mean cnn?"),
        ("command('run')", CommandError, "exit code 2: tinygrad-notes: run: name a note, or --family FAMILY, or --all"),
        ("command('run', 'cnn-recipe-lenet', '--seed', '-1')", CommandError,
         "exit code 2: tinygrad-notes run: error: argument --seed: '-1' is no"),
        ("command('dance')", CommandError,
         "exit code 2: tinygrad-notes: error: argument command: invalid choice: 'dance'"),
        ("lazy.load('onnx')", ImportError, "onnx is not installed; pip install 'tinygrad-notes[onnx]' brings it"),
    ],
}  # fmt: skip
