"""Why pods are not ready, in their own words: what an engineer reads at three in the morning.

Pure: objects as the API server has them go in, one line comes out.  What the kubelet, the scheduler and admission say
is repeated; what a program wrote before it died is not where it is a log (terminationMessagePolicy
FallbackToLogsOnError): logs hold secrets, and these words are stored and shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meshctl.adapters.kubernetes.api import Object

WORDS_MAX = 400
"""So many characters are said in all; of one reason half as many."""

REASONS_MAX = 3
VAGUE = ("ContainerCreating", "PodInitializing")
"""What says nothing by itself: an event may say more."""


def say(pods: Sequence[Object], heard: Mapping[str, str] | None = None) -> str:
    """Why these pods are not ready: each reason once, the most frequent first, with a pod to look at.

    ``heard`` is what events say of a pod, by its name, where its status is vague.
    """
    groups: dict[str, list[str]] = {}
    for pod in pods:
        words = reason_of(pod)
        if words:
            name = pod["metadata"]["name"]
            more = (heard or {}).get(name, "")
            text = f"{words}: {more}" if more and is_vague(pod) else words
            groups.setdefault(short(text, WORDS_MAX // 2), []).append(name)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    lines = [f"{_pods(names)}: {text}" for text, names in ordered[:REASONS_MAX]]
    return short("; ".join(lines), WORDS_MAX)


def reason_of(pod: Object) -> str:
    """Why one pod is not ready; empty when it is."""
    status = pod.get("status") or {}
    if is_ready(pod):
        return ""
    if pod["metadata"].get("deletionTimestamp"):
        return "is being deleted"
    if status.get("phase") == "Failed":
        return _joined(status.get("reason") or "failed", status.get("message"))
    scheduled = condition(pod, "PodScheduled")
    if scheduled and scheduled.get("status") == "False":
        return _joined(scheduled.get("reason") or "not scheduled", scheduled.get("message"))
    for found in _containers(pod):
        return found
    if (condition(pod, "ContainersReady") or {}).get("status") == "True":
        return _gates(pod)
    return "runs and is not ready" if status.get("phase") == "Running" else "is being started"


def is_vague(pod: Object) -> bool:
    """Whether an event may say more than the status does."""
    words = reason_of(pod)
    return words.endswith((*VAGUE, "is not ready", "is being started", "startup probe"))


def is_ready(pod: Object) -> bool:
    """Whether its kubelet says that it is ready and nobody is deleting it."""
    ready = condition(pod, "Ready") or {}
    return ready.get("status") == "True" and not pod["metadata"].get("deletionTimestamp")


def condition(object: Object, kind: str) -> Mapping[str, Any] | None:
    """A condition of an object's status, by its type."""
    conditions = (object.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), None)


def short(text: str, limit: int) -> str:
    """On one line and not longer than ``limit``."""
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def _containers(pod: Object) -> Iterator[str]:
    """What keeps each container from being ready, in the order in which they start."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    logged = {
        each.get("name")
        for kind in ("initContainers", "containers")
        for each in spec.get(kind) or ()
        if each.get("terminationMessagePolicy") == "FallbackToLogsOnError"
    }
    stays = {each.get("name") for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"}
    for each in status.get("initContainerStatuses") or ():
        done = (each.get("state") or {}).get("terminated")
        begun = each.get("name") in stays and each.get("started")
        if not begun and (done is None or done.get("exitCode") != 0):
            yield f"init container {each['name']} {_state(each, each['name'] in logged)}"
    for each in status.get("containerStatuses") or ():
        if not each.get("ready"):
            yield f"container {each['name']} {_state(each, each['name'] in logged)}"


def _state(container: Mapping[str, Any], logged: bool) -> str:
    state = container.get("state") or {}
    waiting, ended = state.get("waiting"), state.get("terminated")
    restarts = int(container.get("restartCount") or 0)
    times = f" after {restarts} restart{'s' if restarts > 1 else ''}" if restarts else ""
    if waiting is not None:
        reason = waiting.get("reason") or "is waiting"
        if reason == "CrashLoopBackOff":
            last = (container.get("lastState") or {}).get("terminated") or {}
            return _joined(f"{reason}{times}", _end(last, logged))
        return reason if reason in VAGUE else _joined(reason, waiting.get("message"))
    if ended is not None:
        return _joined(f"has ended{times}", _end(ended, logged))
    if "running" in state:
        doing = "has not passed its startup probe" if container.get("started") is False else "runs and is not ready"
        return f"has restarted {restarts} times and {doing}" if restarts else doing
    return "is waiting"


def _end(ended: Mapping[str, Any], logged: bool) -> str:
    """How a container ended; its last words where they are not its log."""
    if not ended:
        return ""
    reason = ended.get("reason")
    text = f"exit code {ended.get('exitCode')}"
    if reason and reason not in ("Error", "Completed"):
        text += f" ({reason})"
    last = [line for line in str(ended.get("message") or "").splitlines() if line.strip()]
    return text if logged or not last else f"{text}: {last[-1].strip()}"


def _gates(pod: Object) -> str:
    gates = [gate.get("conditionType") for gate in (pod.get("spec") or {}).get("readinessGates") or ()]
    shut = [gate for gate in gates if (condition(pod, str(gate)) or {}).get("status") != "True"]
    return f"its readiness gate {shut[0]} is shut" if shut else "is not ready"


def _joined(reason: str, message: object) -> str:
    return f"{reason}: {message}" if message else reason


def _pods(names: Sequence[str]) -> str:
    return f"pod {names[0]}" if len(names) == 1 else f"{len(names)} pods, such as {names[0]}"
