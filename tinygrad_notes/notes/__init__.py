"""The rebuilt systems: a folder for each family, a file for each system, each with one ``NOTE`` record.

A note is found by the name of its file (``cnn-recipe-lenet`` is ``cnn/cnn_recipe_lenet.py``) and imported when it is
asked for.
"""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygrad_notes.notes.note import Note


class UnknownNoteError(LookupError):
    """There is no note of that name."""


def slugs(family: str | None = None) -> list[str]:
    """The slugs of all notes, or of one family's, in order. Nothing is imported for it.

    >>> "cnn-recipe-lenet" in tn.notes.slugs(), "cnn-recipe-lenet" in tn.notes.slugs("cnn")
    (True, True)
    """
    found = _files()
    if family is not None and family not in families():
        raise UnknownNoteError(f"there is no family {family!r}{_nearest(family, families())}")
    return [slug for slug, path in found.items() if family is None or path.parent.name == family]


def families() -> list[str]:
    """The names of the families, in order.

    >>> "cnn" in tn.notes.families()
    True
    """
    return sorted({path.parent.name for path in _files().values()})


def get(slug: str) -> Note:
    """The note of that slug. UnknownNoteError, with the nearest slug, when there is none.

    >>> note = tn.notes.get("cnn-recipe-lenet")
    >>> note.slug, note.family
    ('cnn-recipe-lenet', 'cnn')
    """
    found = _files()
    if slug not in found:
        raise UnknownNoteError(f"there is no note {slug!r}{_nearest(slug, list(found))}")
    path = found[slug]
    module = importlib.import_module(f"{__name__}.{path.parent.name}.{path.stem}")
    return module.NOTE


def _files() -> dict[str, Path]:
    """The file of each slug, by family and name."""
    folder = Path(__file__).parent
    return {
        path.stem.replace("_", "-"): path for path in sorted(folder.glob("*/*.py")) if not path.stem.startswith("_")
    }


def _nearest(name: str, known: list[str]) -> str:
    near = [other for other in known if str(name).lower() in other][:3] if name else []
    if not near:  # "lenett" is near a part of "cnn-recipe-lenet"

        def likeness(other: str) -> float:
            parts = [other, *other.split("-")]
            return max(difflib.SequenceMatcher(None, str(name).lower(), part).ratio() for part in parts)

        best = max(map(likeness, known), default=0.0)
        near = [other for other in known if likeness(other) >= max(0.6, best - 0.1)][:3]
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; there is {', '.join(known)}" if len(known) <= 8 else "; 'tinygrad-notes list' shows them all"
