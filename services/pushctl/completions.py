"""`pushctl completion`: the script that has a shell complete commands, options and workers. Click makes it."""

import click
from click.shell_completion import CompletionItem, get_completion_class

from services.pushctl import options
from services.pushctl.faults import FAILED, Fault
from shared.errors import PushError

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_PUSHCTL_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@options.as_json
@click.pass_context
def completion(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print the script that completes pushctl in SHELL. bash needs to be 4.4 or later.

    \b
    bash:  echo 'eval "$(pushctl completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(pushctl completion zsh)"' >> ~/.zshrc
    fish:  pushctl completion fish > ~/.config/fish/completions/pushctl.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise Fault(f"nothing is known of {shell}", FAILED)
    source = kind(ctx.find_root().command, {}, "pushctl", _VARIABLE).source()
    if as_json:
        options.print_json({"shell": shell, "source": source})
    else:
        click.echo(source)


def worker_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the workers of this host by the settings, but for those that are said already."""
    from shared.places import worker_name  # noqa: PLC0415
    from shared.startup.environment import read_settings  # noqa: PLC0415  (not needed to define commands)

    try:
        settings = read_settings()
    except PushError:
        return []  # a shell must not be told of it in the middle of a line
    said = ctx.params.get(parameter.name or "") or ()
    names = [worker_name(settings, index) for index in range(settings.workers)]
    return [CompletionItem(name) for name in names if name.startswith(incomplete) and name not in said]
