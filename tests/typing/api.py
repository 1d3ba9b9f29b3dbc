"""Never run, only type-checked, as a user's own code would be: the public API keeps its types."""

from __future__ import annotations

from governance import govern

governed = govern
