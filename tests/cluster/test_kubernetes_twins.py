"""Random writes done to a real API server and to the one in memory: both say and hold the same afterwards."""

from __future__ import annotations

import copy
import random

import pytest

from meshctl.adapters.kubernetes.api import Patch
from meshctl.core.errors import MeshctlError
from tests.adapters.api_contract import WIDGET
from tests.adapters.api_memory import MemoryApi
from tests.cluster.widgets import place  # noqa: F401 - the fixture

SEEDS = range(60)
STEPS = 14
NAMES = ("a", "b")
MANAGERS = ("meshctl", "argocd", "kubectl")
SERVER_FIELDS = ("uid", "creationTimestamp", "resourceVersion", "managedFields", "deletionTimestamp", "namespace")


class Twin:
    """One of the two.  ``ago`` remembers the versions of each object as they were, oldest first."""

    def __init__(self, api, namespace):
        self.api, self.namespace = api, namespace
        self.ago = {name: [] for name in NAMES}

    def do(self, step):
        """(what came of it, the object afterwards as far as both must agree)."""
        name = step["name"]
        before = self.api.find(WIDGET, name, self.namespace)
        if before is not None:
            self.ago[name].append(before)
        try:
            outcome = self._do(name, before, copy.deepcopy(step))
        except MeshctlError as error:
            outcome = type(error).__name__
        after = self.api.find(WIDGET, name, self.namespace)
        same = before is not None and after is not None and _version(before) == _version(after)
        return outcome, same, _comparable(after)

    def _do(self, name, before, step):
        options = {"dry_run": True} if step["dry_run"] else {}
        sub = step["subresource"]
        match step["verb"]:
            case "create":
                meta = {"name": name, "namespace": self.namespace, **step["meta"]}
                done = self.api.create(WIDGET, {"metadata": meta, **step["parts"]}, **options)
            case "replace":
                old = self._old(name, step["back"])
                if old is None:
                    return "nothing"
                done = self.api.replace(WIDGET, {**old, **step["parts"]}, subresource=sub, **options)
            case "merge" | "json" | "apply" as form:
                body = self._body(form, name, step)
                done = self.api.patch(
                    WIDGET,
                    name,
                    self.namespace,
                    body,
                    form={"merge": Patch.MERGE, "json": Patch.JSON, "apply": Patch.APPLY}[form],
                    subresource=sub,
                    manager=step["manager"],
                    force=form == "apply" and step["force"],
                    **options,
                )
            case "delete":
                old = self._old(name, step["back"])
                version = _version(old) if step["insist"] and old else ""
                self.api.delete(WIDGET, name, self.namespace, resource_version=version)
                return "deleted"
        return _comparable(done)

    def _old(self, name, back):
        return self.ago[name][-back] if len(self.ago[name]) >= back else None

    def _body(self, form, name, step):
        old = self._old(name, step["back"])
        if form == "json":
            guard = {"op": "test", "path": "/metadata/resourceVersion", "value": _version(old) if old else "1"}
            return [*([guard] if step["insist"] else []), *step["operations"]]
        meta = dict(step["meta"])
        if step["insist"] and old is not None:
            meta["resourceVersion"] = _version(old)
        return {"metadata": meta, **step["parts"]} if meta or form == "apply" else step["parts"]


def _version(object):
    return object["metadata"]["resourceVersion"]


def _comparable(object):
    if object is None:
        return None
    meta = {key: value for key, value in object["metadata"].items() if key not in SERVER_FIELDS}
    owners = {
        (entry["manager"], entry["operation"], entry.get("subresource", ""), path)
        for entry in object["metadata"].get("managedFields", ())
        for path in _paths(entry["fieldsV1"], object)
    }
    return {**object, "metadata": meta, "owners": owners, "ending": "deletionTimestamp" in object["metadata"]}


def _paths(fields, value, before=""):
    """Every value that somebody owns; that a container is owned too matters to nobody."""
    for name, inner in fields.items():
        key = name.removeprefix("f:")
        if isinstance(value, dict) and key in value:
            if isinstance(value[key], dict):
                yield from _paths(inner, value[key], f"{before}.{key}")
            elif key != "finalizers":
                yield f"{before}.{key}"


def story(seed):
    """Steps.  Nobody applies empty objects: what becomes of them when their last field goes (``null``, which schemas
    refuse) is imitated by nobody."""
    chance = random.Random(seed)

    def value(verb=""):
        choices = [1, 2, "x", [1], [{"name": "a", "w": 1}], [{"name": "b"}], {"k": 1}, {"k": 2, "l": {"m": 1}}]
        return copy.deepcopy(chance.choice(choices if verb == "apply" else [*choices, {}]))

    def spec(verb):
        least = 1 if verb == "apply" else 0
        return {key: value(verb) for key in chance.sample(["p", "q", "r"], chance.randint(least, 3))}

    def parts(verb):
        found = {"spec": spec(verb)}
        if verb == "merge" and chance.random() < 0.4:
            found["spec"][chance.choice("pqr")] = None
        if chance.random() < 0.4:
            found["status"] = {"phase": chance.choice("xy")}
        if verb == "merge" and chance.random() < 0.2:
            found.pop("spec")
        return found

    def meta(verb):
        found = {}
        if chance.random() < 0.3:
            found["labels"] = {chance.choice("lm"): chance.choice("12")}
        if chance.random() < 0.2:
            found["annotations"] = {chance.choice(["requests/1", "meshctl.dev/run"]): chance.choice("12")}
        if chance.random() < 0.1 and verb != "apply":
            found["finalizers"] = chance.choice([["test.dev/hold"], []])
        return found

    def operation():
        path = chance.choice(
            ["/spec/p", "/spec/q", "/spec/p/k", "/spec/q/0", "/spec/q/-", "/status/phase", "/spec/r/0/name"]
        )
        op = chance.choice(["add", "replace", "remove", "test"])
        return {"op": op, "path": path, **({} if op == "remove" else {"value": value()})}

    verbs = ["create", "create", "replace", "merge", "merge", "json", "json", "apply", "apply", "apply", "delete"]
    for _ in range(STEPS):
        verb = chance.choice(verbs)
        yield {
            "verb": verb,
            "name": chance.choice(NAMES),
            "parts": parts(verb),
            "meta": meta(verb),
            "operations": [operation() for _ in range(chance.randint(1, 3))],
            "subresource": "status" if verb != "create" and chance.random() < 0.25 else "",
            "manager": chance.choice(MANAGERS),
            "force": chance.random() < 0.4,
            "insist": chance.random() < 0.3,
            "back": chance.randint(1, 2),
            "dry_run": verb != "delete" and chance.random() < 0.15,
        }


@pytest.mark.parametrize("seed", SEEDS)
def test_both_do_the_same(place, seed):  # noqa: F811 - the fixture
    real = Twin(place.api, place.namespace)
    memory = Twin(MemoryApi(namespaces=(place.namespace,)), place.namespace)
    for number, step in enumerate(story(seed)):
        assert memory.do(step) == real.do(step), (number, step)
