"""``promote``, ``abort``, ``pause``, ``resume``, ``retry``: stored first, then carried to the controller."""

from __future__ import annotations

from typing import Any

import click

from meshctl.cli.target import Target, pass_target, release_argument
from meshctl.core.model import Verb

reason_option = click.option("--reason", default="", metavar="TEXT", help="Why; recorded with the decision.")


@click.command("promote")
@release_argument
@reason_option
@click.option("--full", is_flag=True, help="Go to 100 % at once: skips gates, never readiness.  Needs --reason.")
@pass_target
def promote_command(target: Target, name: str, reason: str, full: bool) -> int:
    """Open the manual gate that release NAME waits at, or override an undecided judge.

    An override needs --reason and is recorded with your name.  A regression that the judge has shown cannot be
    overridden.  --full is for emergencies of the other kind: the fix that cannot wait for its evidence.

    \b
    Exit code: 0 done, 14 stored but no controller answers, 16 refused in this state (it says what would do).
    Examples:
      meshctl promote shop --local
      meshctl promote shop --local --reason "seen in staging, only too little traffic at night"
      meshctl promote shop --local --full --reason "stops the data loss of 2.0.0"
    """
    return ask(target, name, Verb.PROMOTE, reason=reason, full=full)


@click.command("abort")
@release_argument
@reason_option
@pass_target
def abort_command(target: Target, name: str, reason: str) -> int:
    """Take the candidate of release NAME to 0 % in one write, now.

    Works without a controller, with one that hangs, and on a full disk.  The version is not tried again until
    you say retry or release another one.  After a promotion it is refused and names rollback.

    \b
    Exit code: 0 the candidate is at 0 %, 1 it is and could not be stored, 16 there is nothing to take back.
    Examples:
      meshctl abort shop --local
      meshctl abort shop --local --reason "support reports empty carts"
    """
    return ask(target, name, Verb.ABORT, reason=reason)


@click.command("pause")
@release_argument
@reason_option
@pass_target
def pause_command(target: Target, name: str, reason: str) -> int:
    """Keep the weight of release NAME as it is until resume; a regression still takes it back.

    \b
    Example:
      meshctl pause shop --local --reason "waiting for the marketing mail to go out"
    """
    return ask(target, name, Verb.PAUSE, reason=reason)


@click.command("resume")
@release_argument
@reason_option
@pass_target
def resume_command(target: Target, name: str, reason: str) -> int:
    """Let release NAME go on after a pause, or after a hold that only a person can end.

    A gate that waits for a person is opened by promote, not by resume.

    \b
    Examples:
      meshctl resume shop --local
      meshctl resume shop --local --reason "the mail is out"
    """
    return ask(target, name, Verb.RESUME, reason=reason)


@click.command("retry")
@release_argument
@click.option("--reason", required=True, metavar="TEXT", help="Why it should go better now; recorded.")
@pass_target
def retry_command(target: Target, name: str, reason: str) -> int:
    """Try the rejected version of release NAME again, in a new run from the first stage.

    \b
    Example:
      meshctl retry shop --local --reason "the database index exists now"
    """
    return ask(target, name, Verb.RETRY, reason=reason)


@click.command("rollback")
@release_argument
@click.option("--to", "version", metavar="VERSION", help="The version to go back to; else the one before.")
@reason_option
@pass_target
def rollback_command(target: Target, name: str, version: str | None, reason: str) -> int:
    """Give all traffic of release NAME back to the version before, in one write, while that is kept warm.

    The wish stays as it is; the version that gives way is not tried again until you say retry or release another
    one.

    With --to it may be any version that a kept run promoted.  One that is not warm any more has no replicas and
    nothing is known of how it does today: it becomes the wish, and a run of its own leads there through the stages;
    this needs --reason.  Change the version in your files too.  In a hurry: meshctl promote NAME --full.

    \b
    Examples:
      meshctl rollback shop --local --reason "orders are lost since noon"
      meshctl rollback shop --to 1.4.0 --local --reason "the last one without the new cache"
    """
    if version is None:
        return ask(target, name, Verb.ROLLBACK, reason=reason)
    from meshctl.app.returning import prepare_return
    from meshctl.cli.output import say

    if not prepare_return(target.store, name, version, reason):
        say(f"{version} is not kept warm: it is the wish now; change it in your files too, or apply undoes this")
    return ask(target, name, Verb.ROLLBACK, reason=reason, version=version)


@click.command("set-weight")
@release_argument
@click.argument("weight", type=float)
@reason_option
@pass_target
def set_weight_command(target: Target, name: str, weight: float, reason: str) -> int:
    """Set the candidate of release NAME to WEIGHT percent and pause there.

    Less is done at once; more overrides the judge, needs --reason and ready replicas, and is recorded.  0 is abort.
    resume then judges this weight as a stage of its own and goes on to the next greater one.

    \b
    Examples:
      meshctl set-weight shop 5 --local
      meshctl set-weight shop 25 --local --reason "load test of the new cache tonight"
    """
    return ask(target, name, Verb.SET_WEIGHT, reason=reason, weight=weight)


def ask(target: Target, name: str, verb: Verb, **fields: Any) -> int:
    """Have a request served and print the answer; returns the exit code."""
    click.echo(target.ask(name, verb, **fields))
    return 0
