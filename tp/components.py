"""Strongly connected components of a graph: recursions among definitions, in a spec's lines and in a program's clauses."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)


def components(nodes: Iterable[Node], following: Callable[[Node], Iterable[Node]]) -> list[list[Node]]:
    """The components, each after all that it leads to; without recursion (Tarjan 1972).

    >>> components("abcd", {"a": "b", "b": "c", "c": "b", "d": ""}.get)
    [['c', 'b'], ['a'], ['d']]
    """
    number: dict[Node, int] = {}
    low: dict[Node, int] = {}
    stack: list[Node] = []
    on = set[Node]()
    out: list[list[Node]] = []
    for root in nodes:
        if root in number:
            continue
        work = [(root, iter(following(root)))]
        number[root] = low[root] = len(number)
        stack.append(root)
        on.add(root)
        while work:
            node, rest = work[-1]
            for k in rest:
                if k not in number:
                    number[k] = low[k] = len(number)
                    stack.append(k)
                    on.add(k)
                    work.append((k, iter(following(k))))
                    break
                if k in on:
                    low[node] = min(low[node], number[k])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    out.append([])
                    while not out[-1] or out[-1][-1] != node:
                        out[-1].append(stack.pop())
                        on.discard(out[-1][-1])
    return out
