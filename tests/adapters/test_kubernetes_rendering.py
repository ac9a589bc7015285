"""The template of the Deployment: whatever the pods are, it renders exactly them, and a user's own cannot differ."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshctl.adapters.kubernetes.rendering import DeploymentRenderer
from meshctl.adapters.template_set import DEPLOYMENT, packaged_templates
from meshctl.core.deployments import find_deployment_lies, plan_deployment
from meshctl.core.errors import TemplateError
from meshctl.core.model import Metadata, PodWorkload, Release, ReleaseSpec
from meshctl.core.versions import as_deployed

POD = {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "shop", "image": "shop:2.1.0"}]}}
RENDERER = DeploymentRenderer()
PACKAGED = (packaged_templates() / DEPLOYMENT).read_text()
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(max_size=12)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


def shop(template=POD, **metadata):
    return as_deployed(
        Release(Metadata("shop", **metadata), ReleaseSpec("2.1.0", "shop", workload=PodWorkload(template)))
    )


def render(renderer, release=None, replicas=2):
    release = release or shop()
    return renderer.render(release, plan_deployment(release, release.spec.workload, replicas))


@pytest.fixture
def own(tmp_path):
    """Render with a user's own template; its child process ends with the test."""
    opened = []

    def make(text, **options):
        path = tmp_path / DEPLOYMENT
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        opened.append(DeploymentRenderer(tmp_path))
        return render(opened[-1], **options)

    yield make
    for renderer in opened:
        renderer.close()


def test_the_packaged_template_renders_the_decided_deployment():
    found = render(RENDERER, replicas=7)
    assert found["metadata"]["name"].startswith("shop-v2-1-0-")
    assert found["spec"]["replicas"] == 7
    assert found["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert found["spec"]["progressDeadlineSeconds"] == 600
    assert "ownerReferences" not in found["metadata"]


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=8), TREES, max_size=4))
def test_whatever_the_pods_are_they_come_out_as_they_went_in(pod):
    release = shop({**POD, "spec": {**pod, "containers": POD["spec"]["containers"]}})
    plan = plan_deployment(release, release.spec.workload, 2)
    found = RENDERER.render(release, plan)
    assert found["spec"]["template"] == plan.template
    assert find_deployment_lies(plan, [found]) == []


def test_a_template_of_ones_own_may_add_what_is_not_about_the_pods(own):
    found = own(PACKAGED.replace("spec:\n", "spec:\n  minReadySeconds: 5\n", 1))
    assert found["spec"]["minReadySeconds"] == 5


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "replicas: {{ replicas }}",
            "replicas: 1",
            r":\d+ \(rendered line \d+\): .*spec\.replicas: must be 2, found 1",
        ),
        ("{{ template | quoted }}", "{}", "spec.template.metadata: is missing|spec.template.spec: is missing"),
        ("kind: Deployment", "kind: DaemonSet", "only a Deployment may be rendered"),
        ("maxUnavailable: 0", "maxUnavailable: 50%", "maxUnavailable 0"),
        ("{{ name | quoted }}", "{{ nam | quoted }}", "'nam' is undefined"),
        ("kind: Deployment", "kind: [", "is not|expected|renders what"),
    ],
)
def test_a_template_of_ones_own_that_says_something_else_is_refused_by_line(own, old, new, said):
    assert old in PACKAGED
    with pytest.raises(TemplateError, match=said):
        own(PACKAGED.replace(old, new))


def test_two_deployments_are_refused(own):
    with pytest.raises(TemplateError, match="exactly one Deployment, found 2 objects"):
        own(f"{PACKAGED}---\n{PACKAGED}")


def test_a_folder_that_has_only_this_template_is_taken(own):
    assert own(PACKAGED) == render(RENDERER)
