"""The kinds of object that meshctl reads or writes in a cluster, and where the API server keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from meshctl.core.model import API_VERSION


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource type.  ``group`` is empty for the core group; ``plural`` is the name in paths and in RBAC rules."""

    group: str
    version: str
    plural: str
    name: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What stands in an object's ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The resource as the API server's messages write it: ``virtualservices.networking.istio.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of a collection or of one object; a ``namespace`` of a kind that has none is left out."""
        parts = ["", "apis", self.group, self.version] if self.group else ["", "api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        return "/".join([*parts, self.plural, *filter(None, (name, subresource))])

    def label(self, name: str = "", namespace: str = "") -> str:
        """How messages name an object or a collection of this kind: ``VirtualService default/shop``."""
        if not name:
            return f"{self.resource} in namespace {namespace}" if namespace and self.namespaced else self.resource
        return f"{self.name} {namespace}/{name}" if namespace and self.namespaced else f"{self.name} {name}"


GROUP, _VERSION = API_VERSION.split("/")

RELEASE = Kind(GROUP, _VERSION, "releases", "Release")
RELEASE_RUN = Kind(GROUP, _VERSION, "releaseruns", "ReleaseRun")

VIRTUAL_SERVICE = Kind("networking.istio.io", "v1", "virtualservices", "VirtualService")
DESTINATION_RULE = Kind("networking.istio.io", "v1", "destinationrules", "DestinationRule")
GATEWAY = Kind("networking.istio.io", "v1", "gateways", "Gateway")
SERVICE_ENTRY = Kind("networking.istio.io", "v1", "serviceentries", "ServiceEntry")

DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
REPLICA_SET = Kind("apps", "v1", "replicasets", "ReplicaSet")
POD = Kind("", "v1", "pods", "Pod")
SERVICE = Kind("", "v1", "services", "Service")
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
HORIZONTAL_POD_AUTOSCALER = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
EVENT = Kind("events.k8s.io", "v1", "events", "Event")
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")
CUSTOM_RESOURCE_DEFINITION = Kind(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
SELF_SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
SELF_SUBJECT_REVIEW = Kind("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False)

KINDS: tuple[Kind, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Kind))
"""Every kind above."""


def kind_of(api_version: str, name: str) -> Kind | None:
    """The kind that an object's ``apiVersion`` and ``kind`` mean, whatever the version; ``None`` when unknown."""
    group = api_version.rpartition("/")[0]
    return next((kind for kind in KINDS if kind.group == group and kind.name == name), None)
