"""Basics: differentiation, first networks, losses, optimisation, regularisation, transfer."""
