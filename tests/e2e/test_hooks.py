"""Hooks and the webhook around a real release: asked, held, killed in between, asked again, promoted."""

from __future__ import annotations

import json
import sys
import textwrap

import pytest

from tests.adapters.loopback import Loopback, answers
from tests.e2e.world import NEW, until

pytestmark = pytest.mark.e2e

STAGES = (
    "{weight: 10, gate: manual, minDuration: 1s}, {weight: 50, gate: manual, minDuration: 1s}, "
    "{weight: 100, minDuration: 1s}"
)
TOKEN, KEY = "Bearer t0ken-of-the-checks", "k3y-of-the-events"


class Checks:
    """Stands for a team's smoke tests: says ``word`` to whoever asks with the token."""

    def __init__(self):
        self.word = {"verdict": "hold", "message": f"3 of 40 checks, {TOKEN}"}
        self.hang = True

    def __call__(self, connection, heard):
        if heard.headers.get("authorization") != TOKEN:
            answers(401)(connection, heard)
        elif self.hang:
            connection.recv(1)
        else:
            answers(200, json.dumps(self.word).encode())(connection, heard)


def with_hooks(mesh, url, end_url):
    migrate = json.dumps([sys.executable, str(mesh.files / "migrate.py")])
    (mesh.files / "migrate.py").write_text(
        "import os\n"
        "with open('migrated', 'a') as file:\n"
        "    print(os.environ['MESHCTL_HOOK_ID'], os.environ['MESHCTL_CANDIDATE'], file=file)\n"
        'print(\'{"message": "schema 7"}\')\n'
    )
    text = (mesh.files / "release.yaml").read_text() + textwrap.indent(
        textwrap.dedent(f"""\
            hooks:
            - {{name: migrate, at: beforeStage, stages: [10], command: {migrate}, timeout: 20s}}
            - name: smoke
              at: afterStage
              stages: [10]
              timeout: 60s
              http: {{url: "{url}", timeout: 60s, headers: {{Authorization: {{env: CHECKS_TOKEN}}}}}}
            - {{name: tell, at: promotion, http: {{url: "{end_url}", timeout: 5s}}}}
            """),
        "  ",
    )
    (mesh.files / "release.yaml").write_text(text)


def test_hooks_gate_a_real_release_survive_a_kill_and_leave_no_secret(make_mesh):
    """
    Given a shop with a migration before 10 %, checks after it, somebody who hears of the end, and a webhook
    When the controller is killed while the checks are asked, and they hold, then pass
    Then each was asked under one key, the release is promoted, users noticed nothing, no secret was written down
    """
    mesh, checks = make_mesh(STAGES), Checks()
    (mesh.folder / "key").write_text(KEY)
    mesh._variables |= {"CHECKS_TOKEN": TOKEN}
    with Loopback(checks) as smoke, Loopback(answers(204)) as end, Loopback(answers(204)) as events:
        words = ("--webhook-url", events.url, "--webhook-secret-file", str(mesh.folder / "key"))
        mesh.begin(*words)
        mesh.wish(NEW)
        with_hooks(mesh, smoke.url, end.url)
        mesh.ask("apply", "-f", str(mesh.files / "release.yaml"))
        mesh.reaches("Paused", "ManualGate", weight=10.0)
        assert (mesh.folder / "migrated").read_text().startswith(f"shop-2/0/migrate {NEW}\n")

        mesh.ask("promote", "shop")
        until(lambda: smoke.heard, what="the first asking")
        mesh.kill_controller()
        checks.hang = False
        mesh.up(*words)
        mesh.reaches("Held", "HookHolds")
        until(lambda: "3 of 40 checks" in mesh.status["waitsFor"], what="the words of the checks")
        assert mesh.live_weight(NEW) == 10
        checks.word = {"verdict": "pass", "message": "40 of 40"}
        mesh.reaches("Paused", "ManualGate", weight=50.0)
        assert {heard.headers["idempotency-key"] for heard in smoke.heard} == {"shop-2/0/smoke"}

        mesh.ask("promote", "shop")
        assert "Promoted" in mesh.ask("wait", "shop", "--timeout", "30s")
        until(lambda: end.heard, what="the notice of the end")
        assert json.loads(end.heard[0].body)["phase"] == "Promoted"
        until(lambda: any(each["message"].startswith("hook tell") for each in told(events)), what="the last event")
        assert [each["message"] for each in told(events) if each["type"].endswith(".phase")]
        counts = mesh.users.go()
        assert (counts.failed, counts.causes) == (0, {})
    mesh.ask("replay", "shop-2")
    said = mesh.ask("describe", "shop") + mesh.log + json.dumps(told(events))
    assert "hook smoke after 10 % holds: 3 of 40 checks, ***" in said
    written = [path.read_bytes() for path in mesh.base.rglob("*") if path.is_file()] + [said.encode()]
    for secret in (TOKEN.split()[1], KEY):
        assert not any(secret.encode() in text for text in written)


def told(events):
    return [json.loads(heard.body) for heard in events.heard]
