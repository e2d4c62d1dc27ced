"""Sets with an order, for the product's modules: what a seed does must not depend on where things lie in memory, or on
PYTHONHASHSEED.

Python's sets of texts and of objects are walked in an order that differs from process to process. The product may walk
them as it likes; here each is walked in order of insertion.
"""

import ast
from collections.abc import Iterable, Iterator, MutableSet, Set
from types import CodeType
from typing import Any


class _Ordered(Set[Any]):
    """What both kinds have in common."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = dict.fromkeys(items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"{{{', '.join(map(repr, self._items))}}}"

    def union(self, *others: Iterable[Any]) -> Any:
        return type(self)([*self._items, *[item for other in others for item in other]])

    def difference(self, others: Iterable[Any]) -> Any:
        gone = frozenset(others)
        return type(self)(item for item in self._items if item not in gone)

    def intersection(self, others: Iterable[Any]) -> Any:
        common = frozenset(others)
        return type(self)(item for item in self._items if item in common)

    def issubset(self, others: Iterable[Any]) -> bool:
        return frozenset(self._items) <= frozenset(others)

    def issuperset(self, others: Iterable[Any]) -> bool:
        return frozenset(self._items) >= frozenset(others)

    def copy(self) -> Any:
        return type(self)(self._items)

    def __class_getitem__(cls, item: Any) -> type:
        return cls


class FrozenInOrder(_Ordered):
    """`frozenset`."""

    def __hash__(self) -> int:
        return self._hash()


class InOrder(_Ordered, MutableSet[Any]):
    """`set`."""

    __hash__ = None  # type: ignore[assignment]

    def add(self, value: Any) -> None:
        self._items[value] = None

    def discard(self, value: Any) -> None:
        self._items.pop(value, None)

    def update(self, *others: Iterable[Any]) -> None:
        for other in others:
            self._items.update(dict.fromkeys(other))

    def difference_update(self, others: Iterable[Any]) -> None:
        for item in list(others):
            self.discard(item)


class _Orderly(ast.NodeTransformer):
    """Sets that the language itself makes: {a, b}, {a for ...}, and what comes of `.keys()`."""

    def visit_Set(self, node: ast.Set) -> ast.AST:
        self.generic_visit(node)
        return _call(node, ast.List(node.elts, ast.Load()))

    def visit_SetComp(self, node: ast.SetComp) -> ast.AST:
        self.generic_visit(node)
        return _call(node, ast.GeneratorExp(node.elt, node.generators))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        keys = isinstance(node.func, ast.Attribute) and node.func.attr == "keys" and not node.args
        return _call(node, node) if keys else node


def _call(place: ast.AST, argument: ast.expr) -> ast.AST:
    call = ast.Call(ast.Name("set", ast.Load()), [argument], [])
    return ast.fix_missing_locations(ast.copy_location(call, place))


def in_order(source: str, path: str) -> CodeType:
    """A module's code in which each set is made by the name `set`, which the loader defines."""
    return compile(_Orderly().visit(ast.parse(source, path)), path, "exec")
