"""The node: Jobs, CronJobs, probes, restarts, what a container finds, and what its service account may do."""

from __future__ import annotations

import base64
import sys

import pytest

from tests.cluster.waiting import eventually

ASK = """
import json, pathlib, ssl, urllib.error, urllib.request, os
home = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
context = ssl.create_default_context(cafile=home / "ca.crt")
server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
namespace = (home / "namespace").read_text()
def ask(path):
    request = urllib.request.Request(server + path, headers={"authorization": f"Bearer {(home / 'token').read_text()}"})
    try:
        return urllib.request.urlopen(request, context=context, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code
paths = {"pods": f"/api/v1/namespaces/{namespace}/pods", "secrets": f"/api/v1/namespaces/{namespace}/secrets",
         "elsewhere": "/api/v1/namespaces/istio-system/pods"}
print(json.dumps({name: ask(path) for name, path in paths.items()}))
"""


def job(name, script, account="default", **pod):
    container = {"name": "main", "image": "python", "command": [sys.executable, "-c", script]}
    template = {"spec": {"restartPolicy": "Never", "serviceAccountName": account, "containers": [container], **pod}}
    spec = {"template": template, "backoffLimit": 0}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def condition_of(shop, name):
    def look():
        found = shop.api.get("batch/v1", "Job", name, shop.namespace).get("status", {}).get("conditions", [])
        return [one["type"] for one in found if one["status"] == "True" and one["type"] in ("Complete", "Failed")]

    return eventually(look, 30, f"the job {name} has ended")


def log_of_job(shop, name):
    pods = shop.api.list("v1", "Pod", shop.namespace, labelSelector=f"job-name={name}")
    return shop.logs(pods[0]["metadata"]["name"])


@pytest.fixture(scope="module")
def every_minute(cluster):
    """A CronJob that was there before the other tests of this module ran, so that a minute passes meanwhile."""
    name = "every-minute"
    cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    template = {"spec": job("unused", "print('ran')")["spec"]}
    spec = {"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": template}
    manifest = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": spec}
    cluster.api.apply(manifest, name)
    yield name
    cluster.api.delete("v1", "Namespace", name)


def test_a_job_ends_as_its_process_ends(empty_shop, every_minute):
    empty_shop.apply(job("good", "print('done')"))
    empty_shop.apply(job("bad", "raise SystemExit(3)"))
    assert condition_of(empty_shop, "good") == ["Complete"]
    assert log_of_job(empty_shop, "good") == "done\n"
    assert condition_of(empty_shop, "bad") == ["Failed"]


def test_a_service_account_in_a_pod_can_do_what_its_role_says_and_nothing_else(empty_shop):
    namespace = empty_shop.namespace
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"}}
    empty_shop.apply({**role, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]})
    empty_shop.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}})
    empty_shop.apply(
        {
            **role,
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}],
        }
    )
    empty_shop.apply(job("ask", ASK, "reader"))
    assert condition_of(empty_shop, "ask") == ["Complete"]
    assert log_of_job(empty_shop, "ask") == '{"pods": 200, "secrets": 403, "elsewhere": 403}\n'


def test_a_container_finds_its_settings_and_its_files(empty_shop):
    secret = base64.b64encode(b"hidden").decode()
    empty_shop.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "data": {"key": secret}})
    empty_shop.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"colour": "green"}}
    )
    script = (
        "import os, pathlib; files = map(pathlib.Path, ('/etc/shop/colour', '/var/lib/shop/keys/key')); "
        "print(os.environ['KEY'], os.environ['WHO'], *[file.read_text() for file in files]); "
        "pathlib.Path('/tmp/scratch').write_text('x')"
    )
    manifest = job("look", script)
    pod = manifest["spec"]["template"]["spec"]
    pod["volumes"] = [
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "keys", "secret": {"secretName": "keys"}},
        {"name": "scratch", "emptyDir": {}},
    ]
    pod["containers"][0] |= {
        "env": [
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "key"}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['job-name']"}}},
            {"name": "WHO", "value": "$(NAME)er"},
        ],
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/tmp"},
            {"name": "settings", "mountPath": "/etc/shop"},
            {"name": "keys", "mountPath": "/var/lib/shop/keys"},
        ],
    }
    empty_shop.apply(manifest)
    assert condition_of(empty_shop, "look") == ["Complete"]
    assert log_of_job(empty_shop, "look") == "hidden looker green hidden\n"


def container_status(shop, pod):
    found = shop.api.get("v1", "Pod", pod, shop.namespace)["status"].get("containerStatuses")
    return found[0] if found else {}


def a_pod(name, **container):
    main = {"name": "main", "image": "nobody/has-this", **container}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [main]}}


def test_a_container_that_dies_again_and_again_backs_off(empty_shop):
    empty_shop.apply(a_pod("dies", command=[sys.executable, "-c", "raise SystemExit(1)"]))

    def backs_off():
        waiting = container_status(empty_shop, "dies").get("state", {}).get("waiting", {})
        return waiting.get("reason") == "CrashLoopBackOff"

    eventually(backs_off, 20, "the pod backs off")
    assert container_status(empty_shop, "dies")["restartCount"] >= 1


def test_an_image_that_nobody_has_leaves_the_pod_pending(empty_shop):
    empty_shop.apply(a_pod("lacks"))

    def cannot_be_pulled():
        waiting = container_status(empty_shop, "lacks").get("state", {}).get("waiting", {})
        return waiting.get("reason") == "ImagePullBackOff"

    eventually(cannot_be_pulled, 20, "the pod says why")
    assert empty_shop.api.get("v1", "Pod", "lacks", empty_shop.namespace)["status"]["phase"] == "Pending"


def test_a_liveness_probe_restarts_what_hangs(empty_shop):
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    empty_shop.apply(a_pod("hangs", command=["sleep", "1000"], livenessProbe=probe))
    eventually(lambda: container_status(empty_shop, "hangs").get("restartCount"), 20, "the container was restarted")


def test_a_pod_that_is_deleted_may_finish_its_work(empty_shop):
    script = (
        "import pathlib, signal, sys; signal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit(0))); "
        "print('up', flush=True); signal.pause()"
    )
    empty_shop.apply(a_pod("polite", command=[sys.executable, "-c", script]))
    eventually(lambda: "up" in empty_shop.logs("polite"), 20, "the program is up")
    empty_shop.api.delete("v1", "Pod", "polite", empty_shop.namespace)
    pods = lambda: empty_shop.api.list("v1", "Pod", empty_shop.namespace)  # noqa: E731
    eventually(lambda: not pods(), 20, "the pod is gone")
    assert empty_shop.logs("polite") == "up\nbye\n"


def test_a_cron_job_runs_every_minute(cluster, every_minute):
    def ran():
        jobs = cluster.api.list("batch/v1", "Job", every_minute)
        return any(one.get("status", {}).get("succeeded") for one in jobs)

    eventually(ran, 90, "the CronJob has run a job")
