"""Modules of recipes, for tests: a recipe is run as a script, and others have modules of the same names."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


@contextmanager
def recipe_modules(*recipes: str) -> Iterator[SimpleNamespace]:
    """The modules of one recipe, or of several that share code, as attributes; none stays imported.

    Where several recipes have a module of the same name, it is left out.
    """
    folders = [str(RECIPES / recipe) for recipe in recipes] + [str(RECIPES)]
    found = Counter(file.stem for recipe in recipes for file in (RECIPES / recipe).glob("*.py"))
    modules = [name for name, times in found.items() if times == 1]
    kept = {name: sys.modules.pop(name) for name in found if name in sys.modules}
    sys.path[:0] = folders
    try:
        yield SimpleNamespace(**{name: __import__(name) for name in modules})
    finally:
        for folder in folders:
            sys.path.remove(folder)
        for name in found:
            sys.modules.pop(name, None)
        sys.modules.update(kept)
