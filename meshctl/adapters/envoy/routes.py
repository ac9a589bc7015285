"""One ``spec.http`` entry of a VirtualService as one Envoy route."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshctl.adapters.envoy.fields import Place, integer, items, mapping, seconds, text, texts

TOTAL = 1000
"""What the weights of a split sum to."""

SHARED, ADDRESSED = "shared", "addressed"
"""Traffic that is split by weight, and traffic that named its version (a preview); only the first is judged."""

DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled"
"""Istio's, where a route says nothing about retries."""

HOST_PICKS = 64
"""How often a retry asks the balancer for a replica that was not tried yet."""

_RETRY_WORDS = frozenset(
    {
        *("5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "refused-stream"),
        *("envoy-ratelimited", "retriable-4xx", "retriable-status-codes", "retriable-headers"),
        *("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"),
    }
)
_FIELDS = ("name", "match", "route", "timeout", "retries", "headers", "mirrors")


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where routes may lead: the subsets of ``service``, each with its cluster."""

    service: str
    clusters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """An Envoy route; ``weights`` maps subset to permille where the traffic is ``shared``."""

    envoy: dict[str, Any]
    weights: dict[str, int]
    shared: bool


def http_route(value: object, place: Place, known: Destinations) -> HttpRoute:
    """Translate one entry.  Raises `InvalidInput` for whatever is not understood."""
    entry = mapping(value, place, _FIELDS)
    name = text(entry.get("name"), place.at("name"))
    matches = items(entry.get("match", ()), place.at("match"))
    if len(matches) > 1:
        place.at("match").refuse(f"expected one match, found {len(matches)}", "Write one route for each of them.")
    match = _match(matches[0], place.at("match").index(0)) if matches else {"prefix": "/"}
    weights = _weights(entry.get("route"), place.at("route"), known)
    shared = not matches or len(weights) > 1
    action: dict[str, Any] = {
        "timeout": seconds(entry["timeout"], place.at("timeout")) if "timeout" in entry else "0s",
        "retry_policy": _retries(entry.get("retries", {"attempts": 2}), place.at("retries")),
        "weighted_clusters": {
            "clusters": [
                {"name": known.clusters[subset], "weight": weight, **headers}
                for (subset, weight), headers in zip(
                    weights.items(), _route_headers(entry.get("route"), place.at("route")), strict=True
                )
            ]
        },
    }
    if "mirrors" in entry:
        action["request_mirror_policies"] = _mirrors(entry["mirrors"], place.at("mirrors"), known)
    envoy = {
        "name": name,
        "match": match,
        "metadata": {"filter_metadata": {"meshctl": {"traffic": SHARED if shared else ADDRESSED}}},
        "route": action,
        **_headers(entry.get("headers", {}), place.at("headers")),
    }
    return HttpRoute(envoy, weights, shared)


def _destination(value: object, place: Place, known: Destinations) -> str:
    destination = mapping(value, place, ("host", "subset"))
    host = text(destination.get("host"), place.at("host"))
    check_host(host, known.service, place.at("host"))
    subset = text(destination.get("subset"), place.at("subset"))
    if subset not in known.clusters:
        place.at("subset").refuse(
            f"the DestinationRule has no subset {subset!r}", f"It has: {', '.join(known.clusters) or 'none'}."
        )
    return subset


def check_host(host: str, service: str, place: Place) -> None:
    """The host must be the service itself, short or in full: the embedded mesh knows no other."""
    if host.split(".")[0] != service:
        place.refuse(f"the host {host!r} is not the service {service!r} of the release")


def _weights(value: object, place: Place, known: Destinations) -> dict[str, int]:
    entries = items(value, place)
    weights: dict[str, int] = {}
    for number, found in enumerate(entries):
        here = place.index(number)
        entry = mapping(found, here, ("destination", "weight", "headers"))
        subset = _destination(entry.get("destination"), here.at("destination"), known)
        if subset in weights:
            here.refuse(f"the subset {subset!r} is there twice")
        default = TOTAL if len(entries) == 1 else None
        weights[subset] = integer(entry.get("weight", default), here.at("weight"), most=TOTAL)
    if sum(weights.values()) != TOTAL:
        place.refuse(f"the weights sum to {sum(weights.values())} instead of {TOTAL}")
    return weights


def _route_headers(value: object, place: Place) -> list[dict[str, Any]]:
    return [
        _headers(entry.get("headers", {}), place.index(number).at("headers"))
        for number, entry in enumerate(items(value, place))
        if isinstance(entry, Mapping)
    ]


def _match(value: object, place: Place) -> dict[str, Any]:
    match = mapping(value, place, ("name", "headers", "withoutHeaders", "uri", "method", "authority"))
    envoy: dict[str, Any] = {"prefix": "/"}
    if "uri" in match:
        kind, operand = _string(match["uri"], place.at("uri"))
        envoy = {{"exact": "path"}.get(kind, kind): operand} if kind != "regex" else {"safe_regex": {"regex": operand}}
    headers = []
    for field in ("headers", "withoutHeaders"):
        if field in match:
            names = match[field]
            if not isinstance(names, Mapping) or not names:
                place.at(field).refuse("expected a mapping of header names")
            for name, condition in names.items():
                header = _header(str(name), condition, place.at(field).at(str(name)))
                headers.append(header | ({"invert_match": True} if field == "withoutHeaders" else {}))
    for field, pseudo in (("method", ":method"), ("authority", ":authority")):
        if field in match:
            headers.append(_header(pseudo, match[field], place.at(field)))
    return envoy | ({"headers": headers} if headers else {})


def _header(name: str, condition: object, place: Place) -> dict[str, Any]:
    kind, operand = _string(condition, place)
    matcher: dict[str, Any] = {"safe_regex": {"regex": operand}} if kind == "regex" else {kind: operand}
    return {"name": name.lower(), "string_match": matcher}


def _string(value: object, place: Place) -> tuple[str, str]:
    condition = mapping(value, place, ("exact", "prefix", "regex"))
    if len(condition) != 1:
        place.refuse(f"expected one of exact, prefix, regex, found {len(condition)}")
    kind, operand = next(iter(condition.items()))
    return kind, text(operand, place.at(kind))


def _retries(value: object, place: Place) -> dict[str, Any]:
    found = mapping(value, place, ("attempts", "perTryTimeout", "retryOn"))
    attempts = integer(found.get("attempts"), place.at("attempts"), most=100)
    words = [word.strip() for word in text(found.get("retryOn", DEFAULT_RETRY_ON), place.at("retryOn")).split(",")]
    codes = [int(word) for word in words if re.fullmatch(r"[1-5]\d\d", word)]
    for word in words:
        if word not in _RETRY_WORDS and not re.fullmatch(r"[1-5]\d\d", word):
            place.at("retryOn").refuse(f"unknown condition {word!r}", f"Known: {', '.join(sorted(_RETRY_WORDS))}.")
    named = [word for word in words if word in _RETRY_WORDS]
    if codes and "retriable-status-codes" not in named:
        named.append("retriable-status-codes")
    policy: dict[str, Any] = {
        "retry_on": ",".join(named),
        "num_retries": attempts,
        "retriable_status_codes": codes,
        # As in Istio: the next try goes to another replica where there is one.  A dead one has the fewest requests
        # under way and is picked first by the balancer, so five picks (Istio's number) often are not enough.
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": HOST_PICKS,
    }
    if "perTryTimeout" in found:
        policy["per_try_timeout"] = seconds(found["perTryTimeout"], place.at("perTryTimeout"))
    return policy


def _mirrors(value: object, place: Place, known: Destinations) -> list[dict[str, Any]]:
    policies = []
    for number, found in enumerate(items(value, place)):
        here = place.index(number)
        entry = mapping(found, here, ("destination", "percentage"))
        subset = _destination(entry.get("destination"), here.at("destination"), known)
        at = here.at("percentage")
        percent = mapping(entry.get("percentage", {"value": 100}), at, ("value",)).get("value")
        if not isinstance(percent, int | float) or isinstance(percent, bool) or not 0 <= percent <= 100:
            at.at("value").refuse(f"expected a number from 0 to 100, found {percent!r}")
        fraction = {"numerator": round(percent * 10_000), "denominator": "MILLION"}
        policies.append(
            {"cluster": known.clusters[subset], "runtime_fraction": {"default_value": fraction}, "trace_sampled": False}
        )
    return policies


def _headers(value: object, place: Place) -> dict[str, Any]:
    found = mapping(value, place, ("request", "response"))
    envoy: dict[str, Any] = {}
    for direction in ("request", "response"):
        if direction not in found:
            continue
        here = place.at(direction)
        changes = mapping(found[direction], here, ("set", "add", "remove"))
        added = [
            {"header": {"key": key, "value": operand}, "append_action": action}
            for field, action in (("set", "OVERWRITE_IF_EXISTS_OR_ADD"), ("add", "APPEND_IF_EXISTS_OR_ADD"))
            for key, operand in texts(changes.get(field, {}), here.at(field)).items()
        ]
        removed = [text(key, here.at("remove")) for key in items(changes.get("remove", ()), here.at("remove"))]
        envoy |= {f"{direction}_headers_to_add": added, f"{direction}_headers_to_remove": removed}
    return envoy
