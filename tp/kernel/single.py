"""The pair loop in single precision: the same text, every number of it a float32.

numba gives a float literal double precision, and with it whatever it meets. So the functions that ``pairs`` calls are copied
under the name ``…_single``, their literals and tables float32; a function of the module that has this name already is taken
instead. What a sample alone decides, the diagonal, and the rows that ``pairs`` declares hard stay in double precision.
"""

from __future__ import annotations

import ast
from copy import deepcopy

INTEGRATES = "pair_"
"""Functions of two variables by quadrature: in single precision their panels would never be good enough."""


def single(text: str) -> str:
    """The module with ``pairs`` or ``rows`` in single precision, and without ``pairs_near``."""
    tree = ast.parse(text)
    tree.body = [f for f in tree.body if not (isinstance(f, ast.FunctionDef) and f.name.startswith("pairs_near"))]
    functions = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}
    names: dict[str, str] = {}
    entries = functions.keys() & {"rows", "pairs"}
    for entry in entries:
        _reach(functions[entry], functions, names)
    body: list[ast.stmt] = []
    for statement in tree.body:
        if not isinstance(statement, ast.FunctionDef):
            body.append(statement)
            continue
        name = statement.name
        if name in entries or name in names.values():  # by a name of its own
            body.append(_Single(names).function(statement, name))
            continue
        body.append(statement)
        if name in names and names[name] not in functions:
            body.append(_Single(names).function(deepcopy(statement), names[name]))
    return ast.unparse(ast.fix_missing_locations(ast.Module(body, []))) + "\n"


def _reach(function: ast.FunctionDef, functions: dict[str, ast.FunctionDef], names: dict[str, str]) -> None:
    """All functions called from here, and what they are called in single precision."""
    for node in ast.walk(function):
        if not isinstance(node, ast.Name) or node.id.startswith(INTEGRATES):
            continue
        if node.id in functions and node.id not in names and node.id != function.name:
            names[node.id] = f"{node.id}_single"
            _reach(functions.get(names[node.id], functions[node.id]), functions, names)


class _Single(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def function(self, node: ast.FunctionDef, name: str) -> ast.FunctionDef:
        """``node`` in single precision."""
        node.name = name
        node.body = [self.visit(s) for s in node.body]
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return _float32(node) if isinstance(node.value, float) else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        whole = isinstance(node.value, ast.Name) and node.value.id == "math" and node.attr in ("inf", "nan")
        return _float32(node) if whole else node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Name) and node.func.id == "float":
            return _float32(self.visit(node.args[0]))
        made = self.generic_visit(node)
        assert isinstance(made, ast.Call)
        if isinstance(made.func, ast.Name) and made.func.id.startswith(INTEGRATES):
            made.args = [ast.Call(ast.Name("float", ast.Load()), [a], []) for a in made.args]
        if isinstance(made.func, ast.Attribute) and made.func.attr in ("empty", "zeros"):
            made.args.append(ast.Attribute(ast.Name("np", ast.Load()), "float32", ast.Load()))
        return made


def _float32(value: ast.expr) -> ast.Call:
    return ast.Call(ast.Attribute(ast.Name("np", ast.Load()), "float32", ast.Load()), [value], [])
