"""What rendered objects say, in numbers: the guard has proved that they say what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshctl.core.errors import InvalidInput
from meshctl.core.guard import KINDS, TOTAL
from meshctl.core.model import ABORTED_ANNOTATION, RUN_ANNOTATION, Release
from meshctl.core.ports import Manifest
from meshctl.core.routes import annotations_of, http_routes, subset_versions


@dataclass(frozen=True, slots=True)
class Wished:
    """Rendered routes.  ``weights`` maps version to parts of a thousand, ``subsets`` version to subset."""

    run: str
    aborted: bool
    weights: dict[str, int]
    subsets: dict[str, str]
    service: Mapping[str, Any]
    rule: Mapping[str, Any]

    def by_subset(self) -> dict[str, int]:
        """The weights by the name that the routes use."""
        return {self.subsets[version]: weight for version, weight in self.weights.items()}


def wished_of(release: Release, objects: Sequence[Manifest]) -> Wished:
    """Raises `InvalidInput` for anything but one VirtualService and one DestinationRule that fit together."""
    found = {str(each.get("kind")): each for each in objects}
    if set(found) != set(KINDS) or len(objects) != len(KINDS):
        raise InvalidInput(f"a VirtualService and a DestinationRule were expected, found: {', '.join(found) or 'none'}")
    service, rule = found["VirtualService"], found["DestinationRule"]
    versions = subset_versions(rule, release.spec.version_label)
    last = http_routes(service)[-1].destinations
    unknown = [each.subset for each in last if each.subset not in versions]
    if unknown:
        raise InvalidInput(f"the route of {release.metadata.name!r} names subset {unknown[0]!r}, which does not exist")
    marks = annotations_of(service)
    weights = {versions[each.subset]: TOTAL if len(last) == 1 else each.weight for each in last}
    subsets = {version: subset for subset, version in versions.items()}
    return Wished(str(marks.get(RUN_ANNOTATION, "")), ABORTED_ANNOTATION in marks, weights, subsets, service, rule)
