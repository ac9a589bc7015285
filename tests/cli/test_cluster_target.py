"""The commands on a cluster: the same words and exit codes as on one machine, with the user's own rights."""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest

from meshctl import wiring_cluster
from meshctl.adapters.kubernetes.kinds import RELEASE, SERVICE, VIRTUAL_SERVICE
from meshctl.adapters.kubernetes.releases import REQUEST_PREFIX
from meshctl.adapters.kubernetes.watching import Cache
from meshctl.cli import target_cluster
from meshctl.cli.root import root
from meshctl.core.errors import Forbidden, InvalidInput, Refused, Unreachable
from meshctl.core.model import (
    CanaryStrategy,
    Gate,
    Metadata,
    Release,
    ReleaseSpec,
    Stage,
    Strategy,
)
from tests.adapters.cluster_stage import NEW, OLD, ClusterStage
from tests.cli.scenes import CountingJudge

FILE = """\
apiVersion: meshctl.dev/v1alpha1
kind: Release
metadata: {name: shop}
spec:
  version: "2.0.0"
  service: shop
"""
MANUAL = (Stage(10.0, gate=Gate.MANUAL, min_duration=timedelta(seconds=1)), Stage(50.0), Stage(100.0))


def release(version, stages=MANUAL):
    return Release(Metadata("shop"), ReleaseSpec(version, "shop", strategy=Strategy(CanaryStrategy(stages=stages))))


