"""What the schema of a Release says beyond the types of its fields: bounds, patterns, CEL rules, descriptions.

Limits and forms are those of `meshctl.core.validation`, by name; a rule here is one that holds there too, so that
whoever writes a Release with kubectl hears it from the API server.  What CEL cannot tell within its means (the digest
of a pod template, say) is told by the controller in the status.
"""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import timedelta
from typing import Any, get_type_hints

from meshctl.adapters.kubernetes.crd_words import WORDS
from meshctl.adapters.kubernetes.openapi import Notes, Schema
from meshctl.core import hookrules, meshrules, metricrules, podrules, validation
from meshctl.core.model import (
    FULL,
    Adoption,
    AnalysisSpec,
    CanaryStrategy,
    CustomMetric,
    Hook,
    HttpHook,
    MeshSpec,
    MetricKind,
    PodWorkload,
    Preview,
    ReleaseSpec,
    Retries,
    SecretRef,
    ServiceLevel,
    Stage,
    Strategy,
    Tolerance,
)
from meshctl.core.names import LABEL_LIMIT
from meshctl.core.timetext import format_duration

_NULLABLE_DURATION = timedelta | None


def _rule(rule: str, message: str, **more: str) -> Schema:
    return {"rule": rule, "message": message, **more}


def _form(pattern: re.Pattern[str], most: int, **more: Any) -> Schema:
    return {"pattern": f"^{pattern.pattern}$", "maxLength": most, "minLength": 1, **more}


_DNS_LABEL = _form(validation.DNS_LABEL, LABEL_LIMIT)
_LABEL_KEY = {
    "pattern": f"^({validation.LABEL_PREFIX.pattern}/)?{validation.LABEL_NAME.pattern}$",
    "maxLength": validation.NAME_LIMIT + 1 + LABEL_LIMIT,
}
_ABOVE_ZERO: Schema = {"minimum": 0, "exclusiveMinimum": True}
_SHARE: Schema = {"minimum": 0, "maximum": 1}

KEYWORDS: dict[tuple[type, str], Schema] = {
    (ReleaseSpec, "version"): _form(validation.LABEL_NAME, LABEL_LIMIT),
    (ReleaseSpec, "service"): _DNS_LABEL,
    (ReleaseSpec, "version_label"): _LABEL_KEY,
    (ReleaseSpec, "hooks"): {
        "maxItems": hookrules.HOOKS_LIMIT,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    },
    (MeshSpec, "hosts"): {"maxItems": validation.HOSTS_LIMIT, "x-kubernetes-list-type": "set"},
    (MeshSpec, "hosts.items"): _form(validation.HOST, validation.NAME_LIMIT),
    (MeshSpec, "gateways"): {
        "minItems": 1,
        "maxItems": validation.GATEWAYS_LIMIT,
        "x-kubernetes-list-type": "set",
    },
    (MeshSpec, "gateways.items"): _form(validation.GATEWAY, validation.NAME_LIMIT),
    (Adoption, "virtual_service"): _form(meshrules.OBJECT_NAME, validation.NAME_LIMIT),
    (Adoption, "destination_rule"): _form(meshrules.OBJECT_NAME, validation.NAME_LIMIT),
    (Adoption, "routes"): {"minItems": 1, "maxItems": meshrules.ROUTES_LIMIT, "x-kubernetes-list-type": "set"},
    (Adoption, "routes.items"): {"minLength": 1, "maxLength": meshrules.ROUTE_NAME_LIMIT},
    (Retries, "attempts"): {"minimum": 0, "maximum": 10},
    (Retries, "retry_on"): _form(validation.RETRY_ON, validation.RETRY_ON_LIMIT),
    (Preview, "header"): {"pattern": "^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$", "maxLength": validation.HEADER_LIMIT},
    (CanaryStrategy, "stages"): {"minItems": 1, "maxItems": validation.STAGES_LIMIT},
    (Stage, "weight"): {**_ABOVE_ZERO, "maximum": FULL},
    (AnalysisSpec, "alpha"): {**_ABOVE_ZERO, "maximum": 0.5, "exclusiveMaximum": True},
    (AnalysisSpec, "metrics"): {
        "maxItems": metricrules.METRICS_LIMIT,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    },
    (CustomMetric, "name"): _form(metricrules.NAME, metricrules.NAME_LIMIT),
    **{
        (CustomMetric, field): {"maxLength": metricrules.SERIES_LIMIT}
        for fields_of_kind in metricrules.FIELDS.values()
        for field in fields_of_kind
    },
    (CustomMetric, "tolerance"): {"minimum": 1},
    (CustomMetric, "harm"): {**_ABOVE_ZERO, "maximum": 1, "exclusiveMaximum": True},
    (ServiceLevel, "max_error_rate"): _SHARE,
    (Tolerance, "tolerance"): {"minimum": 1},
    (Tolerance, "harm"): _SHARE,
    (Hook, "name"): _form(hookrules.NAME, LABEL_LIMIT),
    (Hook, "stages"): {"maxItems": validation.STAGES_LIMIT},
    (Hook, "retries"): {"minimum": 0, "maximum": hookrules.RETRIES_LIMIT},
    (HttpHook, "url"): {"pattern": "^https?://[!-~]+$", "maxLength": hookrules.URL_LIMIT},
    (HttpHook, "headers"): {"maxProperties": hookrules.HEADERS_LIMIT},
    (SecretRef, "env"): _form(hookrules.VARIABLE, validation.NAME_LIMIT),
    (SecretRef, "file"): {"minLength": 1, "maxLength": 4096},
    (PodWorkload, "replicas"): {"minimum": 1, "maximum": podrules.PODS_LIMIT},
}

