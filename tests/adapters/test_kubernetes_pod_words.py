"""Why pods are not ready, as somebody reads it at night: the cause first, in the words of whoever refused."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.adapters.kubernetes.pod_words import WORDS_MAX, is_ready, reason_of, say
from tests.adapters.pods_world import NOT_READY, READY


def pod(name="shop-1", *, spec=None, deleted=False, **status):
    metadata = {"name": name, **({"deletionTimestamp": "2026-11-23T12:00:00Z"} if deleted else {})}
    return {"metadata": metadata, "spec": spec or {}, "status": {**copy.deepcopy(NOT_READY), **status}}


def container(state, *, name="shop", kind="containerStatuses", restarts=0, last=None, spec=None, **more):
    entry = {"name": name, "ready": False, "restartCount": restarts, "state": state, **more}
    if last is not None:
        entry["lastState"] = {"terminated": last}
    return pod(spec=spec, **{kind: [entry]})


def conditions(**found):
    return [{"type": key, "status": value} for key, value in found.items()]


CASES = {
    "a crash loop with the last words": (
        container(
            {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container=shop"}},
            restarts=5,
            last={"exitCode": 1, "reason": "Error", "message": "loading\nno such table: orders\n"},
        ),
        "container shop CrashLoopBackOff after 5 restarts: exit code 1: no such table: orders",
    ),
    "a crash loop for want of memory": (
        container(
            {"waiting": {"reason": "CrashLoopBackOff"}}, restarts=1, last={"exitCode": 137, "reason": "OOMKilled"}
        ),
        "container shop CrashLoopBackOff after 1 restart: exit code 137 (OOMKilled)",
    ),
    "a program that ended just now": (
        container({"terminated": {"exitCode": 2, "reason": "Error"}}),
        "container shop has ended: exit code 2",
    ),
    "an image that nobody has": (
        container({"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "shop:2.1.O"'}}),
        'container shop ImagePullBackOff: Back-off pulling image "shop:2.1.O"',
    ),
    "a ConfigMap that is not there": (
        container({"waiting": {"reason": "CreateContainerConfigError", "message": 'configmap "settings" not found'}}),
        'container shop CreateContainerConfigError: configmap "settings" not found',
    ),
    "a container that is being made": (
        container({"waiting": {"reason": "ContainerCreating"}}),
        "container shop ContainerCreating",
    ),
    "a probe that does not pass": (
        container({"running": {}}, started=True),
        "container shop runs and is not ready",
    ),
    "a startup probe that does not pass": (
        container({"running": {}}, started=False),
        "container shop has not passed its startup probe",
    ),
    "a container that comes and goes": (
        container({"running": {}}, restarts=3, started=True),
        "container shop has restarted 3 times and runs and is not ready",
    ),
    "an init container that fails": (
        container({"terminated": {"exitCode": 1}}, name="migrate", kind="initContainerStatuses"),
        "init container migrate has ended: exit code 1",
    ),
    "no room on any node": (
        pod(
            phase="Pending",
            conditions=[
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/3 nodes are available: 3 Insufficient cpu.",
                }
            ],
            containerStatuses=[],
        ),
        "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu.",
    ),
    "a pod that was evicted": (
        pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
        "Evicted: The node was low on resource: memory.",
    ),
    "a readiness gate": (
        pod(
            spec={"readinessGates": [{"conditionType": "example.com/lb"}]},
            conditions=conditions(PodScheduled="True", ContainersReady="True", Ready="False"),
            containerStatuses=READY["containerStatuses"],
        ),
        "its readiness gate example.com/lb is shut",
    ),
    "a pod that ends": (pod(deleted=True), "is being deleted"),
    "a pod that nobody looked at yet": ({"metadata": {"name": "shop-1"}}, "is being started"),
}


@pytest.mark.parametrize(("found", "words"), CASES.values(), ids=CASES.keys())
def test_the_reason_is_said_in_the_pods_own_words(found, words):
    assert reason_of(found) == words
    assert not is_ready(found)
    assert say([found]) == f"pod shop-1: {words}"


def test_a_ready_pod_has_nothing_to_say():
    assert reason_of({"metadata": {"name": "shop-1"}, "status": READY}) == ""


def test_a_sidecar_that_started_is_not_in_the_way():
    found = container({"running": {}}, started=True)
    found["spec"] = {"initContainers": [{"name": "istio-proxy", "restartPolicy": "Always"}]}
    found["status"]["initContainerStatuses"] = [
        {"name": "istio-proxy", "ready": True, "started": True, "state": {"running": {}}, "restartCount": 0}
    ]
    assert reason_of(found) == "container shop runs and is not ready"


def test_the_end_of_a_log_is_never_repeated():
    """It may hold what the program was given: addresses, names, passwords."""
    spec = {"containers": [{"name": "shop", "terminationMessagePolicy": "FallbackToLogsOnError"}]}
    last = {"exitCode": 1, "message": "cannot connect to postgres://shop:hunter2@db"}
    found = container({"waiting": {"reason": "CrashLoopBackOff"}}, last=last, spec=spec)
    assert reason_of(found) == "container shop CrashLoopBackOff: exit code 1"


def test_pods_alike_are_told_once_and_most_go_first():
    stuck = [container({"waiting": {"reason": "ImagePullBackOff"}}) for _ in range(3)]
    for number, each in enumerate(stuck):
        each["metadata"] = {"name": f"shop-{number}"}
    lost = CASES["no room on any node"][0]
    assert say([lost, *stuck]) == (
        "3 pods, such as shop-0: container shop ImagePullBackOff; "
        "pod shop-1: Unschedulable: 0/3 nodes are available: 3 Insufficient cpu."
    )


def test_what_an_event_says_stands_beside_what_is_vague_only():
    heard = {"shop-1": "Readiness probe failed: 503"}
    assert say([container({"running": {}}, started=True)], heard).endswith("is not ready: Readiness probe failed: 503")
    assert "probe" not in say([container({"waiting": {"reason": "ImagePullBackOff"}})], heard)


STATES = st.fixed_dictionaries(
    {},
    optional={
        "waiting": st.fixed_dictionaries({}, optional={"reason": st.text(), "message": st.text()}),
        "running": st.just({}),
        "terminated": st.fixed_dictionaries({"exitCode": st.integers(0, 255)}, optional={"message": st.text()}),
    },
)


@given(st.lists(STATES, min_size=1, max_size=30))
def test_whatever_containers_do_the_words_fit_on_one_line(states):
    pods = [container(state) for state in states]
    for number, each in enumerate(pods):
        each["metadata"] = {"name": f"shop-{number}"}
    words = say(pods)
    assert words
    assert len(words) <= WORDS_MAX
    assert words.isprintable()
