"""The bodies of `/metrics/find`, as graphite-web and the clients of its cluster protocol read them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from math import inf
from urllib.parse import unquote_plus

import msgspec

from cadtwist.model.pattern import is_pattern
from cadtwist.query.find import Match
from cadtwist.query.index import BRANCH, LEAF
from cadtwist.web.answers import Answer, json_answer, json_written
from cadtwist.web.errors import invalid
from cadtwist.web.params import Params

__all__ = ["FIND_FORMATS", "NO_CACHE", "completer_query", "find_answer", "has_one_component"]

NO_CACHE = {"Pragma": "no-cache", "Cache-Control": "no-cache"}
FIND_FORMATS = ("treejson", "completer", "nodelist", "json", "pickle", "msgpack", "raw")
_FUTURE_S = 60

_Node = tuple[str, str, bool]
"""(last component, path, is it a leaf): a path that is both is there twice, the branch first."""

_TreeNode = tuple[str, bool]
"""(last component, is it a leaf)."""

_LEAF_TEXT = '"allowChildren": 0, "expandable": 0, "leaf": 1}'
_BRANCH_TEXT = '"allowChildren": 1, "expandable": 1, "leaf": 0}'


def completer_query(query: str, variants: bool) -> str:
    """Return what the completer looks for when `query` has been typed so far."""
    query = query.replace("..", "*.")
    if not query.endswith("*"):
        query += "*"
    if variants:
        parts = query.split(".")
        query = ".".join(f"{{{part}}}" if "," in part and "{" not in part else part for part in parts)
    return query


def find_answer(form: str, query: str, matches: list[Match], params: Params, now: int) -> Answer:
    """Return the matches in one of FIND_FORMATS."""
    wildcards, position = params.flag("wildcards"), params.integer("position", -1)
    leaves_only = params.flag("leavesOnly")
    if form == "treejson":
        return _tree_answer(params, query, _tree(query, matches, wildcards, leaves_only))
    nodes = _nodes(matches, leaves_only)
    if form == "completer":
        return json_answer(params, _completions(nodes, wildcards), False, NO_CACHE, inf)
    if form == "nodelist":
        return json_answer(params, _nodelist(nodes, position), False, NO_CACHE, inf)
    nodes.sort(key=lambda node: node[1])
    if form == "json":
        return json_answer(params, [_interval_node(node, now) for node in nodes], False, NO_CACHE)
    if form == "raw":
        lines = (path if is_leaf else f"{path.rstrip('.')}." for _name, path, is_leaf in nodes)
        return Answer("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"), "text/plain", headers=NO_CACHE)
    plain = [_cluster_node(node, now) for node in nodes]
    if form == "pickle":
        return Answer(pickle.dumps(plain, 2), "application/pickle", headers=NO_CACHE)
    return Answer(msgspec.msgpack.encode(plain), "application/x-msgpack", headers=NO_CACHE)


def _nodes(matches: list[Match], leaves_only: bool) -> list[_Node]:
    nodes = []
    for path, kind in matches:
        name = path.rpartition(".")[2]
        if kind & BRANCH and not leaves_only:
            nodes.append((name, path, False))
        if kind & LEAF:
            nodes.append((name, path, True))
    nodes.sort(key=lambda node: node[0])
    return nodes


def _tree_answer(params: Params, query: str, nodes: list[_TreeNode]) -> Answer:
    base = query[: query.rfind(".") + 1]
    if params.last("pretty"):
        return json_answer(params, [_tree_node(base, *node) for node in nodes], False, NO_CACHE, inf)

    def write(quoted: Callable[[str], str]) -> str:
        begin, texts = quoted(base)[:-1], []
        for name, is_leaf in nodes:
            key = quoted(name)
            text = quoted(unquote_plus(name)) if "%" in name or "+" in name else key
            texts.append(f'{{"text": {text}, "id": {begin}{key[1:]}, {_LEAF_TEXT if is_leaf else _BRANCH_TEXT}')
        return f"[{', '.join(texts)}]"

    return json_written(params, write, NO_CACHE, inf)


def _tree(query: str, matches: list[Match], wildcards: bool, leaves_only: bool) -> list[_TreeNode]:
    """Return a node for each last component, branches first."""
    branches: list[_TreeNode] = []
    leaves: list[_TreeNode] = []
    if wildcards:
        nodes = _nodes(matches, leaves_only)
        if len(nodes) > 1:
            branchy = any(not is_leaf for _, _, is_leaf in nodes)
            (branches if branchy else leaves).append(("*", not branchy))
    for name, is_leaf in sorted(_last_components(query, matches, leaves_only).items()):
        (leaves if is_leaf else branches).append((name, is_leaf))
    return branches + leaves


def has_one_component(query: str) -> bool:
    """Tell whether all that a query means has the same last component."""
    return not query.endswith(".") and not is_pattern(query[query.rfind(".") + 1 :])


def _last_components(query: str, matches: list[Match], leaves_only: bool) -> dict[str, bool]:
    """Return the last components with what the first path of each is: a leaf, or (also) a branch.

    There is but one where the query's own stands for nothing else: hosts without number have the same leaf.
    """
    found: dict[str, bool] = {}
    only_one = has_one_component(query)
    for path, kind in matches:
        is_leaf = leaves_only or not kind & BRANCH
        if is_leaf and not kind & LEAF:
            continue
        found.setdefault(path[path.rfind(".") + 1 :], is_leaf)
        if only_one:
            break
    return found


def _tree_node(base: str, name: str, is_leaf: bool) -> dict[str, object]:
    branch, text = 0 if is_leaf else 1, unquote_plus(name)
    return {"text": text, "id": base + name, "allowChildren": branch, "expandable": branch, "leaf": 1 - branch}


def _completions(nodes: list[_Node], wildcards: bool) -> dict[str, object]:
    metrics: list[dict[str, str]] = [
        {"path": path if is_leaf else f"{path}.", "name": name, "is_leaf": str(int(is_leaf))}
        for name, path, is_leaf in nodes
    ]
    if wildcards and len(nodes) > 1:
        metrics.append({"name": "*"})
    return {"metrics": metrics}


def _nodelist(nodes: list[_Node], position: int) -> dict[str, object]:
    try:
        return {"nodes": sorted({path.split(".")[position] for _, path, _ in nodes})}
    except IndexError:
        raise invalid(f"Param position is out of range: {position}") from None


def _interval_node(node: _Node, now: int) -> dict[str, object]:
    _, path, is_leaf = node
    found: dict[str, object] = {"path": path, "is_leaf": is_leaf}
    if is_leaf:
        found["intervals"] = [{"start": 0, "end": now + _FUTURE_S}]
    return found


def _cluster_node(node: _Node, now: int) -> dict[str, object]:
    """Both spellings of the keys, so that every known client finds its own."""
    _, path, is_leaf = node
    found: dict[str, object] = {"path": path, "metric_path": path, "is_leaf": is_leaf, "isLeaf": is_leaf}
    if is_leaf:
        found["intervals"] = [[0, now + _FUTURE_S]]
    return found
