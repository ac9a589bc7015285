"""Secrets are fed in wherever there is room for one; none of them ends up in the folder, the log or a word."""

from __future__ import annotations

import json
import sqlite3
import string
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshctl.adapters import wire
from meshctl.adapters.manifests import load_text
from meshctl.adapters.outward import Outward
from meshctl.adapters.store_sqlite import SqliteStore
from meshctl.app.queries import release_view
from meshctl.core.errors import InvalidInput
from meshctl.core.model import Hook, HookPoint, HttpHook, ReleaseState, Run, SecretRef, Verdict
from tests.adapters.loopback import Loopback, answers
from tests.app.tick_world import NEW, OLD, TickWorld

MANIFEST = """
apiVersion: meshctl.dev/v1alpha1
kind: Release
metadata: {name: shop}
spec:
  version: "2.0.0"
  service: shop
  hooks:
"""

ECHO = 'import json, os; print(json.dumps({"message": os.environ["HOOK_TOKEN"]}))'

signs = st.text(string.ascii_letters + string.digits + "+/=_-.", min_size=8, max_size=30)
places = st.sampled_from(["message", "body", "location", "verdict", "reason", "header"])


def says(place, secret):
    return {
        "message": answers(200, json.dumps({"message": f"got <{secret}>"}).encode()),
        "body": answers(500, f"<html>{secret}</html>".encode()),
        "location": answers(302, b"", f"Location: https://{secret}:{secret}@x.example/{secret}"),
        "verdict": answers(200, json.dumps({"verdict": secret}).encode()),
        "reason": lambda connection, heard: connection.sendall(f"HTTP/1.1 503 {secret}\r\n\r\n".encode()),
        "header": lambda connection, heard: connection.sendall(f"HTTP/1.1 200 x\r\n{secret} \r\n\r\n".encode()),
    }[place]


def settled(run):
    """Whether the hooks of the second run have all answered, whatever came of it."""
    answered = bool(run.hooks) and all(ask.outcome for ask in run.hooks)
    return run.number == 2 and (answered or bool(run.entries) or run.phase.ended)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(token=signs, key=signs, where=places)
def test_no_secret_is_kept_or_said_whatever_the_other_side_does_with_it(token, key, where, monkeypatch, caplog):
    token, key = f"tok{token}", f"key{key}"
    monkeypatch.setenv("HOOK_TOKEN", f"Bearer {token}")
    with tempfile.TemporaryDirectory() as name, caplog.at_level(0), Loopback(says(where, token)) as server:
        base = Path(name)
        (base / "mesh").mkdir()
        (base / "key").write_text(key)
        world = TickWorld()
        store = SqliteStore(base / "mesh")
        outward = Outward(base / "mesh", world.world.clock, url=server.url, secret_file=str(base / "key"))
        world.world.store = store
        world.ports = replace(world.ports, store=store, hooks=outward.hooks, notices=outward.notices)
        printed = f"{ECHO}; raise SystemExit({len(key) % 2})"
        headers = {"Authorization": SecretRef(env="HOOK_TOKEN")}
        hooks = (
            Hook("web", HookPoint.BEFORE_STAGE, http=HttpHook(server.url, headers=headers), retries=0),
            Hook("run", HookPoint.BEFORE_STAGE, command=(sys.executable, "-c", printed)),
        )
        world.wish(OLD)
        world.tick(2)
        world.say(Verdict.PASS)
        world.wish(NEW, hooks=hooks)
        deadline = time.monotonic() + 60
        world.tick(2)
        while not settled(world.run):
            assert time.monotonic() < deadline
            world.tick(seconds=0.01)
            time.sleep(0.01)
        outward.stop()
        said = repr(release_view(store, "shop")) + repr(store.decisions("shop-2")) + caplog.text
        store.close()
        written = b"".join(path.read_bytes() for path in (base / "mesh").rglob("*") if path.is_file())
        assert server.heard
    assert "hook web before 1 %" in said
    for secret in (token, key):
        assert secret not in said
        assert secret.encode() not in written


@pytest.mark.parametrize(
    "hook",
    [
        '{name: a, at: rollback, http: {url: "https://x.example", headers: {Authorization: Bearer SECRET}}}',
        '{name: a, at: rollback, http: {url: "https://x.example", headers: {Authorization: [SECRET]}}}',
        '{name: a, at: rollback, http: {url: "https://x.example", headers: {Authorization: {value: SECRET}}}}',
        '{name: a, at: rollback, http: {url: "https://x.example", headers: {Authorization: {SECRET: SECRET}}}}',
        '{name: a, at: rollback, http: {url: "https://x.example", headers: {Authorization: {env: "x SECRET"}}}}',
        '{name: a, at: rollback, http: {url: "https://x.example", headers: "Authorization: SECRET"}}',
        '{name: a, at: rollback, http: {url: "https://anna:SECRET@x.example"}}',
        '{name: a, at: rollback, http: {url: "https://SECRET@x.example:1000000/"}}',
        '{name: a, at: rollback, http: {url: "x SECRET"}}',
    ],
)
def test_a_manifest_with_a_secret_in_it_is_refused_without_repeating_it(hook):
    with pytest.raises(InvalidInput) as caught:
        load_text(f"{MANIFEST}  - {hook}\n")
    assert "SECRET" not in str(caught.value)
    assert "<stdin>:9:" in str(caught.value)


def test_hooks_of_a_manifest_are_read():
    text = """\
  - name: smoke
    at: afterStage
    stages: [1, 10]
    http: {url: "https://x.example/smoke", headers: {Authorization: {env: TOKEN}}, timeout: 2s}
    timeout: 20s
    retries: 1
    onError: fail
  - {name: tell, at: promotion, command: [./tell.sh]}
"""
    (release,) = load_text(MANIFEST + text)
    smoke, tell = release.spec.hooks
    assert (smoke.at, smoke.stages, smoke.on_error) == (HookPoint.AFTER_STAGE, (1.0, 10.0), "fail")
    assert smoke.http == HttpHook(
        "https://x.example/smoke", headers={"Authorization": SecretRef(env="TOKEN")}, timeout=timedelta(seconds=2)
    )
    assert tell.command == ("./tell.sh",)
    assert wire.decode(type(release), wire.encode(release)) == release


# ------------------------------------------------------------------------------------ what was stored before


def without_hooks(value):
    """Stored data as it was written before there were hooks."""
    if isinstance(value, dict):
        return {key: without_hooks(each) for key, each in value.items() if key != "hooks"}
    return [without_hooks(each) for each in value] if isinstance(value, list) else value


def test_a_state_file_from_before_there_were_hooks_still_loads_and_its_run_goes_on(tmp_path):
    world = TickWorld()
    store = SqliteStore(tmp_path)
    world.world.store = store
    world.ports = replace(world.ports, store=store)
    world.wish(OLD)
    world.tick(2)
    world.wish(NEW)
    world.reach(10.0)
    store.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        for table, column in (("releases", "wish"), ("releases", "state"), ("runs", "body")):
            for row, text in db.execute(f"SELECT rowid, {column} FROM {table}").fetchall():
                older = json.dumps(without_hooks(json.loads(text)))
                db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (older, row))
        db.commit()
    store = SqliteStore(tmp_path)
    world.world.store = store
    world.ports = replace(world.ports, store=store)
    stored = store.load("shop")
    assert isinstance(stored.state, ReleaseState)
    assert isinstance(stored.state.run, Run)
    assert stored.release.spec.hooks == stored.state.run.spec.hooks == stored.state.run.hooks == ()
    world.say(Verdict.PASS)
    world.tick(20)
    assert world.state.baseline == NEW
    store.close()
