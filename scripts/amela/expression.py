"""`duration > 1 and lang == "en"`: a safe little language over the fields of a record, for `--where`."""

from __future__ import annotations

import ast
import operator
import re
from typing import Any, Callable

from amela.errors import CallError

Record = dict[str, Any]
Getter = Callable[[Record], Any]

_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": lambda value: None if value is None else len(value),
    "lower": lambda value: None if value is None else value.lower(),
    "abs": lambda value: None if value is None else abs(value),
    "match": lambda pattern, value: value is not None and re.search(pattern, value) is not None,
}
HELP = (
    "fields by name, `asr.model` inside a field; == != < <= > >=, in, not in, is None, and, or, not,\n"
    "+ - * / %, len(x), lower(x), abs(x), match(REGEX, x). A field that is absent is None, and None is "
    "never\n< or > anything"
)

_UNFIT = (TypeError, ValueError, AttributeError, ZeroDivisionError, re.error)
_ON_ONE_LINE = HELP.replace("\n", " ")


class Expression:
    """A parsed expression: `matches(record)` says whether it holds; `names` are the fields it asks for.

    Nothing is ever passed to `eval`: the syntax tree is turned into closures, and what is not listed above is
    refused. Raises CallError for text that is no such expression.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: set[str] = set()
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError) as exc:
            raise self._refusal(f"not an expression ({exc})") from exc
        self._value = self._build(tree.body)

    def matches(self, record: Record) -> bool:
        """Whether the expression holds for a record. Raises CallError where types do not fit (`text > 1`)."""
        try:
            return bool(self._value(record))
        except _UNFIT as exc:
            used = {name: record.get(name) for name in sorted(self.names)}
            raise self._refusal(f"{type(exc).__name__}: {exc}; the fields are {str(used)[:300]}") from exc

    def _refusal(self, what: str) -> CallError:
        return CallError(
            f"--where {self.text!r}: {what}; wanted e.g. 'duration > 1 and lang == \"en\"': {_ON_ONE_LINE}"
        )

    def _build(self, node: ast.expr) -> Getter:
        if isinstance(node, ast.Constant):
            constant = node.value
            return lambda _: constant
        if isinstance(node, ast.Name):
            return self._field(node.id)
        if isinstance(node, (ast.Attribute, ast.Subscript)):
            return self._inside(node)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            items = [self._build(item) for item in node.elts]
            return lambda record: [item(record) for item in items]
        if isinstance(node, ast.BoolOp):
            parts = [self._build(part) for part in node.values]
            both = isinstance(node.op, ast.And)
            return lambda record: (all if both else any)(part(record) for part in parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
            operand, negate = (
                self._build(node.operand),
                operator.not_ if isinstance(node.op, ast.Not) else operator.neg,
            )
            return lambda record: negate(operand(record))
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            left, right, calculate = (
                self._build(node.left),
                self._build(node.right),
                _ARITHMETIC[type(node.op)],
            )
            return lambda record: _unless_none(calculate, left(record), right(record))
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return self._call(node.func.id, node.args)
        raise self._refusal(f"{ast.unparse(node)!r} is not allowed")

    def _field(self, name: str) -> Getter:
        self.names.add(name)
        return lambda record: record.get(name)

    def _inside(self, node: ast.Attribute | ast.Subscript) -> Getter:
        """`asr.model`, `asr["model"]`, `speech[0].start_s`; None where any step is absent."""
        outer = self._build(node.value)
        if isinstance(node, ast.Attribute):
            return lambda record: _item(outer(record), node.attr)
        key = self._build(node.slice)
        return lambda record: _item(outer(record), key(record))

    def _comparison(self, node: ast.Compare) -> Getter:
        values = [self._build(value) for value in [node.left, *node.comparators]]
        kinds = [type(kind) for kind in node.ops]

        def compare(record: Record) -> bool:
            left = values[0](record)
            for kind, value in zip(kinds, values[1:]):
                right = value(record)
                if kind in _ORDER and (left is None or right is None):
                    return False
                if kind in (ast.In, ast.NotIn) and right is None:
                    return kind is ast.NotIn
                if not _COMPARE[kind](left, right):
                    return False
                left = right
            return True

        return compare

    def _call(self, name: str, arguments: list[ast.expr]) -> Getter:
        function = _FUNCTIONS.get(name)
        if function is None or len(arguments) != (2 if name == "match" else 1):
            raise self._refusal(f"no function {name!r} with {len(arguments)} arguments")
        values = [self._build(argument) for argument in arguments]
        return lambda record: function(*[value(record) for value in values])


def _item(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int):
        return value[key] if -len(value) <= key < len(value) else None
    return None


def _unless_none(calculate: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    return None if left is None or right is None else calculate(left, right)
