"""The parts of ``bench gpu``, each a program of its own that prints its records as lines of JSON."""