@pytest.fixture
def stage(monkeypatch, tmp_path):
    stage = ClusterStage()
    stage.user = stage.api.seen_by("anna")
    monkeypatch.setattr(wiring_cluster, "connect", lambda kubeconfig, context: stage.user)
    monkeypatch.setattr(target_cluster, "REQUEST_TIMEOUT_S", 20.0)
    monkeypatch.chdir(tmp_path)
    for name in ("MESHCTL_LOCAL", "MESHCTL_CONTEXT", "MESHCTL_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    return stage


@pytest.fixture
def at_gate(stage):
    """2.1.0 waits at 10 % for a person."""
    stage.wish(release(OLD))
    stage.until(phase="Promoted")
    stage.wish(release(NEW))
    stage.until(reason="ManualGate")
    return stage


@pytest.fixture
def meshctl(capsys):
    def run(*words, namespace="default"):
        capsys.readouterr()
        code = root([*words, *(["-n", namespace] if namespace else [])])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@contextmanager
def driven(stage):
    """Somebody looks at the release whenever it is asked for something."""
    lock = threading.Lock()

    def look(kind, namespace, name):
        found = stage.hands.find(RELEASE, name, namespace)
        if found and any(each.startswith(REQUEST_PREFIX) for each in found["metadata"].get("annotations") or {}):
            with lock:
                stage.ticks(1, name)

    cache = Cache(stage.hands, RELEASE, "default", changed=look)
    cache.start()
    try:
        assert cache.wait_until_synced(10)
        yield
    finally:
        cache.stop()


def requests(stage):
    annotations = stage.hands.get(RELEASE, "shop", "default")["metadata"].get("annotations") or {}
    return [json.loads(text) for key, text in annotations.items() if key.startswith(REQUEST_PREFIX)]


def writes(api):
    return [call for call in api.calls if call.verb not in ("get", "list", "watch")]


# ------------------------------------------------------------------------------------ wishes


def test_apply_creates_leaves_and_configures(stage, meshctl, tmp_path):
    (tmp_path / "r.yaml").write_text(FILE)
    assert meshctl("apply", "-f", "r.yaml") == (0, "release/shop created\n", "")
    assert meshctl("apply", "-f", "r.yaml") == (0, "release/shop unchanged\n", "")
    (tmp_path / "r.yaml").write_text(FILE.replace("2.0.0", "2.1.0"))
    code, out, _ = meshctl("diff", "-f", "r.yaml")
    assert (code, "+  version: 2.1.0" in out) == (1, True)
    assert meshctl("apply", "-f", "r.yaml") == (0, "release/shop configured\n", "")
    assert meshctl("diff", "-f", "r.yaml") == (0, "", "")
    assert stage.hands.get(RELEASE, "shop", "default")["spec"]["version"] == "2.1.0"


def test_a_file_belongs_to_the_namespace_that_is_named_unless_it_says_another(stage, meshctl, tmp_path):
    (tmp_path / "r.yaml").write_text(FILE)
    assert meshctl("apply", "-f", "r.yaml", namespace="istio-system")[0] == 0
    assert stage.hands.get(RELEASE, "shop", "istio-system")
    (tmp_path / "r.yaml").write_text(FILE.replace("name: shop}", "name: till, namespace: istio-system}"))
    code, _, err = meshctl("apply", "-f", "r.yaml")
    assert code == 2
    assert "r.yaml:3:" in err
    assert "metadata.namespace: is istio-system, but default was asked for" in err
    assert meshctl("apply", "-f", "r.yaml", "--context=prod", namespace=None)[0] == 0
    assert stage.hands.get(RELEASE, "till", "istio-system")


def test_one_wrong_object_and_nothing_is_stored(stage, meshctl, tmp_path):
    (tmp_path / "a.yaml").write_text(FILE)
    (tmp_path / "b.yaml").write_text(FILE.replace("name: shop}", "name: till}"))

    def refuse(kind, new, old):
        if new["metadata"]["name"] == "till":
            raise InvalidInput("creating Release default/till: the API server refuses it: spec.service: no")

    stage.hands.cluster.admission = refuse
    code, out, err = meshctl("apply", "-f", ".")
    assert (code, out) == (2, "")
    assert "no" in err
    assert stage.hands.list(RELEASE).items == []


def test_a_workload_is_for_one_machine_only(stage, meshctl, tmp_path):
    text = 'apiVersion: meshctl.dev/v1alpha1\nkind: Workload\nmetadata: {name: shop}\nspec: {listen: "127.0.0.1:0", '
    (tmp_path / "w.yaml").write_text(text + 'versions: {"1": {command: [x]}}}\n')
    code, _, err = meshctl("apply", "-f", "w.yaml")
    assert code == 2
    assert "Workload/shop: a Workload exists without a cluster only" in err


def test_lint_tells_what_the_api_server_would_refuse(stage, meshctl, tmp_path):
    (tmp_path / "r.yaml").write_text(FILE)
    assert meshctl("lint", "-f", "r.yaml")[0] == 0

    def refuse(kind, new, old):
        raise InvalidInput("the API server refuses it: spec.strategy: too many stages")

    stage.hands.cluster.admission = refuse
    code, out, _ = meshctl("lint", "-f", "r.yaml")
    assert code == 2
    assert re.search(r"r\.yaml:3:\d+: error refused: metadata\.name: .*too many stages", out)
    assert stage.hands.list(RELEASE).items == []


def test_lint_looks_at_what_stands_around_a_release_in_the_cluster(stage, meshctl, tmp_path):
    (tmp_path / "r.yaml").write_text(FILE.replace("service: shop", "service: shap"))
    code, out, _ = meshctl("lint", "-f", "r.yaml")
    assert code == 0
    assert re.search(r"r\.yaml:6:\d+: warning service-missing: spec\.service: there is no Service shap in default", out)
    stage.user.deny("list", SERVICE)
    assert "service-missing" not in meshctl("lint", "-f", "r.yaml")[1], "what may not be read gives no advice"


def test_lint_without_files_looks_at_the_releases_that_are_there(at_gate, meshctl):
    spec = {"hosts": ["shop"], "http": [{"route": [{"destination": {"host": "shop"}}]}]}
    at_gate.hands.create(VIRTUAL_SERVICE, {"metadata": {"name": "mine", "namespace": "default"}, "spec": spec})
    code, out, _ = meshctl("lint", "-A", "-o", "json", namespace=None)
    found = json.loads(out)["findings"]
    assert {each["file"] for each in found} == {"Release/default/shop"}
    assert any("mine" in each["message"] for each in found), found
    assert code == 0
    assert meshctl("lint", "-A", "--strict", namespace=None)[0] == 1
    assert json.loads(meshctl("lint", "-o", "json", namespace="istio-system")[1])["findings"] == []
    assert meshctl("lint", "--local", namespace=None)[0] == 2


# ------------------------------------------------------------------------------------ looking


def test_releases_of_all_namespaces_are_listed_with_their_own(at_gate, meshctl):
    code, out, err = meshctl("get", "-A", namespace=None)
    assert (code, err) == (0, "")
    head, row = out.splitlines()
    assert head.split()[:3] == ["NAMESPACE", "NAME", "PHASE"]
    assert row.split()[:5] == ["default", "shop", "Paused", "2.1.0", "1/3"]
    assert "NAMESPACE" not in meshctl("get")[1]
    assert json.loads(meshctl("get", "shop", "-o", "json")[1])["metadata"]["namespace"] == "default"
    assert meshctl("get", "shop", "-A", namespace=None)[0] == 2
    assert "shop-2" in meshctl("history", "-A", namespace=None)[1]


def test_a_note_ends_its_commands_so_that_they_reach_the_same_cluster(at_gate, meshctl):
    code, out, _ = meshctl("describe", "shop", "--context=prod")
    assert code == 0
    assert "meshctl promote shop --context prod -n default" in out


def test_records_are_read_proved_and_carried_away(at_gate, meshctl, monkeypatch):
    monkeypatch.setattr("meshctl.wiring_records.judge", CountingJudge)
    assert "the same" in meshctl("replay", "shop-2")[1]
    assert meshctl("export", "shop-2", "-o", "shop-2.json")[0] == 0
    assert root(["replay", "--file", "shop-2.json"]) == 0
    assert "ManualGate" in meshctl("history", "shop", "--decisions")[1]
    code, _, err = meshctl("describe", "shap")
    assert (code, "Did you mean" in err) == (16, True)


def test_looking_writes_nothing(at_gate, meshctl):
    at_gate.user.calls.clear()
    for words in (["get"], ["get", "-A"], ["describe", "shop"], ["history"], ["replay", "shop-2"]):
        meshctl(*words, namespace=None if "-A" in words else "default")
    assert writes(at_gate.user) == []


def test_following_tells_each_decision_as_it_comes(at_gate, meshctl, monkeypatch):
    class Flag:
        def set(self):
            pass

        def clear(self):
            pass

        def wait(self, timeout_s):
            raise KeyboardInterrupt

    monkeypatch.setattr(wiring_cluster, "threading", SimpleNamespace(Event=Flag))
    code, out, _ = meshctl("get", "shop", "-w")
    assert code == 0
    assert "shop phase=Paused stage=1/3 weight=10 reason=ManualGate" in out


def test_wait_ends_with_the_run(stage, meshctl):
    stage.wish(release(OLD))
    ticking = threading.Thread(target=lambda: stage.until(phase="Promoted"))
    ticking.start()
    code, out, _ = meshctl("wait", "shop", "--timeout", "60s")
    ticking.join()
    assert (code, out.split()[:3]) == (0, ["shop-1", "Promoted", "FirstRelease:"])


# ------------------------------------------------------------------------------------ asking


def test_a_request_is_stored_served_acknowledged_and_told(at_gate, meshctl):
    with driven(at_gate):
        code, out, err = meshctl("promote", "shop", "--reason", "seen in staging")
    assert (code, err) == (0, "")
    assert "the gate of 10 % is opened by" in out
    assert requests(at_gate) == []
    (told,) = at_gate.status()["requests"]
    assert (told["verb"], told["accepted"]) == ("promote", True)


def test_who_refuses_says_why_and_the_exit_code_is_16(at_gate, meshctl):
    with driven(at_gate):
        code, out, err = meshctl("retry", "shop", "--reason", "again")
    assert (code, out) == (16, "")
    assert "retry" in err


def test_where_nobody_drives_a_request_is_kept_and_the_exit_code_is_14(at_gate, meshctl, monkeypatch):
    monkeypatch.setattr(target_cluster, "REQUEST_TIMEOUT_S", 0.2)
    code, out, err = meshctl("pause", "shop", "--reason", "lunch")
    assert (code, out) == (14, "")
    assert "nobody served it within 0.2 s" in err
    (kept,) = requests(at_gate)
    assert (kept["verb"], kept["reason"]) == ("pause", "lunch")


def test_an_unknown_release_is_refused_before_anything_is_written(at_gate, meshctl):
    at_gate.user.calls.clear()
    code, _, err = meshctl("pause", "shap")
    assert (code, "Did you mean 'shop'?" in err) == (16, True)
    assert writes(at_gate.user) == []


def test_rollback_to_an_older_version_becomes_the_wish(at_gate, meshctl):
    with driven(at_gate):
        meshctl("promote", "shop", "--full", "--reason", "sure")
    at_gate.until(phase="Promoted", baseline=NEW)
    with driven(at_gate):
        code, _, err = meshctl("rollback", "shop", "--to", OLD)
    assert (code, err) == (0, "")
    assert at_gate.weights()[OLD] == 100.0


# ------------------------------------------------------------------------------------ abort


def test_abort_takes_the_traffic_away_by_itself_where_nobody_drives(at_gate, meshctl, monkeypatch):
    monkeypatch.setattr(target_cluster, "ABORT_TIMEOUT_S", 0.1)
    at_gate.user.calls.clear()
    code, out, err = meshctl("abort", "shop", "--reason", "empty carts")
    assert (code, err) == (0, "")
    assert out.startswith("2.1.0 is taken back to 0 %: aborted; the request is stored")
    assert at_gate.weights() == {OLD: 100.0, NEW: 0.0}
    first = writes(at_gate.user)[0]
    assert (first.verb, first.kind) == ("patch", VIRTUAL_SERVICE), "before anything is stored"
    (kept,) = requests(at_gate)
    assert (kept["verb"], kept["reason"]) == ("abort", "empty carts")
    at_gate.ticks(2)
    assert at_gate.status()["reason"] == "Aborted"
    assert [each["verb"] for each in at_gate.status()["requests"]] == ["abort"]


def test_abort_tells_what_the_record_says_where_somebody_drives(at_gate, meshctl):
    with driven(at_gate):
        code, out, _ = meshctl("abort", "shop", "--reason", "empty carts")
    assert code == 0
    assert "2.1.0 is taken back from 10 % to 0 %: aborted (empty carts)" in out
    assert at_gate.status()["phase"] == "RolledBack"


def test_who_may_not_change_routes_asks_for_the_abort(at_gate, meshctl):
    at_gate.user.deny("patch", VIRTUAL_SERVICE)
    with driven(at_gate):
        code, out, _ = meshctl("abort", "shop")
    assert (code, "aborted" in out) == (0, True)
    assert at_gate.weights()[NEW] == 0.0


def test_an_abort_that_cannot_be_stored_says_that_the_traffic_is_away(at_gate, meshctl):
    at_gate.user.deny("patch", RELEASE)
    code, out, err = meshctl("abort", "shop")
    assert (code, out) == (15, "")
    assert "2.1.0 is taken back to 0 %: aborted, but the request could not be stored" in err
    assert at_gate.weights()[NEW] == 0.0
    at_gate.ticks(2)
    assert at_gate.status()["reason"] == "Aborted", "by the mark on the routes"


def test_an_abort_of_what_has_ended_is_refused_names_rollback_and_writes_nothing(stage, meshctl):
    stage.wish(release(OLD))
    stage.until(phase="Promoted")
    stage.user.calls.clear()
    code, _, err = meshctl("abort", "shop")
    assert code == 16
    assert "use rollback" in err
    assert writes(stage.user) == []


# ------------------------------------------------------------------------------------ what is wrong


def test_each_trouble_is_one_message_with_its_exit_code_and_changes_nothing(at_gate, meshctl):
    troubles = {
        14: Unreachable("reading Release default/shop: https://memory.invalid:6443 does not answer"),
        15: Forbidden("listing releases.meshctl.dev: user anna may not list releases", hint="missing in a Role: ..."),
        16: Refused("the API server does not know the kind Release", hint="the CRDs of meshctl are not installed"),
    }
    for code, trouble in troubles.items():
        for words in (["get"], ["describe", "shop"], ["promote", "shop"], ["abort", "shop"], ["wait", "shop"]):
            at_gate.user._faults.clear()
            at_gate.user.fail(trouble, times=100)
            at_gate.user.calls.clear()
            found, out, err = meshctl(*words)
            assert (found, out) == (code, ""), words
            assert trouble.args[0] in err
            assert err.count("meshctl: ") == 1
            assert writes(at_gate.user) == []


def test_two_targets_at_once_are_refused_and_none_is_guessed(stage, meshctl, monkeypatch, tmp_path):
    code, _, err = meshctl("get", "--local")
    assert (code, "--local and a cluster are named at once" in err) == (2, True)
    code, _, err = meshctl("get", namespace=None)
    assert code == 2
    assert "--local" in err
    assert "--context" in err
    assert meshctl("get", "-A")[0] == 2
    monkeypatch.setenv("MESHCTL_CONTEXT", "prod")
    assert meshctl("get", namespace=None)[0] == 0
    (tmp_path / "meshctl.toml").write_text('local = "x"\n')
    assert meshctl("get", namespace=None)[0] == 0, "the environment is nearer"
    monkeypatch.setenv("MESHCTL_LOCAL", "y")
    code, _, err = meshctl("get", namespace=None)
    assert code == 2
    assert "local (MESHCTL_LOCAL) and context (MESHCTL_CONTEXT) are named at once" in err