LEFT_OUT = frozenset({(Hook, "command")})
"""A command would run with the controller's own rights.  (A header names a secret that the operator has to allow.)"""


def _durations() -> dict[tuple[type, str], list[Schema]]:
    """Every duration is above zero and has an end."""
    rules: dict[tuple[type, str], list[Schema]] = {}
    for kind in (ReleaseSpec, MeshSpec, Retries, Stage, AnalysisSpec, Hook, HttpHook):
        hints = get_type_hints(kind)
        longest = format_duration(hookrules.LONGEST if kind in (Hook, HttpHook) else validation.LONGEST)
        for each in fields(kind):
            if hints[each.name] in (timedelta, _NULLABLE_DURATION):
                sign = ">=" if (kind, each.name) == (ReleaseSpec, "keep_warm") else ">"
                rule = f"duration(self) {sign} duration('0s') && duration(self) <= duration('{longest}')"
                rules[kind, each.name] = [_rule(rule, f"must be {sign} 0s and at most {longest}")]
    return rules


_LEAST, _MOST = (format_duration(value) for value in (Stage(1.0).min_duration, Stage(1.0).max_duration))
_AUTO = "(!has(s.gate) || s.gate == 'auto')"
_LAST = "self[size(self) - 1]"

_SHORTEST, _LONGEST = (format_duration(each) for each in (metricrules.INTERVAL_LEAST, metricrules.INTERVAL_MOST))


def _selectors_of(kind: MetricKind) -> tuple[str, str]:
    """A metric has the selectors of its kind."""
    names = metricrules.FIELDS[kind]
    present = " && ".join(f"has(self.{name}) && self.{name} != ''" for name in names)
    return f"self.kind != '{kind}' || ({present})", f"a {kind} has {' and '.join(names)}"


RULES: dict[tuple[type, str], list[Schema]] = {
    **_durations(),
    (Strategy, ""): [_rule("has(self.canary)", "must name exactly one strategy: canary")],
    (CanaryStrategy, "stages"): [
        _rule(
            "self.map(s, s.weight).isSorted() && self.all(s, self.exists_one(t, t.weight == s.weight))",
            "the weights must increase from stage to stage",
        ),
        _rule(
            f"{_LAST}.weight == {FULL} || (has({_LAST}.gate) && {_LAST}.gate == 'manual')",
            "the last stage must have the weight 100 or gate: manual, else nobody would ever promote",
        ),
        _rule(
            f"self.exists(s, s.weight <= {validation.DECIDING_WEIGHT} && {_AUTO}) || self.exists(s, !{_AUTO})",
            "no stage can decide: needed is one at or below 50 with gate: auto, where the judge can compare, "
            "or any with gate: manual",
        ),
    ],
    (Stage, "weight"): [
        _rule("double(int(self * 10.0 + 0.5)) / 10.0 == self", "must be a multiple of 0.1"),
    ],
    (Stage, ""): [
        _rule(
            f"duration(has(self.minDuration) ? self.minDuration : '{_LEAST}')"
            f" <= duration(has(self.maxDuration) ? self.maxDuration : '{_MOST}')",
            f"minDuration ({_LEAST} if not given) must not be longer than maxDuration ({_MOST} if not given)",
        )
    ],
    (CustomMetric, "interval"): [
        _rule(
            f"duration(self) >= duration('{_SHORTEST}') && duration(self) <= duration('{_LONGEST}')",
            f"must be from {_SHORTEST} to {_LONGEST}",
        )
    ],
    (CustomMetric, ""): [_rule(*_selectors_of(kind)) for kind in MetricKind],
    (Tolerance, ""): [_rule("self.margin > self.tolerance", "margin must be greater than tolerance")],
    (MeshSpec, ""): [
        _rule(
            "has(self.adopt) == (has(self.ownership) && self.ownership == 'adopt')",
            "adopt (virtualService and routes) belongs to ownership: adopt, and that needs it",
        )
    ],
    (Preview, "header"): [_rule("self.lowerAscii() != 'host'", "must not be host")],
    (SecretRef, ""): [_rule("has(self.env) != has(self.file)", "must be exactly one of env and file")],
    (Hook, ""): [_rule("has(self.http)", "must have http: in a cluster a hook is asked by HTTP")],
}

NOTES = Notes(KEYWORDS, RULES, WORDS, LEFT_OUT)
