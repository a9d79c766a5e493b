"""Network in network: the loop of the note."""

import tinygrad_notes as tn
from tinygrad_notes.notes.cnn import nin


def test_the_notes_own_loop_prints_every_layer(capsys):
    net, X = nin.NiN((6, 16, 24)), tn.zeros((1, 1, 224, 224))
    for layer in net:
        X = layer(X)
        print(layer.__class__.__name__, "output shape:\t", X.shape)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "NiNBlock output shape:\t (1, 6, 54, 54)"
    assert lines[-1] == "Flatten output shape:\t (1, 10)"
    assert len(lines) == 10
