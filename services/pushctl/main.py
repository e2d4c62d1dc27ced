"""Composition root of `pushctl`: the list of commands, and how every fault ends."""

import importlib
from typing import Any

import click
from click.shell_completion import CompletionItem

from services.pushctl.faults import as_fault
from shared import __version__
from shared.errors import PushError

#: Where each command lives, and its line in the help. Loading all of them for each call would cost 0.1 s.
COMMANDS = {
    "push": ("services.pushctl.pushes:push", "Push a text or a file to one token, or to everybody."),
    "push-file": ("services.pushctl.push_files:push_file", "Push every line of a file."),
    "find": ("services.pushctl.questions:find", "Say where the clients of tokens are."),
    "explain": ("services.pushctl.explaining:explain", "Say all that is known of a token, and what is wrong."),
    "kick": ("services.pushctl.questions:kick", "Disconnect the clients of tokens."),
    "top": ("services.pushctl.top:top", "Show the fleet at work, as it happens."),
    "stat": ("services.pushctl.questions:stat", "Show the fleet's figures."),
    "cached": ("services.pushctl.cached_messages:cached", "List what is kept for a token that is away, or drop it."),
    "presence": ("services.pushctl.presence:presence", "Say who is connected, as the presence service knows it."),
    "watch": ("services.pushctl.watch:watch", "Print who comes and who goes."),
    "group": ("services.pushctl.groups:group", "Make groups and say who is in them."),
    "user": ("services.pushctl.users:user", "See and end logins of users, and keep users out."),
    "listen": ("services.pushctl.listening:listen", "Be a client: print what is pushed to a token."),
    "wait-ready": ("services.pushctl.processes:wait_ready", "Wait until every process of the fleet answers."),
    "drain": ("services.pushctl.drains:drain", "Have a worker hand its clients over and end."),
    "start": ("services.pushctl.drains:start", "Start a worker again that has left."),
    "restart": ("services.pushctl.restarts:restart", "Restart the workers one after the other; no client notices."),
    "stop": ("services.pushctl.processes:stop", "Stop the fleet on this machine."),
    "check-config": ("services.pushctl.configuration:check_config", "Show the settings in effect, or what is wrong."),
    "key": ("services.pushctl.api_keys:key", "Make, list and revoke keys of the HTTP API."),
    "keygen": ("services.pushctl.keys:keygen", "Make a CURVE key pair."),
    "completion": ("services.pushctl.completions:completion", "Print what makes bash, zsh or fish complete pushctl."),
    "simulate": ("services.pushctl.simulations:simulate", "Try the rules out on a virtual clock, with faults."),
    "token-slot": ("services.pushctl.questions:token_slot", "Say which slot a token falls into."),
}


class Commands(click.Group):
    """A group that imports a command only when it is called, and turns our errors into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Without loading what each command needs: a key is waited for."""
        found = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PushError as error:
            raise as_fault(error) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pushctl")
def main() -> None:
    """Try and run a push gateway from the command line.

    Settings come from PUSH_* variables and the file that PUSH_CONFIG names, as for the fleet itself.

    \b
    Exit codes: 0 done
                1 a push, look-up or wait did not succeed
                2 wrong usage or settings
                3 the fleet cannot be reached
    """


if __name__ == "__main__":
    main()
