"""Finds a graph as `langgraph.json` writes it: a key there, `./path/file.py:attr` or `module:attr`.

The file is imported under the name it has below the current directory, as the author's own code would
import it: relative imports work, and what a checkpoint stores by class name is found again.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from langgraph.graph import StateGraph

from governance.errors import ConfigurationError

OWN = Path(__file__).resolve().parent
CONFIG = "langgraph.json"


@runtime_checkable
class CompiledGraph(Protocol):
    """What `builder.compile()`, `create_agent(...)` and `@entrypoint` give."""

    nodes: Mapping[str, Any]
    checkpointer: Any

    def copy(self, update: dict[str, Any] | None = None) -> Any: ...

    def get_state(self, config: Any) -> Any: ...

    def stream(self, input: Any, config: Any = None) -> Any: ...


def load_graph(written: str, *, root: str | os.PathLike[str] = ".") -> Any:
    """Import a graph and return it compiled; raises `ConfigurationError` that says what to change.

    `root` is the directory of `langgraph.json` and of the paths in it. It comes first on `sys.path` from
    then on, as with `python -m`.
    """
    base = Path(root).resolve()
    target = written if ":" in written else _listed(written, base)
    where, _, attribute = target.rpartition(":")
    if not where or not attribute:
        raise ConfigurationError(f"expected GRAPH as NAME, ./file.py:attr or module:attr, got {target!r}")
    expose(base)
    module = _module(where, base)
    return _compiled(_attribute(module, where, attribute), target)


def expose(base: Path) -> None:
    """Make the project's own modules importable; refuses a project whose modules would hide Sidecar's."""
    for name in ("governance.py", "governance"):
        local = base / name
        python = local.is_file() or (local.is_dir() and any(local.glob("*.py")))
        if python and local.resolve() != OWN:
            raise ConfigurationError(
                f"{local} hides Sidecar's own package `governance`; rename yours and its imports, then try again"
            )
    for path in (*_dependencies(base), base):
        if str(path) not in sys.path:
            sys.path.insert(0, str(path))


def import_named(name: str) -> ModuleType:
    """Import a module of the project; whatever it raises becomes one line that names the place."""
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() in a module must not end us without a word either
        raise _failed(name, error) from error


def nearest(wrong: str, known: Iterable[str]) -> str:
    """What may have been meant, as the end of a sentence."""
    names = sorted(known)
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known are: {', '.join(names)}" if names else "there is none"


def _config(base: Path) -> Mapping[str, Any] | None:
    file = base / CONFIG
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read as JSON: {error}; mend it") from error
    if not isinstance(found, dict) or not isinstance(found.get("graphs", {}), dict):
        raise ConfigurationError(f'{file} must be an object with "graphs": {{"name": "./file.py:attr"}}')
    return found


def _listed(name: str, base: Path) -> str:
    config = _config(base)
    if config is None:
        raise ConfigurationError(
            f"no graph {name!r}: there is no {CONFIG} in {base}; go to its directory or give ./file.py:attr"
        )
    graphs = config.get("graphs", {})
    if name not in graphs:
        raise ConfigurationError(f"no graph {name!r} in {CONFIG}; {nearest(name, graphs)}")
    found = graphs[name]
    target = found.get("path") if isinstance(found, dict) else found
    if not isinstance(target, str) or ":" not in target:
        raise ConfigurationError(f"{CONFIG} gives graph {name!r} as {found!r}; expected './file.py:attr'")
    return target


def _dependencies(base: Path) -> list[Path]:
    config = _config(base) or {}
    named = [d for d in config.get("dependencies", ()) if isinstance(d, str) and d.startswith(".")]
    return [path for d in named if (path := (base / d).resolve()).is_dir() and path != base]


def _module(where: str, base: Path) -> ModuleType:
    if not where.endswith(".py") and "/" not in where and os.sep not in where:
        return import_named(where)
    file = (base / where).resolve()
    if not file.is_file():
        others = [f"./{p.relative_to(base)}" for p in file.parent.glob("*.py")] if file.is_relative_to(base) else []
        raise ConfigurationError(f"no file {where} in {base}; {nearest(where, others)}")
    try:
        return _import_file(file, base)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _failed(where, error) from error


def _import_file(file: Path, base: Path) -> ModuleType:
    dotted = _dotted(file, base)
    if dotted is not None:
        spec = importlib.util.find_spec(dotted)
        if spec is not None and spec.origin and Path(spec.origin).resolve() == file:
            return importlib.import_module(dotted)
    # The name belongs to another module: a name of its own, the same in every process.
    name = "sidecar_graph_" + "_".join(file.with_suffix("").parts[1:]).replace("-", "_").replace(".", "_")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _dotted(file: Path, base: Path) -> str | None:
    if not file.is_relative_to(base):
        return None
    parts = file.relative_to(base).with_suffix("").parts
    if not all(part.isidentifier() for part in parts):
        return None
    for depth in range(1, len(parts)):
        known = sys.modules.get(".".join(parts[:depth]))
        if known is not None and not hasattr(known, "__path__"):
            return None
        shadow = base.joinpath(*parts[:depth]).with_suffix(".py")
        if shadow.is_file():
            return None
    return ".".join(parts)


def _failed(where: str, error: BaseException) -> ConfigurationError:
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        what = f"{error}; {_missing(error.name)}"
    elif isinstance(error, SyntaxError):
        what = f"SyntaxError: {error}"
    else:
        last = next(
            (f for f in reversed(traceback.extract_tb(error.__traceback__)) if "importlib" not in f.filename), None
        )
        if last is not None and not Path(last.filename).is_relative_to(OWN):
            what += f" (line {last.lineno} of {last.filename})"
    return ConfigurationError(f"{where} cannot be imported: {what}")


def _missing(name: str) -> str:
    top, _, rest = name.partition(".")
    known = sys.modules.get(top)
    file = getattr(known, "__file__", None)
    if rest and known is not None and not hasattr(known, "__path__"):
        return f"{file} hides the package {top!r}: rename one of them"
    if top == "governance":
        return "`governance` is Sidecar's own package: rename yours"
    if known is not None and rest:
        return f"the package {top!r} in use is {file or next(iter(known.__path__), '?')}"
    return f"install it into {sys.prefix} or run in its directory"


def _attribute(module: ModuleType, where: str, attribute: str) -> Any:
    try:
        return getattr(module, attribute)
    except AttributeError:
        graphs = [name for name, value in vars(module).items() if isinstance(value, (CompiledGraph, StateGraph))]
        raise ConfigurationError(f"{where} has no {attribute!r}; {nearest(attribute, graphs)}") from None


def _compiled(found: Any, target: str) -> Any:
    if isinstance(found, StateGraph):
        return found.compile()
    if isinstance(found, CompiledGraph):
        return found
    if callable(found) and not isinstance(found, type):
        return _made(found, target)
    raise ConfigurationError(
        f"expected a graph at {target}, got {type(found).__name__}; name builder.compile()'s result"
    )


def _made(factory: Any, target: str) -> Any:
    """What a factory returns; one parameter is given an empty config, as LangGraph's server does."""
    try:
        wanted = [p for p in inspect.signature(factory).parameters.values() if p.default is p.empty]
        made = factory(*[{"configurable": {}}][: len(wanted)]) if len(wanted) <= 1 else None
    except Exception as error:
        raise _failed(target, error) from error
    if isinstance(made, (CompiledGraph, StateGraph)):
        return _compiled(made, target)
    if inspect.iscoroutine(made):
        made.close()
    raise ConfigurationError(
        f"expected {target} to return a graph when called, got {type(made).__name__}; serve other factories with "
        "`langgraph dev`, or name a compiled graph"
    )
